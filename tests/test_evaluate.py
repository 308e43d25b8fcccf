import csv
import json
import subprocess
import sys

import pytest
from conftest import REPOSITORY, TINY

SCRIPT = REPOSITORY / "scripts" / "evaluate.py"


@pytest.fixture
def evaluate(tmp_path, photograph, mask):
    """evaluate("--option", ...): a run over a folder with the tiny picture and its mask."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    photograph.rename(pictures / "tiny.png")
    mask.rename(pictures / "tiny_mask.png")

    def run(*arguments):
        command = [sys.executable, SCRIPT, tmp_path / "runs", "--pictures", pictures, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_a_table_of_what_the_recipe_reaches(evaluate, tmp_path):
    first = evaluate("--suites", "pixels80,holes", *TINY)
    assert first.returncode == 0, first.stderr
    rows = json.loads((tmp_path / "runs" / "table.json").read_text())
    assert [(row["suite"], row["picture"], row["seed"]) for row in rows] == [
        ("pixels80", "tiny", 0),
        ("holes", "tiny", 0),
    ]
    for row in rows:
        assert row["steps"] == 3
        found = json.loads((tmp_path / "runs" / row["suite"] / "tiny" / "seed_0" / "evaluation.json").read_text())
        assert found["metrics"]["psnr_hole"] == pytest.approx(row["psnr_hole"], abs=1e-3)
        assert row["oracle"] == max(quality for _, quality in found["curve"])
    assert (tmp_path / "runs" / "table.md").read_text() in first.stdout
    with (tmp_path / "runs" / "table.csv").open() as file:
        assert [row["suite"] for row in csv.DictReader(file)] == ["pixels80", "holes"]

    # The second call runs only what is missing, and other keys do not mix with these.
    before = (tmp_path / "runs" / "holes" / "tiny" / "seed_0" / "evaluation.json").stat().st_mtime_ns
    assert evaluate("--suites", "holes", *TINY).returncode == 0
    assert (tmp_path / "runs" / "holes" / "tiny" / "seed_0" / "evaluation.json").stat().st_mtime_ns == before
    other = evaluate("--suites", "holes", *TINY, "optimizer.lr=0.1")
    assert other.returncode == 2
    assert "holds runs of other keys" in other.stderr


def test_a_failed_run_is_named_and_the_others_go_on(evaluate, tmp_path):
    result = evaluate("--suites", "pixels80,holes", *TINY, "data.hole=white")  # random pixels have no such key
    assert result.returncode == 1
    assert "pixels80/tiny/seed_0 failed: " in result.stderr
    (row,) = json.loads((tmp_path / "runs" / "table.json").read_text())
    assert row["suite"] == "holes"


@pytest.mark.parametrize(("argument", "said"), [("--suites=text,none", "none"), ("--seeds=a", "seeds")])
def test_what_it_does_not_know_is_refused(evaluate, argument, said):
    result = evaluate(argument)
    assert result.returncode == 2
    assert said in result.stderr.splitlines()[-1]
