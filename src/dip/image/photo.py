"""A damaged photograph: its file is opened once, and whatever the work needs is cut from it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt
from PIL import Image
from torch import Tensor

from dip.errors import UserError
from dip.image import masks, tensors
from dip.image.formats import DRAWN, open_picture, same_size
from dip.image.holes import Box, regions_around
from dip.image.resize import enlarge, feather, pad, reduce, reduce_mask, reduced_size

log = logging.getLogger(__name__)
SMALLEST = 8  # pixels a side
MaxSide = Annotated[int, Ge(SMALLEST), "null is no limit"] | None
Read = tuple[Image.Image, Tensor, Image.Image | None]  # picture, mask, ground truth


class Tensors(NamedTuple):
    """The pixels of a photograph, as the network sees them."""

    target: Tensor  # (1, C, H, W) in [0, 1], zero in the hole
    mask: Tensor  # (1, 1, H, W), 1 = known, 0 = hole; between them the weight of a soft mask
    truth: Tensor | None  # (1, C, H, W)


@dataclass(frozen=True, eq=False)
class Photo:
    """A damaged picture and its mask. Raises UserError for one without a hole or all hole."""

    picture: Image.Image  # in its own mode and depth
    mask: Tensor  # (1, 1, H, W), 1 = known, 0 = hole
    truth: Image.Image | None = None  # the ground truth, where it is known
    regions: Sequence[Box] = ()  # the boxes that the work is done in; none is the whole picture
    max_side: int | None = None  # what is larger than a square of this side is reduced for the work

    def __post_init__(self) -> None:
        if not self.mask.any():
            raise UserError("data.mask leaves no pixel known; a mask file may be the other way round, see data.hole")
        if not (self.mask == 1).any():
            raise UserError("data.mask leaves no pixel wholly known, and has greys only; set data.soft_mask=threshold")
        tensors.check_numbers(self.picture, "data.image", self.mask)
        if (self.mask == 1).all():
            raise UserError("data.mask has no hole; a mask file may be the other way round, see data.hole")

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
    def levels(self) -> tuple[float, float]:
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
            if not mask.any():
                raise UserError(f"data.max_side={self.max_side} leaves no known pixel without hole in it; raise it")
        return Tensors(pad(target, SMALLEST), pad(mask, SMALLEST), None if truth is None else pad(truth, SMALLEST))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the region as it is worked on, without padding."""
        left, top, right, bottom = self.region
        return reduced_size(bottom - top, right - left, self.max_side)

    @property
    def is_reduced(self) -> bool:
        return self.size != self.full.mask.shape[-2:]

    def enlarge(self, output: Tensor) -> Tensor:
        """An output at the size of the work, (1, C, h, w), at the region's full size."""
        height, width = self.full.mask.shape[-2:]
        output = output[..., : self.size[0], : self.size[1]]
        if not self.is_reduced:
            return output
        larger = enlarge(output, (height, width))
        return feather(larger, self.full.target, self.full.mask, scale=height / output.shape[-2])

    def paste(self, output: Tensor) -> Image.Image:
        """The whole picture, in its own mode and depth, its hole filled from an output at the region's full size."""
        return tensors.paste(self.picture, output, self.full.mask, self.region, self.levels)


def read_photo(
    image: str | None,
    mask: str | None,
    truth: str | None,  # the undamaged picture, to measure with
    hole: Literal["black", "white", "alpha"],  # what is the hole in the mask file
    soft_mask: Literal["threshold", "weight"],  # how the greys of a mask count
    resize_mask: bool,
    grow_hole: Annotated[int, Ge(0)],
    crop: Any,  # "auto" works around the holes, "none" on everything, a box cuts first
    max_side: MaxSide,
    max_megapixels: Annotated[float, Gt(0), "null is no limit"] | None,  # of a file
    example: Callable[[], Photo],
) -> Photo:
    """Read a picture file and its mask file; without a mask its transparent pixels, without a picture the example."""
    if mask is None and (hole == "white" or resize_mask):
        key = "data.hole=white" if hole == "white" else "data.resize_mask=true"
        raise UserError(f"{key} speaks of a mask file, and there is none; give data.mask=PATH")
    if image is not None:
        picture = open_picture(image, "data.image", max_megapixels)
        if mask is None:
            known = read_transparency(picture, image)
        else:
            known = read_mask(mask, hole, picture.size, resize_mask, max_megapixels)
        original = None if truth is None else read_truth(truth, image, picture, max_megapixels)
    elif mask is None and truth is None and hole == "black":
        shown = example()
        picture, known, original = shown.picture, shown.mask, shown.truth
    else:
        raise UserError("data.mask, data.truth or data.hole is given without a picture; give data.image=PATH as well")
    if soft_mask == "threshold":
        known = masks.threshold(known)
    known = masks.grow_hole(known, grow_hole)
    if mask is None:
        picture = tensors.make_opaque(picture, known)
    if crop not in ("auto", "none"):
        picture, known, original = crop_to(crop, picture, known, original)
    photo = Photo(picture, known, original, regions_around(known, max_side) if crop == "auto" else (), max_side)
    if mask is not None:
        warn_of_inversion(known, hole)
    return photo


def read_transparency(picture: Image.Image, path: str) -> Tensor:
    """How opaque each pixel of a picture without a mask is: (1, 1, H, W)."""
    opaque = tensors.alpha(picture)
    if opaque is None or opaque.min() == 1:
        raise UserError(
            f"data.image={path} has no mask; give data.mask=PATH, white = known, black = hole, or a picture whose hole "
            "is transparent"
        )
    return opaque


def read_mask(path: str, hole: str, size: tuple[int, int], resize: bool, max_megapixels: float | None) -> Tensor:
    """How much of each pixel is known, from a mask file of the size (width, height), or resized to it."""
    mask = open_picture(path, "data.mask", max_megapixels)
    tensors.check_numbers(mask, f"data.mask={path}")
    if not resize:
        same_size("data.mask", path, mask, size, ", or set data.resize_mask=true")
    known = masks.known_fraction(mask, hole, f"data.mask={path}")
    return masks.resized(known, size) if resize else known


def read_truth(path: str, image: str, picture: Image.Image, max_megapixels: float | None) -> Image.Image:
    truth = open_picture(path, "data.truth", max_megapixels)
    tensors.check_numbers(truth, f"data.truth={path}")
    same_size("data.truth", path, truth, picture.size)
    theirs, ours = DRAWN[truth.mode], DRAWN[picture.mode]
    if theirs != ours:
        raise UserError(
            f"data.truth={path} is {theirs} but data.image={image} is {ours}; both must have the same channels"
        )
    return truth


def warn_of_inversion(known: Tensor, hole: str) -> None:
    other = {"black": "white", "white": "black"}.get(hole)
    if other is not None and known.mean() < 0.5:
        share = 100 * (1 - known.mean())
        log.warning("the hole is %.0f %% of the picture; if that is the known part, give data.hole=%s", share, other)


def crop_to(given: Any, picture: Image.Image, known: Tensor, truth: Image.Image | None) -> Read:
    """The part that `data.crop` gives, which must have a hole and known pixels."""
    part = crop(picture, known, truth, check_crop(given, picture.size))
    if (part[1] == 1).all():
        raise UserError(f"data.crop={given} has nothing of the hole in it; data.crop=auto lies around it")
    if not part[1].any():
        raise UserError(f"data.crop={given} lies within the hole, and no pixel of it is known; give a larger one")
    return part


def crop(picture: Image.Image, mask: Tensor, truth: Image.Image | None, box: Box) -> Read:
    left, top, right, bottom = box
    part = mask[..., top:bottom, left:right].contiguous()
    return picture.crop(box), part, None if truth is None else truth.crop(box)


def check_crop(given: Any, size: tuple[int, int]) -> Box:
    """The box of pixels that `data.crop` gives."""
    width, height = size
    match given:
        case [int(left), int(top), int(right), int(bottom)] if (
            0 <= left < right <= width and 0 <= top < bottom <= height
        ):
            return left, top, right, bottom
    raise UserError(
        f"data.crop={given}, but it is auto, none or [left,top,right,bottom] within the picture of {width}x{height}"
    )


def random_pixels(image: str, mask: Callable[[int, int], Tensor]) -> Photo:
    """A whole picture file from which the mask takes pixels away, so that the ground truth is known."""
    picture = open_picture(image, "data.image")
    tensors.check_numbers(picture, f"data.image={image}")
    return damage(picture, mask)


def example(photograph: str, width: int, height: int, mask: Callable[[int, int], Tensor]) -> Photo:
    """A photograph from the scikit-image wheel with a mask drawn over it."""
    return damage(tensors.to_pil(tensors.photograph(photograph, width, height)), mask)


def damage(truth: Image.Image, mask: Callable[[int, int], Tensor]) -> Photo:
    """The picture with the hole of mask(H, W) in it."""
    return Photo(truth, mask(truth.height, truth.width), truth)
