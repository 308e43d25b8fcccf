"""The folder of a run: what it holds, whether a run is complete there, and whether one resumes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from dip.errors import UserError
from dip.files import atomic_write, write_json, write_text

OUTPUTS = Path("outputs")
PARTS = ("region_*", "thin", "large")  # the folders of parts
# The classical methods, by the names of their pictures.
BASELINES = {"biharmonic": "biharmonic", "non_local_means": "non-local means", "lanczos": "Lanczos"}
RESULTS = ("inpainted", "restored")  # the names of the result: with its known pixels as they were, and drawn anew


class RunFolder:
    """A folder that holds one run, or the folders of several."""

    def __init__(self, path: Path, resume: bool = False):
        self.path = path
        self.resume = resume  # whether a run that is there goes on
        self.config = path / "config.yaml"
        self.checkpoint = path / "checkpoints" / "last.ckpt"
        self.uncertainty = path / "uncertainty.npy"
        self.raw_output = path / "output.pt"  # the tensors of an ensemble member, for the mean

    def __truediv__(self, name: str) -> "RunFolder":
        """The folder of a part or a member of this run."""
        return RunFolder(self.path / name, self.resume)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def exists(self) -> bool:
        """Whether a run has started here."""
        return self.config.exists()

    @property
    def resumes(self) -> bool:
        return self.resume and self.exists

    @property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds; {} without one."""
        path = self.path / "metrics.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def is_complete(self) -> bool:
        """Whether a run has come to its end here; an interrupted or diverged one has not."""
        return self.metrics.get("stopped_by", "interrupt") not in ("interrupt", "diverged")

    @property
    def result(self) -> Path | None:
        """The file of the result, if there is one."""
        return next((file for name in RESULTS for file in self.path.glob(f"{name}.*")), None)

    @property
    def replaced(self) -> Path | None:
        """What was at output.path before this run, if it was a file."""
        return next(self.path.glob("replaced.*"), None)

    def keep_replaced(self, file: Path) -> None:
        """Keep a file that the first result of this run is going to replace."""
        if file.exists() and self.result is None:
            with atomic_write(self.path / f"replaced{file.suffix}") as copy:
                copy.write(file.read_bytes())

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        write_json(self.path / "metrics.json", metrics)

    def write_uncertainty(self, std: Any) -> None:
        """std: the standard deviation of each value of an array, of its shape."""
        with atomic_write(self.uncertainty) as file:
            np.save(file, std)

    @contextmanager
    def begin(self, configuration: str) -> Iterator[None]:
        """Write config.yaml; put the old one back if the run is refused within."""
        before = self.config.read_text() if self.exists else None
        if metrics := self.metrics:  # which belong to the old configuration
            self.write_metrics({**metrics, "stopped_by": "interrupt"})
        write_text(self.config, configuration)
        try:
            yield
        except UserError:
            if before is not None:
                write_text(self.config, before)
            raise

    def check_new(self) -> None:
        """Raise UserError where a run is here already, unless it resumes."""
        if self.exists and not self.resume:
            raise UserError(
                f"{self} holds a run already, whose results stay; {quote(f'resume={self}')} continues it, or give "
                "another hydra.run.dir"
            )

    def check_parts(self, wanted: set[str]) -> None:
        """Raise UserError where the run here has other parts, as with another data.crop."""
        there = {path.parent.name for name in PARTS for path in self.path.glob(f"{name}/config.yaml")}
        undivided = any((self.path / name).exists() for name in ("checkpoints", "output.png", "member_1", "fill"))
        if there - wanted or (wanted and undivided):
            raise UserError(f"the run in {self} has other parts; give data.image, data.mask and data.crop as they were")


def find_run(resume: str | None, new: str) -> str:
    """The folder that `resume` names, the newest run's for "latest", and `new` for None."""
    if resume is None:
        return new
    if resume == "latest":
        latest = newest("there is no run in outputs/", "*/*/config.yaml", "*/*/*/config.yaml")
        whole = latest.parent  # of a batch or of several parts, if it is a run as well
        return str((whole if RunFolder(whole).exists else latest).resolve())
    folder = Path(resume).expanduser()
    if (folder / "multirun.yaml").is_file():
        raise UserError(f"resume={resume} is a sweep; add -m")
    if not RunFolder(folder).config.is_file():
        raise UserError(f"resume={resume}: no run has started there, since there is no config.yaml; start a new one")
    return str(folder.resolve())


def find_sweep(resume: str) -> Path:
    """The folder of the sweep that `resume` names, or of the newest one for "latest"."""
    if resume == "latest":
        return newest("there is no sweep in outputs/; without -m the newest run resumes", "*/*/multirun.yaml").resolve()
    folder = Path(resume).expanduser()
    if not (folder / "multirun.yaml").is_file():
        raise UserError(
            f"resume={resume}: no sweep has started there, since there is no multirun.yaml; start a new one"
        )
    return folder.resolve()


def newest(missing: str, *patterns: str) -> Path:
    """The folder in outputs/ whose file was written last; raises UserError with `missing` where there is none."""
    files = [file for pattern in patterns for file in OUTPUTS.glob(pattern)]
    if not files:
        raise UserError(f"resume=latest: {missing}")
    return max(files, key=lambda path: path.stat().st_mtime_ns).parent
