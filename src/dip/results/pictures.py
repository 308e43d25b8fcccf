"""Pictures of a run: in TensorBoard and as files; each callback owns one of them."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import google_crc32c
import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from PIL import Image, ImageDraw, ImageFont
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer import record_writer
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from dip.files import atomic_write
from dip.image.masks import known_in_all
from dip.image.tensors import encode_png, save_png, to_pil, visible
from dip.options import checked
from dip.prior.averages import of_pixels
from dip.prior.sample import Sample
from dip.training.stopping import best_state

log = logging.getLogger(__name__)
AnimationOption = Annotated[int, Ge(1), "callbacks.animation=null writes none"]


def masked_crc32c(data: bytes) -> int:
    """The checksum of a record in TensorBoard's files, which TensorBoard computes byte by byte in Python."""
    found = google_crc32c.value(data)
    return ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF


record_writer.masked_crc32c = masked_crc32c  # a picture of 384x256 takes its own as long as half a step


def growing_steps(last: int, count: int) -> set[int]:
    """About `count` of the steps 1 to `last`, both included, dense early, when the picture changes most.

    >>> sorted(growing_steps(1000, 10))
    [1, 2, 5, 10, 22, 46, 100, 215, 464, 1000]
    """
    return {round(last ** (i / max(count - 1, 1))) for i in range(count)} | {last}


def show(trainer: Trainer, tag: str, picture: Tensor, step: int) -> None:
    """Add a picture (1, C, H, W) to TensorBoard."""
    drawn = to_pil(picture)
    add_encoded(trainer, tag, encode_png(drawn), drawn.size, step)


def add_encoded(trainer: Trainer, tag: str, encoded: bytes, size: tuple[int, int], step: int) -> None:
    """Add the bytes of a PNG or GIF file, of (width, height) pixels, to TensorBoard."""
    width, height = size
    shown = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=encoded)
    for board in boards(trainer):
        board._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=shown)]), step)


def boards(trainer: Trainer) -> list[SummaryWriter]:
    """TensorBoard's writers of a run; none if it logs elsewhere."""
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


@checked
@dataclass(eq=False, repr=False)
class Images(Callback):
    """TensorBoard's pictures: the damaged one once, output and composite at about `count` growing steps."""

    count: Annotated[int, Ge(1), "callbacks.images=null writes none"]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.steps = growing_steps(trainer.max_steps, self.count)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Sample, batch_idx: int) -> None:
        step = trainer.global_step
        if step not in self.steps and not trainer.should_stop:
            return
        show(trainer, "output", outputs["picture"], step)
        if batch.operator.exact:
            show(trainer, "composite", batch.composite(outputs["picture"]), step)
        if step == 1:
            show(trainer, "masked" if batch.operator.exact else "measured", batch.target, step)


@checked
@dataclass(eq=False, repr=False)
class Animation(Callback):
    """training.gif: how the output forms, frame by frame; it pauses on the last one and repeats."""

    count: AnimationOption  # of frames, about
    max_side: AnimationOption  # of a frame, in pixels
    frame_ms: AnimationOption
    last_ms: AnimationOption
    frames: list[Image.Image] = field(default_factory=list, init=False)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.steps = growing_steps(trainer.max_steps, self.count)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Sample, batch_idx: int) -> None:
        if trainer.global_step in self.steps or trainer.should_stop:
            frame = to_pil(outputs["picture"])
            frame.thumbnail((self.max_side, self.max_side))
            self.frames.append(frame)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        first, *others = map(with_palette, self.frames)
        durations = [*[self.frame_ms] * len(others), self.last_ms]
        with atomic_write(Path(trainer.default_root_dir, "training.gif")) as file:
            first.save(file, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
        # TensorBoard plays the bytes of a GIF as a picture; its own videos need moviepy 1.
        add_encoded(trainer, "animation", file.getvalue(), first.size, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"frames": [torch.from_numpy(np.array(frame)) for frame in self.frames]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.frames = [Image.fromarray(frame.numpy()) for frame in state_dict["frames"]]


def with_palette(frame: Image.Image) -> Image.Image:
    """A frame of a GIF, with 256 colours, which every ninth pixel chooses: all of them take three times as long."""
    if frame.mode == "L":
        return frame
    few = frame.resize([max(side // 3, 1) for side in frame.size], Image.Resampling.NEAREST)
    return frame.quantize(palette=few.quantize(method=Image.Quantize.FASTOCTREE), dither=Image.Dither.NONE)


@dataclass(eq=False, repr=False)
class CoverageMap(Callback):
    """supervision.png, also in TensorBoard: the hole in grey, magenta outside the known pixels' receptive fields."""

    coverage: Tensor  # (1, 1, H, W), boolean: where the network's input gets gradient from known pixels

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step > 0:
            return  # a run that resumes has written it before
        sample = trainer.datamodule.sample
        magenta = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
        hole = torch.where(self.coverage, 0.5, magenta)
        picture = torch.where(known_in_all(sample.mask).bool(), visible(sample.target), hole)
        save_png(to_pil(picture), Path(trainer.default_root_dir, "supervision.png"))
        show(trainer, "supervision", picture, 0)


class Uncertainty(Callback):
    """uncertainty.png, also in TensorBoard: `DeepImagePrior.deviation`, if the run has one; the largest is white."""

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        with best_state(trainer, pl_module):
            deviation = pl_module.deviation()
        if deviation is not None:
            picture = save_uncertainty(deviation, Path(trainer.default_root_dir))
            show(trainer, "uncertainty", picture, trainer.global_step)


def save_uncertainty(deviation: Tensor, folder: Path) -> Tensor:
    """Write a standard deviation (1, C, H, W) as uncertainty.png, and return that picture; the largest is white."""
    deviation = of_pixels(deviation)
    largest = deviation.max().item()
    log.info("uncertainty.png: white is a standard deviation of %.4f; pixel values lie between 0 and 1", largest)
    picture = deviation / max(largest, 1e-12)
    save_png(to_pil(picture), folder / "uncertainty.png")
    return picture


def side_by_side(pictures: dict[str, Tensor]) -> Image.Image:
    """One row of pictures (1, C, H, W), each under its label; a smaller one is enlarged, pixel by pixel."""
    font = ImageFont.load_default(16)
    gap, line = 8, 28
    height, width = max((picture.shape[-2:] for picture in pictures.values()), key=lambda size: size[0] * size[1])
    pictures = {label: F.interpolate(shown, (height, width)) for label, shown in pictures.items()}
    # A label is never cut, however narrow the picture.
    columns = [max(width, int(font.getlength(label)) + 1) + gap for label in pictures]
    sheet = Image.new("RGB", (sum(columns) + gap, height + line + gap), "white")
    draw = ImageDraw.Draw(sheet)
    left = gap
    for (label, picture), column in zip(pictures.items(), columns, strict=True):
        draw.text((left, 4), label, fill="black", font=font)
        sheet.paste(to_pil(picture), (left, line))
        left += column
    return sheet
