"""Inputs of the network: modules whose forward() takes nothing, () -> (1, C, H, W)."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from dip.errors import UserError
from dip.image.metrics import biharmonic
from dip.options import checked

Size = Sequence[int]  # height and width of the picture
Channels = Annotated[int, Ge(1)]
Scale = Annotated[float, Gt(0)]
StepNoise = Annotated[float, Ge(0), "0 is no noise"]  # standard deviation
LearningRate = Annotated[float, Ge(0), "null is the network's"] | None  # of a trained input
Distribution = Literal["uniform", "normal"]
DISTRIBUTIONS = {"uniform": torch.rand, "normal": torch.randn}


@checked
class Input(nn.Module):
    """A starting point (1, C, H, W), fixed or trained together with the network: () -> (1, C, H, W).

    The Gaussian noise of every training step keeps the network from learning the known pixels from single values of
    the input (Ulyanov et al., section 3).
    """

    def __init__(self, start: Tensor, learned: bool, noise: StepNoise = 0.0, lr: LearningRate = None):
        super().__init__()
        if lr is not None and not learned:
            raise UserError(f"input.lr={lr}, but this input is not trained; set input.learned=true or input.lr=null")
        self.noise = noise
        self.lr = lr
        self.picture = nn.Parameter(start) if learned else nn.Buffer(start)

    def forward(self) -> Tensor:
        if self.training and self.noise > 0:
            # Not randn_like: in channels-last order PyTorch draws nine times slower on a CPU.
            return self.picture + self.noise * torch.randn(self.picture.shape, device=self.picture.device)
        return self.picture


@checked
class Noise(Input):
    """Random numbers: () -> (1, channels, ceil(H / reduction), ceil(W / reduction))."""

    def __init__(
        self,
        size: Size,
        channels: Channels,
        distribution: Distribution = "uniform",
        scale: Scale = 0.1,  # uniform in [0, scale), or the standard deviation
        reduction: Annotated[int, Ge(1), "1 keeps the picture's size"] = 1,  # for a network that enlarges its input
        learned: bool = False,
        noise: StepNoise = 0.0,
        lr: LearningRate = None,
    ):
        reduced = [-(-side // reduction) for side in size]
        super().__init__(scale * DISTRIBUTIONS[distribution](1, channels, *reduced), learned, noise, lr)


@checked
class LearnedInput(Noise):
    """A trained input, initially uniform in [0, scale) (T. Lemsky 2022): () -> (1, channels, H, W).

    >>> picture = LearnedInput(size=[20, 30], channels=3)()
    >>> picture.shape, picture.requires_grad
    (torch.Size([1, 3, 20, 30]), True)
    """

    def __init__(
        self, size: Size, channels: Channels, scale: Scale = 0.1, noise: StepNoise = 0.0, lr: LearningRate = None
    ):
        super().__init__(size, channels, "uniform", scale, learned=True, noise=noise, lr=lr)


@checked
class Meshgrid(Input):
    """The column and row of each pixel, from 0 to 1: () -> (1, 2, H, W) (Ulyanov et al., section 4)."""

    def __init__(self, size: Size, learned: bool = False, noise: StepNoise = 0.0, lr: LearningRate = None):
        super().__init__(pixel_positions(size), learned, noise, lr)


@checked
class Fourier(Input):
    """Random Fourier features of each pixel's position (arXiv:2006.10739): () -> (1, 2 features, H, W)."""

    def __init__(
        self,
        size: Size,
        features: Annotated[int, Ge(1)],
        scale: Scale = 10.0,  # standard deviation of the frequencies, in periods over the picture
        learned: bool = False,
        noise: StepNoise = 0.0,
        lr: LearningRate = None,
    ):
        frequencies = scale * torch.randn(features, 2)
        phases = 2 * torch.pi * torch.einsum("fc,nchw->nfhw", frequencies, pixel_positions(size))
        super().__init__(torch.cat([phases.cos(), phases.sin()], dim=1), learned, noise, lr)


@checked
class Filled(Input):
    """Biharmonically inpainted picture (arXiv:2404.12142; aSeqDIP) and noise: () -> (1, C + noise_channels, H, W)."""

    def __init__(
        self,
        target: Tensor,  # (1, C, H, W)
        mask: Tensor,  # (1, 1 or C, H, W), 1 = known
        noise_channels: Annotated[int, Ge(0)] = 0,
        scale: Scale = 0.1,  # their noise is in [0, scale)
        learned: bool = False,
        noise: StepNoise = 0.0,
        lr: LearningRate = None,
    ):
        uniform = scale * torch.rand(1, noise_channels, *target.shape[-2:])
        super().__init__(torch.cat([biharmonic(target, mask), uniform], dim=1), learned, noise, lr)


def pixel_positions(size: Size) -> Tensor:
    """(1, 2, H, W): column and row of each pixel, from 0 to 1."""
    rows, columns = torch.meshgrid(*(torch.linspace(0, 1, side) for side in size), indexing="ij")
    return torch.stack([columns, rows])[None]
