import csv
import json
import os
import select
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from forked import run_forked

from dip.config.compose import compose
from dip.errors import UserError
from dip.image import tensors
from dip.prior.sample import Sample

SCRIPT = Path(__file__).parents[2] / "scripts" / "lab" / "evaluate.py"


@pytest.fixture
def script_and_pictures(tmp_path, photograph, mask):
    """The script, its folder of runs and one of pictures with the tiny one and its mask."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    photograph.rename(pictures / "tiny.png")
    mask.rename(pictures / "tiny_mask.png")
    return SCRIPT, tmp_path / "runs", "--pictures", pictures


@pytest.fixture
def evaluate(script_and_pictures, tmp_path):
    """evaluate("--option", ...): a run over the pictures."""
    return partial(run_forked, *script_and_pictures, cwd=tmp_path)


def worker_of(process, folder):
    """The number of the process that does the runs, once one has begun in `folder`."""
    while process.poll() is None:
        if list(folder.glob("*/said.txt")):
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
                    return int(child)
    raise AssertionError(process.stderr.read())


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_run_outlives_the_script(script_and_pictures, tiny, tmp_path, sent):
    command = [sys.executable, *script_and_pictures, "--suites", "holes", *tiny, "trainer.max_steps=10000000"]
    # A process that was started in the background may ignore Ctrl-C.
    heard = partial(subprocess.Popen, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    with heard(command, stderr=subprocess.PIPE, text=True) as process:
        worker = os.pidfd_open(worker_of(process, tmp_path / "runs" / "holes" / "tiny"))
        process.send_signal(sent)
        ended, _, _ = select.select([worker], [], [], 60)
        os.close(worker)
        if sent == signal.SIGINT:
            said = process.stderr.read()
            assert said.splitlines()[-1] == "interrupted; the same command continues with the missing runs"
            assert "Traceback" not in said
            assert process.wait() == 130
    assert ended


@pytest.fixture(scope="module")
def evaluation(script):
    return script("lab/evaluate.py")


@pytest.mark.slow
def test_a_table_of_what_the_recipe_reaches(evaluate, tiny, tmp_path):
    recipe = [*tiny, "members=2"]
    first = evaluate("--suites", "pixels80,holes", *recipe)
    assert first.returncode == 0, first.stderr
    rows = json.loads((tmp_path / "runs" / "table.json").read_text())
    assert [(row["suite"], row["picture"], row["seed"]) for row in rows] == [
        ("pixels80", "tiny", 0),
        ("holes", "tiny", 0),
    ]
    for row in rows:
        assert row["steps"] == 6
        found = json.loads((tmp_path / "runs" / row["suite"] / "tiny" / "seed_0" / "evaluation.json").read_text())
        assert found["metrics"]["psnr_hole"] == pytest.approx(row["psnr_hole"], abs=1e-3)
        best = [max(quality for _, quality in run["curve"]) for run in found["runs"]]
        assert row["oracle"] == pytest.approx(sum(best) / 2)
        assert row["gap"] == pytest.approx(row["oracle"] - sum(run["stop"] for run in found["runs"]) / 2, abs=1e-3)
        assert -1 <= row["rank_correlation"] == found["rank_correlation"] <= 1
        measured = (found["metrics"], found["metrics"]["baseline"], found["truth"])
        shown = [row[f"{whose}texture_distance"] for whose in ("", "biharmonic_", "truth_")]
        assert shown == [of["texture_distance"] for of in measured]
    table = (tmp_path / "runs" / "table.md").read_text()
    assert table in first.stdout
    heads, *lines = (line.split(" | ") for line in table.splitlines() if line.startswith("| "))
    assert len(lines) == 4
    assert all(len(cells) == len(heads) for cells in lines)
    assert lines[0][heads.index("uncertainty")] == f"{rows[0]['rank_correlation']:.2f}"
    with (tmp_path / "runs" / "table.csv").open() as file:
        assert [row["suite"] for row in csv.DictReader(file)] == ["pixels80", "holes"]

    # The second call runs only what is missing, and other keys do not mix with these.
    before = (tmp_path / "runs" / "holes" / "tiny" / "seed_0" / "evaluation.json").stat().st_mtime_ns
    assert evaluate("--suites", "holes", *recipe).returncode == 0
    assert (tmp_path / "runs" / "holes" / "tiny" / "seed_0" / "evaluation.json").stat().st_mtime_ns == before
    other = evaluate("--suites", "holes", *recipe, "optimizer.lr=0.1")
    assert other.returncode == 2
    assert "holds runs of other keys" in other.stderr
    (tmp_path / "others").mkdir()
    other = evaluate("--pictures", tmp_path / "others", "--suites", "holes", *recipe)
    assert other.returncode == 2
    assert "holds runs of other keys or pictures" in other.stderr


def test_what_every_rule_would_score_is_recorded_and_the_run_does_not_notice(
    evaluation, tiny, run, photograph, mask, tmp_path
):
    files = [f"data.image={photograph}", f"data.mask={mask}", f"data.truth={photograph}"]
    whole = ["trainer.max_steps=120", "stopping.patience_steps=100000", "stopping.refit_share=0", "texture=none"]
    case = evaluation.Case("holes", "tiny", 0, [*tiny, *whole, *files])
    found = evaluation.evaluated(case, tmp_path / "observed")
    (watched,) = found["runs"]
    scores = {name: dict(points) for name, points in watched["scores"].items()}
    assert {name: list(points) for name, points in scores.items()} == {
        "held_out": list(range(10, 121, 10)),
        "moving_variance": [110, 120],
        "window_variance": [100, 110, 120],
    }
    assert all(score < 0 for name in ("moving_variance", "window_variance") for score in scores[name].values())
    # The same as the run's own rule has scored.
    metrics = found["metrics"]
    assert scores["held_out"][metrics["best_step"]] == metrics["psnr_held_out"] == max(scores["held_out"].values())

    alone = run(compose(case.overrides), tmp_path / "alone")
    assert {**alone, "seconds": 0} == {**metrics, "seconds": 0}
    pictures = [Path(tmp_path, name, "output.png").read_bytes() for name in ("observed", "alone")]
    assert pictures[0] == pictures[1]


def test_the_rank_correlation_is_that_of_deviation_and_error_in_the_hole(evaluation):
    truth, mask = torch.full((1, 3, 8, 8), 0.5), torch.ones(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 0
    error = 0.4 * torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    output = truth + torch.where(mask == 1, 0.2, error)
    sample = Sample(truth * mask, mask, truth)
    for inside, expected in ((error**3, 1), (1 - error, -1), (torch.ones_like(error), None)):
        uncertain = torch.where(mask == 1, torch.rand(8, 8), inside)
        assert evaluation.rank_correlation(uncertain, output, sample) == expected


def test_the_uncertainty_of_a_result_is_judged_by_its_pictures_before_texture(evaluation, tmp_path):
    mask, error = torch.ones(1, 1, 8, 8), torch.linspace(0, 0.4, 16).reshape(1, 1, 4, 4)
    mask[..., 2:6, 2:6] = 0
    truth, drawn = torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 8, 8), 0.5)
    drawn[..., 2:6, 2:6] += error
    pictures = {"output": truth + 0.1, "before_texture": drawn, "uncertainty": (drawn - truth)[:, :1]}
    assert evaluation.uncertainty(tmp_path, Sample(truth * mask, mask, truth)) is None
    for name, picture in pictures.items():
        tensors.save_png(tensors.to_pil(picture), tmp_path / f"{name}.png")
    assert evaluation.uncertainty(tmp_path, Sample(truth * mask, mask, truth)) == 1


def test_what_a_run_does_not_know_is_a_dash_in_the_table_and_no_part_of_a_mean(evaluation):
    rows = [{"texture_distance": found} for found in (None, 0.2, 0.4)]
    found = [evaluation.summary(some, "texture_distance") for some in (rows, rows[:1])]
    assert [evaluation.shown(value, 2) for value in found] == ["0.30", "-"]


@pytest.mark.slow
def test_a_failed_run_is_named_and_the_others_go_on(evaluate, tiny, tmp_path):
    result = evaluate("--suites", "pixels80,holes", *tiny, "data.hole=white")  # random pixels have no such key
    assert result.returncode == 1
    assert "pixels80/tiny/seed_0 failed: " in result.stderr
    (row,) = json.loads((tmp_path / "runs" / "table.json").read_text())
    assert row["suite"] == "holes"


def test_only_pictures_of_a_folder_are_run_and_a_mask_alone_is_refused(evaluation, photograph, mask, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    assert list(evaluation.pictures_of(tmp_path, grey=False)) == ["mask", "photograph"]
    assert {picture.shape[1] for picture in evaluation.pictures_of(tmp_path, grey=True).values()} == {1}
    with pytest.raises(UserError, match="b_mask has no picture b beside it"):
        list(evaluation.holes({}, {"b": tensors.read_tensor(mask, "mask")}, tmp_path))


@pytest.mark.parametrize(("argument", "said"), [("--suites=text,none", "none"), ("--seeds=a", "seeds")])
def test_what_it_does_not_know_is_refused(evaluation, tmp_path, monkeypatch, capsys, argument, said):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(tmp_path), argument])
    with pytest.raises(SystemExit) as ended:
        evaluation.main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
