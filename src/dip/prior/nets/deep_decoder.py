"""The Deep Decoder of Heckel and Hand (arXiv:1810.03982): no encoder, and no convolution larger than 1x1."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from annotated_types import MinLen
from torch import Tensor, nn

from dip.errors import UserError
from dip.options import checked
from dip.prior.nets import layers


@checked
class DeepDecoder(nn.Module):
    """Enlarges a small input: (N, in_channels, ceil(H / 2^n), ceil(W / 2^n)) -> (N, out_channels, H, W).

    n + 1 layers mix the channels of each pixel; all but the last then double the size; ReLU and batch norm follow
    (equation 1). Raises UserError for an input of another size.

    >>> import torch
    >>> network = DeepDecoder(in_channels=4, out_channels=3, size=[20, 30], features=[8, 8, 8])
    >>> network(torch.rand(1, 4, 5, 8)).shape
    torch.Size([1, 3, 20, 30])
    """

    def __init__(
        self,
        in_channels: layers.Features,
        out_channels: layers.Features,
        size: Sequence[int],  # height and width of the output
        features: Annotated[Sequence[layers.Features], MinLen(2), "there are two layers or more"],  # of each layer
        up_sampling: layers.UpSampling = "bilinear",
        output: layers.Output = "sigmoid",
    ):
        super().__init__()
        self.up_sampling: layers.UpSampling = up_sampling
        # The height and width in each layer, from the input's to the output's.
        self.sizes = [[-(-side // 2**level) for side in size] for level in reversed(range(len(features)))]
        self.mix = nn.ModuleList(nn.Conv2d(i, o, 1, bias=False) for i, o in pairwise([in_channels, *features]))
        self.normalize = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.BatchNorm2d(width, track_running_stats=False)) for width in features
        )
        self.to_picture = nn.Conv2d(features[-1], out_channels, 1, bias=False)
        self.bound = layers.OUTPUTS[output]()

    def forward(self, x: Tensor) -> Tensor:
        self.check_size(*x.shape[-2:])
        for mix, normalize, (height, width) in zip(self.mix, self.normalize, self.sizes[1:], strict=False):
            x = normalize(layers.upsample2x(mix(x), self.up_sampling)[..., :height, :width])
        x = self.normalize[-1](self.mix[-1](x))
        return self.bound(self.to_picture(x).float())  # bfloat16 is too coarse for a picture

    def check_size(self, height: int, width: int) -> None:
        expected_height, expected_width = self.sizes[0]
        if (height, width) != (expected_height, expected_width):
            raise UserError(
                f"a deep decoder of {len(self.sizes)} layers starts from {expected_width}x{expected_height}, but the "
                f"input has {width}x{height}; set input.reduction={2 ** (len(self.sizes) - 1)}"
            )
