"""Averages over the run, of outputs or of weights, as the picture that the run results in."""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


@torch.no_grad()
def draw(model: nn.Module, input: nn.Module) -> Tensor:
    """The picture that the weights stand for, as they are now, without the input's noise: (1, C, H, W) float32."""
    input.eval()
    # On copies, so that a picture more does not move the averages of a batch norm.
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    picture = functional_call(model, buffers, (input(),)).float()
    input.train()
    return picture


def deviation(variance: Tensor) -> Tensor:
    """Of the variance of each value, (N, C, H, W): the standard deviation over the channels, (N, 1, H, W)."""
    return variance.mean(dim=1, keepdim=True).sqrt()


class Average(Protocol):
    """A module that `DeepImagePrior` tells of every step."""

    def update(self, model: nn.Module, input: nn.Module, output: Tensor) -> Tensor:
        """The picture to show after a step that drew `output` with these weights: (1, C, H, W)."""
        ...

    def draw(self) -> Tensor:
        """The result, (1, C, H, W) float32."""
        ...


class OutputAverage(nn.Module):
    """Exponential moving average of the outputs, a plain mean until it has as many as its memory is long.

    decay: what is left of an output's share from step to step, in (0, 1]; 1 is the mean of all, as of samples of a
    posterior (Cheng et al., arXiv:1904.07457). burn_in_share: the first outputs, this share of the `max_steps`, do not
    count.
    `mean` and `variance`: of each value, (1, C, H, W).
    """

    mean: Tensor
    variance: Tensor
    steps: Tensor

    def __init__(self, target: Tensor, max_steps: int, decay: float, burn_in_share: float):
        super().__init__()
        if not 0 < decay <= 1:
            raise ValueError(f"average.decay={decay}, but it lies between 0 and 1; 1 is the mean of all outputs")
        if not 0 <= burn_in_share < 1:
            raise ValueError(f"average.burn_in_share={burn_in_share}, but it is a share of the steps, less than 1")
        self.decay = decay
        self.burn_in_steps = int(burn_in_share * max_steps)
        self.register_buffer("mean", torch.zeros_like(target))
        self.register_buffer("variance", torch.zeros_like(target))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def update(self, model: nn.Module, input: nn.Module, output: Tensor) -> Tensor:
        self.steps += 1
        # On the device, so that a GPU is not waited for.
        counted = (self.steps - self.burn_in_steps).clamp(min=1)
        share = torch.clamp(1 / counted, min=1 - self.decay)
        difference = output - self.mean
        self.mean += share * difference
        self.variance += share * (difference.square() * (1 - share) - self.variance)
        return self.mean

    @property
    def deviation(self) -> Tensor:
        """The standard deviation in each pixel, root mean square over the channels: (1, 1, H, W)."""
        return deviation(self.variance)

    def draw(self) -> Tensor:
        return self.mean.clone()  # which another state does not move


class WeightAverage(nn.Module):
    """Exponential moving average of the weights of network and input, with which the result is drawn.

    decay: a weight's share from step to step, in (0, 1).
    """

    def __init__(self, model: nn.Module, input: nn.Module, decay: float):
        super().__init__()
        if not 0 < decay < 1:
            raise ValueError(f"average.decay={decay}, but it lies between 0 and 1")
        self.averaged = AveragedModel(nn.ModuleList([model, input]), multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.averaged.requires_grad_(False)

    def update(self, model: nn.Module, input: nn.Module, output: Tensor) -> Tensor:
        self.averaged.update_parameters(nn.ModuleList([model, input]))
        return output

    def draw(self) -> Tensor:
        return draw(*self.averaged.module)  # pyright: ignore[reportGeneralTypeIssues]
