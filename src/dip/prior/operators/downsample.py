"""Super-resolution: the measurement is the picture, reduced."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from dip.image.resize import enlarge, reducing
from dip.options import checked
from dip.prior.operators.operator import Operator

Factor = Annotated[int, Ge(2), Le(8), "each side is divided by it"]
Kernel = Literal["lanczos", "bicubic", "hamming", "bilinear", "box"]


@checked
class Downsample(Operator):
    """Reduce a picture with an antialiased filter: (1, C, factor h, factor w) -> (1, C, h, w).

    >>> Downsample(torch.rand(1, 3, 8, 10), factor=4, kernel="box")(torch.ones(1, 3, 32, 40)).mean().item()
    1.0
    """

    result, baseline, puts_back = "enlarged", "lanczos", True

    def __init__(self, target: Tensor, factor: Factor, kernel: Kernel):
        super().__init__()
        self.factor = factor
        height, width = target.shape[-2:]
        # As matrices, since not every device has a deterministic gradient of a resize.
        self.rows = nn.Buffer(reducing(factor * height, height, kernel), persistent=False)  # (h, H)
        self.columns = nn.Buffer(reducing(factor * width, width, kernel), persistent=False)  # (w, W)

    def forward(self, picture: Tensor) -> Tensor:
        return self.rows @ picture.to(self.rows.dtype) @ self.columns.T

    def put_back(self, picture: Tensor, measurement: Tensor) -> Tensor:
        missing = measurement - self(picture)
        return picture + torch.linalg.pinv(self.rows) @ missing @ torch.linalg.pinv(self.columns).T

    def classical(self, measurement: Tensor, mask: Tensor) -> Tensor:
        height, width = measurement.shape[-2:]
        return enlarge(measurement, (self.factor * height, self.factor * width)).clamp(0, 1)
