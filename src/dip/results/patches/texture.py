"""Texture synthesis for large holes in an even texture, from the known pixels around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from types import EllipsisType
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from dip.errors import UserError
from dip.image.holes import deep_holes, surroundings
from dip.options import checked
from dip.prior.losses import BlurSd, blurred, blurred_within

SECTORS, FILTERS = 8, 64  # by which `is_even` compares patches
Place = tuple[EllipsisType, slice, slice]  # rows and columns of a (1, C, H, W)


@checked
@dataclass(eq=False)
class Quilting:
    """Adds the texture around a large hole to an output's hole: (1, C, H, W) -> the same.

    Only a hole at least `blur_sd` deep, in an even texture (`is_even`) and with room for a block around it, gets any.
    Details are what a blur by `blur_sd` removes. They come from known pixels around the hole in overlapping blocks
    (Efros and Freeman, "Image quilting", 2001), which are blended with constant contrast (after Heitz and Neyret,
    "High-performance by-example noise", 2018).
    """

    target: Tensor  # (1, C, H, W)
    mask: Tensor  # (1, 1, H, W), 1 = known
    contrast: Annotated[float, Ge(0), "0 is no texture"]  # of the hole, as a fraction of its surroundings'
    variety_below: float  # of an even texture, which is alike on all sides of the hole
    kurtosis_below: float  # of an even texture, which has no single edges
    patch: Annotated[int, Ge(2)]  # side of the patches that `is_even` compares
    block: Annotated[int, Ge(2), "texture.contrast=0 is no texture"]  # side of the blocks that are copied
    overlap: Annotated[int, Ge(1)]  # of neighbouring blocks
    blur_sd: BlurSd
    guide_sd: BlurSd  # so blurred, a block's source is to be like the output
    guide_weight: Annotated[float, Ge(0), "0 is no guide"]  # of that; 1 weighs it like the details around a block

    def __post_init__(self) -> None:
        if self.overlap > self.block / 2:
            raise UserError(
                f"texture.overlap={self.overlap}, but it must be at most half of texture.block={self.block}"
            )
        self.holes: list[tuple[Tensor, Tensor]] = []  # each that gets texture, and where its blocks may come from
        height, width = self.mask.shape[-2:]
        known = self.mask == 1
        if self.contrast == 0 or min(height, width) < max(self.block, self.patch):
            return
        for inside in deep_holes(self.mask == 0, self.blur_sd):
            around, near = surroundings(inside, known, 2 * self.block), surroundings(inside, known, 3 * self.patch)
            has_room = bool(valid_positions(around, self.block).any())
            if has_room and is_even(self.target, inside, near, self.patch, self.variety_below, self.kurtosis_below):
                self.holes.append((inside, around))

    def __call__(self, output: Tensor) -> Tensor:
        pasted = torch.where(self.mask == 1, self.target, output)
        details, guide = pasted - blurred(pasted, self.blur_sd), blurred(pasted, self.guide_sd)
        output = output.clone()
        for inside, around in self.holes:
            box = bounding_box(inside | around)
            own, mask, hole = details[box], self.mask[box], inside[box]
            texture = self.quilt(guide[box], own * mask, mask, hole, around[box])
            textured = pasted[box] + self.gain(own, texture, hole) * texture
            output[box] = torch.where(hole, textured, output[box])
        return output

    def gain(self, own: Tensor, texture: Tensor, inside: Tensor) -> Tensor:
        """The factor of the texture that, with the output's own details, gives `contrast`: (1, 1, H, W).

        It takes the two for independent, so that their variances add up: that of the own details around each pixel, and
        that of the texture in the whole hole. So the texture is weak near known pixels, where the prior continues them.
        own, texture: (1, C, H, W); inside: (1, 1, H, W), boolean.
        """
        hole = inside.float()
        variance = (texture.square().mean(dim=1, keepdim=True) * hole).sum() / hole.sum()
        around = blurred_within(own.square().mean(dim=1, keepdim=True), hole, self.blur_sd)
        return (self.contrast**2 - around / variance.clamp(min=1e-12)).clamp(min=0).sqrt()

    def quilt(self, guide: Tensor, details: Tensor, mask: Tensor, inside: Tensor, around: Tensor) -> Tensor:
        """The details everywhere in the hole, from blocks of those around it; all (1, _, H, W)."""
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


def is_even(
    target: Tensor, inside: Tensor, around: Tensor, patch: int, variety_below: float, kurtosis_below: float
) -> bool:
    """Whether the known pixels around a hole are one even texture: alike on all sides, without single edges."""
    corners = valid_positions(around, patch)
    if not corners.any():
        return False
    # A generator of its own: what a hole gets depends on the picture, not on the seed.
    filters = torch.randn(FILTERS, target.shape[1], patch, patch, generator=torch.Generator().manual_seed(0))
    filters -= filters.mean(dim=(2, 3), keepdim=True)  # so that colours do not count
    filters /= filters.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
    responses = F.conv2d(target, filters)[0][:, corners]  # (filters, patches)
    rows, columns = corners.nonzero().T
    middle = inside[0, 0].nonzero().double().mean(dim=0) - (patch - 1) / 2
    angles = torch.atan2(rows - middle[0], columns - middle[1])
    centred = responses - responses.mean(dim=1, keepdim=True)
    kurtosis = centred.pow(4).mean(dim=1) / (centred.square().mean(dim=1).square() + 1e-12)  # 3: normal, more: edges
    return kurtosis.mean().item() < kurtosis_below and variety(responses, angles) < variety_below


def variety(responses: Tensor, angles: Tensor) -> float:
    """How much patches differ from side to side: 0 where all sides are alike, about 1 where none are.

    responses: (filters, patches); angles: (patches,), of the directions in which they lie. The mean over sectors and
    filters of the squared Wasserstein distance between a sector's responses and all, divided by the variance of all.
    """
    sectors = ((angles / torch.pi + 1) / 2 * SECTORS).long() % SECTORS
    levels = torch.linspace(0.005, 0.995, 100)
    everywhere, variance = quantiles(responses, levels), responses.var(dim=1)
    differences = [
        (quantiles(responses[:, sectors == sector], levels) - everywhere).square().mean(dim=1) / (variance + 1e-6)
        for sector in sectors.unique()
    ]
    return torch.stack(differences).mean().item()


def quantiles(values: Tensor, levels: Tensor) -> Tensor:
    """The quantiles of each row, at levels from 0 to 1: (N, values) -> (N, levels)."""
    ordered = values.sort(dim=1).values
    return ordered[:, (levels * (values.shape[1] - 1)).round().long()]


def bounding_box(region: Tensor) -> Place:
    """The rows and columns in which a boolean (1, 1, H, W) is true."""
    rows, columns = region[0, 0].any(dim=1).nonzero(), region[0, 0].any(dim=0).nonzero()
    return ..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
