"""The U-Net of T. Lemsky, "Reimplementing Deep Image Prior" (2022), after Ronneberger et al. (arXiv:1505.04597)."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dip.nets.layers import (
    NORMS,
    OUTPUTS,
    PADDINGS,
    UP_SAMPLINGS,
    check_choice,
    check_kernel,
    convolution,
    pad,
    twice,
)


class UNet(nn.Module):
    """Encoder and decoder of `depth` levels with skip connections: (N, in_channels, H, W) -> (N, out_channels, H, W).

    widths: features per level from the full size down; the first `depth` count, and the last repeats if there are
    fewer. Kernels are odd. Any H and W above 2^(depth - 1) work.
    up_sampling: "nearest" as published, or "bilinear". norm: "batch" as published, "layer" (over features and pixels)
    or "none". negative_slope: of the LeakyReLU. padding: "zeros" as published, "reflect" or "replicate".
    skip_connections: False leaves an autoencoder.
    output: "linear" as published, without bound, or "sigmoid", which stays within (0, 1).
    output_gain: what the initial weights of the last convolution are multiplied by. As published (1) the untrained
    network draws patches of strong colour, and one that lies in the hole stays there, since no known pixel objects;
    with a small gain it draws a plain grey, and whatever appears in the hole has been learned.
    activation_checkpointing: a level keeps its inputs for the backward pass and computes what lies within anew (Chen et
    al., arXiv:1604.06174): less memory, one more forward pass, the same gradients.
    Raises ValueError for an argument that breaks these rules, and for a picture that is too small.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        depth: int,
        widths: Sequence[int],
        encoder_kernel: int = 3,
        decoder_kernel: int = 5,
        up_sampling: str = "nearest",
        norm: str = "batch",
        negative_slope: float = 0.01,
        padding: str = "zeros",
        skip_connections: bool = True,
        output: str = "linear",
        output_gain: float = 1.0,
        activation_checkpointing: bool = False,
    ):
        super().__init__()
        if depth < 1:
            raise ValueError(f"model.depth={depth}, but a U-Net has at least one level; set model.depth=1 or more")
        if not widths or min(widths) < 1:
            raise ValueError(f"model.widths={list(widths)}, but every level has at least one feature")
        check_kernel("model.encoder_kernel", encoder_kernel)
        check_kernel("model.decoder_kernel", decoder_kernel)
        check_choice("model.up_sampling", up_sampling, UP_SAMPLINGS)
        check_choice("model.norm", norm, NORMS)
        check_choice("model.padding", padding, PADDINGS)
        check_choice("model.output", output, OUTPUTS)
        if output_gain <= 0:
            raise ValueError(
                f"model.output_gain={output_gain}, but a network that starts at zero or below cannot learn"
            )
        self.depth = depth
        self.padding = padding
        self.skip_connections = skip_connections
        self.activation_checkpointing = activation_checkpointing

        def two_convolutions(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
            return nn.Sequential(
                *convolution(in_channels, out_channels, kernel, padding, norm, negative_slope),
                *convolution(out_channels, out_channels, kernel, padding, norm, negative_slope),
            )

        levels = [widths[min(level, len(widths) - 1)] for level in range(depth)]
        joined = 2 if skip_connections else 1
        self.encode = nn.ModuleList(
            two_convolutions(i, o, encoder_kernel) for i, o in zip([in_channels, *levels], levels, strict=False)
        )
        self.grow = nn.ModuleList(
            Grow(levels[i + 1], levels[i], up_sampling, padding) for i in reversed(range(depth - 1))
        )
        self.decode = nn.ModuleList(
            two_convolutions(joined * levels[i], levels[i], decoder_kernel) for i in reversed(range(depth - 1))
        )
        self.to_picture = nn.Conv2d(levels[0], out_channels, 2)
        self.bound = OUTPUTS[output]()
        self.apply(initialise)
        with torch.no_grad():
            self.to_picture.weight.mul_(output_gain)

    def forward(self, x: Tensor) -> Tensor:
        self.check_size(*x.shape[-2:])
        skips = []
        for encode in self.encode[:-1]:
            x = self.keep(encode, x)  # (N, widths[level], ceil(H / 2^level), ceil(W / 2^level))
            skips.append(x)
            x = F.max_pool2d(x, 2, ceil_mode=True)
        x = self.keep(self.encode[-1], x)
        for grow, decode in zip(self.grow, self.decode, strict=True):
            x = self.keep(self.join, grow, decode, x, skips.pop())
        return self.bound(self.last(x).float())  # bfloat16 is too coarse for a picture

    def join(self, grow: nn.Module, decode: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
        """A level of the decoder: what comes from below, grown to the skip connection's size, and both decoded."""
        x = grow(x, skip.shape[-2:])
        return decode(torch.cat([x, skip], dim=1) if self.skip_connections else x)

    def last(self, x: Tensor) -> Tensor:
        """The 2x2 convolution that, as published, is padded below and to the right only."""
        if self.padding == "zeros":
            # Padded all round and cut: the convolution does that itself, without a copy of its input.
            return F.conv2d(x, self.to_picture.weight, self.to_picture.bias, padding=1)[..., 1:, 1:]
        return self.to_picture(pad(x, (0, 1, 0, 1), self.padding))

    def keep(self, level: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """level(*inputs), with everything kept for the backward pass, or the inputs only."""
        if self.activation_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(level, *inputs, use_reentrant=False, preserve_rng_state=False)  # pyright: ignore[reportReturnType]
        return level(*inputs)

    def check_size(self, height: int, width: int) -> None:
        side = min(height, width)
        if side <= 2 ** (self.depth - 1):
            deepest = (side - 1).bit_length()
            raise ValueError(
                f"a picture of {width}x{height} is too small for model.depth={self.depth}, which needs more than "
                f"{2 ** (self.depth - 1)} pixels a side; set model.depth={max(deepest, 1)} or less"
            )


class Grow(nn.Module):
    """Up-sampling and a 2x2 convolution: (N, C, ceil(H / 2), ceil(W / 2)) -> (N, C', H, W).

    The convolution takes one pixel away. Where H or W is even, one is added at the lower or right edge first.
    """

    spread: Tensor

    def __init__(self, in_channels: int, out_channels: int, up_sampling: str = "nearest", padding: str = "zeros"):
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 2)
        self.up_sampling = up_sampling
        self.padding = padding
        self.register_buffer("spread", spread_2x2_to_3x3(), persistent=False)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        even = (1 - size[0] % 2, 1 - size[1] % 2)
        if (self.up_sampling, self.padding) == ("nearest", "zeros"):
            return self.at_once(x, even)
        return self.convolution(pad(twice(x, self.up_sampling), (0, even[1], 0, even[0]), self.padding))

    def at_once(self, x: Tensor, even: tuple[int, int]) -> Tensor:
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


def spread_2x2_to_3x3() -> Tensor:
    """(4, 9): the weights of the transposed convolution in `Grow` from those of the 2x2 convolution."""
    spread = torch.zeros(2, 2, 3, 3)
    for row, column in itertools.product(range(2), repeat=2):
        spread[row, column, 1 - row : 3 - row, 1 - column : 3 - column] = 1
    return spread.view(4, 9)


def initialise(module: nn.Module) -> None:
    """He et al. (arXiv:1502.01852), scaled by the outputs, as published; biases start at zero."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
