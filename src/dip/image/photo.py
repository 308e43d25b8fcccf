"""A photograph as it was measured: its file is opened once, and whatever the work needs is cut from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from dip.errors import UserError
from dip.image import tensors
from dip.image.files.arrays import ArrayPicture
from dip.image.files.writing import Picture
from dip.image.holes import Box
from dip.image.resize import enlarge, feather, pad, reduce, reduce_mask, reduced_size

SMALLEST = 8  # pixels a side
MaxSide = Annotated[int, Ge(SMALLEST), "null is no limit"] | None
Read = tuple[Picture, Tensor, Picture | None]  # picture, mask, ground truth


class Tensors(NamedTuple):
    """The pixels of a photograph, as the network sees them."""

    target: Tensor  # (1, C, H, W) in [0, 1], zero in the hole
    mask: Tensor  # (1, 1 or C, H, W), 1 = known, 0 = hole; between them the weight of a soft mask
    truth: Tensor | None  # (1, C, H, W), or so many times as large as the picture that is drawn


@dataclass(frozen=True, eq=False)
class Photo:
    """A damaged picture and its mask. Raises UserError for one that is all hole."""

    picture: Picture  # in its own mode and depth
    mask: Tensor  # (1, 1, H, W), 1 = known, 0 = hole; (1, C, H, W) where each channel lacks other pixels
    truth: Picture | None = None  # the ground truth, where it is known; of a reduced picture larger than that
    regions: Sequence[Box] = ()  # the boxes that the work is done in; none is the whole picture
    max_side: int | None = None  # what is larger than a square of this side is reduced for the work

    def __post_init__(self) -> None:
        if not self.mask.any():
            raise UserError("data.mask leaves no pixel known; give one with a smaller hole, or a lower data.grow_hole")
        if not (self.mask == 1).any():
            raise UserError("data.mask leaves no pixel wholly known, and has greys only; set data.soft_mask=threshold")
        empty = [str(channel) for channel in range(self.mask.shape[1]) if not self.mask[:, channel].any()]
        if empty:
            names = ", ".join(empty[:9]) + " and more" * (len(empty) > 9)
            raise UserError(f"data.image: no value is known of the channels {names} (the first is 0); leave them out")
        if isinstance(self.picture, ArrayPicture) and self.picture.values.dtype.kind == "b":
            raise UserError("data.image holds true and false; give an array of numbers")
        tensors.check_numbers(self.picture, "data.image", self.mask)

    @property
    def has_hole(self) -> bool:
        return bool((self.mask < 1).any())

    @property
    def is_measured(self) -> bool:
        """Whether its values are floating-point numbers, and no photograph's."""
        picture = self.picture
        return picture.mode == "F" or (isinstance(picture, ArrayPicture) and picture.values.dtype.kind == "f")

    def cut(self, box: Box) -> "Photo":
        """That part of the photograph, as a photograph of its own."""
        return Photo(*crop(self.picture, self.mask, self.truth, box), max_side=self.max_side)

    @property
    def whole(self) -> Box:
        return (0, 0, *self.picture.size)

    @cached_property
    def region(self) -> Box:
        """The box that holds all regions."""
        lefts, tops, rights, bottoms = zip(*(self.regions or [self.whole]), strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)

    @cached_property
    def levels(self) -> tensors.Levels:
        """The values of the picture that become 0 and 1."""
        picture, mask, _ = crop(self.picture, self.mask, None, self.region)
        return tensors.full_range(picture, mask)

    @cached_property
    def full(self) -> Tensors:
        """The region at full size."""
        picture, mask, truth = crop(self.picture, self.mask, self.truth, self.region)
        target = tensors.from_pil(picture, self.levels).clamp(0, 1) * (mask > 0)
        return Tensors(target, mask, None if truth is None else tensors.from_pil(truth, self.levels))

    @cached_property
    def work(self) -> Tensors:
        """The region with no more pixels than `max_side` allows; a pixel that covers any of the hole is a hole.

        A side under 8 pixels is padded.
        """
        target, mask, truth = self.full
        if self.is_reduced:
            mask = reduce_mask(mask, self.size)
            target = reduce(target, self.size) * (mask > 0)
            truth = None if truth is None else reduce(truth, self.size)
            if not mask.flatten(2).any(dim=2).all():
                raise UserError(f"data.max_side={self.max_side} leaves no known pixel without hole in it; raise it")
        return Tensors(pad(target, SMALLEST), pad(mask, SMALLEST), None if truth is None else pad(truth, SMALLEST))

    def drawn(self, output: Tensor) -> Picture:
        """An output at any size as a whole picture, in the picture's own mode, depth and alpha."""
        return tensors.draw(self.picture, output, self.levels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the region as it is worked on, without padding."""
        left, top, right, bottom = self.region
        return reduced_size(bottom - top, right - left, self.max_side)

    @property
    def is_reduced(self) -> bool:
        return self.size != self.full.mask.shape[-2:]

    def full_size(self, values: Tensor) -> Tensor:
        """Values at the size of the work, (1, C, h, w), or so many times as large, at the region's full size."""
        height, width = self.full.mask.shape[-2:]
        times = values.shape[-1] // self.work.mask.shape[-1]
        values = values[..., : times * self.size[0], : times * self.size[1]]
        return enlarge(values, (height, width)) if self.is_reduced else values

    def enlarge(self, output: Tensor) -> Tensor:
        """The same of an output, whose error at the edge of the hole fades into it."""
        larger = self.full_size(output)
        scale = larger.shape[-2] / self.size[0]
        return feather(larger, self.full.target, self.full.mask, scale) if self.is_reduced else larger

    def paste(self, output: Tensor) -> Picture:
        """The whole picture, in its own mode and depth, its hole filled from an output at the region's full size."""
        return tensors.paste(self.picture, output, self.full.mask, self.region, self.levels)

    def in_units(self, std: Tensor) -> NDArray[Any]:
        """The standard deviation of each value of the whole picture in its units, (H, W, C), 0 where it is known.

        std: (1, C, h, w), at the region's full size, of values between 0 and 1.
        """
        left, top, right, bottom = self.region
        black, white = self.levels
        kind = tensors.exact(tensors.drawn_values(self.picture).dtype)
        found = np.zeros((self.picture.height, self.picture.width, std.shape[1]), dtype=kind)
        unknown = (std.clamp(min=0) * (self.full.mask < 1))[0].permute(1, 2, 0).numpy()
        found[top:bottom, left:right] = unknown.astype(kind) * np.abs(white - black)
        return found


def crop(picture: Picture, mask: Tensor, truth: Picture | None, box: Box) -> Read:
    left, top, right, bottom = box
    part = mask[..., top:bottom, left:right].contiguous()
    if truth is None:
        return picture.crop(box), part, None
    scale = truth.width // picture.width
    return picture.crop(box), part, truth.crop((scale * left, scale * top, scale * right, scale * bottom))
