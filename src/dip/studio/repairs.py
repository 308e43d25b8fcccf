"""Repairs that the studio starts: each a process of `train.py`, one at a time, in a folder of its own."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from shlex import join
from typing import Any, NamedTuple

from dip.errors import UserError
from dip.image.files.opening import open_picture
from dip.image.files.writing import check_output, lossless_ending
from dip.results.folder import RunFolder
from dip.studio import hole
from dip.studio.warm import TRAIN, Warm

# The page shows a preview, and no map of receptive fields; neither changes the result.
EVERY = 2  # seconds between two previews at first, and three times that later
SHOWN = [f"callbacks.preview.every_seconds={EVERY}", "callbacks.supervision=null"]
FRESH = 5 * EVERY  # seconds in which a run at work has written a preview
INTERRUPTED = 128 + signal.SIGINT  # the exit code of a run that was stopped


class Progress(NamedTuple):
    """What is seen of a repair."""

    stage: str  # in words
    picture: Path | None  # so far
    scores: list[tuple[int, float]]  # step and PSNR in dB of held-out pixels


class Repair:
    """One photograph with its hole, the options, and the process that repairs it in `folder`."""

    def __init__(self, folder: Path, photo: Path, mask: Path, options: Sequence[str]):
        self.folder, self.photo, self.mask, self.options = folder, photo, mask, options
        self.run = RunFolder(folder / "run")
        self.file = result_file(photo, folder)
        self.before, self.after = folder / "before.png", folder / "after.png"  # of the canvas's size, to compare
        self.since = 0.0  # when it was last queued, in seconds of `time.time`
        self.process: subprocess.Popen[str] | None = None
        self.future: Future[None] | None = None
        self.exit_code: int | None = None
        self.is_stopped = False
        self.said = ""  # what came of it

    @property
    def title(self) -> str:
        recipe, *more = (option.removeprefix("experiment=").replace("=", " ", 1) for option in self.options)
        return ", ".join([f"{self.photo.name}: {recipe}", *more])

    @property
    def overrides(self) -> list[str]:
        """What the command that gives the same result has."""
        return [f"data.image={self.photo}", f"data.mask={self.mask}", *self.options]

    @property
    def command(self) -> str:
        """What gives the same file on the command line; of a repair that was stopped, what continues it."""
        train = os.path.relpath(TRAIN)
        if self.is_complete:
            return join(["python", train, *self.overrides, f"output.path={self.file.name}"])
        return join(["python", train, f"resume={self.run}", "output.overwrite=true"])

    @property
    def is_over(self) -> bool:
        return self.future is None or self.future.done()

    @property
    def is_complete(self) -> bool:
        return self.is_over and self.exit_code == 0

    @property
    def has_result(self) -> bool:
        return self.is_over and self.file.exists()

    @property
    def can_continue(self) -> bool:
        return self.is_over and self.exit_code == INTERRUPTED and self.run.exists

    def queue(self, worker: ThreadPoolExecutor, warm: Warm) -> None:
        """Have the worker start it, or continue it where it has begun already."""
        self.process, self.exit_code, self.is_stopped, self.since = None, None, False, time.time()
        self.future = worker.submit(self.work, warm)

    def work(self, warm: Warm) -> None:
        """Run the process to its end."""
        resume = [f"resume={self.run}", "output.overwrite=true"] if self.run.exists else []
        given = resume or [*self.overrides, f"output.path={self.file}", f"hydra.run.dir={self.run}"]
        self.process = warm.run([*given, *SHOWN], self.folder / "log.txt")
        if self.is_stopped:  # between the queue and the process
            self.stop()
        code = self.process.wait()
        warm.begin()
        if self.file.exists():
            for path, small in ((self.photo, self.before), (self.file, self.after)):
                hole.for_canvas(hole.open_photo(path)).save(small)
        self.end(code)

    def end(self, code: int) -> None:
        """Say once what came of it: its files do not change any more."""
        self.said, self.exit_code = self.outcome(code), code

    def stop(self) -> None:
        """End it after the step that it is at, with a result; or before it has begun."""
        self.is_stopped = True
        if self.future is not None and not self.future.cancel() and self.process is not None:
            self.process.send_signal(signal.SIGINT)

    def progress(self) -> Progress:
        seen = list(self.run.path.rglob("preview.json"))
        if not seen:
            return Progress(self.stage(None), None, [])
        newest = at_work(seen)
        found = json.loads(newest.read_text())
        is_new = newest.stat().st_mtime > self.since
        said = self.stage(describe(found, newest.relative_to(self.run.path).parts) if is_new else None)
        return Progress(said, newest.with_suffix(".jpg"), found["scores"])

    def stage(self, training: str | None) -> str:
        """training: how far that is; None before it."""
        if self.future is not None and self.future.cancelled():
            return "Stopped before it began."
        if self.exit_code is not None:
            return self.said
        if self.process is None:
            return "Waiting for the repair before this one."
        if self.is_stopped:
            return "Stopping; the result so far gets its detail, which can take a minute ..."
        return training or "Starting ..."

    @property
    def warnings(self) -> list[str]:
        """What the run has warned of, in its log and in those of its parts."""
        logs = [file.read_text().splitlines() for file in sorted(self.run.path.rglob("train.log"))]
        lines = [line for each in logs for line in each if "[dip.training.interruption]" not in line]
        found = [line.partition("[WARNING] - ")[2] for line in lines]
        return [f"**Note:** {said}" for said in dict.fromkeys(found) if said]

    def outcome(self, code: int) -> str:
        metrics = self.run.metrics
        if code == 0:
            return "\n\n".join([f"Done after {total(metrics, 'seconds'):.0f} s. The result is below.", *self.warnings])
        if code == INTERRUPTED and self.run.exists:
            untouched = "; a hole that was not begun is as it was" if "parts" in metrics else ""
            return f"Stopped after {total(metrics, 'steps')} steps; the result so far is below{untouched}."
        if self.is_stopped:
            return "Stopped before it began."
        log = self.folder / "log.txt"
        lines = log.read_text().splitlines() if log.exists() else []
        return lines[-1] if lines else f"The repair has ended with exit code {code}."


class Repairs:
    """The repairs of all pages, which take place one after another; each has a folder below `home`."""

    def __init__(self, home: Path, warm: Warm):
        self.home, self.warm = home, warm
        self.worker = ThreadPoolExecutor(1)
        self.all: list[Repair] = []

    def new_folder(self) -> Path:
        folder = self.home / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
        folder.mkdir(parents=True)
        return folder

    def start(self, repair: Repair) -> None:
        """Start it, or continue it, once those before it are over."""
        if not repair.is_over:
            raise UserError("this repair is still at work; stop it first")
        if repair not in self.all:
            self.all.append(repair)
        repair.queue(self.worker, self.warm)

    @property
    def latest(self) -> list[Repair]:
        """What a page that is opened again shows: the repair at work, or else the newest; none where there is none."""
        at_work = [repair for repair in self.all if not repair.is_over]
        return at_work[:1] or self.all[-1:]

    @property
    def with_result(self) -> list[Repair]:
        return [repair for repair in self.all if repair.has_result]

    def close(self) -> None:
        """End the one at work, with its result, and drop those that wait."""
        for repair in self.all:
            if not repair.is_over:
                repair.stop()
        self.worker.shutdown()
        self.warm.close()


def at_work(previews: list[Path]) -> Path:
    """The preview of the run that trains; of members that train at once always that of the same one."""
    written = {file: file.stat().st_mtime for file in previews}
    newest = max(previews, key=written.__getitem__)
    if not newest.parent.name.startswith("member_"):
        return newest
    siblings = (file for file in previews if file.parent.parent == newest.parent.parent)
    return min(file for file in siblings if written[file] > written[newest] - FRESH)


def total(metrics: dict[str, Any], key: str) -> float:
    """Steps or seconds of a run, or of all parts of a picture."""
    parts = metrics.get("parts", {"": metrics}).values()
    return sum(part.get(key, 0) for part in parts)


def describe(preview: dict[str, Any], parts: Sequence[str]) -> str:
    """How far the training is whose preview.json this is. parts: of its path in the run's folder."""
    members = [part.removeprefix("member_") for part in parts if part.startswith("member_")]
    if preview["has_ended"] and not members:
        return "Adding detail ..."
    doing = "Finding colours" if "fill" in parts else "Drawing"
    kind = "".join(f" {part} holes" for part in parts if part in ("thin", "large"))  # of a picture that has both
    which = f"{kind}, picture {members[-1]}" if members else kind
    left = preview["seconds_left"]
    said = "" if left is None else f", at most {f'{left:.0f} s' if left < 100 else f'{left / 60:.0f} minutes'} more"
    part = " for this part" if left is not None and (which or doing != "Drawing") else ""
    return f"{doing}{which}: step {preview['step']} of {preview['last']}{said}{part}"


def result_file(photo: Path, folder: Path) -> Path:
    """Where the result goes: a file of the photograph's own kind, or a lossless one where that cannot be written."""
    picture, file = open_picture(photo, "photo"), folder / f"{photo.stem}_repaired{photo.suffix}"
    try:
        check_output(picture, file, overwrite=False)
    except UserError:
        return file.with_suffix(lossless_ending(picture))
    return file
