"""Layers that several networks are made of, and the options that choose them."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen, Predicate
from torch import Tensor, nn

Features = Annotated[int, Ge(1)]
Widths = Annotated[Sequence[Features], MinLen(1), "with one number or more"]
Kernel = Annotated[int, Ge(1), Predicate(lambda side: side % 2 == 1), "kernels are odd, such as 3 or 5"]
Padding = Literal["zeros", "reflect", "replicate"]
UpSampling = Literal["nearest", "bilinear"]
DownSampling = Literal["stride", "average", "max", "lanczos"]
Norm = Literal["batch", "layer", "none"]
Output = Literal["linear", "sigmoid"]

OUTPUTS: dict[Output, Callable[[], nn.Module]] = {"linear": nn.Identity, "sigmoid": nn.Sigmoid}
# Batch norm uses the statistics of the one picture, in evaluation too: there is no other.
NORMS: dict[Norm, Callable[[int], nn.Module]] = {
    "batch": lambda features: nn.BatchNorm2d(features, track_running_stats=False),
    "layer": lambda features: nn.GroupNorm(1, features),
    "none": lambda features: nn.Identity(),
}


class SameConv2d(nn.Conv2d):
    """A convolution that keeps the size; with a stride of 2 it halves the size and rounds up.

    A level with too few pixels for padding="reflect" replicates its edge instead.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, padding: Padding = "zeros", stride: int = 1):
        super().__init__(in_channels, out_channels, kernel, stride, padding=kernel // 2, padding_mode=padding)

    def forward(self, input: Tensor) -> Tensor:
        margin = self.kernel_size[0] // 2
        if self.padding_mode == "reflect" and margin >= min(input.shape[-2:]):
            return F.conv2d(F.pad(input, 4 * (margin,), mode="replicate"), self.weight, self.bias, self.stride)
        return super().forward(input)


class Lanczos(nn.Module):
    """Halves the size with Lanczos' kernel of order two: (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""

    def __init__(self, features: int):
        super().__init__()
        offsets = torch.arange(-1.75, 2, 0.5)  # of the eight pixels around an output pixel, in output pixels
        taps = torch.sinc(offsets) * torch.sinc(offsets / 2)
        taps /= taps.sum()
        self.weight = nn.Buffer(torch.outer(taps, taps).expand(features, 1, 8, 8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (3, 3 + x.shape[-1] % 2, 3, 3 + x.shape[-2] % 2), mode="replicate")
        return F.conv2d(x, self.weight, stride=2, groups=x.shape[1])


DOWN_SAMPLINGS: dict[DownSampling | None, Callable[[int], nn.Module]] = {
    None: lambda features: nn.Identity(),
    "stride": lambda features: nn.Identity(),  # the convolution before it has the stride
    "average": lambda features: nn.AvgPool2d(2, ceil_mode=True),
    "max": lambda features: nn.MaxPool2d(2, ceil_mode=True),
    "lanczos": Lanczos,
}


def conv_norm_act(
    in_channels: int,
    out_channels: int,
    kernel: int,
    padding: Padding = "zeros",
    norm: Norm = "batch",
    negative_slope: float = 0.01,
    down_sampling: DownSampling | None = None,  # halves H and W and rounds up
) -> list[nn.Module]:
    """Convolution, down-sampling, norm and LeakyReLU: (N, in_channels, H, W) -> (N, out_channels, H, W)."""
    stride = 2 if down_sampling == "stride" else 1
    return [
        SameConv2d(in_channels, out_channels, kernel, padding, stride),
        DOWN_SAMPLINGS[down_sampling](out_channels),
        NORMS[norm](out_channels),
        nn.LeakyReLU(negative_slope, inplace=norm != "none"),
    ]


def upsample2x(x: Tensor, up_sampling: UpSampling) -> Tensor:
    """(N, C, H, W) -> (N, C, 2 H, 2 W)."""
    return F.interpolate(x, scale_factor=2, mode=up_sampling, align_corners=None if up_sampling == "nearest" else False)
