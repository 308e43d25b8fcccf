import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CALLED = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
EXAMPLE = ["data.example.width=40", "data.example.height=32", "data.example.mask.font_size=9"]


@pytest.fixture
def compare(tmp_path):
    """compare("A", "B"): the script on a repository with the tags `before`, `after` (twice the loss) and `broken`."""
    for name in ("configs", "scripts", "src"):
        shutil.copytree(REPOSITORY / name, tmp_path / "code" / name, ignore=shutil.ignore_patterns("*.egg-info"))
    shutil.copy(REPOSITORY / "train.py", tmp_path / "code")

    def git(*arguments):
        subprocess.run([*CALLED, *arguments], cwd=tmp_path / "code", check=True, capture_output=True)

    git("init")
    git("add", "--all")
    git("commit", "--message", "First")
    git("tag", "before")
    losses = tmp_path / "code" / "src" / "dip" / "prior" / "losses.py"
    losses.write_text(
        losses.read_text().replace("def masked_mse(", "def masked_mse(*a):\n    return 2 * mse(*a)\n\n\ndef mse(")
    )
    git("commit", "--all", "--message", "Twice the loss")
    git("tag", "after")
    (tmp_path / "code" / "train.py").write_text("raise RuntimeError('broken')\n")
    git("commit", "--all", "--message", "Broken")
    git("tag", "broken")

    def run(*arguments):
        command = [sys.executable, tmp_path / "code" / "scripts" / "lab" / "compare.py", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        listed = subprocess.run(
            ["git", "worktree", "list"], cwd=tmp_path / "code", capture_output=True, text=True, check=True
        )
        assert listed.stdout.count("\n") == 1  # what was checked out is gone again
        return result

    return run


@pytest.mark.slow
def test_two_states_of_the_code_are_run_and_compared(compare, tiny):
    result = compare("before", "after", "--repeats", "1", *tiny, *EXAMPLE)
    assert result.returncode == 0, result.stderr
    said = result.stdout.splitlines()
    assert said[0].endswith(" First")
    assert said[1].endswith(" Twice the loss")
    assert said[2].startswith("loss           differs from step 1 on; most at step ")
    assert "+100" in said[2] or "+99" in said[2]
    assert any(line.startswith("psnr_hole      A ") for line in said)
    assert "ms a step, medians of 1; B takes " in said[-1]


def test_what_cannot_be_compared_is_said_in_words(compare, tiny):
    unknown = compare("before", "nothing")
    assert unknown.returncode == 2
    assert "nothing is no revision of " in unknown.stderr.splitlines()[-1]
    assert compare("before", "after", "--repeats", "0").returncode == 2
    broken = compare("broken", "before", "--repeats", "1", *tiny, *EXAMPLE)
    assert broken.returncode == 1
    assert "A has failed, run 1 of 1: " in broken.stderr
    assert "RuntimeError: broken" in broken.stderr


def test_the_difference_of_curves_is_that_of_the_steps_that_both_have(script):
    module = script("lab/compare.py")
    assert module.curves({1: 0.5, 2: 0.4}, {1: 0.5, 2: 0.4, 3: 0.1}) == "the same at all 2 steps that are recorded"
    assert module.curves({1: 0.5, 2: 0.4, 3: 0.2}, {1: 0.5, 2: 0.6, 3: 0.1}) == (
        "differs from step 2 on; most at step 2: A 0.400000, B 0.600000 (+50.00%); at step 3: A 0.200000, B 0.100000"
    )
