"""Deep Image Prior (Ulyanov et al., arXiv:1711.10925) as a LightningModule."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerConfig, OptimizerLRSchedulerConfig
from torch import Tensor, nn

from dip.averages import Average, OutputAverage, draw
from dip.data import Sample
from dip.fill import CoarseFill
from dip.inputs import Input


class DeepImagePrior(LightningModule):
    """Trains a network, and its input where that has parameters, to draw the known pixels of one sample.

    model: (1, C', H, W) -> (1, C, H, W), any network; input: () -> (1, C', H, W);
    loss: (output, target, mask) -> scalar; optimizer: parameters -> torch optimizer.
    penalty: output -> scalar, what is added to the loss; fill: what is added as well, if a hole is large and once it
    knows its colours; scheduler: optimizer -> the schedule of its learning rate.
    average: what makes one picture of the run's outputs or weights, a module of `dip.averages`; without one the result
    is what the last weights draw. frozen: classes of layers, by name, that are not trained. Raises ValueError for one
    that the network does not have.
    """

    def __init__(
        self,
        model: nn.Module,
        input: Input,
        loss: Callable[[Tensor, Tensor, Tensor], Tensor],
        optimizer: Callable[[Iterable[nn.Parameter] | list[dict[str, Any]]], torch.optim.Optimizer],
        penalty: Callable[[Tensor], Tensor] | None = None,
        fill: CoarseFill | None = None,
        scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None = None,
        average: Average | None = None,
        frozen: Sequence[str] = (),
    ):
        super().__init__()
        # The memory format in which convolutions are fastest, on CPUs and on GPUs.
        self.model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.input = input.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.loss = loss
        self.optimizer = optimizer
        self.penalty = penalty
        self.fill = fill if fill is not None and fill.holds else None
        self.scheduler = scheduler
        self.average = average
        if isinstance(average, nn.Module):
            average.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.averaged: int | None = None  # the step that the average has last been told of
        for kind in frozen:
            freeze(self.model, kind)

    def forward(self) -> Tensor:
        """The network's picture: (1, C, H, W) float32, in any mixed precision."""
        return self.model(self.input()).float()

    def draw(self) -> Tensor:
        """The result so far, without the input's noise: (1, C, H, W) float32."""
        return draw(self.model, self.input) if self.average is None else self.average.draw()

    def deviation(self) -> Tensor | None:
        """How uncertain the result is: the standard deviation in each pixel, (1, 1, H, W).

        Of the outputs, where they are averaged, and in large holes of the colours that they are held to; None where
        neither is the case.
        """
        each = [self.average.deviation] if isinstance(self.average, OutputAverage) else []
        each += [] if self.fill is None else [self.fill.deviation]
        return torch.stack(each).square().sum(dim=0).sqrt() if each else None

    def judge(self, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a new output, and that output: what `dip.callbacks.CudaGraph` captures of a step."""
        output = self()
        loss = self.loss(output, target, mask)
        if self.penalty is not None:
            loss = loss + self.penalty(output)
        if self.fill is not None and self.fill.found:
            loss = loss + self.fill(output)
        return loss, output

    def training_step(self, sample: Sample, batch_idx: int | None = None) -> dict[str, Tensor]:
        """The loss; the output of this step; the picture to show, which is that output or an average.

        L-BFGS asks for it several times a step, of which the first is the step's own.
        """
        loss, output = self.judge(sample.target, sample.fitted)
        output = output.detach()
        if self.average is None:
            return {"loss": loss, "output": output, "picture": output}
        if batch_idx is None or batch_idx != self.averaged:
            self.averaged = batch_idx
            self.picture = self.average.update(self.model, self.input, output)
        return {"loss": loss, "output": output, "picture": self.picture}

    def on_train_batch_start(self, batch: Sample, batch_idx: int) -> None:
        self.averaged = None  # another epoch has the same numbers

    def configure_optimizers(self) -> OptimizerConfig | OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.trained())
        if self.scheduler is None:
            return {"optimizer": optimizer}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def trained(self) -> list[nn.Parameter] | list[dict[str, Any]]:
        """What the optimizer trains; in two groups where the input has a learning rate of its own."""
        network, picture = (
            [parameter for parameter in part.parameters() if parameter.requires_grad]
            for part in (self.model, self.input)
        )
        if not picture or self.input.lr is None:
            return [*network, *picture]
        return [{"params": network}, {"params": picture, "lr": self.input.lr}]


def freeze(model: nn.Module, kind: str) -> None:
    layers = [layer for layer in model.modules() if kind in {base.__name__ for base in type(layer).__mro__}]
    if not layers:
        kinds = sorted({type(layer).__name__ for layer in model.modules() if list(layer.parameters(recurse=False))})
        raise ValueError(f"frozen={kind}, but the network has no such layer; it has {', '.join(kinds)}")
    for layer in layers:
        layer.requires_grad_(False)
