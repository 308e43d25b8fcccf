"""The encoder-decoder with skip connections of Ulyanov et al., "Deep Image Prior" (arXiv:1711.10925, section 4)."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import torch
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from dip.errors import UserError
from dip.options import checked
from dip.prior.nets import layers


class NoSkip(nn.Module):
    """A skip connection without features: (N, C, H, W) -> (N, 0, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :0]


@checked
class Skip(nn.Module):
    """Hourglass with a 1x1 convolution in each skip connection: (N, in_channels, H, W) -> (N, out_channels, H, W).

    `down`, `up` and `skip` have one number for each scale, from the full size down. Any H and W above 2^scales work.

    >>> network = Skip(in_channels=2, out_channels=3, down=[8, 16], up=[8, 16], skip=[4, 0])
    >>> network(torch.rand(1, 2, 20, 30)).shape
    torch.Size([1, 3, 20, 30])
    """

    def __init__(
        self,
        in_channels: layers.Features,
        out_channels: layers.Features,
        down: layers.Widths,  # features of the encoder
        up: layers.Widths,  # of the decoder
        skip: Annotated[Sequence[Annotated[int, Ge(0)]], MinLen(1), "0 is no connection"],  # of the skip connections
        down_kernel: layers.Kernel = 3,
        up_kernel: layers.Kernel = 3,
        down_sampling: layers.DownSampling = "stride",  # of the convolution, or what follows it
        up_sampling: layers.UpSampling = "bilinear",
        up_1x1: bool = True,  # a 1x1 convolution after the decoder's
        negative_slope: float = 0.2,  # of the LeakyReLU
        padding: layers.Padding = "reflect",
        output: layers.Output = "sigmoid",
    ):
        super().__init__()
        if not len(down) == len(up) == len(skip):
            raise UserError(
                f"model.down, model.up and model.skip have {len(down)}, {len(up)} and {len(skip)} numbers; "
                "give each of them one for every scale"
            )
        self.up_sampling: layers.UpSampling = up_sampling
        conv = partial(layers.conv_norm_act, padding=padding, negative_slope=negative_slope)
        self.skips, self.downs, self.ups = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        entering = [in_channels, *down[:-1]]  # features that enter each scale from above
        rising = [*up[1:], down[-1]]  # features that come up to it from below
        # Scale by scale, since the initial weights are drawn in the order of construction.
        for above, below, encoded, decoded, skipped in zip(entering, rising, down, up, skip, strict=True):
            joined = skipped + below
            self.skips.append(nn.Sequential(*conv(above, skipped, 1)) if skipped else NoSkip())
            halve = conv(above, encoded, down_kernel, down_sampling=down_sampling)
            self.downs.append(nn.Sequential(*halve, *conv(encoded, encoded, down_kernel)))
            norm = nn.BatchNorm2d(joined, track_running_stats=False)
            decode = [*conv(joined, decoded, up_kernel), *(conv(decoded, decoded, 1) if up_1x1 else ())]
            self.ups.append(nn.Sequential(norm, *decode))
        self.to_picture = nn.Conv2d(up[0], out_channels, 1)
        self.bound = layers.OUTPUTS[output]()

    def forward(self, x: Tensor) -> Tensor:
        self.check_size(*x.shape[-2:])
        skips, sizes = [], []
        for skip, down in zip(self.skips, self.downs, strict=True):
            skips.append(skip(x))  # (N, skip[scale], ceil(H / 2^scale), ceil(W / 2^scale))
            sizes.append(x.shape[-2:])
            x = down(x)
        for up in reversed(self.ups):
            height, width = sizes.pop()
            x = up(torch.cat([skips.pop(), layers.upsample2x(x, self.up_sampling)[..., :height, :width]], dim=1))
        return self.bound(self.to_picture(x).float())  # bfloat16 is too coarse for a picture

    def check_size(self, height: int, width: int) -> None:
        scales, side = len(self.downs), min(height, width)
        if side <= 2**scales:
            raise UserError(
                f"a picture of {width}x{height} is too small for {scales} scales, which need more than {2**scales} "
                "pixels a side; give model.down, model.up and model.skip fewer numbers"
            )
