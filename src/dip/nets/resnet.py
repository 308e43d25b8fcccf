"""The residual network of Ulyanov et al., "Deep Image Prior" (arXiv:1711.10925), after He et al. (arXiv:1512.03385)."""

from torch import Tensor, nn

from dip.nets.layers import OUTPUTS, PADDINGS, Same, check_choice, check_kernel, convolution


class ResNet(nn.Module):
    """`blocks` residual blocks at the full size: (N, in_channels, H, W) -> (N, out_channels, H, W).

    features: of every layer. kernel is odd. padding: "zeros", "reflect" or "replicate".
    output: "sigmoid" or "linear". Raises ValueError for an argument that breaks these rules.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        blocks: int,
        features: int,
        kernel: int = 3,
        negative_slope: float = 0.2,
        padding: str = "reflect",
        output: str = "sigmoid",
    ):
        super().__init__()
        if blocks < 1 or features < 1:
            raise ValueError(f"model.blocks={blocks} and model.features={features}, but each is at least 1")
        check_kernel("model.kernel", kernel)
        check_choice("model.padding", padding, PADDINGS)
        check_choice("model.output", output, OUTPUTS)
        self.enter = nn.Sequential(
            *convolution(in_channels, features, kernel, padding, "none", negative_slope=negative_slope)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *convolution(features, features, kernel, padding, negative_slope=negative_slope),
                *convolution(features, features, kernel, padding)[:-1],
            )
            for _ in range(blocks)
        )
        self.leave = nn.Sequential(*convolution(features, features, kernel, padding)[:-1])
        self.to_picture = Same(features, out_channels, kernel, padding)
        self.bound = OUTPUTS[output]()

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = x + block(x)
        return self.bound(self.to_picture(self.leave(x)).float())  # bfloat16 is too coarse for a picture
