"""The residual network of Ulyanov et al., "Deep Image Prior" (arXiv:1711.10925), after He et al. (arXiv:1512.03385)."""

from functools import partial
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from dip.options import checked
from dip.prior.nets import layers


@checked
class ResNet(nn.Module):
    """Residual blocks at full size: (N, in_channels, H, W) -> (N, out_channels, H, W).

    >>> import torch
    >>> network = ResNet(in_channels=2, out_channels=3, blocks=2, features=8)
    >>> network(torch.rand(1, 2, 20, 30)).shape
    torch.Size([1, 3, 20, 30])
    """

    def __init__(
        self,
        in_channels: layers.Features,
        out_channels: layers.Features,
        blocks: Annotated[int, Ge(1)],
        features: layers.Features,  # of every layer
        kernel: layers.Kernel = 3,
        negative_slope: float = 0.2,  # of the LeakyReLU
        padding: layers.Padding = "reflect",
        output: layers.Output = "sigmoid",
    ):
        super().__init__()
        conv = partial(layers.conv_norm_act, kernel=kernel, padding=padding)
        self.enter = nn.Sequential(*conv(in_channels, features, norm="none", negative_slope=negative_slope))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *conv(features, features, negative_slope=negative_slope),
                *conv(features, features)[:-1],  # without activation
            )
            for _ in range(blocks)
        )
        self.leave = nn.Sequential(*conv(features, features)[:-1])
        self.to_picture = layers.SameConv2d(features, out_channels, kernel, padding)
        self.bound = layers.OUTPUTS[output]()

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = x + block(x)
        return self.bound(self.to_picture(self.leave(x)).float())  # bfloat16 is too coarse for a picture
