"""Large holes: colours and texture that occur around them, and no others."""

from collections.abc import Iterator, Sequence
from types import EllipsisType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dip.regions import by_depth, surroundings

SECTORS, FILTERS = 8, 64  # by which an even texture is told


class ColourRange(nn.Module):
    """A penalty on colours in large holes that do not occur around them: (1, C, H, W) -> scalar.

    `weight` times the mean square of what the output, blurred by `blur_sd` pixels, has in a hole above the largest and
    below the smallest value of each channel that the known pixels around it have, blurred too. So no coloured ellipse
    can stand where the known pixels say nothing. Only holes at least `blur_sd` deep count.
    target: (1, C, H, W); mask: (1, 1, H, W), 1 = known. weight: 0 is no penalty.
    """

    lowest: Tensor
    highest: Tensor
    inside: Tensor

    def __init__(self, target: Tensor, mask: Tensor, weight: float, blur_sd: float):
        super().__init__()
        if weight < 0:
            raise ValueError(f"penalty.weight={weight}, but it multiplies an error; 0 is no penalty")
        if blur_sd <= 0:
            raise ValueError(f"penalty.blur_sd={blur_sd}, but it is a standard deviation in pixels, above 0")
        self.weight = weight
        self.blur_sd = blur_sd
        known = (mask == 1).float()
        colours = blurred_within(target, known, blur_sd)
        for name, plane in (("lowest", target), ("highest", target), ("inside", mask)):
            self.register_buffer(name, torch.zeros_like(plane), persistent=False)
        for inside in deep_holes(mask == 0, blur_sd) if weight > 0 else ():
            around = surroundings(inside, mask == 1, 3 * blur_sd)
            if around.any():
                beside = colours[:, :, around[0, 0]]
                self.lowest += inside * beside.amin(dim=2)[..., None, None]
                self.highest += inside * beside.amax(dim=2)[..., None, None]
                self.inside += inside
        self.pixels = self.inside.sum().item()

    def forward(self, output: Tensor) -> Tensor:
        if self.pixels == 0:
            return output.new_zeros(())
        with torch.autocast(output.device.type, enabled=False):
            colours = blurred(output, self.blur_sd)
            beyond = (self.lowest - colours).relu() + (colours - self.highest).relu()
            return self.weight * (beyond * self.inside).square().sum() / (self.pixels * output.shape[1])


class Quilting:
    """Gives the large holes of an output the details of the texture around them: (1, C, H, W) -> the same.

    A hole gets them if it lies in an even texture: the patches around it are alike on all sides, with a `variety` of
    less than `variety_below`, and without single edges, with a `kurtosis` of less than `kurtosis_below`. Details are
    what a picture blurred by `blur_sd` pixels lacks. The output keeps its own, and gets as much of the texture as these
    lack of its contrast: little near the known pixels, where the prior continues them, and nearly all of it in the
    middle of a hole. The texture comes from the known pixels around the hole, in overlapping blocks, each from where
    its details continue those that are there already and the picture blurred by `guide_sd` pixels is like the output
    (Efros and Freeman, "Image quilting", 2001). Blocks fade into each other without a loss of contrast (after Heitz and
    Neyret, "High-performance by-example noise", 2018).
    A hole that is shallower than `blur_sd`, or without room for a block around it, gets none.
    target: (1, C, H, W); mask: (1, 1, H, W), 1 = known. contrast: of the hole, where 1 is that of the texture; 0
    is none. patch: the side, in pixels, of the patches by which an even texture is told. block, overlap: the side of a
    block, and how far it lies over the next. guide_weight: of being unlike the output, when blocks are chosen, where
    being unlike the details beside counts 1. `holes`: those that get texture, and where blocks may come from.
    """

    def __init__(
        self,
        target: Tensor,
        mask: Tensor,
        contrast: float,
        variety_below: float,
        kurtosis_below: float,
        patch: int,
        block: int,
        overlap: int,
        blur_sd: float,
        guide_sd: float,
        guide_weight: float,
    ):
        if contrast < 0:
            raise ValueError(f"texture.contrast={contrast}, but it is a share of the texture's; 0 is no texture")
        if patch < 2:
            raise ValueError(f"texture.patch={patch}, but it is at least 2")
        if block < 2:
            raise ValueError(f"texture.block={block}, but it is at least 2; texture.contrast=0 is no texture")
        if not 0 < overlap <= block / 2:
            raise ValueError(f"texture.overlap={overlap}, but it is above 0 and at most half of texture.block={block}")
        for key, sd in (("blur_sd", blur_sd), ("guide_sd", guide_sd)):
            if sd <= 0:
                raise ValueError(f"texture.{key}={sd}, but it is a standard deviation in pixels, above 0")
        if guide_weight < 0:
            raise ValueError(f"texture.guide_weight={guide_weight}, but it multiplies an error; 0 is no guide")
        self.target = target
        self.mask = mask
        self.contrast = contrast
        self.block = block
        self.overlap = overlap
        self.blur_sd = blur_sd
        self.guide_sd = guide_sd
        self.guide_weight = guide_weight
        self.holes: list[tuple[Tensor, Tensor]] = []
        known = mask == 1
        for inside in deep_holes(mask == 0, blur_sd) if contrast > 0 else ():
            around, near = surroundings(inside, known, 2 * block), surroundings(inside, known, 3 * patch)
            room = min(target.shape[-2:]) >= max(block, patch) and bool(wholly(around, block).any())
            if room and is_even(target, inside, near, patch, variety_below, kurtosis_below):
                self.holes.append((inside, around))

    def __call__(self, output: Tensor) -> Tensor:
        whole = torch.where(self.mask == 1, self.target, output)
        details, guide = whole - blurred(whole, self.blur_sd), blurred(whole, self.guide_sd)
        output = output.clone()
        for inside, around in self.holes:
            part = box_of(inside | around)
            own, mask, within = details[part], self.mask[part], inside[part]
            texture = self.quilt(guide[part], own * mask, mask, within, around[part])
            textured = whole[part] + self.lacking(own, texture, within) * texture
            output[part] = torch.where(within, textured, output[part])
        return output

    def lacking(self, own: Tensor, texture: Tensor, inside: Tensor) -> Tensor:
        """What the texture is multiplied by, so that with the output's own details it has the contrast: (1, 1, H, W).

        As if the two were independent, so that their variances add up: those of the own details around each pixel of
        the hole, and of the texture in all of it. own, texture: (1, C, H, W); inside: (1, 1, H, W), boolean.
        """
        hole = inside.float()
        variance = (texture.square().mean(dim=1, keepdim=True) * hole).sum() / hole.sum()
        around = blurred_within(own.square().mean(dim=1, keepdim=True), hole, self.blur_sd)
        return (self.contrast**2 - around / variance.clamp(min=1e-12)).clamp(min=0).sqrt()

    def quilt(self, guide: Tensor, details: Tensor, mask: Tensor, inside: Tensor, around: Tensor) -> Tensor:
        """The details everywhere in the hole, of blocks of those around it; all (1, _, H, W)."""
        window, allowed = faded(self.block, self.overlap), wholly(around, self.block)
        known, there, todo = details, mask.clone(), blocks(inside, self.block, self.overlap)
        details = details.clone()
        energies = [values.square().sum(dim=1, keepdim=True) for values in (known, guide)]
        seen = torch.fft.rfft2(torch.cat([*energies, known, guide], dim=1))
        while todo:
            here = max(todo, key=lambda place: there[place].sum())  # what continues most
            todo.remove(here)
            wanted = self.wanted(guide[here], details[here], there[here])
            costs = correlated(seen, wanted, mask.shape[-2:])
            row, column = divmod(int(costs.masked_fill(~allowed, torch.inf).argmin()), costs.shape[1])
            block = known[..., row : row + self.block, column : column + self.block]
            details[here] = torch.where(
                mask[here] == 1, details[here], blend(details[here], block, there[here], window)
            )
            there[here] = 1
        return details

    def wanted(self, guide: Tensor, details: Tensor, there: Tensor) -> Tensor:
        """What a block is to be like, as the weights by which a sum over it is its cost: (1, 2 + 2 C, side, side).

        They are of the energy of details and guide, of the details and of the guide. The cost is the mean square
        difference from the details, where `there` is 1, and from the guide, less what is the same for all blocks.
        """
        channels = guide.shape[1]
        beside = there / (channels * there.sum().clamp(min=1))
        like = torch.full_like(there, self.guide_weight / (channels * self.block**2))
        return torch.cat([beside, like, -2 * beside * details, -2 * like * guide], dim=1)


def correlated(spectrum: Tensor, weights: Tensor, size: Sequence[int]) -> Tensor:
    """The sum by these weights at each place, (1, C, h, w) -> (H - h + 1, W - w + 1), of what has that spectrum.

    Through the spectrum, since weights as large as a block take a convolution many times as long.
    spectrum: `rfft2` of (1, C, H, W); size: H and W.
    """
    height, width = (length - side + 1 for length, side in zip(size, weights.shape[-2:], strict=True))
    product = (spectrum * torch.fft.rfft2(weights, s=tuple(size)).conj()).sum(dim=1)
    return torch.fft.irfft2(product, s=tuple(size))[0, :height, :width]


def blend(old: Tensor, new: Tensor, there: Tensor, window: Tensor) -> Tensor:
    """The new details over the old ones, with the contrast of either, however like each other they are.

    old, new: (1, C, H, W) of mean 0; there: (1, 1, H, W), 1 where there are old ones; window: (H, W), of the new.
    """
    share = torch.where(there == 1, window, 1)
    likeness = F.cosine_similarity((there * old).flatten(), (there * new).flatten(), dim=0).clamp(min=0)
    variance = share.square() + (1 - share).square() + 2 * likeness * share * (1 - share)
    return (share * new + (1 - share) * old) / variance.sqrt()


Place = tuple[EllipsisType, slice, slice]


def blocks(inside: Tensor, side: int, overlap: int) -> list[Place]:
    """Overlapping squares that cover a boolean (1, 1, H, W), each with some of it, and no two the same."""
    _, rows, columns = box_of(inside)
    starts = [
        dict.fromkeys(
            min(max(start, 0), length - side) for start in range(span.start - overlap, span.stop, side - overlap)
        )
        for span, length in zip((rows, columns), inside.shape[-2:], strict=True)
    ]
    squares = [(..., slice(row, row + side), slice(column, column + side)) for row in starts[0] for column in starts[1]]
    return [square for square in squares if inside[square].any()]


def faded(side: int, overlap: int) -> Tensor:
    """The weight of a block, which falls towards its edges: (side, side)."""
    ramp = ((torch.arange(side) + 0.5) / overlap).clamp(max=1)
    ramp = torch.minimum(ramp, ramp.flip(0))
    return ramp[:, None] * ramp


def wholly(region: Tensor, side: int) -> Tensor:
    """Where a square of that side lies within a boolean (1, 1, H, W), by its first corner: (H', W'), boolean."""
    return -F.max_pool2d(-region.float(), side, stride=1)[0, 0] == 1


def deep_holes(region: Tensor, depth: float) -> Iterator[Tensor]:
    """The connected parts of a boolean (1, 1, H, W), one by one, that are at least so many pixels deep."""
    numbered, depths = by_depth(region[0, 0].numpy())
    for number in np.flatnonzero(depths[1:] >= depth) + 1:
        yield torch.from_numpy(numbered == number)[None, None]


def is_even(
    target: Tensor, inside: Tensor, around: Tensor, patch: int, variety_below: float, kurtosis_below: float
) -> bool:
    """Whether a hole lies in an even texture, which its surroundings are an example of."""
    whole = wholly(around, patch)
    if not whole.any():
        return False
    # A generator of its own: what a hole gets depends on the picture, not on the seed.
    filters = random_filters(FILTERS, target.shape[1], patch, torch.Generator().manual_seed(0))
    seen = F.conv2d(target, filters)[0][:, whole]
    rows, columns = whole.nonzero().T
    middle = inside[0, 0].nonzero().double().mean(dim=0) - (patch - 1) / 2
    angles = torch.atan2(rows - middle[0], columns - middle[1])
    return kurtosis(seen) < kurtosis_below and variety(seen, angles) < variety_below


def kurtosis(seen: Tensor) -> float:
    """How far patches are from a normal distribution, of which it is 3; single edges make it larger.

    seen: (filters, patches), what random filters give of the patches. The mean over the filters.
    """
    centred = seen - seen.mean(dim=1, keepdim=True)
    return (centred.pow(4).mean(dim=1) / (centred.square().mean(dim=1).square() + 1e-12)).mean().item()


def variety(seen: Tensor, angles: Tensor) -> float:
    """How much patches differ from side to side: 0 where they are alike, about 1 where not at all.

    seen: (filters, patches), what random filters give of the patches; angles: (patches,), where these are. The mean
    over sectors and filters of the squared Wasserstein distance between what is in the sector and what is everywhere,
    over the variance.
    """
    sectors = ((angles / torch.pi + 1) / 2 * SECTORS).long() % SECTORS
    levels = torch.linspace(0.005, 0.995, 100)
    everywhere, spread = quantiles(seen, levels), seen.var(dim=1)
    differences = [
        (quantiles(seen[:, sectors == sector], levels) - everywhere).square().mean(dim=1) / (spread + 1e-6)
        for sector in sectors.unique()
    ]
    return torch.stack(differences).mean().item()


def quantiles(values: Tensor, levels: Tensor) -> Tensor:
    """(N, values) -> (N, levels)."""
    ordered = values.sort(dim=1).values
    return ordered[:, (levels * (values.shape[1] - 1)).round().long()]


def box_of(region: Tensor) -> Place:
    """The rows and columns in which a boolean (1, 1, H, W) is true."""
    rows, columns = region[0, 0].any(dim=1).nonzero(), region[0, 0].any(dim=0).nonzero()
    return ..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def random_filters(count: int, channels: int, side: int, generator: torch.Generator) -> Tensor:
    """Without a mean, so that colours do not count, and of length 1: (count, channels, side, side)."""
    filters = torch.randn(count, channels, side, side, generator=generator)
    filters -= filters.mean(dim=(2, 3), keepdim=True)
    return filters / filters.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


def blurred_within(picture: Tensor, region: Tensor, sd: float) -> Tensor:
    """Blurred by the pixels of a region alone, which is 1 in a (1, 1, H, W): (1, C, H, W)."""
    return blurred(picture * region, sd) / blurred(region, sd).clamp(min=1e-6)


def blurred(picture: Tensor, sd: float) -> Tensor:
    """By a Gaussian of so many pixels, as if the edges went on: (1, C, H, W)."""
    channels, reach = picture.shape[1], round(3 * sd)
    distances = torch.arange(-reach, reach + 1, device=picture.device, dtype=picture.dtype)
    weights = torch.exp(-0.5 * (distances / sd).square())
    weights = (weights / weights.sum()).expand(channels, 1, 1, -1)
    wider = F.pad(picture, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(wider, weights, groups=channels), weights.mT, groups=channels)
