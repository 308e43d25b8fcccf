"""Progress: loss, PSNR and picture while a run trains."""

import logging
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from dip.files import atomic_write, write_json
from dip.image.metrics import psnr
from dip.image.tensors import to_pil
from dip.options import checked
from dip.prior.sample import Sample, measure

log = logging.getLogger(__name__)


@checked
class Progress(TQDMProgressBar):
    """Loss and PSNR in the progress bar, or in about 20 lines of the log without a terminal, and in TensorBoard."""

    def __init__(self, every_steps: Annotated[int, Ge(1)]):
        super().__init__(refresh_rate=every_steps)
        self.every_steps = every_steps
        self.latest: dict[str, float] = {}
        if not (sys.stdout.isatty() or "ipykernel" in sys.modules):  # a terminal, or a notebook
            self.disable()

    def init_train_tqdm(self) -> Tqdm:
        """Lightning's own bar, but over the steps of the run, from the one that it resumes at."""
        return Tqdm(
            desc="Repairing",
            total=self.trainer.max_steps,
            initial=self.trainer.global_step,
            position=2 * self.process_position,
            disable=self.is_disabled,
            leave=True,
            dynamic_ncols=True,
            file=sys.stdout,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Do nothing: Lightning would reset the bar, but all steps are one epoch."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Sample, batch_idx: int) -> None:
        step, last = trainer.global_step, trainer.max_steps
        if step % self.every_steps == 0 or step in (1, last) or trainer.should_stop:
            self.latest = {"loss": outputs["loss"].item(), **measure(outputs["picture"], batch)}
            for logger in trainer.loggers:
                logger.log_metrics(self.latest, step=step)
            if self.is_disabled and (step == last or step % max(last // 20, 1) < self.every_steps):
                shown = self.get_metrics(trainer, pl_module)
                log.info("step %d of %d: %s", step, last, "  ".join(f"{name} {text}" for name, text in shown.items()))
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: Any) -> dict[str, Any]:
        """What the bar shows, as text."""
        return {name: f"{value:.5f}" if name == "loss" else f"{value:.1f} dB" for name, value in self.latest.items()}


@checked
@dataclass(eq=False, repr=False)
class Preview(Callback):
    """preview.jpg and preview.json in the run's folder, for whoever watches it from outside.

    Two are `every_seconds` apart at first, and up to three times that later, when the picture changes less.

    The picture is the composite so far. The JSON file has `step`, `last` (the most that there can be), `seconds_left`
    (at most; null after the first step, which takes longer), `has_ended` (the result is being drawn), and `scores`: a
    list of [step, PSNR in dB] of held-out pixels, or of known ones where none are held out.
    """

    every_seconds: Annotated[float, Ge(0), "null writes none"] | None
    scores: list[tuple[int, float]] = field(default_factory=list, init=False)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.first, self.due = trainer.global_step + 1, -math.inf
        self.holds_out = trainer.datamodule.sample.held_out is not None  # until they are given back to the loss

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Sample, batch_idx: int) -> None:
        if trainer.global_step == self.first:
            self.started = time.monotonic()
        if self.every_seconds is None or time.monotonic() < self.due:
            return
        if batch.held_out is not None or not self.holds_out:
            judged = batch.mask == 1 if batch.held_out is None else batch.held_out
            score = psnr(batch.operator(outputs["picture"]), batch.target, judged)
            self.scores.append((trainer.global_step, round(score, 2)))
        with atomic_write(Path(trainer.default_root_dir, "preview.jpg")) as file:
            to_pil(batch.composite(outputs["picture"])).save(file, "JPEG", quality=90)  # a PNG takes 30 times as long
        self.write(trainer, has_ended=False)
        now = time.monotonic()
        self.due = now + min(max(self.every_seconds, (now - self.started) / 20), 3 * self.every_seconds)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.every_seconds is not None:
            self.write(trainer, has_ended=True)

    def write(self, trainer: Trainer, has_ended: bool) -> None:
        step, last = trainer.global_step, trainer.max_steps
        left = None
        if step > self.first:
            left = round((time.monotonic() - self.started) / (step - self.first) * (last - step), 1)
        found = {"step": step, "last": last, "seconds_left": left, "scores": self.scores}
        write_json(Path(trainer.default_root_dir, "preview.json"), {**found, "has_ended": has_ended})
