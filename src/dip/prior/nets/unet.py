"""The U-Net of T. Lemsky, "Reimplementing Deep Image Prior" (2022), after Ronneberger et al. (arXiv:1505.04597)."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dip.errors import UserError
from dip.options import checked
from dip.prior.nets import layers


def double_conv(in_channels: int, out_channels: int, kernel: int, **options: Any) -> nn.Sequential:
    """Convolution, norm and LeakyReLU, twice: (N, in_channels, H, W) -> (N, out_channels, H, W)."""
    return nn.Sequential(
        *layers.conv_norm_act(in_channels, out_channels, kernel, **options),
        *layers.conv_norm_act(out_channels, out_channels, kernel, **options),
    )


class UpConv(nn.Module):
    """Up-sampling and a 2x2 convolution: (N, C, ceil(H / 2), ceil(W / 2)) -> (N, C', H, W).

    The convolution takes one pixel away. Where H or W is even, one is added at the lower or right edge first.
    """

    def __init__(
        self, features_in: int, features: int, up_sampling: layers.UpSampling = "nearest", padding: str = "zeros"
    ):
        super().__init__()
        self.convolution = nn.Conv2d(features_in, features, 2)
        self.up_sampling: layers.UpSampling = up_sampling
        self.padding = padding
        self.spread = nn.Buffer(spread_2x2_to_3x3(), persistent=False)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        even = (1 - size[0] % 2, 1 - size[1] % 2)
        if (self.up_sampling, self.padding) == ("nearest", "zeros"):
            return self.forward_fused(x, even)
        mode = "constant" if self.padding == "zeros" else self.padding
        return self.convolution(F.pad(layers.upsample2x(x, self.up_sampling), (0, even[1], 0, even[0]), mode))

    def forward_fused(self, x: Tensor, even: tuple[int, int]) -> Tensor:
        """All of it as one transposed convolution of the small picture.

        Nearest up-sampling spreads each pixel over 2x2, a 2x2 convolution over 2x2 again: 3x3 with a stride of 2.
        """
        weight, bias = self.convolution.parameters()  # (C', C, 2, 2), (C')
        spread = (weight.flatten(2) @ self.spread).unflatten(2, (3, 3)).transpose(0, 1)  # (C, C', 3, 3)
        x = F.conv_transpose2d(x, spread, stride=2, padding=1, output_padding=even)
        # The bias is added to whole rows of pixels: over single ones, and in conv_transpose2d itself, PyTorch takes
        # longer for it on a CPU, forward and backward, than for the convolution.
        rows = x.permute(0, 2, 3, 1).flatten(2)  # (N, H, W * C')
        rows = rows + bias.to(x.dtype).repeat(x.shape[-1])
        return rows.unflatten(2, (x.shape[-1], -1)).permute(0, 3, 1, 2)


@checked
class UNet(nn.Module):
    """Encoder and decoder with skip connections: (N, in_channels, H, W) -> (N, out_channels, H, W).

    Any H and W above 2^(depth - 1) work.

    >>> network = UNet(in_channels=3, out_channels=3, depth=3, widths=[8, 16], output="sigmoid")
    >>> network(torch.rand(1, 3, 20, 30)).shape
    torch.Size([1, 3, 20, 30])
    """

    def __init__(
        self,
        in_channels: layers.Features,
        out_channels: layers.Features,
        depth: Annotated[int, Ge(1)],  # number of levels
        widths: layers.Widths,  # features per level, from the full size down; the last one repeats
        encoder_kernel: layers.Kernel = 3,
        decoder_kernel: layers.Kernel = 5,
        up_sampling: layers.UpSampling = "nearest",
        norm: layers.Norm = "batch",  # "layer" is over features and pixels
        negative_slope: float = 0.01,  # of the LeakyReLU
        padding: layers.Padding = "zeros",
        skip_connections: bool = True,  # False leaves an autoencoder
        output: layers.Output = "linear",  # without bound, or in (0, 1)
        output_gain: Annotated[float, Gt(0)] = 1.0,  # scales the initial weights of the last convolution
        activation_checkpointing: bool = False,  # less memory, one more forward pass, the same gradients
    ):
        super().__init__()
        self.depth = depth
        self.padding = padding
        self.skip_connections = skip_connections
        self.activation_checkpointing = activation_checkpointing
        levels = [widths[min(level, len(widths) - 1)] for level in range(depth)]
        encoder = pairwise([in_channels, *levels])  # features into and out of each level
        decoder = list(pairwise(reversed(levels)))
        joined = 2 if skip_connections else 1
        conv = partial(double_conv, padding=padding, norm=norm, negative_slope=negative_slope)
        self.encode = nn.ModuleList(conv(*io, encoder_kernel) for io in encoder)
        self.grow = nn.ModuleList(UpConv(*io, up_sampling, padding) for io in decoder)
        self.decode = nn.ModuleList(conv(joined * o, o, decoder_kernel) for _, o in decoder)
        self.to_picture = nn.Conv2d(levels[0], out_channels, 2)
        self.bound = layers.OUTPUTS[output]()
        self.apply(initialise)
        # With a gain of 1, as published, the untrained network draws patches of strong colour. One that lies in the
        # hole stays there, since no known pixel objects. A small gain starts from plain grey.
        self.to_picture.weight.data.mul_(output_gain)

    def forward(self, x: Tensor) -> Tensor:
        self.check_size(*x.shape[-2:])
        skips = []
        for encode in self.encode[:-1]:
            x = self.run_level(encode, x)  # (N, widths[level], ceil(H / 2^level), ceil(W / 2^level))
            skips.append(x)
            x = F.max_pool2d(x, 2, ceil_mode=True)
        x = self.run_level(self.encode[-1], x)
        for grow, decode in zip(self.grow, self.decode, strict=True):
            x = self.run_level(self.join, grow, decode, x, skips.pop())
        return self.bound(self.convolve_last(x).float())  # bfloat16 is too coarse for a picture

    def join(self, grow: nn.Module, decode: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
        """A level of the decoder: enlarge `x` to the size of `skip`, concatenate, and decode."""
        x = grow(x, skip.shape[-2:])
        return decode(torch.cat([x, skip], dim=1) if self.skip_connections else x)

    def convolve_last(self, x: Tensor) -> Tensor:
        """The 2x2 convolution that, as published, is padded below and to the right only."""
        if self.padding == "zeros":
            # Padded all round and cut: the convolution does that itself, without a copy of its input.
            return F.conv2d(x, self.to_picture.weight, self.to_picture.bias, padding=1)[..., 1:, 1:]
        return self.to_picture(F.pad(x, (0, 1, 0, 1), self.padding))

    def run_level(self, level: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """level(*inputs); with activation checkpointing (Chen et al., arXiv:1604.06174) only the inputs are kept."""
        if self.activation_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(level, *inputs, use_reentrant=False, preserve_rng_state=False)  # pyright: ignore[reportReturnType]
        return level(*inputs)

    def check_size(self, height: int, width: int) -> None:
        deepest = deepest_for(min(height, width))
        if self.depth > deepest:
            raise UserError(
                f"a picture of {width}x{height} is too small for model.depth={self.depth}, which needs more than "
                f"{2 ** (self.depth - 1)} pixels a side; set model.depth={deepest} or less"
            )


def deepest_for(side: int) -> int:
    """The greatest depth of a U-Net for a picture whose shorter side has so many pixels."""
    return max((side - 1).bit_length(), 1)


def spread_2x2_to_3x3() -> Tensor:
    """(4, 9): turns the weights of the 2x2 convolution in `UpConv` into those of its transposed convolution."""
    spread = torch.zeros(2, 2, 3, 3)
    for row, column in product(range(2), repeat=2):
        spread[row, column, 1 - row : 3 - row, 1 - column : 3 - column] = 1
    return spread.view(4, 9)


def initialise(module: nn.Module) -> None:
    """He et al. (arXiv:1502.01852), scaled by the outputs, as published; biases start at zero."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
