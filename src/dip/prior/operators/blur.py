"""Deblurring: the measurement is the picture, blurred."""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from dip.errors import UserError
from dip.image.files.opening import open_picture
from dip.image.tensors import drawn_values
from dip.options import checked
from dip.prior.losses import blurred
from dip.prior.operators.operator import Operator


@checked
class Blur(Operator):
    """Blur a picture by a Gaussian, or by the kernel in a file, with replicated edges: (1, C, H, W) -> the same.

    >>> Blur(sd=1.0, kernel=None)(torch.ones(1, 3, 8, 10)).shape
    torch.Size([1, 3, 8, 10])
    """

    def __init__(
        self,
        sd: Annotated[float, Gt(0), "in pixels"],
        kernel: str | None,  # a grey picture or an array, which is divided by its sum; None: a Gaussian
    ):
        super().__init__()
        found = gaussian(sd) if kernel is None else read_kernel(kernel)
        self.kernel = nn.Buffer(found[None, None], persistent=False)  # (1, 1, h, w)

    def forward(self, picture: Tensor) -> Tensor:
        channels = picture.shape[1]
        height, width = self.kernel.shape[-2:]
        top, left = (height - 1) // 2, (width - 1) // 2
        padded = F.pad(picture, (left, width - 1 - left, top, height - 1 - top), mode="replicate")
        return F.conv2d(padded.to(self.kernel.dtype), self.kernel.expand(channels, 1, -1, -1), groups=channels)


def gaussian(sd: float) -> Tensor:
    """The kernel of `blurred`, (h, w): what it makes of a single pixel."""
    reach = round(3 * sd)
    pixel = torch.zeros(1, 1, 2 * reach + 1, 2 * reach + 1)
    pixel[..., reach, reach] = 1
    return blurred(pixel, sd)[0, 0]


def read_kernel(path: str) -> Tensor:
    """The kernel of a convolution, (h, w), turned by 180 degrees for PyTorch's, which is a correlation."""
    values = torch.from_numpy(drawn_values(open_picture(path, "operator.kernel")).astype("float32")).mean(dim=2)
    if not (values >= 0).all() or not 0 < values.sum() < torch.inf:
        raise UserError(f"operator.kernel={path} must have values of 0 or more, and some above 0")
    return (values / values.sum()).flip(0, 1)
