"""Deep Image Prior (Ulyanov et al., arXiv:1711.10925) as a LightningModule."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerConfig, OptimizerLRSchedulerConfig
from torch import Tensor, nn

from dip.errors import UserError
from dip.prior.averages import Average, OutputAverage, predict
from dip.prior.guide import ColourGuide
from dip.prior.inputs import Input
from dip.prior.operators.operator import Mask, Operator
from dip.prior.sample import Sample

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (target, mask) -> (loss, output)


class DeepImagePrior(LightningModule):
    """Trains a network, and a learned input, to draw the picture whose measurement is one sample.

    >>> from functools import partial
    >>> from dip import LearnedInput, UNet, masked_mse
    >>> network, picture = UNet(3, 3, depth=2, widths=(4, 8)), LearnedInput((32, 32), channels=3)
    >>> prior = DeepImagePrior(network, picture, masked_mse, partial(torch.optim.Adam, lr=0.01))
    >>> prior.predict().shape
    torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        model: nn.Module,  # (1, C', H, W) -> (1, C, H, W), any network
        input: Input,  # () -> (1, C', H, W)
        loss: Callable[[Tensor, Tensor, Tensor], Tensor],  # (what is measured of the output, target, mask) -> scalar
        optimizer: Callable[[Iterable[nn.Parameter] | list[dict[str, Any]]], torch.optim.Optimizer],
        penalty: Callable[[Tensor], Tensor] | None = None,  # output -> scalar, added to the loss
        guide: ColourGuide | None = None,  # the same, for the colours of large holes
        operator: Operator | None = None,  # (1, C, H, W) -> (1, C, h, w), what is measured; `Mask` without one
        scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None = None,
        average: Average | None = None,  # of outputs or weights, as the result; without one, of the last weights
        frozen: Sequence[str] = (),  # classes of layers that are not trained, by name
    ):
        super().__init__()
        # The memory format in which convolutions are fastest, on CPUs and on GPUs.
        for part in (model, input, average):
            if isinstance(part, nn.Module):
                part.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.model = model
        self.input = input
        self.loss = loss
        self.optimizer = optimizer
        self.penalty = penalty
        self.guide = guide
        self.operator = operator or Mask()
        self.scheduler = scheduler
        self.average = average
        self.is_averaged = False  # whether the average has seen this step
        self.restore_step()
        for kind in frozen:
            freeze(self.model, kind)

    def forward(self) -> Tensor:
        """The output, (1, C, H, W) float32 in any mixed precision."""
        return self.model(self.input()).float()

    def predict(self) -> Tensor:
        """The result so far, without the input's noise: (1, C, H, W) float32."""
        return predict(self.model, self.input) if self.average is None else self.average.predict()

    def deviation(self) -> Tensor | None:
        """The standard deviation of averaged outputs and guiding runs: (1, 1 or C, H, W); None without either."""
        parts = (self.average, self.guide)
        each = [part.deviation for part in parts if isinstance(part, OutputAverage | ColourGuide)]
        return torch.stack(torch.broadcast_tensors(*each)).square().sum(dim=0).sqrt() if each else None

    def loss_and_output(self, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The forward pass of a step, which `dip.training.cuda_graph` captures."""
        output = self()
        with torch.autocast(output.device.type, enabled=False):  # bfloat16 is too coarse for what was measured
            measured = self.operator(output)
        loss = self.loss(measured, target, mask)
        if self.penalty is not None:
            loss = loss + self.penalty(output)
        if self.guide is not None:
            loss = loss + self.guide(output)
        return loss, output

    def replace_step(self, step: Step, differentiate: Callable[[Tensor], None]) -> None:
        """Compute loss and output by `step` and gradients by `differentiate` from now on, such as a captured graph."""
        self.step, self.differentiate = step, differentiate

    def restore_step(self) -> None:
        self.replace_step(self.loss_and_output, Tensor.backward)

    def training_step(self, sample: Sample, batch_idx: int | None = None) -> dict[str, Tensor]:
        """The loss, the output of this step, and the picture to show: that output or an average."""
        loss, output = self.step(sample.target, sample.loss_mask)
        output = output.detach()
        if self.average is None:
            return {"loss": loss, "output": output, "picture": output}
        # L-BFGS evaluates a step several times; the average sees the first of them.
        if batch_idx is None or not self.is_averaged:
            self.is_averaged = True
            self.picture = self.average.update(self.model, self.input, output)
        return {"loss": loss, "output": output, "picture": self.picture}

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        self.differentiate(loss)

    def on_train_batch_start(self, batch: Sample, batch_idx: int) -> None:
        self.is_averaged = False

    def configure_optimizers(self) -> OptimizerConfig | OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.trained_parameters())
        if self.scheduler is None:
            return {"optimizer": optimizer}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def trained_parameters(self) -> list[nn.Parameter] | list[dict[str, Any]]:
        """What the optimizer trains; in two groups where the input has a learning rate of its own."""
        network = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        picture = [parameter for parameter in self.input.parameters() if parameter.requires_grad]
        if not picture or self.input.lr is None:
            return [*network, *picture]
        return [{"params": network}, {"params": picture, "lr": self.input.lr}]


def freeze(model: nn.Module, kind: str) -> None:
    layers = [layer for layer in model.modules() if kind in {base.__name__ for base in type(layer).__mro__}]
    if not layers:
        kinds = sorted({type(layer).__name__ for layer in model.modules() if list(layer.parameters(recurse=False))})
        raise UserError(f"frozen={kind}, but the network has no such layer; it has {', '.join(kinds)}")
    for layer in layers:
        layer.requires_grad_(False)
