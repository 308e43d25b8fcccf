"""Network inputs; forward() takes nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LearnedInput(nn.Module):
    """A trained parameter of the picture's size, at first uniform in [0, scale): () -> (1, channels, H, W).

    It is trained together with the network (T. Lemsky, "Reimplementing Deep Image Prior", 2022).
    noise: standard deviation of the Gaussian noise that is added anew in every step (Ulyanov et al., section 3), so
    that the network cannot learn the known pixels from single values of the input.
    """

    def __init__(self, size: Sequence[int], channels: int, scale: float = 0.1, noise: float = 0.0):
        super().__init__()
        if channels < 1:
            raise ValueError(f"input.channels={channels}, but the network needs at least one; set input.channels=3")
        if scale <= 0:
            raise ValueError(f"input.scale={scale}, but the input is drawn from [0, scale); set input.scale=0.1")
        if noise < 0:
            raise ValueError(f"input.noise={noise}, but it is a standard deviation; set input.noise=0 for none")
        self.noise = noise
        self.picture = nn.Parameter(scale * torch.rand(1, channels, *size))

    def forward(self) -> Tensor:
        if self.training and self.noise > 0:
            # Not randn_like: in channels-last order PyTorch draws nine times slower on a CPU.
            return self.picture + self.noise * torch.randn(self.picture.shape, device=self.picture.device)
        return self.picture
