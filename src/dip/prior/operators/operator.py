"""What is measured of the picture that the network draws. A new operator is a subclass of `Operator`, or any callable.

The loss compares operator(output) with the measurement, so that the output is a picture that explains it.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dip.errors import UserError
from dip.image.metrics import biharmonic, noise_sd, non_local_means

LARGEST = 8  # how many times as long as those of its measurement a picture's sides can be


class Operator(nn.Module):
    """From a picture to what is measured of it: (1, C, H, W) -> (1, C, h, w)."""

    exact: ClassVar[bool] = False  # measured values are the picture's own, and stay in the result
    per_pixel: ClassVar[bool] = False  # each pixel is measured by itself, so that the mask's pixels are the picture's
    baseline: ClassVar[str | None] = None  # the name of `classical`
    puts_back: ClassVar[bool] = False  # whether it has `put_back`

    def forward(self, picture: Tensor) -> Tensor:
        raise NotImplementedError

    def __str__(self) -> str:
        return type(self).__name__.lower()

    def classical(self, measurement: Tensor, mask: Tensor) -> Tensor | None:
        """What a classical method makes of it, to compare with: (1, C, h, w), (1, 1 or C, h, w) -> (1, C, H, W)."""
        return None

    def put_back(self, picture: Tensor, measurement: Tensor) -> Tensor:
        """The picture that is nearest to this one, (1, C, H, W), of those with just this measurement, (1, C, h, w)."""
        raise NotImplementedError


class Mask(Operator):
    """Some pixels of the picture as they are: inpainting. Which ones the mask says."""

    exact, per_pixel, baseline = True, True, "biharmonic"

    def forward(self, picture: Tensor) -> Tensor:
        return picture

    def classical(self, measurement: Tensor, mask: Tensor) -> Tensor:
        return biharmonic(measurement, mask)


class Identity(Operator):
    """The picture with noise: denoising. The pixels of a hole are drawn too."""

    per_pixel, baseline = True, "non_local_means"

    def forward(self, picture: Tensor) -> Tensor:
        return picture

    def classical(self, measurement: Tensor, mask: Tensor) -> Tensor:
        filled = biharmonic(measurement, mask) if (mask == 0).any() else measurement
        return non_local_means(filled, noise_sd(measurement, mask))


class Custom(Operator):
    """Anybody's operator: a function, a module, or a deepinv physics, of which `A` measures without noise."""

    def __init__(self, operator: Any):
        super().__init__()
        self.operator = operator
        if not callable(self.measure):
            raise UserError(f"operator: {type(operator).__name__} cannot be called with a picture, and has no method A")

    @property
    def measure(self) -> Any:
        physics: Any = getattr(self.operator, "A", None)
        return physics if callable(physics) else self.operator

    def forward(self, picture: Tensor) -> Tensor:
        return self.measure(picture)


def picture_shape(operator: Operator, measurement: Tensor) -> tuple[int, int, int, int]:
    """The shape of the smallest picture whose measurement has the shape of this one, (1, C, h, w).

    Raises UserError where there is none.
    """
    channels, height, width = measurement.shape[1:]
    said = ""
    for scale in range(1, LARGEST + 1):
        shape = (1, channels, scale * height, scale * width)
        try:
            with torch.no_grad():
                found = tuple(operator(torch.zeros(shape)).shape)
        except Exception as error:  # an operator may be anybody's
            said = said or f"it refuses {shape}: {' '.join(str(error).split())}"
        else:
            if found == tuple(measurement.shape):
                return shape
            said = said or f"it makes {found} of {shape}"
    raise UserError(
        f"operator: no picture with sides 1 to {LARGEST} times as long has a measurement of "
        f"{tuple(measurement.shape)}; {said}"
    )
