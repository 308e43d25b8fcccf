"""Roll-back: a run that diverges returns to its last good weights."""

import logging
import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le
from pytorch_lightning import Trainer
from torch import Tensor

from dip.image.metrics import psnr
from dip.options import checked
from dip.prior.sample import Sample
from dip.training.state import StatefulCallback, copy_state

log = logging.getLogger(__name__)


@checked
@dataclass(eq=False, repr=False)
class DivergenceGuard(StatefulCallback):
    """Restores the last good weights when the PSNR of the known pixels has dropped, or loss or output is NaN.

    Ulyanov et al. do so in their code, for a drop of 5 dB in 50 steps. The optimizer keeps its state after a drop, as
    theirs does, and loses it after a NaN.
    """

    saved = ("held_out", "psnr_known", "times", "good", "latest")

    drop_db: Annotated[float, Gt(0), "null turns the check off"] | None  # since the last check
    every_steps: Annotated[int, Ge(1)]
    lr_factor: Annotated[float, Gt(0), Le(1)]  # of the learning rate, from the second roll-back on
    at_most: Annotated[int, Ge(1)]  # roll-backs; then the run ends as `diverged`
    held_out: bool = field(default=False, init=False)  # whether pixels were held out at the last check
    psnr_known: float = field(default=-math.inf, init=False)  # at the last check, in dB
    times: int = field(default=0, init=False)
    # Two copies: the step that was just checked may have broken the weights that came after it.
    good: dict[str, Tensor] | None = field(default=None, init=False)
    latest: dict[str, Tensor] | None = field(default=None, init=False)
    diverged: str | None = field(default=None, init=False)  # why the run has ended

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self.good is None and self.drop_db is not None:
            self.good, self.latest = copy_state(pl_module), copy_state(pl_module)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Sample, batch_idx: int) -> None:
        if self.drop_db is None or trainer.global_step % self.every_steps:
            return
        pixels_changed = self.held_out != (batch.held_out is not None)
        if pixels_changed:  # from now on the loss sees other pixels
            self.held_out, self.psnr_known = not self.held_out, -math.inf
        now = psnr(batch.operator(outputs["output"]), batch.target, batch.loss_mask.bool())
        if not math.isfinite(outputs["loss"].item()):
            now = math.nan
        if math.isnan(now) or self.psnr_known - now > self.drop_db:
            self.roll_back(trainer, pl_module, now)
        else:
            self.psnr_known = now
            self.good, self.latest = self.latest, copy_state(pl_module, self.good)
            if pixels_changed:  # the weights before may belong to another state
                self.good = copy_state(pl_module, self.good)

    def roll_back(self, trainer: Trainer, pl_module: Any, now: float) -> None:
        """Restore the last good weights. now: the PSNR of the known pixels, in dB."""
        self.times += 1
        optimizer = trainer.optimizers[0]
        if math.isnan(now):
            optimizer.state.clear()
        if self.times > 1:
            for group in optimizer.param_groups:
                group["lr"] *= self.lr_factor
        log.warning(
            f"step {trainer.global_step}: rolled back to the last good weights: psnr_known went from "
            f"{self.psnr_known:.1f} to {now:.1f} dB; learning rate {optimizer.param_groups[0]['lr']:g}"
        )
        pl_module.load_state_dict(self.good)
        self.latest = copy_state(pl_module, self.latest)
        if self.times >= self.at_most:
            self.diverged = f"the run diverged {self.times} times, the last time at step {trainer.global_step}"
            trainer.should_stop = True
