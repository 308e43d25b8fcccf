"""Quilting: details for a hole in an even texture, in blocks of those around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from types import EllipsisType

import torch
import torch.nn.functional as F
from torch import Tensor

Place = tuple[EllipsisType, slice, slice]  # rows and columns of a (1, C, H, W)


@dataclass(frozen=True)
class Quilting:
    """Continues details into a hole, in overlapping blocks of known ones (Efros and Freeman, "Image quilting", 2001).

    They are blended with constant contrast (after Heitz and Neyret, "High-performance by-example noise", 2018).
    """

    block: int  # side of the blocks, in pixels
    overlap: int  # of neighbouring blocks, in pixels
    guide_weight: float  # of being unlike the guide; being unlike the details around counts 1

    def __call__(self, guide: Tensor, details: Tensor, mask: Tensor, inside: Tensor, around: Tensor) -> Tensor:
        """The details everywhere in the hole, from those around it; all (1, _, H, W), inside and around boolean."""
        ramp = ((torch.arange(self.block) + 0.5) / self.overlap).clamp(max=1)
        ramp = torch.minimum(ramp, ramp.flip(0))
        window = ramp[:, None] * ramp  # the weight of a block's pixels, which falls towards its edges: (side, side)
        allowed = valid_positions(around, self.block)
        energies = [values.square().sum(dim=1, keepdim=True) for values in (details, guide)]
        spectrum = torch.fft.rfft2(torch.cat([*energies, details, guide], dim=1))
        found, filled = details.clone(), mask.clone()
        places = cover_with_blocks(inside, self.block, self.overlap)
        while places:
            place = max(places, key=lambda candidate: filled[candidate].sum())  # the one with most to continue
            places.remove(place)
            query = self.block_query(guide[place], found[place], filled[place])
            costs = correlate(spectrum, query, mask.shape[-2:]).masked_fill(~allowed, torch.inf)
            row, column = divmod(int(costs.argmin()), costs.shape[1])
            block = details[..., row : row + self.block, column : column + self.block]
            blended = blend(found[place], block, filled[place], window)
            found[place] = torch.where(mask[place] == 1, found[place], blended)
            filled[place] = 1
        return found

    def block_query(self, guide: Tensor, details: Tensor, filled: Tensor) -> Tensor:
        """The weights whose sum over a candidate block is that block's cost: (1, 2 + 2 C, side, side).

        Their channels are the energies of details and guide, the details, and the guide. The cost is the mean square
        difference from `details`, where `filled` is 1, and from `guide`, without terms that all candidates share.
        """
        channels = guide.shape[1]
        of_details = filled / (channels * filled.sum().clamp(min=1))
        of_guide = torch.full_like(filled, self.guide_weight / (channels * self.block**2))
        return torch.cat([of_details, of_guide, -2 * of_details * details, -2 * of_guide * guide], dim=1)


def correlate(spectrum: Tensor, weights: Tensor, size: Sequence[int]) -> Tensor:
    """The valid cross-correlation with the weights: (1, C, h, w) -> (H - h + 1, W - w + 1).

    spectrum: `rfft2` of (1, C, H, W); size: H and W. A convolution with weights of this size takes many times as long.
    """
    height, width = (length - side + 1 for length, side in zip(size, weights.shape[-2:], strict=True))
    multiplied = (spectrum * torch.fft.rfft2(weights, s=tuple(size)).conj()).sum(dim=1)
    return torch.fft.irfft2(multiplied, s=tuple(size))[0, :height, :width]


def blend(old: Tensor, new: Tensor, filled: Tensor, window: Tensor) -> Tensor:
    """The new details over the old ones, with the contrast of either, whatever their correlation.

    old, new: (1, C, H, W) of mean 0; filled: (1, 1, H, W), 1 where there are old ones; window: (H, W), weight of `new`.
    """
    weight = torch.where(filled == 1, window, 1)
    likeness = F.cosine_similarity((filled * old).flatten(), (filled * new).flatten(), dim=0).clamp(min=0)
    variance = weight.square() + (1 - weight).square() + 2 * likeness * weight * (1 - weight)
    return (weight * new + (1 - weight) * old) / variance.sqrt()


def cover_with_blocks(inside: Tensor, side: int, overlap: int) -> list[Place]:
    """Overlapping squares that cover a boolean (1, 1, H, W); each holds some of it, and no two are the same."""

    def starts(span: slice, length: int) -> list[int]:
        wanted = range(span.start - overlap, span.stop, side - overlap)
        return list(dict.fromkeys(min(max(start, 0), length - side) for start in wanted))

    _, rows, columns = bounding_box(inside)
    height, width = inside.shape[-2:]
    corners = product(starts(rows, height), starts(columns, width))
    squares = [(..., slice(top, top + side), slice(left, left + side)) for top, left in corners]
    return [square for square in squares if inside[square].any()]


def valid_positions(region: Tensor, side: int) -> Tensor:
    """The upper left corners of the squares within a boolean (1, 1, H, W): (H - side + 1, W - side + 1), boolean."""
    return -F.max_pool2d(-region.float(), side, stride=1)[0, 0] == 1


def has_square(region: Tensor, side: int) -> bool:
    """Whether a square lies within a boolean (1, 1, H, W)."""
    return min(region.shape[-2:]) >= side and bool(valid_positions(region, side).any())


def bounding_box(region: Tensor) -> Place:
    """The rows and columns in which a boolean (1, 1, H, W) is true."""
    rows, columns = region[0, 0].any(dim=1).nonzero(), region[0, 0].any(dim=0).nonzero()
    return ..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
