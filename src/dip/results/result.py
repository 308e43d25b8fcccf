"""A run's result: the repaired picture, the pictures beside it, and metrics.json."""

import logging
import time
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric.utilities import move_data_to_device
from numpy.typing import NDArray
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from dip.files import atomic_write
from dip.image import tensors
from dip.image.files import writing
from dip.image.files.arrays import ArrayPicture, from_array
from dip.image.files.opening import open_picture, reopen
from dip.image.files.writing import Picture
from dip.image.metrics import biharmonic, texture_distance
from dip.image.photo import Photo, Tensors
from dip.prior.operators.operator import Operator, picture_shape
from dip.prior.sample import Sample, compare, compare_texture, measure
from dip.results.folder import BASELINES, RESULTS, RunFolder
from dip.results.interval import calibrate, coverage
from dip.results.patches.denoising import Denoising
from dip.results.patches.refinement import Refinement
from dip.results.patches.texture import Texture
from dip.results.pictures import side_by_side
from dip.training.holdout import Evidence
from dip.training.stopping import best_state, rules, stopped_by

log = logging.getLogger(__name__)
FILLED = 300_000  # pixels of a hole
LABELS = {"composite": "inpainted", "before_refine": "before refinement", "before_texture": "before texture"}
LABELS |= {name: f"{method} (baseline)" for name, method in BASELINES.items()}


class Result(NamedTuple):
    metrics: dict[str, Any]  # as in metrics.json; {} where there is no result yet
    picture: Picture | None  # the whole photograph, repaired
    outputs: Tensor | None = None  # (N, C, h, w), the raw output of each ensemble member
    deviations: Tensor | None = None  # (N, C, h, w), the standard deviation of each
    evidence: Evidence | None = None  # what the held-out pixels judge
    file: Path | None = None  # where the picture is
    std: NDArray[Any] | None = None  # (H, W, C), the standard deviation of an array's values, in their units


def load_result(folder: RunFolder) -> Result:
    """The result of an earlier run in the folder, as far as there is one."""
    raw = torch.load(folder.raw_output, weights_only=True) if folder.raw_output.exists() else {}
    file, metrics, picture, std = folder.result, folder.metrics, None, None
    if file is not None and "channel_axis" in metrics:
        picture = reopen(file, metrics["channel_axis"])
        if folder.uncertainty.exists():
            std = from_array(np.load(folder.uncertainty), picture.axis, "uncertainty.npy").values
    elif file is not None:
        picture = open_picture(file, "resume")
    judged = raw.get("evidence")
    evidence = None if judged is None else Evidence(*judged)
    return Result(metrics, picture, raw.get("output"), raw.get("deviation"), evidence, file, std)


def axis_of(picture: Picture) -> dict[str, Any]:
    """What metrics.json holds of an array, by which its file is read again."""
    return {"channel_axis": picture.axis} if isinstance(picture, ArrayPicture) else {}


@dataclass(frozen=True)
class OutputFile:
    """Where the user wants the repaired picture too; a file that is there is replaced only with `overwrite`."""

    path: str | None
    overwrite: bool

    @property
    def wanted(self) -> Path | None:
        return None if self.path is None else Path(self.path).expanduser()

    def check(self, picture: Picture) -> None:
        """Raise UserError where the picture could not be written."""
        if self.wanted is not None:
            writing.check_output(picture, self.wanted, self.overwrite)

    def write(self, picture: Picture, folder: RunFolder, name: str = RESULTS[0]) -> Path:
        """Write the picture into the run's folder, by its name without ending, and where the user wants it.

        Return the latter if there is one.

        What it replaces there for the first time is kept in the folder: it may be the photograph itself.
        """
        if self.wanted is not None and self.overwrite:
            folder.keep_replaced(self.wanted)
        file = writing.write(picture, folder.path / f"{name}{writing.lossless_ending(picture)}")
        if self.wanted is None:
            return file
        if self.wanted.exists() and not self.overwrite:
            log.error("output.path=%s exists since the run started, and stays; the result is %s", self.wanted, file)
            return file
        return writing.write(picture, self.wanted)


@dataclass(frozen=True)
class ResultWriter:
    """Turns an output of the network into all files of a result."""

    photo: Photo
    folder: RunFolder
    output_file: OutputFile
    refine: Refinement | Denoising | None  # draws a thin hole in the output anew, or all of a noisy picture
    texture: Texture | None  # gives large holes in the output their details
    operator: Operator
    device: torch.device  # where `refine` works; Apple's GPUs do not compute the eigenvectors that it needs

    def sample(self, tensors: Tensors) -> Sample:
        return Sample(*tensors, operator=self.operator)

    def write(self, output: Tensor, run: dict[str, Any], evidence: Evidence | None = None) -> Result:
        """output: (1, C, h, w), at the size of the work; run: what is known of how it was reached."""
        started = time.monotonic()
        output, std, before, found = self.draw_holes(output, evidence)
        run = {**run, **found, "seconds": round(run["seconds"] + time.monotonic() - started, 2)}
        pictures, full = self.pictures(output, before), self.photo.enlarge(output)
        picture = self.photo.paste(full) if self.operator.exact else self.photo.drawn(full)
        file = self.write_file(picture)
        metrics = {**run, "region": list(self.photo.region), "drawn_at": list(reversed(output.shape[-2:]))}
        metrics |= {**axis_of(picture), **self.measures(full, pictures)}
        units = None
        if std is not None and (self.photo.truth is not None or isinstance(picture, ArrayPicture)):
            _, mask, truth = self.photo.full
            std = self.photo.full_size(std)
            if truth is not None:
                metrics["interval"]["coverage_hole"] = coverage(full, truth, std, mask < 1)
            if isinstance(picture, ArrayPicture):
                units = self.photo.in_units(std)
                self.folder.write_uncertainty(replace(picture, values=units).array)
        for name, shown in pictures.items():
            tensors.save_png(tensors.to_pil(shown), self.folder.path / f"{name}.png")
        row = {LABELS.get(name, name): shown for name, shown in pictures.items()}
        tensors.save_png(side_by_side(row), self.folder.path / "comparison.png")
        self.folder.write_metrics(metrics)
        return Result(metrics, picture, file=file, std=units)

    def check_file(self) -> None:
        """Raise UserError where the result could not be written, such as one that is too large for its format."""
        picture = self.photo.picture
        if not self.operator.exact:
            picture = self.photo.drawn(torch.zeros(picture_shape(self.operator, self.photo.work.target)))
        self.output_file.check(picture)

    def write_file(self, picture: Picture) -> Path:
        """Write the result itself; return where it is."""
        return self.output_file.write(picture, self.folder, RESULTS[0 if self.operator.exact else 1])

    def draw_holes(
        self, output: Tensor, evidence: Evidence | None
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor], dict[str, Any]]:
        """The output with other holes, its standard deviation, the outputs before, and what metrics.json says."""
        std, before, found = None, {}, {}
        if self.refine is not None and self.refine.rounds > 0:
            before["before_refine"] = output
            # A module moves in place, and this one stays here.
            sample = self.sample(self.photo.work)._replace(operator=deepcopy(self.operator))
            given = move_data_to_device((output, sample, evidence), self.device)
            *drawn, found["refine"] = self.refine(*given)
            output, evidence = move_data_to_device(drawn, torch.device("cpu"))
        # Of a reduced picture nothing is known of the details that its reduction has averaged away.
        known = self.operator.exact and not self.photo.is_reduced
        if known and evidence is not None and evidence.deviation is not None:
            std, found["interval"] = calibrate(evidence, self.photo.work.target)
        if self.texture is not None and self.texture.hole.any():
            log.info("The hole gets details like those around it; before_texture.png is without them.")
            before["before_texture"], output = output, self.texture(output)
        return output, std, before, found

    def pictures(self, output: Tensor, before: dict[str, Tensor]) -> dict[str, Tensor]:
        """The pictures beside the result, at the size of the work; before: earlier outputs."""
        sample = self.sample(self.photo.work)
        if self.operator.exact:
            found = {"masked": sample.target, "output": output, "composite": sample.composite(output), **before}
        else:
            found = {"measured": sample.target, "output": output, **before}
        if sample.truth is not None:
            classical = self.operator.classical(sample.target, sample.mask)
            found |= {self.operator.baseline: classical} if classical is not None and self.operator.baseline else {}
            found["truth"] = sample.truth
        return found

    def measures(self, full: Tensor, pictures: dict[str, Tensor]) -> dict[str, Any]:
        """All measures at the region's full size, at which the output is `full`."""
        sample = self.sample(self.photo.full)
        found: dict[str, Any] = measure(full, sample)
        if self.operator.exact:
            found["texture_distance"] = texture_distance(sample.composite(full), sample.mask)
        if sample.truth is not None:
            found |= compare(full, sample)
            if (classical := pictures.get(str(self.operator.baseline))) is not None:
                smooth = baseline(self.photo, classical) if self.operator.exact else self.photo.full_size(classical)
                found["baseline"] = {"method": self.operator.baseline, **compare_texture(smooth, sample)}
            for name in pictures.keys() & {"before_refine", "before_texture"}:
                found[name] = compare_texture(self.photo.enlarge(pictures[name]), sample)
        return found


def baseline(photo: Photo, reduced: Tensor | None = None) -> Tensor:
    """Biharmonic inpainting at the region's full size, so that a loss by reduction is seen: (1, C, H, W).

    reduced: the same at the size of the work, which is enlarged where it says as much, and where the hole is too large.
    """
    target, mask, _ = photo.full
    if reduced is not None and not (photo.is_reduced and can_be_filled(mask)):
        return photo.enlarge(reduced)
    return biharmonic(target, mask)


def can_be_filled(mask: Tensor) -> bool:
    """Whether biharmonic inpainting of the hole takes seconds, and not minutes and gigabytes."""
    return int((mask < 1).sum()) <= FILLED


@dataclass(eq=False, repr=False)
class Results(Callback):
    """Writes the result at the end of a run: of the state that its rule has kept, and without the input's noise."""

    writer: ResultWriter
    keep_raw: bool  # the output is kept as a tensor too, for the mean of an ensemble
    seconds_before: float  # what the guide took
    result: Result = field(init=False)  # once the run has ended

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.started = time.monotonic() - self.seconds_before

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Sample, batch_idx: int) -> None:
        self.loss = outputs["loss"]

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        seconds = time.monotonic() - self.started
        with best_state(trainer, pl_module), trainer.precision_plugin.forward_context():
            output, deviation = pl_module.predict().float().cpu(), pl_module.deviation()
        deviation = None if deviation is None else deviation.float().cpu()
        evidence = next((rule.evidence(output, deviation) for rule in rules(trainer)), None)
        if self.keep_raw:
            with atomic_write(self.writer.folder.raw_output) as file:
                torch.save({"output": output, "deviation": deviation, "evidence": evidence and tuple(evidence)}, file)
        run: dict[str, Any] = {
            "steps": trainer.global_step,
            "seconds": round(seconds, 2),
            "stopped_by": stopped_by(trainer),
            "loss": self.loss.item(),
        }
        for rule in rules(trainer):
            run |= rule.metrics()
        result = self.writer.write(output, run, evidence)
        # An ensemble needs no more of its members, whose pictures may be large.
        picture = None if self.keep_raw else result.picture
        std = None if self.keep_raw else result.std
        self.result = result._replace(picture=picture, std=std, outputs=output, deviations=deviation, evidence=evidence)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": time.monotonic() - self.started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds_before = state_dict["seconds"]
