"""The Deep Decoder of Heckel and Hand (arXiv:1810.03982): no convolution that looks at a neighbour, no encoder."""

from collections.abc import Sequence

from torch import Tensor, nn

from dip.nets.layers import OUTPUTS, UP_SAMPLINGS, check_choice, twice


class DeepDecoder(nn.Module):
    """From a small tensor to a picture by up-sampling: (N, in_channels, ceil(H / 2^n), ceil(W / 2^n)) -> (N, C, H, W).

    size: H and W. features: of each of the n + 1 layers. A layer mixes the features of each pixel (1x1 convolution),
    doubles the size, but for the last one, and normalizes after a ReLU (equation 1).
    Raises ValueError for an argument that breaks these rules, and for an input of another size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        features: Sequence[int],
        up_sampling: str = "bilinear",
        output: str = "sigmoid",
    ):
        super().__init__()
        if len(features) < 2 or min(features) < 1:
            raise ValueError(
                f"model.features={list(features)}, but there are two layers or more, of one feature or more"
            )
        check_choice("model.up_sampling", up_sampling, UP_SAMPLINGS)
        check_choice("model.output", output, OUTPUTS)
        self.up_sampling = up_sampling
        # From the input's size to the picture's.
        self.sizes = [[-(-side // 2**level) for side in size] for level in reversed(range(len(features)))]
        self.mix = nn.ModuleList(
            nn.Conv2d(i, o, 1, bias=False) for i, o in zip([in_channels, *features], features, strict=False)
        )
        self.normalize = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.BatchNorm2d(width, track_running_stats=False)) for width in features
        )
        self.to_picture = nn.Conv2d(features[-1], out_channels, 1, bias=False)
        self.bound = OUTPUTS[output]()

    def forward(self, x: Tensor) -> Tensor:
        if list(x.shape[-2:]) != self.sizes[0]:
            height, width = self.sizes[0]
            raise ValueError(
                f"a deep decoder of {len(self.sizes)} layers starts from {width}x{height}, but the input has "
                f"{x.shape[-1]}x{x.shape[-2]}; set input.reduction={2 ** (len(self.sizes) - 1)}"
            )
        for mix, normalize, (height, width) in zip(self.mix, self.normalize, self.sizes[1:], strict=False):
            x = normalize(twice(mix(x), self.up_sampling)[..., :height, :width])
        x = self.normalize[-1](self.mix[-1](x))
        return self.bound(self.to_picture(x).float())  # bfloat16 is too coarse for a picture
