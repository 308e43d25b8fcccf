"""Texture of holes, from the known pixels around them."""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from dip.errors import UserError
from dip.image.holes import deep_holes, deep_part, surroundings
from dip.options import checked
from dip.prior.losses import BlurSd, blurred, blurred_within
from dip.results.patches.completion import Completion
from dip.results.patches.quilting import Quilting, bounding_box, has_square, valid_positions

SECTORS, FILTERS = 8, 64  # by which `is_even` compares patches


@checked
@dataclass(eq=False)
class Texture:
    """Adds the details that holes of an output lack: (1, C, H, W) -> the same.

    Details are what a blur by `blur_sd` removes. What is at least half a patch deep gets them, from a `Completion`
    that the output guides. In an even texture (`is_even`), in holes at least `block_blur_sd` deep and as far as there
    is room for a block around, only those count that the output shows too, if faintly, and `Quilting` adds the rest.
    """

    target: Tensor  # (1, C, H, W)
    mask: Tensor  # (1, 1, H, W), 1 = known
    contrast: Annotated[float, Ge(0), "0 is no texture"]  # of a hole's details, as a fraction of that of the copies
    blur_sd: BlurSd
    patch: Annotated[int, Ge(3)]  # side of the patches that are compared
    guide_sd: BlurSd  # so blurred, what is copied is to be like the output
    guide_weight: Annotated[float, Ge(0), "0 is no guide"]  # of that; 1 weighs it like what is around
    repeat_weight: Annotated[float, Ge(0), "0 lets a place be copied as often as it suits"]
    variety_below: float  # of an even texture, which is alike on all sides of the hole
    kurtosis_below: float  # of an even texture, which has no single edges
    block: Annotated[int, Ge(2)]  # side of the blocks that are quilted
    overlap: Annotated[int, Ge(1)]  # of neighbouring blocks
    block_blur_sd: BlurSd  # as `blur_sd`, of blocks
    block_guide_sd: BlurSd  # as `guide_sd`, of blocks

    def __post_init__(self) -> None:
        if self.patch % 2 == 0:
            raise UserError(f"texture.patch={self.patch}, but it must be odd, such as {self.patch + 1}")
        if self.overlap > self.block / 2:
            raise UserError(
                f"texture.overlap={self.overlap}, but it must be at most half of texture.block={self.block}"
            )
        self.completion = Completion(self.patch, self.guide_sd, self.guide_weight, self.repeat_weight)
        self.quilting = Quilting(self.block, self.overlap, self.guide_weight)
        self.known = self.mask == 1
        self.hole = torch.zeros_like(self.known)  # what gets details: (1, 1, H, W), boolean
        if self.contrast > 0 and has_square(self.known, self.patch):
            self.hole = deep_part(self.mask == 0, self.patch / 2)
        large = deep_holes(self.hole, self.block_blur_sd)
        around = [(hole, surroundings(hole, self.known, 2 * self.block)) for hole in large]
        self.even = [(hole, near) for hole, near in around if self.gets_blocks(hole, near)]

    def gets_blocks(self, hole: Tensor, around: Tensor) -> bool:
        """Whether there is room for a block around a hole in an even texture."""
        if not has_square(around, self.block):
            return False
        near = surroundings(hole, self.known, 3 * self.patch)
        return is_even(self.target, hole, near, self.patch, self.variety_below, self.kurtosis_below)

    def __call__(self, output: Tensor) -> Tensor:
        if not self.hole.any():
            return output
        pasted = torch.where(self.known, self.target, output)
        completed = self.completion(pasted, self.hole, self.known)
        own, copies = (details(each, self.blur_sd) for each in (pasted, completed))
        suits = self.suitability(pasted, completed, copies, self.hole)
        drawn = pasted + suits * (self.added(pasted, copies, self.hole, self.blur_sd) - pasted)
        for inside, around in self.even:
            agreed = pasted + self.agreement(own, copies, inside) * (drawn - pasted)
            drawn = torch.where(inside, self.quilted(agreed, inside, around), drawn)
        return torch.where(self.hole, drawn, output)

    def quilted(self, picture: Tensor, inside: Tensor, around: Tensor) -> Tensor:
        """The picture with quilted details in a hole, as far as it lacks any; all (1, _, H, W)."""
        box, quilted = bounding_box(inside | around), picture.clone()
        mask, guide = self.mask[box], blurred(picture, self.block_guide_sd)[box]
        own = details(picture, self.block_blur_sd)[box]
        texture = self.quilting(guide, own * mask, mask, inside[box], around[box])
        quilted[box] = self.added(picture[box], texture, inside[box], self.block_blur_sd)
        return quilted

    def added(self, picture: Tensor, others: Tensor, hole: Tensor, blur_sd: float) -> Tensor:
        """The picture whose hole has `contrast` of the contrast of other details: its own ones, and as many of these.

        It takes the two for independent, so that their variances add up, around each pixel. So few are added where
        the picture has its own, as near known pixels, where the prior continues them.
        picture, others: (1, C, H, W); hole: (1, 1, H, W), boolean; blur_sd: of the details.
        """
        own = details(picture, blur_sd)
        has, wanted = (self.around(each.square(), hole) for each in (own, others))
        gain = (self.contrast**2 - has / wanted.clamp(min=1e-12)).clamp(min=0).sqrt()
        return torch.where(hole, picture + gain * others, picture)

    def suitability(self, output: Tensor, completed: Tensor, copies: Tensor, hole: Tensor) -> Tensor:
        """How far the copies have the colours of the output, around each pixel: (1, 1, H, W), from 0 to 1.

        Where its colours occur nowhere else, what is copied is off by more than the details of the copies.
        """
        off = blurred(completed, self.guide_sd) - blurred(output, self.guide_sd)
        wrong, contrast = (self.around(each.square(), hole) for each in (off, copies))
        return contrast / (contrast + wrong).clamp(min=1e-12)

    def agreement(self, own: Tensor, others: Tensor, hole: Tensor) -> Tensor:
        """The share of its variance that each picture's details have in common, around each pixel: (1, 1, H, W).

        That is the square of their correlation; 0 where it is negative.
        """
        variances = self.around(own.square(), hole) * self.around(others.square(), hole)
        return self.around(own * others, hole).clamp(min=0).square() / variances.clamp(min=1e-20)

    def around(self, values: Tensor, hole: Tensor) -> Tensor:
        """The mean of values, (1, C, H, W), over the channels and the hole's pixels around each: (1, 1, H, W)."""
        return blurred_within(values.mean(dim=1, keepdim=True), hole.float(), self.blur_sd)


def details(picture: Tensor, blur_sd: float) -> Tensor:
    return picture - blurred(picture, blur_sd)


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
