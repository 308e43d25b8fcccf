"""The encoder-decoder with skip connections of Ulyanov et al., "Deep Image Prior" (arXiv:1711.10925, section 4)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dip.nets.layers import (
    DOWN_SAMPLINGS,
    OUTPUTS,
    PADDINGS,
    UP_SAMPLINGS,
    check_choice,
    check_kernel,
    convolution,
    twice,
)


class Skip(nn.Module):
    """Hourglass with a 1x1 convolution in each skip connection: (N, in_channels, H, W) -> (N, out_channels, H, W).

    down, up, skip: features per scale, from the full size down, of the encoder, of the decoder and of the skip
    connections, where 0 is no connection; one number for each scale. Kernels are odd.
    down_sampling: by the "stride" of a convolution, or after it the "average" or "max" of 2x2 pixels, or "lanczos".
    up_sampling: "nearest" or "bilinear". up_1x1: another convolution, 1x1, after the decoder's.
    padding: "zeros", "reflect" or "replicate". output: "sigmoid" or "linear". Any H and W above 2^scales work.
    Raises ValueError for an argument that breaks these rules, and for a picture that is too small.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        down: Sequence[int],
        up: Sequence[int],
        skip: Sequence[int],
        down_kernel: int = 3,
        up_kernel: int = 3,
        down_sampling: str = "stride",
        up_sampling: str = "bilinear",
        up_1x1: bool = True,
        negative_slope: float = 0.2,
        padding: str = "reflect",
        output: str = "sigmoid",
    ):
        super().__init__()
        if not len(down) == len(up) == len(skip) > 0:
            raise ValueError(
                f"model.down, model.up and model.skip have {len(down)}, {len(up)} and {len(skip)} numbers; "
                "give each of them one for every scale"
            )
        if min(*down, *up) < 1 or min(skip) < 0:
            raise ValueError(
                "model.down and model.up have at least one feature at every scale, model.skip none or more"
            )
        check_kernel("model.down_kernel", down_kernel)
        check_kernel("model.up_kernel", up_kernel)
        check_choice("model.down_sampling", down_sampling, [name for name in DOWN_SAMPLINGS if name != "none"])
        check_choice("model.up_sampling", up_sampling, UP_SAMPLINGS)
        check_choice("model.padding", padding, PADDINGS)
        check_choice("model.output", output, OUTPUTS)
        self.up_sampling = up_sampling

        def convolve(in_channels: int, out_channels: int, kernel: int, down_sampling: str = "none") -> list[nn.Module]:
            return convolution(in_channels, out_channels, kernel, padding, "batch", negative_slope, down_sampling)

        entering = [in_channels, *down]  # features that enter each scale
        rising = [*up[1:], down[-1]]  # features that come up to it
        self.skips, self.downs, self.ups = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i in range(len(down)):
            self.skips.append(nn.Sequential(*convolve(entering[i], skip[i], 1)) if skip[i] else Nothing())
            self.downs.append(
                nn.Sequential(
                    *convolve(entering[i], down[i], down_kernel, down_sampling),
                    *convolve(down[i], down[i], down_kernel),
                )
            )
            self.ups.append(
                nn.Sequential(
                    nn.BatchNorm2d(skip[i] + rising[i], track_running_stats=False),
                    *convolve(skip[i] + rising[i], up[i], up_kernel),
                    *(convolve(up[i], up[i], 1) if up_1x1 else ()),
                )
            )
        self.to_picture = nn.Conv2d(up[0], out_channels, 1)
        self.bound = OUTPUTS[output]()

    def forward(self, x: Tensor) -> Tensor:
        self.check_size(*x.shape[-2:])
        skips, sizes = [], []
        for skip, down in zip(self.skips, self.downs, strict=True):
            skips.append(skip(x))  # (N, skip[scale], ceil(H / 2^scale), ceil(W / 2^scale))
            sizes.append(x.shape[-2:])
            x = down(x)
        for up in reversed(self.ups):
            height, width = sizes.pop()
            x = up(torch.cat([skips.pop(), twice(x, self.up_sampling)[..., :height, :width]], dim=1))
        return self.bound(self.to_picture(x).float())  # bfloat16 is too coarse for a picture

    def check_size(self, height: int, width: int) -> None:
        scales, side = len(self.downs), min(height, width)
        if side <= 2**scales:
            raise ValueError(
                f"a picture of {width}x{height} is too small for {scales} scales, which need more than {2**scales} "
                "pixels a side; give model.down, model.up and model.skip fewer numbers"
            )


class Nothing(nn.Module):
    """A skip connection without features: (N, C, H, W) -> (N, 0, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :0]
