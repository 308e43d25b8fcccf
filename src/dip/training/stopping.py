"""Early stopping: when a run has reached its best state, and that state. No rule sees the ground truth."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Le, Lt
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm

from dip.errors import UserError
from dip.image.metrics import biharmonic, psnr
from dip.options import checked
from dip.prior.sample import Sample
from dip.training.holdout import Evidence, choose_pixels
from dip.training.rollback import DivergenceGuard
from dip.training.state import StatefulCallback, copy_state

log = logging.getLogger(__name__)


@checked
@dataclass(eq=False, repr=False)
class Stopping(StatefulCallback):
    """Stops a run `patience_steps` after its best state, by the score of every `every_steps`-th step; higher is better.

    A gain of `min_gain` or less does not count, since a score that creeps on says little of the hole. Without
    `patience_steps` the run does all its steps and keeps the last state.
    """

    name: ClassVar[str]  # in metrics.json, as what stopped the run
    tag: ClassVar[str]  # of the score in TensorBoard
    saved = ("ends_at", "best", "best_step", "best_score")

    every_steps: Annotated[int, Ge(1)]
    patience_steps: Annotated[int, Ge(1), "null never stops early"] | None
    min_gain: Annotated[float, Ge(0)]
    ends_at: int | None = field(default=None, init=False)  # the run's last step, once it is known
    best: dict[str, Tensor] | None = field(default=None, init=False)  # the state that is kept
    best_step: int = field(default=0, init=False)
    best_score: float = field(default=-math.inf, init=False)

    def __post_init__(self) -> None:
        if self.patience_steps is not None and self.patience_steps < self.every_steps:
            raise UserError(
                f"stopping.patience_steps={self.patience_steps}, but it must be at least the steps between two scores, "
                f"stopping.every_steps={self.every_steps}"
            )

    def hold_out(self, mask: Tensor, single: bool) -> Tensor | None:
        """The known pixels that the loss must not see: (1, 1 or C, h, w), boolean; None for none.

        single: not in the shape of the holes.
        """
        return None

    def evidence(self, output: Tensor, deviation: Tensor | None) -> Evidence | None:
        """What the held-out pixels judge of a run that ends with this output; None where there are none.

        deviation: the output's standard deviation (1, C, H, W), where the run has one.
        """
        return None

    def score(self, picture: Tensor, batch: Sample) -> float | None:
        """The score of a step's picture (1, C, H, W); None while there is none."""
        raise NotImplementedError

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Sample, batch_idx: int) -> None:
        step, picture = trainer.global_step, outputs["picture"]
        is_due = self.ends_at is None and step % self.every_steps == 0
        # Output and weights, by the norm of them all, so that a GPU is waited for once.
        if is_due and get_total_norm([picture, *pl_module.parameters()]).isfinite():
            score = self.score(picture, batch)
            if score is not None:
                for logger in trainer.loggers:
                    logger.log_metrics({self.tag: score}, step=step)
                if self.record(score, step):
                    self.best = copy_state(pl_module, self.best)
                if self.is_out_of_patience(step):
                    self.end(trainer, pl_module)
        if self.is_over(step):
            trainer.should_stop = True

    def is_over(self, step: int) -> bool:
        return self.ends_at is not None and step >= self.ends_at

    def record(self, score: float, step: int) -> bool:
        """Record the score of a step; whether its state is the one to keep."""
        if self.patience_steps is not None and score <= self.best_score + self.min_gain:
            return False
        self.best_step, self.best_score = step, score
        return True

    def is_out_of_patience(self, step: int) -> bool:
        return self.patience_steps is not None and step - self.best_step >= self.patience_steps

    def end(self, trainer: Trainer, pl_module: Any) -> None:
        """Set the run's last step, now that the score no longer rises."""
        log.info("step %d: %s ends the run; its best step was %d", trainer.global_step, self.name, self.best_step)
        self.ends_at = trainer.global_step

    def metrics(self) -> dict[str, Any]:
        """The rule's part of metrics.json; empty if the run ended before the first score."""
        return {"best_step": self.best_step} if self.best_score > -math.inf else {}


@checked
@dataclass(eq=False, repr=False)
class HeldOut(Stopping):
    """Stops by the PSNR, in dB, of known pixels that the loss does not see and that lie as the hole does.

    At the end the run restores its best state and trains on all known pixels for `refit_share` of `max_steps`. Of a
    picture with a handful of pixels to hold out none are, and it does all its steps.
    """

    name = "held_out"
    tag = "psnr_held_out"
    saved = (*Stopping.saved, "refit_from", "before_refit", "deviation_before_refit", "biharmonic")

    share: Annotated[float, Gt(0), Le(0.5)]  # of the known pixels that is held out
    seed: Annotated[int, Ge(0)]  # for their places
    refit_share: Annotated[float, Ge(0), Lt(1)]
    refit_steps: int = field(default=0, init=False)  # known once training starts
    refit_from: int | None = field(default=None, init=False)
    before_refit: Tensor | None = field(default=None, init=False)  # the result then: (1, C, H, W)
    deviation_before_refit: Tensor | None = field(default=None, init=False)  # (1, C, H, W), of its values
    held_out: Tensor | None = field(default=None, init=False)  # (1, 1 or C, H, W), boolean; known once training starts
    biharmonic: float = field(default=math.nan, init=False)  # the score of biharmonic inpainting of a mask

    def hold_out(self, mask: Tensor, single: bool) -> Tensor | None:
        return choose_pixels(mask, self.share, self.seed, single)

    def evidence(self, output: Tensor, deviation: Tensor | None) -> Evidence | None:
        if self.held_out is None:
            return None
        if self.before_refit is None:
            return Evidence(output, self.held_out, deviation)
        return Evidence(self.before_refit, self.held_out, self.deviation_before_refit)

    def score(self, picture: Tensor, batch: Sample) -> float | None:
        return None if batch.held_out is None else psnr(batch.operator(picture), batch.target, batch.held_out)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.refit_steps = round(self.refit_share * trainer.max_steps)
        sample: Sample = trainer.datamodule.sample
        self.held_out = sample.held_out
        if sample.held_out is not None and sample.operator.exact and trainer.global_step == 0:
            smooth = biharmonic(sample.target * sample.loss_mask, sample.loss_mask)
            self.biharmonic = psnr(smooth, sample.target, sample.held_out)
        if self.refit_from is not None:
            trainer.datamodule.hold_out(None)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Sample, batch_idx: int) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.refit_from is None and trainer.global_step == trainer.max_steps - self.refit_steps:
            self.refit(trainer, pl_module)

    def end(self, trainer: Trainer, pl_module: Any) -> None:
        super().end(trainer, pl_module)
        self.ends_at = min(trainer.global_step + self.refit_steps, trainer.max_steps)
        self.refit(trainer, pl_module)

    def refit(self, trainer: Any, pl_module: Any) -> None:
        """Restore the best state and show the loss all known pixels."""
        if self.refit_steps == 0:
            return
        self.refit_from = trainer.global_step
        if self.best is not None:
            pl_module.load_state_dict(self.best)
        self.best = None  # from now on the last state is the best
        with trainer.precision_plugin.forward_context():
            self.before_refit, deviation = pl_module.predict().cpu(), pl_module.deviation()
        self.deviation_before_refit = None if deviation is None else deviation.float().cpu()
        trainer.datamodule.hold_out(None)

    def metrics(self) -> dict[str, Any]:
        found = super().metrics()
        if found:
            found["psnr_held_out"] = self.best_score
        if found and not math.isnan(self.biharmonic):
            found["psnr_held_out_biharmonic"] = self.biharmonic
        return found


@checked
@dataclass(eq=False, repr=False)
class WindowVariance(Stopping):
    """Stops by the negative variance of the pictures of the last `window_steps` (ES-WMV, arXiv:2112.06074)."""

    name = tag = "window_variance"
    saved = (*Stopping.saved, "pictures")

    window_steps: Annotated[int, Ge(2)]
    pictures: list[Tensor] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window_steps < 2 * self.every_steps:
            raise UserError(
                f"stopping.window_steps={self.window_steps}, but it must hold two pictures, which are "
                f"stopping.every_steps={self.every_steps} apart"
            )
        self.window = self.window_steps // self.every_steps

    def score(self, picture: Tensor, batch: Sample) -> float | None:
        self.pictures = [*self.pictures, picture.clone()][-self.window :]
        if len(self.pictures) < self.window:
            return None
        mean = torch.cat(self.pictures).mean(dim=0, keepdim=True)
        # Picture by picture, which takes a fraction of the time of Tensor.var over all of them.
        return -fmean((each - mean).square().mean().item() for each in self.pictures)


@checked
@dataclass(eq=False, repr=False)
class MovingVariance(Stopping):
    """Stops by the negative moving variance of the pictures (ES-EMV, Wang et al., arXiv:2112.06074)."""

    name = tag = "moving_variance"
    saved = (*Stopping.saved, "mean", "variance", "seen")

    decay: Annotated[float, Gt(0), Lt(1)]  # by what factor the weight of a picture falls with each later one
    mean: Tensor | None = field(default=None, init=False)
    variance: float = field(default=0.0, init=False)
    seen: int = field(default=0, init=False)

    def score(self, picture: Tensor, batch: Sample) -> float | None:
        self.seen += 1
        if self.mean is None:
            self.mean = picture.clone()
            return None
        difference = picture - self.mean
        self.mean += (1 - self.decay) * difference
        self.variance = self.decay * (self.variance + (1 - self.decay) * difference.square().mean().item())
        # The variance starts at 0, which does not mean that the pictures are steady.
        return None if self.seen < 1 / (1 - self.decay) else -self.variance


def rules(trainer: Any) -> list[Stopping]:
    """The early stopping rules of a run; none or one."""
    return [callback for callback in trainer.callbacks if isinstance(callback, Stopping)]


def stopped_by(trainer: Any) -> str:
    """What ended the run: "diverged", the name of a rule, "max_steps", or "interrupt", after which it can resume."""
    if any(isinstance(callback, DivergenceGuard) and callback.diverged for callback in trainer.callbacks):
        return "diverged"
    for rule in rules(trainer):
        if rule.is_over(trainer.global_step):
            return rule.name
    return "max_steps" if trainer.global_step == trainer.max_steps else "interrupt"


@contextmanager
def best_state(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Put the module, within the block, into the state that the run's rule has kept, if there is one."""
    best = next((rule.best for rule in rules(trainer)), None)
    if best is None:
        yield
        return
    last = copy_state(module)
    module.load_state_dict(best)
    try:
        yield
    finally:
        module.load_state_dict(last)
