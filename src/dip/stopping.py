"""When a run has reached its best, and that state of it; no rule sees the truth."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm

from dip.data import Sample
from dip.metrics import biharmonic, psnr
from dip.validation import held_out

log = logging.getLogger(__name__)


class Stopping(Callback):
    """Ends a run `patience_steps` after its best state, and keeps that: what is better must be so by `min_gain`.

    Of states that are about as good the first is kept, since a score that creeps on says little of the hole. With
    `patience_steps` of None the run does all its steps, and keeps the last state whatever its score. The score
    is taken every `every_steps` steps; higher is better. It is in TensorBoard as `tag`.
    `ends_at`: the run's last step, once that is known; `best_step` and `best_score`: of the state that is kept.
    """

    name: str  # in metrics.json, as what has stopped the run
    tag: str

    def __init__(self, every_steps: int, patience_steps: int | None, min_gain: float):
        if every_steps < 1 or (patience_steps is not None and patience_steps < every_steps):
            raise ValueError(
                f"stopping.every_steps={every_steps} and stopping.patience_steps={patience_steps}, but a score is "
                "taken every step or rarer, and waited for at least as long"
            )
        if min_gain < 0:
            raise ValueError(f"stopping.min_gain={min_gain}, but what counts as a gain is 0 or more")
        self.every_steps = every_steps
        self.patience_steps = patience_steps
        self.min_gain = min_gain
        self.ends_at: int | None = None
        self.best: dict[str, Tensor] | None = None
        self.best_step, self.best_score = 0, float("-inf")

    def hold_out(self, mask: Tensor) -> Tensor | None:
        """What of the known pixels the loss must not see: (1, 1, H, W), boolean; None for nothing."""
        return None

    def score(self, picture: Tensor, batch: Sample) -> float | None:
        """Of a picture (1, C, H, W) of a step; None while there is none."""
        raise NotImplementedError

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        step, picture = trainer.global_step, outputs["picture"]
        if self.ends_at is None and step % self.every_steps == 0 and is_finite(picture, *pl_module.parameters()):
            score = self.score(picture, batch)
            if score is not None:
                for logger in trainer.loggers:
                    logger.log_metrics({self.tag: score}, step=step)
                if self.weigh(score, step):
                    self.best = copied(pl_module, self.best)
                if self.waited_enough(step):
                    self.end(trainer, pl_module)
        if self.ends_at is not None and step >= self.ends_at:
            trainer.should_stop = True

    def weigh(self, score: float, step: int) -> bool:
        """Takes the score of a step into account; whether it is the best so far."""
        if self.patience_steps is not None and score <= self.best_score + self.min_gain:
            return False
        self.best_step, self.best_score = step, score
        return True

    def waited_enough(self, step: int) -> bool:
        return self.patience_steps is not None and step - self.best_step >= self.patience_steps

    def end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The score rises no more."""
        log.info("step %d: stopped by %s, whose best was at step %d", trainer.global_step, self.name, self.best_step)
        self.ends_at = trainer.global_step

    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds of it; nothing, where the run has ended before it had a score."""
        return {"best_step": self.best_step} if self.best_score > float("-inf") else {}

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)


# What a run that goes on must know of the steps before; the rest is given by its configuration.
STATE = {
    *("ends_at", "best", "best_step", "best_score", "refit_from", "biharmonic"),
    *("pictures", "mean", "variance", "seen"),
}


def is_finite(*values: Tensor) -> bool:
    """Whether all are numbers; by the norm of them together, so that a GPU is waited for once."""
    return bool(get_total_norm([each.detach() for each in values]).isfinite())


def copied(module: LightningModule, into: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """The state of the module, in the memory of `into` where there is one."""
    state = module.state_dict()
    if into is None:
        return {name: value.clone() for name, value in state.items()}
    for name, value in state.items():
        into[name].copy_(value)
    return into


@contextmanager
def at_its_best(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Within it the module is in the state that the run's rule has kept, if there is any."""
    kept = next((callback.best for callback in rules(trainer) if callback.best is not None), None)
    if kept is None:
        yield
        return
    last = copied(module, None)
    module.load_state_dict(kept)
    try:
        yield
    finally:
        module.load_state_dict(last)


def rules(trainer: Trainer) -> list[Stopping]:
    return [callback for callback in trainer.callbacks if isinstance(callback, Stopping)]  # pyright: ignore[reportAttributeAccessIssue]


class HeldOut(Stopping):
    """The PSNR, in dB, of known pixels that the loss does not see, which lie as the hole does (`dip.validation`).

    share: of the known pixels that are held out; seed: of their places. At the end the run goes back to its best state
    and learns all known pixels, for `refit_share` of `max_steps`.
    """

    name = "held_out"
    tag = "psnr_held_out"

    def __init__(
        self, share: float, seed: int, refit_share: float, every_steps: int, patience_steps: int | None, min_gain: float
    ):
        super().__init__(every_steps, patience_steps, min_gain)
        if not 0 < share <= 0.5:
            raise ValueError(f"stopping.share={share}, but it is a share of the known pixels, half of them at most")
        if not 0 <= refit_share < 1:
            raise ValueError(f"stopping.refit_share={refit_share}, but it is a share of the steps, less than 1")
        self.share = share
        self.seed = seed
        self.refit_share = refit_share
        self.refit_from: int | None = None
        self.biharmonic = float("nan")  # the score of biharmonic inpainting, of the same pixels

    def hold_out(self, mask: Tensor) -> Tensor:
        return held_out(mask, self.share, self.seed)

    def score(self, picture: Tensor, batch: Sample) -> float | None:
        return None if batch.held_out is None else psnr(picture, batch.target, batch.held_out)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.refit_steps = round(self.refit_share * trainer.max_steps)
        sample: Sample = trainer.datamodule.sample  # pyright: ignore[reportAttributeAccessIssue]
        if sample.held_out is not None and trainer.global_step == 0:
            filled = biharmonic(sample.target * sample.fitted, sample.fitted)
            self.biharmonic = psnr(filled, sample.target, sample.held_out)
        if self.refit_from is not None:
            trainer.datamodule.hold_out(None)  # pyright: ignore[reportAttributeAccessIssue]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.refit_from is None and trainer.global_step == trainer.max_steps - self.refit_steps:
            self.refit(trainer, pl_module)

    def end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().end(trainer, pl_module)
        self.ends_at = min(trainer.global_step + self.refit_steps, trainer.max_steps)
        self.refit(trainer, pl_module)

    def refit(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.refit_steps == 0:
            return
        self.refit_from = trainer.global_step
        if self.best is not None:
            pl_module.load_state_dict(self.best)
        self.best = None  # the last state is the best from now on
        trainer.datamodule.hold_out(None)  # pyright: ignore[reportAttributeAccessIssue]

    def metrics(self) -> dict[str, Any]:
        if not (found := super().metrics()):
            return {}
        return {**found, "psnr_held_out": self.best_score, "psnr_held_out_biharmonic": self.biharmonic}


class WindowVariance(Stopping):
    """Less the variance of the pictures of the last `window_steps` steps: ES-WMV (Wang et al., arXiv:2112.06074).

    The mean over all values of their variance, of every `every_steps`-th picture.
    """

    name = tag = "window_variance"

    def __init__(self, window_steps: int, every_steps: int, patience_steps: int | None, min_gain: float):
        super().__init__(every_steps, patience_steps, min_gain)
        if window_steps < 2 * every_steps:
            raise ValueError(
                f"stopping.window_steps={window_steps}, but a variance needs two pictures, {every_steps} steps apart"
            )
        self.window = window_steps // every_steps
        self.pictures: list[Tensor] = []

    def score(self, picture: Tensor, batch: Sample) -> float | None:
        self.pictures = [*self.pictures, picture.clone()][-self.window :]
        if len(self.pictures) < self.window:
            return None
        mean = torch.cat(self.pictures).mean(dim=0, keepdim=True)
        # Picture by picture, which takes a fraction of the time of Tensor.var over all of them.
        return -fmean((each - mean).square().mean().item() for each in self.pictures)


class MovingVariance(Stopping):
    """Less the moving variance of every `every_steps`-th picture: ES-EMV (Wang et al., arXiv:2112.06074).

    decay: what is left of a picture's share with each of the later ones, in (0, 1).
    """

    name = tag = "moving_variance"

    def __init__(self, decay: float, every_steps: int, patience_steps: int | None, min_gain: float):
        super().__init__(every_steps, patience_steps, min_gain)
        if not 0 < decay < 1:
            raise ValueError(f"stopping.decay={decay}, but it lies between 0 and 1")
        self.decay = decay
        self.mean: Tensor | None = None
        self.variance = 0.0
        self.seen = 0

    def score(self, picture: Tensor, batch: Sample) -> float | None:
        self.seen += 1
        if self.mean is None:
            self.mean = picture.clone()
            return None
        difference = picture - self.mean
        self.mean += (1 - self.decay) * difference
        self.variance = self.decay * (self.variance + (1 - self.decay) * difference.square().mean().item())
        # It starts at nothing, which is no calm.
        return None if self.seen < 1 / (1 - self.decay) else -self.variance
