"""Large holes: their colours, from runs on the reduced picture, as far as these agree."""

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dip.averages import deviation
from dip.metrics import biharmonic
from dip.regions import reduced_mask, reduced_size
from dip.texture import deep_holes


class CoarseFill(nn.Module):
    """A penalty on leaving the colours of large holes that short runs have found: (1, C, H, W) -> scalar.

    What runs with other seeds disagree on is the colours in the middle of a hole, which no known pixel is near to. So
    `members` runs on the picture whose sides are divided by `reduction`, of `share` of the run's steps each and with
    averages of this `decay`, come first, and the run keeps to what they agree on: the penalty is `weight` times the
    mean square difference from these colours of the output, as much reduced, in the holes. What is finer than that
    remains with the run itself. Where the result is the mean of several runs, all keep to the same colours, which
    `members` runs for each of them have found. In a hole in which the runs have a standard deviation of d and their
    mean is q from biharmonic inpainting, the colours are those of the mean with a weight of
    1 / (1 + d^2 / (trusted_sd * q)), and for the rest biharmonic inpainting's: runs that agree are trusted, the more so
    where it is far from them.
    target: (1, C, H, W); mask: (1, 1, H, W), 1 = known. weight: 0 is no such runs. depth: of the holes that get
    colours, in pixels at least. `holds`: whether there is one, and at the smaller size of `max_side` enough is known;
    `found`: whether the runs are done, and it counts.
    """

    colours: Tensor
    deviation: Tensor
    inside: Tensor
    share_inside: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        target: Tensor,
        mask: Tensor,
        weight: float,
        depth: float,
        members: int,
        reduction: int,
        share: float,
        decay: float,
        trusted_sd: float,
    ):
        super().__init__()
        if weight < 0:
            raise ValueError(f"fill.weight={weight}, but it multiplies an error; 0 is no fill")
        if members < 1:
            raise ValueError(f"fill.members={members}, but the colours are the mean of at least one run")
        if reduction < 2:
            raise ValueError(f"fill.reduction={reduction}, but each side is divided by it; fill.weight=0 is no fill")
        if not 0 < share <= 1:
            raise ValueError(f"fill.share={share}, but it is a share of trainer.max_steps, above 0 and at most 1")
        if not 0 < decay < 1:
            raise ValueError(f"fill.decay={decay}, but it is the averages' of these runs, between 0 and 1")
        if trusted_sd <= 0:
            raise ValueError(f"fill.trusted_sd={trusted_sd}, but it is a standard deviation in [0, 1], above 0")
        self.target = target
        self.mask = mask
        self.weight = weight
        self.members = members
        self.reduction = reduction
        self.share = share
        self.decay = decay
        self.trusted_sd = trusted_sd
        self.holes = [hole.float() for hole in deep_holes(mask == 0, depth)] if weight > 0 else []
        self.register_buffer("inside", sum(self.holes, torch.zeros_like(mask)), persistent=False)
        for name in ("colours", "deviation", "share_inside", "rows", "columns"):  # until they are found
            self.register_buffer(name, torch.zeros_like(mask), persistent=False)
        height, width = mask.shape[-2:]
        self.max_side = max(ceil((height * width) ** 0.5 / reduction), 8)
        reduced = reduced_mask(mask, reduced_size(height, width, self.max_side))
        self.holds = bool(self.inside.any() and reduced.mean() > mask.mean() / 2)
        self.found = False

    def keep_to(self, drawn: Tensor) -> None:
        """From now on it counts. drawn: (N, C, h, w), what each run has drawn.

        Their standard deviation stays in `deviation`, (1, 1, H, W), their mean's weight in each hole in `trusts`.
        """
        height, width = self.inside.shape[-2:]
        self.found = True
        spread = deviation(drawn.var(dim=0, correction=0, keepdim=True))
        self.deviation = F.interpolate(spread, size=(height, width), mode="bilinear") * self.inside
        # As matrices, since not every device knows a deterministic gradient of the pooling.
        self.rows, self.columns = averaging(height, drawn.shape[-2]), averaging(width, drawn.shape[-1])
        self.share_inside = self.reduced(self.inside)
        mean, smooth = drawn.mean(dim=0, keepdim=True), self.reduced(biharmonic(self.target, self.mask))
        self.trusts = [self.trust(hole, mean - smooth) for hole in self.holes]
        trusted = torch.zeros_like(self.inside)
        for hole, trust in zip(self.holes, self.trusts, strict=True):
            trusted += trust * hole
        trust = self.reduced(trusted) / self.share_inside.clamp(min=1e-6)
        self.colours = smooth + trust * (mean - smooth)

    def trust(self, hole: Tensor, difference: Tensor) -> float:
        """The weight of the runs' mean in a hole, (1, 1, H, W). difference: of it from biharmonic inpainting."""
        share = self.reduced(hole)
        squared = (share * difference.square().mean(dim=1, keepdim=True)).sum() / share.sum()
        variance = (hole * self.deviation.square()).sum() / hole.sum()
        return (1 / (1 + variance / (self.trusted_sd * squared.sqrt()).clamp(min=1e-12))).item()

    def reduced(self, picture: Tensor) -> Tensor:
        return self.rows @ picture.to(self.rows.dtype) @ self.columns.T  # float64 in double precision

    def forward(self, output: Tensor) -> Tensor:
        with torch.autocast(output.device.type, enabled=False):
            error = self.reduced(output) - self.colours
            share = self.share_inside
            return self.weight * (share * error.square()).sum() / (share.sum() * output.shape[1])


def averaging(size: int, smaller: int) -> Tensor:
    """Each value of a line as the mean of those it stands for: (smaller, size)."""
    return F.adaptive_avg_pool1d(torch.eye(size), smaller).T.contiguous()
