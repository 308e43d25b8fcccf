"""Averages over the run, of outputs or of weights; the run's result is an average if it has one."""

from typing import Annotated, Protocol

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dip.options import checked


@torch.no_grad()
def predict(model: nn.Module, input: nn.Module) -> Tensor:
    """The output of the current weights, without the input's noise: (1, C, H, W) float32."""
    input.eval()
    # With copies of the buffers, so that an extra output does not update the statistics of a batch norm.
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    picture = functional_call(model, buffers, (input(),)).float()
    input.train()
    return picture


def of_pixels(deviation: Tensor) -> Tensor:
    """The standard deviation of each pixel, (N, 1, H, W), from that of each value, (N, C, H, W): root mean square."""
    return deviation.square().mean(dim=1, keepdim=True).sqrt()


class Average(Protocol):
    """What `DeepImagePrior` updates in every step with the output of its weights."""

    def update(self, model: nn.Module, input: nn.Module, output: Tensor) -> Tensor: ...  # the picture to show

    def predict(self) -> Tensor: ...  # the result: (1, C, H, W) float32


@checked
class OutputAverage(nn.Module):
    """Exponential moving average of the outputs; a plain mean until 1 / (1 - decay) outputs are in it.

    >>> average = OutputAverage(torch.zeros(1, 1, 1, 1), max_steps=2, decay=1.0, burn_in_share=0.0)
    >>> for value in (1.0, 3.0):
    ...     shown = average.update(nn.Identity(), nn.Identity(), torch.full((1, 1, 1, 1), value))
    >>> average.predict().item()
    2.0
    """

    def __init__(
        self,
        target: Tensor,  # (1, C, H, W)
        max_steps: int,
        # What is left of an output's weight after a step; 1 averages samples of a posterior (arXiv:1904.07457).
        decay: Annotated[float, Gt(0), Le(1), "1 is the mean of all outputs"],
        burn_in_share: Annotated[float, Ge(0), Lt(1), "a share of the steps"],  # their outputs do not count
    ):
        super().__init__()
        self.decay = decay
        self.burn_in_steps = int(burn_in_share * max_steps)
        self.mean = nn.Buffer(torch.zeros_like(target))  # of each value: (1, C, H, W)
        self.variance = nn.Buffer(torch.zeros_like(target))
        self.steps = nn.Buffer(torch.zeros((), dtype=torch.int64))

    def update(self, model: nn.Module, input: nn.Module, output: Tensor) -> Tensor:
        self.steps += 1
        # On the device, so that a GPU is not waited for.
        counted = (self.steps - self.burn_in_steps).clamp(min=1)
        weight = torch.clamp(1 / counted, min=1 - self.decay)
        difference = output - self.mean
        self.mean += weight * difference
        self.variance += weight * (difference.square() * (1 - weight) - self.variance)
        return self.mean

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of each value: (1, C, H, W)."""
        return self.variance.sqrt()

    def predict(self) -> Tensor:
        return self.mean.clone()  # a later update leaves the copy as it is


@checked
class WeightAverage(nn.Module):
    """Exponential moving average of the weights of network and input; the result is the output of their average.

    >>> average = WeightAverage(nn.Linear(1, 1, bias=False), nn.Identity(), decay=0.9)
    >>> [weight.shape for weight in average.parameters()]
    [torch.Size([1, 1])]
    """

    def __init__(self, model: nn.Module, input: nn.Module, decay: Annotated[float, Gt(0), Lt(1)]):
        super().__init__()
        self.averaged = AveragedModel(nn.ModuleList([model, input]), multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.averaged.requires_grad_(False)

    def update(self, model: nn.Module, input: nn.Module, output: Tensor) -> Tensor:
        self.averaged.update_parameters(nn.ModuleList([model, input]))
        return output

    def predict(self) -> Tensor:
        return predict(*self.averaged.module)  # pyright: ignore[reportGeneralTypeIssues]
