"""What a picture repeats: groups of similar patches have few large singular values."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

STRIP = 64  # rows whose patches are in memory at once; of more than three channels fewer
AT_ONCE = 32  # rows of a matrix up to which PyTorch decomposes many at once on a GPU; larger ones one after another
PRODUCTS = 40  # each multiplies an eigenvalue near the threshold by 1.5, and 1.5**40 is 1e7, the precision of float32
TINY = 1e-6  # far below a threshold's square; LAPACK finds NaN in some matrices that are nearly zero


@dataclass(frozen=True)
class Groups:
    """Groups of the patches that are most like one patch, which keep their large singular values only.

    A group is a matrix with a row for each patch. Shrunk patches go back to their places, where their mean counts.
    """

    patch: int  # side of a patch, in pixels
    stride: int  # from one group's first patch to the next
    radius: int  # how far away a group's patches may lie
    similar: int  # patches of a group, no more than there are places within the radius

    def shrink_all(self, picture: Tensor, like: Tensor, threshold: float) -> Tensor:
        """Shrink the groups of a whole picture, (1, C, H, W), whose patches are compared in another of that size."""
        height, width = picture.shape[-2:]
        picture, like = self.fitted(picture), self.fitted(like)
        grid = [(side - self.patch) // self.stride + 1 for side in picture.shape[-2:]]
        touches = torch.ones(*grid, dtype=torch.bool, device=picture.device)
        return self.shrink(picture, touches, self.search(like, touches), threshold)[..., :height, :width]

    def fitted(self, picture: Tensor) -> Tensor:
        """The picture with as many more rows and columns as its grid of patches covers."""
        down, right = (max(-(side - self.patch) % self.stride, self.patch - side) for side in picture.shape[-2:])
        return F.pad(picture, (0, right, 0, down), mode="replicate")

    def strips(self, touches: Tensor, channels: int) -> Iterator[tuple[slice, slice, Tensor]]:
        """A few rows of the grid at a time: which, those of the picture where their groups lie, and which groups."""
        of_group, rows = touches.nonzero()[:, 0], max(3 * STRIP // max(channels, 3) // self.stride, 1)
        for first in range(0, len(touches), rows):
            mine = (of_group >= first) & (of_group < first + rows)
            if mine.any():
                top, bottom = self.stride * first - self.radius, self.stride * (first + rows) + self.radius
                yield slice(first, first + rows), slice(max(top, 0), bottom + self.patch), mine

    def search(self, picture: Tensor, touches: Tensor) -> Tensor:
        """The `similar` patches most like each group's first: (groups, similar), numbered along the rows.

        touches: which patches of the grid are a group's first, those that touch the hole.
        """
        height, width = (side - self.patch + 1 for side in picture.shape[-2:])
        reach = range(-self.radius, self.radius + 1)
        shifts = torch.tensor([(down, right) for down in reach for right in reach], device=picture.device)
        around, found = F.pad(picture, 4 * [self.radius], mode="replicate"), []
        for rows, _, mine in self.strips(touches, picture.shape[1]):
            distances = self.distances(picture, around, touches, rows)
            corners = self.stride * touches.nonzero()[mine]
            moved = corners + shifts[:, None]
            inside = ((moved >= 0) & (moved < moved.new_tensor([height, width]))).all(dim=2)
            best = distances.where(inside, torch.inf).topk(self.similar, dim=0, largest=False)
            # (similar, groups, 2); a small picture has too few, and its first patch stands in for the others.
            places = corners + shifts[best.indices] * best.values.isfinite()[..., None]
            found.append((places[..., 0] * width + places[..., 1]).T)
        return torch.cat(found)

    def distances(self, picture: Tensor, around: Tensor, touches: Tensor, rows: slice) -> Tensor:
        """How far each group's first patch in some rows of the grid is from the one at each shift: (shifts, groups)."""
        first, touches = self.stride * rows.start, touches[rows]
        own = picture[..., first : first + self.stride * (len(touches) - 1) + self.patch, :]
        height, width = own.shape[-2:]
        found, places = [], 2 * self.radius + 1
        for down in range(places):  # all shifts to the right at once, which saves a GPU a thousand launches
            lines = around[0, :, first + down : first + down + height]
            others = lines.unfold(2, width, 1)  # (C, height, places, width)
            difference = (own[0, :, :, None] - others).square().sum(dim=0).transpose(0, 1)
            found.append(F.avg_pool2d(difference[:, None], self.patch, self.stride)[:, 0, touches])
        return torch.cat(found)

    def shrink(self, picture: Tensor, touches: Tensor, members: Tensor, threshold: float) -> Tensor:
        """The mean of all patches whose groups have kept their large singular values; elsewhere the picture."""
        total, count = torch.zeros_like(picture), torch.zeros_like(picture[:, :1])
        for _, rows, mine in self.strips(touches, picture.shape[1]):
            first = rows.start * (picture.shape[-1] - self.patch + 1)
            strip, weight = self.shrink_strip(picture[:, :, rows], members[mine] - first, threshold)
            total[:, :, rows] += strip
            count[:, :, rows] += weight
        return torch.where(count > 0, total / count.clamp(min=1e-6), picture)

    def shrink_strip(self, picture: Tensor, members: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
        """The sum of the shrunk patches of some groups, (1, C, H, W), and their weights, (1, 1, H, W)."""
        size = picture.shape[-2:]
        patches = F.unfold(picture, self.patch)[0].T.contiguous()  # (places, C * patch * patch)
        groups = patches[members]  # (groups, similar, C * patch * patch)
        shrunk = projectors(groups @ groups.mT, threshold**2) @ groups  # eigenvalues are squared singular values
        places = members.flatten()
        total = torch.zeros_like(patches).index_add_(0, places, shrunk.flatten(0, 1))
        count = torch.bincount(places, minlength=len(patches)).to(picture.dtype)
        margin, rows = self.patch - 1, size[0] - self.patch + 1
        spread = F.pad(count.view(1, 1, rows, -1), (margin, margin, margin, margin))
        return F.fold(total.T[None], size, self.patch), F.avg_pool2d(spread, self.patch, 1) * self.patch**2


@dataclass(frozen=True)
class GroupSparse(Groups):
    """Draws a hole anew from similar patches, round by round.

    The groups of all patches that touch the hole are shrunk, and known pixels are put back. The threshold falls from
    round to round. That is group-based sparse representation (GSR, arXiv:1405.3351) in a plain loop, where the paper
    solves it by split Bregman iteration.
    """

    rounds: int
    relaxation: float  # how far a round goes towards what it has found; 1 is all the way
    first_threshold: float  # of a singular value; pixel values lie between 0 and 1
    last_threshold: float

    def __call__(self, picture: Tensor, target: Tensor, mask: Tensor) -> Iterator[Tensor]:
        """The picture (1, C, H, W) after each round; mask: (1, 1 or C, H, W), 1 = known; its target (1, C, H, W)."""
        picture, hole = torch.where(mask == 1, target, picture), (mask < 1).any(dim=1, keepdim=True)
        rows, columns = self.near(hole)
        near, known, values = (each[..., rows, columns] for each in (picture, mask == 1, target))
        for part in self.rounds_of(near, hole[..., rows, columns], lambda drawn: torch.where(known, values, drawn)):
            picture = picture.clone()
            picture[..., rows, columns] = part
            yield picture

    def near(self, hole: Tensor) -> tuple[slice, slice]:
        """The rows and columns of all patches that may be in a group."""
        reach = self.radius + self.patch
        lines = (hole.any(dim=other)[0, 0].nonzero() for other in (3, 2))
        first, last = zip(*((int(each.min()), int(each.max())) for each in lines), strict=True)
        return slice(max(first[0] - reach, 0), last[0] + reach), slice(max(first[1] - reach, 0), last[1] + reach)

    def rounds_of(self, picture: Tensor, hole: Tensor, put_back: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """The picture (1, C, H, W) after each round, in which `put_back` has put back what is known of it.

        hole: (1, 1, H, W), boolean; only groups whose first patch touches it are shrunk.
        """
        height, width = picture.shape[-2:]
        padded = self.fitted(picture)
        touches = F.max_pool2d(self.fitted(hole.float()), self.patch, self.stride)[0, 0] == 1
        members = self.search(padded, touches)
        for number in range(self.rounds):
            falling = number / max(self.rounds - 1, 1)
            threshold = self.first_threshold * (self.last_threshold / self.first_threshold) ** falling
            found = padded.lerp(self.shrink(padded, touches, members, threshold), self.relaxation)
            picture = put_back(found[..., :height, :width])
            padded = self.fitted(picture)
            yield picture


def projectors(matrices: Tensor, least: float) -> Tensor:
    """The projectors (N, K, K) onto those eigenvectors of symmetric matrices whose eigenvalues are `least` or more."""
    if matrices.is_cuda and matrices.shape[-1] > AT_ONCE:
        return projectors_by_products(matrices, least)
    values, vectors = eigenvectors(matrices + TINY * torch.eye(matrices.shape[-1], device=matrices.device))
    return vectors * (values >= least)[:, None] @ vectors.mT


def projectors_by_products(matrices: Tensor, least: float) -> Tensor:
    """The same by matrix products alone, from the matrix sign function (Newton-Schulz iteration)."""
    identity = torch.eye(matrices.shape[-1], device=matrices.device)
    sign = matrices - least * identity
    sign = sign / torch.linalg.matrix_norm(sign)[:, None, None]
    for _ in range(PRODUCTS):
        sign = torch.baddbmm(sign, sign, sign @ sign, beta=1.5, alpha=-0.5)
    return (identity + sign) / 2


def eigenvectors(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalues (N, K) and eigenvectors (N, K, K) of symmetric matrices; on a CPU LAPACK uses one thread."""
    if matrices.is_cuda:
        return torch.linalg.eigh(matrices)
    threads = torch.get_num_threads()
    values, vectors = zip(*workers(threads).map(torch.linalg.eigh, matrices.chunk(threads)), strict=True)
    return torch.cat(values), torch.cat(vectors)


@cache
def workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)
