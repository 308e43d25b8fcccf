"""Super-resolution: the measurement is the picture, reduced."""

from functools import cached_property

import torch
from torch import Tensor, nn

from dip.image.resize import Factor, Kernel, enlarge, reducing
from dip.options import checked
from dip.prior.operators.operator import Operator


@checked
class Downsample(Operator):
    """Reduce a picture with an antialiased filter: (1, C, factor h, factor w) -> (1, C, h, w).

    >>> Downsample(torch.rand(1, 3, 8, 10), factor=4, kernel="box")(torch.ones(1, 3, 32, 40)).mean().item()
    1.0
    """

    baseline, puts_back = "lanczos", True

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
        rows, columns = self.inverses
        return picture + rows @ (measurement - self(picture)) @ columns.T

    @cached_property
    def inverses(self) -> tuple[Tensor, Tensor]:
        return torch.linalg.pinv(self.rows), torch.linalg.pinv(self.columns)

    def classical(self, measurement: Tensor, mask: Tensor) -> Tensor:
        height, width = measurement.shape[-2:]
        return enlarge(measurement, (self.factor * height, self.factor * width)).clamp(0, 1)
