"""Noise on the weights of convolutions during training."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge
from pytorch_lightning import Callback, Trainer
from torch import nn

from dip.options import checked
from dip.prior.sample import Sample


@checked
@dataclass(eq=False, repr=False)
class WeightJitter(Callback):
    """Adds Gaussian noise to the weights of every convolution before each step, and leaves it there.

    share: its standard deviation, as a fraction of that of the layer's weights (Ulyanov et al., arXiv:1711.10925: 1/50
    for large holes; their code computes the noise and discards it).
    """

    share: Annotated[float, Ge(0), "0 adds no noise"]

    @torch.no_grad()
    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Sample, batch_idx: int) -> None:
        if self.share == 0:
            return
        for layer in pl_module.model.modules():
            if isinstance(layer, nn.Conv2d):
                weight = layer.weight
                weight.add_(torch.randn(weight.shape, device=weight.device) * (self.share * weight.std()))


@checked
@dataclass(eq=False, repr=False)
class Langevin(Callback):
    """Langevin dynamics: adds Gaussian noise to the convolution weights after each step (arXiv:1904.07457).

    noise: its standard deviation divided by the learning rate. For plain gradient descent that is noise of this size in
    the gradient (Welling and Teh 2011).
    """

    noise: Annotated[float, Ge(0), "0 adds no noise"]

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Sample, batch_idx: int) -> None:
        if self.noise == 0:
            return
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        for weight in pl_module.model.parameters():
            if weight.requires_grad and weight.ndim == 4:
                weight.add_(torch.randn(weight.shape, device=weight.device), alpha=self.noise * lr)
