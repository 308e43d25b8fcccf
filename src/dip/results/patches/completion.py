"""Completion of holes with known pixels, which a picture of the hole guides."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dip.prior.losses import blurred

# From coarse to fine: how often the hole is filled anew, and rounds of the search before each. A scale has half the
# size of the next. At first the guide alone leads the search.
SCHEDULE = ((8, 2), (5, 1), (3, 1))
FIRST_ROUNDS = 4
STEPS = (4, 2, 1)  # pixels to the neighbours whose sources are tried
CHUNK = 4096  # patches that are compared at a time, so that they stay in the processor's cache
Cost = Callable[[Tensor], Tensor]  # of sources: (N,) -> (N,)


@dataclass(frozen=True)
class Completion:
    """Fills a hole with copies of known pixels that suit each other and the picture that the hole holds before.

    Each pixel of the hole copies the middle of the known patch that is most like its own surroundings and has the
    colours of the guide, which is the first picture, blurred. Patches are sought from coarse scales to fine ones, and
    at each several times, while the copies change (Wexler et al., "Space-time completion of video", 2007). What is
    copied often costs more (Kaspar et al., "Self tuning texture optimization", 2015).
    """

    patch: int  # side in pixels
    guide_sd: float  # pixels
    guide_weight: float  # of being unlike the guide; being unlike what is around counts 1
    repeat_weight: float  # of each copy of a place beyond the first, in typical costs

    def __call__(self, picture: Tensor, hole: Tensor, known: Tensor) -> Tensor:
        """picture: (1, C, H, W), the hole filled; hole, known: (1, 1, H, W), boolean. No known patch: no change."""
        generator = torch.Generator().manual_seed(0)  # the same result whatever the seed
        coarser: tuple[Scale, Tensor] | None = None  # and its sources
        for scale, (fillings, rounds) in self.scales(picture, hole, known):
            if coarser is None:
                search = Search(scale, scale.anywhere(generator), scale.unlike_guide)
                search.run(FIRST_ROUNDS, generator)
                sources = search.sources
            else:
                sources = scale.finer(*coarser, generator)
            for _ in range(fillings):
                search = Search(scale, sources, self.cost(scale, sources))
                search.run(rounds, generator)
                sources = search.sources
            picture, coarser = scale.copied(sources), (scale, sources)
        return picture

    def scales(self, picture: Tensor, hole: Tensor, known: Tensor) -> Iterator[tuple["Scale", tuple[int, int]]]:
        """The scales that have known patches, coarse to fine, each with its schedule."""
        found = []
        for number, schedule in enumerate(reversed(SCHEDULE)):
            guide = blurred(picture, max(self.guide_sd / 2**number, 0.5))
            found.append((Scale(picture, hole, known, guide, self.patch), schedule))
            picture = F.avg_pool2d(picture, 2, ceil_mode=True, count_include_pad=False)
            hole, unknown = (F.max_pool2d(part.float(), 2, ceil_mode=True) > 0 for part in (hole, ~known))
            known = ~unknown
        while found and not found[-1][0].may_copy.any():
            found.pop()
        return reversed(found)

    def cost(self, scale: "Scale", sources: Tensor) -> Cost:
        """What a source costs, given what the sources now copy."""
        filled = scale.padded(scale.copied(sources))

        def unlike(candidates: Tensor) -> Tensor:
            pairs = zip(candidates.split(CHUNK), scale.pixels.split(CHUNK), strict=True)
            around = [
                (scale.patches_at(some, scale.values) - scale.patches_at(pixels, filled)).square().mean(dim=1)
                for some, pixels in pairs
            ]
            return torch.cat(around) + self.guide_weight * scale.unlike_guide(candidates)

        again = self.repeat_weight * unlike(sources).median() * scale.repeats(sources)
        return lambda candidates: unlike(candidates) + again[candidates]


class Scale:
    """A picture at one scale. Pixels have numbers, row by row, with a margin of half a patch around the picture."""

    def __init__(self, picture: Tensor, hole: Tensor, known: Tensor, guide: Tensor, patch: int):
        self.picture, self.hole, self.patch, self.margin = picture, hole, patch, patch // 2
        self.height, self.width = (length + 2 * self.margin for length in picture.shape[-2:])
        self.values, self.guide = self.padded(picture), self.padded(guide)
        self.pixels = self.in_margin(hole).flatten().nonzero()[:, 0]  # of the hole: (N,)
        self.order = torch.full((self.height * self.width,), -1)  # of each pixel in `pixels`; -1: not in the hole
        self.order[self.pixels] = torch.arange(len(self.pixels))
        unknown = 1 - self.in_margin(known).float()
        self.may_copy = F.max_pool2d(unknown, patch, stride=1, padding=self.margin).flatten() == 0
        steps = torch.arange(patch) - self.margin
        self.offsets = (steps[:, None] * self.width + steps).flatten().int()  # from a patch's middle to its pixels

    def in_margin(self, region: Tensor) -> Tensor:
        return F.pad(region, (self.margin,) * 4)

    def padded(self, picture: Tensor) -> Tensor:
        """(1, C, H, W) -> (pixels, C)."""
        return F.pad(picture, (self.margin,) * 4, mode="replicate")[0].flatten(1).T.contiguous()

    def patches_at(self, middles: Tensor, values: Tensor) -> Tensor:
        """(N,), (pixels, C) -> (N, patch² C)."""
        places = middles.int()[:, None] + self.offsets
        return values.index_select(0, places.flatten()).view(len(middles), -1)

    def unlike_guide(self, sources: Tensor) -> Tensor:
        return (self.guide[sources] - self.guide[self.pixels]).square().mean(dim=1)

    def repeats(self, sources: Tensor) -> Tensor:
        """How many times more than once the patch around each pixel is copied, on average: (pixels,)."""
        copies = torch.bincount(sources, minlength=self.height * self.width).float()
        copies = F.avg_pool2d(copies.view(1, 1, self.height, self.width), self.patch, stride=1, padding=self.margin)
        return (copies.flatten() - 1).clamp(min=0)

    def copied(self, sources: Tensor) -> Tensor:
        """The picture with each pixel of the hole from its source: (1, C, H, W)."""
        filled = self.picture.clone()
        filled[0, :, self.hole[0, 0]] = self.values[sources].T
        return filled

    def anywhere(self, generator: torch.Generator) -> Tensor:
        """Random sources."""
        places = self.may_copy.nonzero()[:, 0]
        return places[torch.randint(len(places), (len(self.pixels),), generator=generator)]

    def finer(self, coarser: "Scale", sources: Tensor, generator: torch.Generator) -> Tensor:
        """The sources of the coarser scale at this one, and random ones where that is none."""
        rows, columns = self.place(self.pixels)
        above = coarser.order[coarser.number(rows // 2, columns // 2)]
        source_rows, source_columns = coarser.place(sources[above])
        wanted = self.number(2 * source_rows + rows % 2, 2 * source_columns + columns % 2)
        wanted = wanted.clamp(max=len(self.may_copy) - 1)
        return torch.where(self.may_copy[wanted], wanted, self.anywhere(generator))

    def place(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns in the picture."""
        return numbers // self.width - self.margin, numbers % self.width - self.margin

    def number(self, rows: Tensor, columns: Tensor) -> Tensor:
        return (rows + self.margin) * self.width + columns + self.margin


class Search:
    """Looks for the source of the lowest cost for each pixel (PatchMatch, Barnes et al. 2009)."""

    def __init__(self, scale: Scale, sources: Tensor, cost: Cost):
        self.scale, self.cost = scale, cost
        self.sources, self.costs = sources, cost(sources)

    def run(self, rounds: int, generator: torch.Generator) -> None:
        scale = self.scale
        for _ in range(rounds):
            reach = max(scale.height, scale.width)
            while reach >= 1:
                down, right = torch.randint(-reach, reach + 1, (2, len(self.sources)), generator=generator)
                self.consider(self.sources + down * scale.width + right)
                reach //= 2
            for step in STEPS:  # last, so that neighbours copy neighbours
                for shift in (step, -step, step * scale.width, -step * scale.width):
                    self.consider_neighbours(shift)

    def consider_neighbours(self, shift: int) -> None:
        """What lies beside the source of each pixel's neighbour, as the pixel lies beside that."""
        neighbour = self.scale.order[(self.scale.pixels + shift).clamp(0, len(self.scale.order) - 1)]
        self.consider(torch.where(neighbour >= 0, self.sources[neighbour] - shift, self.sources))

    def consider(self, candidates: Tensor) -> None:
        """Take the candidates that may be copied and cost less."""
        candidates = candidates.clamp(0, len(self.scale.may_copy) - 1)
        candidates = torch.where(self.scale.may_copy[candidates], candidates, self.sources)
        costs = self.cost(candidates)
        better = costs < self.costs
        self.sources = torch.where(better, candidates, self.sources)
        self.costs = torch.where(better, costs, self.costs)
