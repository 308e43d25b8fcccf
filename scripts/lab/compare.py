"""Runs the same short experiment on two revisions in turns, and prints how curves, speed and quality differ.

    python scripts/lab/compare.py main HEAD
    python scripts/lab/compare.py main HEAD --repeats 5 hole_kind=large trainer.max_steps=200

For whoever changes the training step. Each revision is checked out into a temporary folder and run in this environment:
A B A B, each in a process of its own. Further arguments are overrides of these runs, which repair the example at 128x96
pixels in 100 steps in float32. `git stash create` prints a revision of uncommitted work, without untracked files. Exit
codes: 0 both have run, whatever the difference; 1 a run has failed; 2 there is nothing to compare.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

REPOSITORY = Path(__file__).resolve().parents[2]
SHORT = ["data.example.width=128", "data.example.height=96", "trainer.max_steps=100", "trainer.precision=32-true"]


class Result(NamedTuple):
    metrics: dict[str, Any]
    loss: dict[int, float]  # step: loss


def git(*arguments: str) -> str:
    """The output of a git command. Raises ValueError with git's last line where it fails."""
    done = subprocess.run(["git", "-C", REPOSITORY, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(done.stderr.strip().split("\n")[-1])
    return done.stdout.strip()


def commit(revision: str) -> str:
    try:
        return git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except ValueError as error:
        raise ValueError(f"{revision} is no revision of {REPOSITORY}: {error}") from error


@contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[Path]:
    git("worktree", "add", "--quiet", "--detach", str(folder), revision)
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", str(folder))


def run(code: Path, folder: Path, overrides: list[str]) -> Result:
    """Run the revision's own train.py with its own package. Raises RuntimeError with its messages where it fails."""
    command = [sys.executable, code / "train.py", *SHORT, *overrides, f"hydra.run.dir={folder}"]
    environment = os.environ | {"PYTHONPATH": str(code / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 1}).Reload()
    if "loss" not in events.Tags()["scalars"]:
        raise RuntimeError("there is no loss curve of several runs; compare with members=1, and an image of one part")
    loss = {point.step: point.value for point in events.Scalars("loss")}
    return Result(json.loads((folder / "metrics.json").read_text()), loss)


def curves(a: dict[int, float], b: dict[int, float]) -> str:
    steps = sorted(a.keys() & b.keys())
    apart = [step for step in steps if a[step] != b[step]]
    if not apart:
        return f"the same at all {len(steps)} steps that are recorded"
    far = max(apart, key=lambda step: abs(a[step] - b[step]))
    return (
        f"differs from step {apart[0]} on; most at step {far}: A {a[far]:.6f}, B {b[far]:.6f} "
        f"({b[far] / a[far] - 1:+.2%}); at step {steps[-1]}: A {a[steps[-1]]:.6f}, B {b[steps[-1]]:.6f}"
    )


def speed(a: list[Result], b: list[Result]) -> str:
    each = [[1000 * result.metrics["seconds"] / result.metrics["steps"] for result in results] for results in (a, b)]
    spans = [
        f"{name} {median(times):.2f} ({min(times):.2f}-{max(times):.2f})"
        for name, times in zip("AB", each, strict=True)
    ]
    ratio = median(each[1]) / median(each[0])
    return f"{', '.join(spans)} ms a step, medians of {len(a)}; B takes {ratio:.3f} times as long as A"


def quality(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    for key in ("psnr_hole", "ssim_hole", "psnr_held_out", "psnr_known"):
        if key in a and key in b:
            yield f"{key:<14} A {a[key]:.4f}, B {b[key]:.4f}, difference {b[key] - a[key]:+.4f}"


def compare(revisions: list[str], repeats: int, overrides: list[str]) -> Iterator[str]:
    """Yield the lines of the comparison. Raises ValueError for a bad revision, RuntimeError for a failed run."""
    commits = [commit(revision) for revision in revisions]
    for name, own in zip("AB", commits, strict=True):
        yield f"{name} {git('log', '-1', '--format=%h %s', own)}"
    results: dict[str, list[Result]] = {"A": [], "B": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with checked_out(commits[0], folder / "A") as a, checked_out(commits[1], folder / "B") as b:
            for repeat in range(repeats):
                for name, code in (("A", a), ("B", b)):
                    try:
                        results[name].append(run(code, folder / f"run_{name}_{repeat}", overrides))
                    except RuntimeError as error:
                        raise RuntimeError(f"{name} has failed, run {repeat + 1} of {repeats}: {error}") from error
    first = [results[name][0] for name in "AB"]
    yield f"{'loss':<14} {curves(first[0].loss, first[1].loss)}"
    yield from quality(first[0].metrics, first[1].metrics)
    yield f"{'speed':<14} {speed(results['A'], results['B'])}"
    for name in "AB":
        if any(again.loss != results[name][0].loss for again in results[name]):
            yield f"{name} does not repeat itself: its own runs differ, so part of the difference is chance"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", nargs=2, help="A and B: commits, branches or tags")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each (%(default)s)")
    parser.add_argument("overrides", nargs="*", help="overrides of the runs, such as experiment=quality")
    arguments = parser.parse_intermixed_args()
    if arguments.repeats < 1:
        parser.error(f"--repeats {arguments.repeats}, but it is at least 1")
    try:
        for line in compare(arguments.revision, arguments.repeats, arguments.overrides):
            print(line, flush=True)
    except ValueError as error:
        parser.error(str(error))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
