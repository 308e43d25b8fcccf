"""Large holes: the colours that short runs on the reduced picture agree on guide the run itself."""

from dataclasses import dataclass
from math import ceil
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from dip.image import metrics, resize
from dip.image.holes import deep_holes
from dip.prior.averages import of_pixels


@dataclass(frozen=True)
class ColourRuns:
    """Which short runs come before a run with a large hole, and how the run follows the colours that they find.

    Runs with other seeds disagree on the colours in the middle of a hole, which no known pixel is near to.
    """

    weight: Annotated[float, Ge(0), "0 is no guide"]  # of `ColourGuide`
    depth: float  # the least one in pixels of a hole that is guided
    members: Annotated[int, Ge(1)]  # short runs, for each ensemble member
    reduction: Annotated[int, Ge(2), "fill.weight=0 is no guide"]  # divides the sides of the picture
    share: Annotated[float, Gt(0), Le(1)]  # of the run's steps
    decay: Annotated[float, Gt(0), Lt(1)]  # of their averages
    trusted_sd: Annotated[float, Gt(0)]  # of `ColourGuide`

    def holes(self, mask: Tensor) -> list[Tensor]:
        """The holes that are guided, each (1, 1, H, W); none where too little would be known of the reduced picture."""
        if self.weight == 0:
            return []
        height, width = mask.shape[-2:]
        reduced = resize.reduce_mask(mask, resize.reduced_size(height, width, self.max_side(mask)))
        found = [hole.float() for hole in deep_holes(mask == 0, self.depth)]
        return found if reduced.mean() > mask.mean() / 2 else []

    def max_side(self, mask: Tensor) -> int:
        """The side in pixels of a square with as many pixels as the reduced picture."""
        return max(ceil(mask.numel() ** 0.5 / self.reduction), 8)

    def guide(self, target: Tensor, mask: Tensor, colours: Tensor) -> "ColourGuide":
        """colours: (N, C, h, w), the output of each short run."""
        return ColourGuide(target, mask, self.holes(mask), colours, self.weight, self.trusted_sd)


class ColourGuide(nn.Module):
    """A penalty on leaving the colours of large holes that short runs have found: (1, C, H, W) -> scalar.

    `weight` times the mean square difference of the output, reduced to their size, from these colours in the holes.
    target: (1, C, H, W); mask: (1, 1, H, W), 1 = known; holes: each (1, 1, H, W); outputs: (N, C, h, w), of the runs.
    """

    def __init__(
        self, target: Tensor, mask: Tensor, holes: list[Tensor], outputs: Tensor, weight: float, trusted_sd: float
    ):
        super().__init__()
        self.weight = weight
        self.trusted_sd = trusted_sd
        height, width = mask.shape[-2:]
        inside = sum(holes, torch.zeros_like(mask))
        spread = of_pixels(outputs.std(dim=0, correction=0, keepdim=True))
        spread = F.interpolate(spread, size=(height, width), mode="bilinear") * inside
        self.deviation = nn.Buffer(spread, persistent=False)  # of the runs, in the holes: (1, 1, H, W)
        # (h, H) and (w, W): as matrices, since not every device has a deterministic gradient of pooling.
        self.rows = nn.Buffer(averaging(height, outputs.shape[-2]), persistent=False)
        self.columns = nn.Buffer(averaging(width, outputs.shape[-1]), persistent=False)
        self.fraction_inside = nn.Buffer(self.reduce(inside), persistent=False)  # of each reduced pixel: (1, 1, h, w)
        mean, smooth = outputs.mean(dim=0, keepdim=True), self.reduce(metrics.biharmonic(target, mask))
        self.trusts = [self.trust(hole, mean - smooth) for hole in holes]
        trusted = sum((trust * hole for trust, hole in zip(self.trusts, holes, strict=True)), torch.zeros_like(inside))
        trust = self.reduce(trusted) / self.fraction_inside.clamp(min=1e-6)
        self.colours = nn.Buffer(smooth + trust * (mean - smooth), persistent=False)  # (1, C, h, w)

    def trust(self, hole: Tensor, difference: Tensor) -> float:
        """The weight of the runs' mean in a hole, 1 / (1 + d^2 / (trusted_sd * q)); biharmonic inpainting has the rest.

        d: the standard deviation of the runs; q: the root mean square of their mean's difference from the inpainting.
        """
        fraction = self.reduce(hole)
        squared = (fraction * difference.square().mean(dim=1, keepdim=True)).sum() / fraction.sum()
        variance = (hole * self.deviation.square()).sum() / hole.sum()
        return (1 / (1 + variance / (self.trusted_sd * squared.sqrt()).clamp(min=1e-12))).item()

    def reduce(self, picture: Tensor) -> Tensor:
        return self.rows @ picture.to(self.rows.dtype) @ self.columns.T  # float64 in double precision

    def forward(self, output: Tensor) -> Tensor:
        with torch.autocast(output.device.type, enabled=False):
            error = self.reduce(output) - self.colours
            fraction = self.fraction_inside
            return self.weight * (fraction * error.square()).sum() / (fraction.sum() * output.shape[1])


def averaging(size: int, smaller: int) -> Tensor:
    """The matrix (smaller, size) that averages the values of a line that each smaller one stands for."""
    return F.adaptive_avg_pool1d(torch.eye(size), smaller).T.contiguous()
