"""Network inputs; forward() takes nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dip.metrics import biharmonic

DISTRIBUTIONS = {"uniform": torch.rand, "normal": torch.randn}


class Input(nn.Module):
    """A starting point (1, C, H, W), fixed or trained together with the network: () -> (1, C, H, W).

    noise: standard deviation of the Gaussian noise that is added anew in every step (Ulyanov et al., section 3), so
    that the network cannot learn the known pixels from single values of the input.
    lr: the learning rate of a trained input; None is that of the network.
    """

    def __init__(self, start: Tensor, learned: bool, noise: float = 0.0, lr: float | None = None):
        super().__init__()
        if noise < 0:
            raise ValueError(f"input.noise={noise}, but it is a standard deviation; set input.noise=0 for none")
        if lr is not None and not learned:
            raise ValueError(f"input.lr={lr}, but this input is not trained; set input.learned=true or input.lr=null")
        if lr is not None and lr < 0:
            raise ValueError(f"input.lr={lr}, but a learning rate is 0 or more; input.lr=null is the network's")
        self.noise = noise
        self.lr = lr
        self.picture = nn.Parameter(start) if learned else nn.Buffer(start)

    def forward(self) -> Tensor:
        if self.training and self.noise > 0:
            # Not randn_like: in channels-last order PyTorch draws nine times slower on a CPU.
            return self.picture + self.noise * torch.randn(self.picture.shape, device=self.picture.device)
        return self.picture


class Noise(Input):
    """Noise of the picture's size, at first "uniform" in [0, scale) or "normal" with that standard deviation.

    reduction: each side is divided by it and rounded up, for a network that enlarges its input.
    """

    def __init__(
        self,
        size: Sequence[int],
        channels: int,
        distribution: str = "uniform",
        scale: float = 0.1,
        reduction: int = 1,
        learned: bool = False,
        noise: float = 0.0,
        lr: float | None = None,
    ):
        if channels < 1:
            raise ValueError(f"input.channels={channels}, but the network needs at least one; set input.channels=3")
        if distribution not in DISTRIBUTIONS:
            raise ValueError(f"input.distribution={distribution}, but it is one of {', '.join(DISTRIBUTIONS)}")
        if scale <= 0:
            raise ValueError(f"input.scale={scale}, but a scale is above zero; set input.scale=0.1")
        if reduction < 1:
            raise ValueError(f"input.reduction={reduction}, but each side is divided by it; set input.reduction=1")
        reduced = [-(-side // reduction) for side in size]
        super().__init__(scale * DISTRIBUTIONS[distribution](1, channels, *reduced), learned, noise, lr)


class LearnedInput(Noise):
    """A trained parameter of the picture's size, at first uniform in [0, scale): () -> (1, channels, H, W).

    It is trained together with the network (T. Lemsky, "Reimplementing Deep Image Prior", 2022).
    """

    def __init__(
        self, size: Sequence[int], channels: int, scale: float = 0.1, noise: float = 0.0, lr: float | None = None
    ):
        super().__init__(size, channels, "uniform", scale, learned=True, noise=noise, lr=lr)


class Meshgrid(Input):
    """Where each pixel is, column and row from 0 to 1: () -> (1, 2, H, W) (Ulyanov et al., section 4)."""

    def __init__(self, size: Sequence[int], learned: bool = False, noise: float = 0.0, lr: float | None = None):
        super().__init__(positions(size), learned, noise, lr)


class Fourier(Input):
    """Random Fourier features of each pixel's place (Tancik et al., arXiv:2006.10739): () -> (1, 2 * features, H, W).

    scale: standard deviation of the frequencies, in periods over the picture.
    """

    def __init__(
        self,
        size: Sequence[int],
        features: int,
        scale: float = 10.0,
        learned: bool = False,
        noise: float = 0.0,
        lr: float | None = None,
    ):
        if features < 1 or scale <= 0:
            raise ValueError(
                f"input.features={features} and input.scale={scale}, but there is at least one, above zero"
            )
        frequencies = scale * torch.randn(features, 2)
        phases = 2 * torch.pi * torch.einsum("fc,nchw->nfhw", frequencies, positions(size))
        super().__init__(torch.cat([phases.cos(), phases.sin()], dim=1), learned, noise, lr)


class Filled(Input):
    """The damaged picture, its hole filled by biharmonic inpainting, and `noise_channels` of uniform noise beside it.

    The idea of steered and of sequential deep image priors (arXiv:2404.12142; aSeqDIP).
    target: (1, C, H, W), mask: (1, 1, H, W): () -> (1, C + noise_channels, H, W). scale: the noise is in [0, scale).
    """

    def __init__(
        self,
        target: Tensor,
        mask: Tensor,
        noise_channels: int = 0,
        scale: float = 0.1,
        learned: bool = False,
        noise: float = 0.0,
        lr: float | None = None,
    ):
        if noise_channels < 0 or scale <= 0:
            raise ValueError(
                f"input.noise_channels={noise_channels} and input.scale={scale}, but there are none or more, above zero"
            )
        beside = scale * torch.rand(1, noise_channels, *target.shape[-2:])
        super().__init__(torch.cat([biharmonic(target, mask), beside], dim=1), learned, noise, lr)


def positions(size: Sequence[int]) -> Tensor:
    """(1, 2, H, W): column and row of each pixel, from 0 to 1."""
    rows, columns = torch.meshgrid(*(torch.linspace(0, 1, side) for side in size), indexing="ij")
    return torch.stack([columns, rows])[None]
