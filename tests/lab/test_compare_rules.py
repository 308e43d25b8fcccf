import json
import sys

import pytest


@pytest.fixture(scope="module")
def comparison(script):
    return script("lab/compare_rules.py")


def steps(values):
    return [[10 * number, value] for number, value in enumerate(values, 1)]


def evaluated(folder, curve, scores, seed=0, stopped_by="max_steps"):
    """A run as evaluate.py leaves it: a value every 10 steps."""
    run = folder / "text" / "tiny" / f"seed_{seed}"
    run.mkdir(parents=True)
    found = {"suite": "text", "picture": "tiny", "seed": seed, "metrics": {"stopped_by": stopped_by}}
    found["hole_kind"] = "thin"
    found["runs"] = [{"curve": steps(curve), "scores": {name: steps(own) for name, own in scores.items()}}]
    (run / "evaluation.json").write_text(json.dumps(found))


def outcome(comparison, folder, patience):
    (row,) = comparison.compared(comparison.runs(folder), [patience])
    return {key: row[key] for key in ("stopped", "best_step", "gap", "false_alarm", "missed_stop")}


@pytest.mark.parametrize(
    ("curve", "scores", "expected"),
    [
        # Stops 20 steps after its best, which is the oracle's.
        ([20, 25, 24, 23, 22, 21], [1, 5, 4, 3, 2, 1], (40, 20, 0, False, False)),
        # A dip of the score on the way up.
        ([20, 21, 22, 23, 24, 25], [5, 4, 4, 6, 7, 8], (30, 10, 5, True, False)),
        # A dip so near the best that it costs nothing.
        ([24.9, 24.9, 24.9, 25, 25, 25], [5, 4, 4, 6, 7, 8], (30, 10, 0.1, False, False)),
        # The score rises on while the hole falls.
        ([20, 25, 24, 23, 22, 21], [1, 2, 3, 4, 5, 6], (None, 60, 4, False, True)),
        # It has not stopped in time, but what it returns is right.
        ([20, 21, 22, 23, 25, 24], [1, 2, 3, 4, 5, 4], (None, 50, 0, False, True)),
        # Nothing to stop for.
        ([20, 21, 22, 23, 24, 25], [1, 2, 3, 4, 5, 6], (None, 60, 0, False, False)),
        # Less than min_gain is no rise.
        ([20, 25, 24, 25, 25, 25], [1, 5, 5.01, 5.005, 4, 4], (40, 20, 0, False, False)),
    ],
)
def test_a_rule_is_replayed_and_judged_by_the_oracle(comparison, tmp_path, curve, scores, expected):
    evaluated(tmp_path, curve, {"held_out": scores})
    assert tuple(outcome(comparison, tmp_path, 20).values()) == expected


def test_the_table_has_a_line_for_each_suite_rule_and_patience(comparison, tmp_path, monkeypatch, capsys):
    scores = {"held_out": [1, 5, 4, 4, 6, 5], "window_variance": [-1, -2, -3, -4, -5, -6]}
    for seed in (0, 1):
        evaluated(tmp_path, [20, 21, 22, 23, 24, 23.5], scores, seed)
    monkeypatch.setattr(sys, "argv", ["compare_rules.py", str(tmp_path), "--patience", "20,100"])
    comparison.main()
    table = (tmp_path / "rules.md").read_text()
    assert capsys.readouterr().out == table
    lines = [line for line in table.splitlines() if line.startswith("| text")]
    assert lines == [
        "| text | held_out | 20 | 2 | 3.00 | 3.00 | 2 | 0 | 40 |",
        "| text | held_out | 100 | 2 | 0.00 | 0.00 | 0 | 2 | 60 |",
        "| text | window_variance | 20 | 2 | 4.00 | 4.00 | 2 | 0 | 30 |",
        "| text | window_variance | 100 | 2 | 4.00 | 4.00 | 0 | 2 | 60 |",
    ]
    assert len(json.loads((tmp_path / "rules.json").read_text())) == 8


def refusal(comparison, monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["compare_rules.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        comparison.main()
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_runs_on_which_no_rule_can_be_replayed_are_refused(comparison, tmp_path, monkeypatch, capsys):
    folders = [tmp_path / name for name in ("none", "stopped", "refitted", "fine")]
    evaluated(folders[1], [20, 21], {"held_out": [1, 2]}, stopped_by="held_out")
    evaluated(folders[2], [20, 21, 22], {"held_out": [1, 2], "window_variance": [1, 2, 3]})
    evaluated(folders[3], [20, 21], {"held_out": [1, 2]})
    said = [refusal(comparison, monkeypatch, capsys, folder) for folder in folders[:3]]
    assert "none holds no evaluation with scores of rules" in said[0]
    assert "seed_0 was stopped by held_out; evaluate again with stopping.patience_steps=100000" in said[1]
    assert "seed_0 learned what was held out; evaluate again with stopping.refit_share=0" in said[2]
    patience = refusal(comparison, monkeypatch, capsys, folders[3], "--patience", "5")
    assert "stopping.patience_steps=5, but it must be at least the steps between two scores" in patience
    assert "stopping.every_steps=10" in patience
