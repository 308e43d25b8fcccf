"""Thin holes from what a picture repeats: groups of similar patches are sparse in a transform."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor

from dip.errors import UserError
from dip.options import checked

STRIP = 64  # rows whose patches are in memory at once


@checked
@dataclass(eq=False, repr=False)
class GroupSparse:
    """Draws a hole anew from similar patches, round by round.

    Each patch that touches the hole forms a group with the patches around it that are most like it. A 3D cosine
    transform of the group keeps its large coefficients only, the patches go back to their places, where their mean
    counts, and known pixels are put back. The threshold falls from round to round (group-based sparse representation,
    arXiv:1405.3351, with the transforms of BM3D, Dabov et al. 2007, in place of singular vectors).
    """

    patch: Annotated[int, Ge(2)]  # side of a patch, in pixels
    stride: Annotated[int, Ge(1)]  # from one group's first patch to the next
    radius: Annotated[int, Ge(1)]  # how far away a group's patches may lie
    similar: Annotated[int, Ge(2)]  # patches of a group
    rounds: Annotated[int, Ge(0), "0 leaves the output as it is"]
    rounds_per_search: Annotated[int, Ge(1)]
    first_threshold: Annotated[float, Gt(0)]  # of a coefficient; pixel values lie between 0 and 1
    last_threshold: Annotated[float, Gt(0)]

    def __post_init__(self) -> None:
        if self.similar > (places := (2 * self.radius + 1) ** 2):
            raise UserError(
                f"refine.similar={self.similar}, but within refine.radius={self.radius} there are {places} places; "
                "set a larger refine.radius"
            )

    def __call__(self, picture: Tensor, target: Tensor, mask: Tensor) -> Iterator[Tensor]:
        """The picture (1, C, H, W) after each round; mask: (1, 1, H, W), 1 = known, and its target (1, C, H, W)."""
        height, width = picture.shape[-2:]
        picture, target, mask = (self.fitted(each) for each in (picture, target, mask))
        known = mask == 1
        picture = torch.where(known, target, picture)
        touches = F.max_pool2d((~known).float(), self.patch, self.stride)[0, 0] == 1
        members = None
        for number in range(self.rounds):
            if members is None or number % self.rounds_per_search == 0:
                members = self.search(picture, touches)
            falling = number / max(self.rounds - 1, 1)
            threshold = self.first_threshold * (self.last_threshold / self.first_threshold) ** falling
            picture = torch.where(known, target, self.shrink(picture, touches, members, threshold))
            yield picture[..., :height, :width]

    def fitted(self, picture: Tensor) -> Tensor:
        """The picture with as many more rows and columns as its grid of patches covers."""
        down, right = (max(-(side - self.patch) % self.stride, self.patch - side) for side in picture.shape[-2:])
        return F.pad(picture, (0, right, 0, down), mode="replicate")

    def search(self, picture: Tensor, touches: Tensor) -> Tensor:
        """The `similar` patches most like each group's first: (groups, similar), numbered along the rows.

        touches: which patches of the grid are a group's first, those that touch the hole.
        """
        height, width = (side - self.patch + 1 for side in picture.shape[-2:])
        corners = self.stride * touches.nonzero()
        reach = range(-self.radius, self.radius + 1)
        shifts = torch.tensor([(down, right) for down in reach for right in reach], device=picture.device)
        distances = torch.full((len(shifts), len(corners)), torch.inf, device=picture.device)
        for number, (down, right) in enumerate(shifts.tolist()):
            moved = corners + shifts[number]
            inside = ((moved >= 0) & (moved < moved.new_tensor([height, width]))).all(dim=1)
            difference = (picture - picture.roll((-down, -right), (2, 3))).square().sum(dim=1, keepdim=True)
            likeness = F.avg_pool2d(difference, self.patch, self.stride)[0, 0]
            distances[number] = likeness[touches].where(inside, torch.inf)
        found = distances.topk(self.similar, dim=0, largest=False)
        # (similar, groups, 2); a small picture has too few, and its first patch stands in for the others.
        places = corners + shifts[found.indices] * found.values.isfinite()[..., None]
        return (places[..., 0] * width + places[..., 1]).T.contiguous()

    def shrink(self, picture: Tensor, touches: Tensor, members: Tensor, threshold: float) -> Tensor:
        """The mean of all patches whose groups have kept their large coefficients; elsewhere the picture."""
        height, width = picture.shape[-2:]
        total, count = torch.zeros_like(picture), torch.zeros_like(picture[:, :1])
        reach, tops = self.radius + self.patch, self.stride * touches.nonzero()[:, 0]
        for top in range(0, height, STRIP):
            mine = (tops >= top) & (tops < top + STRIP)
            if not mine.any():
                continue
            rows = slice(max(top - self.radius, 0), min(top + STRIP + reach, height))
            first = rows.start * (width - self.patch + 1)
            strip, weight = self.shrink_strip(picture[:, :, rows], members[mine] - first, threshold)
            total[:, :, rows] += strip
            count[:, :, rows] += weight
        return torch.where(count > 0, total / count.clamp(min=1e-6), picture)

    def shrink_strip(self, picture: Tensor, members: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
        """The sum of the shrunk patches of some groups, (1, C, H, W), and their weights, (1, 1, H, W)."""
        size, channels = picture.shape[-2:], picture.shape[1]
        patches = F.unfold(picture, self.patch)[0].T.contiguous()  # (places, C * patch * patch)
        groups = patches[members]  # (groups, similar, C * patch * patch)
        across, within = cosines(self.similar, picture), self.within(channels, picture)
        coefficients = across @ (groups @ within.T)
        kept = coefficients.abs() >= threshold
        kept[:, 0, 0] = True  # the mean
        shrunk = across.T @ (coefficients * kept) @ within
        places = members.flatten()
        total = torch.zeros_like(patches).index_add_(0, places, shrunk.flatten(0, 1))
        count = torch.bincount(places, minlength=len(patches)).to(picture.dtype)
        margin, rows = self.patch - 1, size[0] - self.patch + 1
        spread = F.pad(count.view(1, 1, rows, -1), (margin, margin, margin, margin))
        return F.fold(total.T[None], size, self.patch), F.avg_pool2d(spread, self.patch, 1) * self.patch**2

    def within(self, channels: int, like: Tensor) -> Tensor:
        """The transform of a patch over its channels, rows and columns: (C * patch * patch, the same)."""
        side = cosines(self.patch, like)
        return torch.kron(cosines(channels, like), torch.kron(side, side))


def cosines(length: int, like: Tensor) -> Tensor:
    """The orthonormal cosine transform (DCT-II) as a matrix: (length, length), of the type and device of `like`."""
    places = torch.arange(length, dtype=like.dtype, device=like.device)
    matrix = torch.cos(torch.pi / length * (places + 0.5) * places[:, None]) * (2 / length) ** 0.5
    matrix[0] /= 2**0.5
    return matrix
