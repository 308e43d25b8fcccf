"""What the networks are made of, and the words that choose it."""

from collections.abc import Callable, Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OUTPUTS: dict[str, Callable[[], nn.Module]] = {"linear": nn.Identity, "sigmoid": nn.Sigmoid}
# The statistics are always those of the one picture, in evaluation too: there is no other.
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": lambda features: nn.BatchNorm2d(features, track_running_stats=False),
    "layer": lambda features: nn.GroupNorm(1, features),
    "none": lambda features: nn.Identity(),
}
UP_SAMPLINGS = ("nearest", "bilinear")
PADDINGS = ("zeros", "reflect", "replicate")


class Same(nn.Conv2d):
    """A convolution that keeps the size, or with a stride of 2 halves it and rounds up.

    Where a level has fewer pixels than a reflection needs, its edge is repeated instead.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, padding: str = "zeros", stride: int = 1):
        mode: Any = padding
        super().__init__(in_channels, out_channels, kernel, stride, padding=kernel // 2, padding_mode=mode)

    def forward(self, input: Tensor) -> Tensor:
        around = self.kernel_size[0] // 2
        if self.padding_mode == "reflect" and around >= min(input.shape[-2:]):
            return F.conv2d(F.pad(input, 4 * (around,), mode="replicate"), self.weight, self.bias, self.stride)
        return super().forward(input)


def convolution(
    in_channels: int,
    out_channels: int,
    kernel: int,
    padding: str = "zeros",
    norm: str = "batch",
    negative_slope: float = 0.01,
    down_sampling: str = "none",
) -> list[nn.Module]:
    """Convolution, norm and LeakyReLU; half the size, rounded up, unless `down_sampling` is "none"."""
    stride = 2 if down_sampling == "stride" else 1
    return [
        Same(in_channels, out_channels, kernel, padding, stride),
        DOWN_SAMPLINGS[down_sampling](out_channels),
        NORMS[norm](out_channels),
        nn.LeakyReLU(negative_slope, inplace=norm != "none"),
    ]


class Lanczos(nn.Module):
    """Half the size, by Lanczos' kernel of order two: (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""

    weight: Tensor

    def __init__(self, features: int):
        super().__init__()
        offsets = torch.arange(-1.75, 2, 0.5)  # of the eight pixels around one of the result, in its pixels
        taps = torch.sinc(offsets) * torch.sinc(offsets / 2)
        taps /= taps.sum()
        self.register_buffer("weight", torch.outer(taps, taps).expand(features, 1, 8, 8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (3, 3 + x.shape[-1] % 2, 3, 3 + x.shape[-2] % 2), mode="replicate")
        return F.conv2d(x, self.weight, stride=2, groups=x.shape[1])


DOWN_SAMPLINGS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda features: nn.Identity(),
    "stride": lambda features: nn.Identity(),  # the convolution's own
    "average": lambda features: nn.AvgPool2d(2, ceil_mode=True),
    "max": lambda features: nn.MaxPool2d(2, ceil_mode=True),
    "lanczos": Lanczos,
}


def twice(x: Tensor, up_sampling: str) -> Tensor:
    """Twice the height and width, "nearest" or "bilinear"."""
    return F.interpolate(x, scale_factor=2, mode=up_sampling, align_corners=None if up_sampling == "nearest" else False)


def pad(x: Tensor, sides: tuple[int, int, int, int], padding: str) -> Tensor:
    """Left, right, top and bottom, in a convolution's words for it."""
    return F.pad(x, sides, mode="constant" if padding == "zeros" else padding)


def check_choice(key: str, given: str, choices: Collection[str]) -> None:
    if given not in choices:
        raise ValueError(f"{key}={given}, but it is one of {', '.join(choices)}")


def check_kernel(key: str, kernel: int) -> None:
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"{key}={kernel}, but a kernel must be odd, such as 3 or 5")
