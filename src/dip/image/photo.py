"""A damaged photograph: its file is opened once, and whatever the work needs is cut from it."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt
from PIL import Image
from torch import Tensor

from dip.errors import UserError
from dip.image import masks, tensors
from dip.image.formats import DRAWN, open_picture, same_size, turned
from dip.image.holes import Box, erased, regions_around
from dip.image.resize import enlarge, feather, pad, reduce, reduce_mask, reduced_size
from dip.options import written

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
            raise UserError("data.mask leaves no pixel known; give one with a smaller hole, or a lower data.grow_hole")
        if not (self.mask == 1).any():
            raise UserError("data.mask leaves no pixel wholly known, and has greys only; set data.soft_mask=threshold")
        tensors.check_numbers(self.picture, "data.image", self.mask)
        if (self.mask == 1).all():
            raise UserError("data.mask has no hole; give one that shows where it is")

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
    hole: masks.Hole,
    soft_mask: Literal["threshold", "weight"],  # how the greys of a mask count
    turn_mask: bool | Literal["auto"],  # as the picture's EXIF turns it; auto does where the mask's size asks for it
    resize_mask: bool,
    grow_hole: Annotated[int, Ge(0)],
    crop: Any,  # "auto" works around the holes, "none" on everything, a box cuts first
    max_side: MaxSide,
    max_megapixels: Annotated[float, Gt(0), "null is no limit"] | None,  # of a file
    example: Callable[[], Photo],
) -> Photo:
    """Read a picture file and its mask file; without a mask its transparent pixels, without a picture the example."""
    given = {"hole": hole not in ("black", "alpha"), "resize_mask": resize_mask, "turn_mask": turn_mask is True}
    if mask is None and any(given.values()):
        key = next(key for key in given if given[key])
        value = written(hole) if key == "hole" else "true"
        raise UserError(f"data.{key}={value} speaks of a mask file, and there is none; give data.mask=PATH")
    if image is not None:
        picture = open_picture(image, "data.image", max_megapixels)
        if mask is None:
            known = masks.settled(read_transparency(picture, image), "alpha", soft_mask)
        else:
            shape = open_picture(mask, "data.mask", max_megapixels)
            known = read_mask(shape, mask, hole, soft_mask, picture, turn_mask, resize_mask)
        original = None if truth is None else read_truth(truth, image, picture, max_megapixels)
    elif mask is None and truth is None and hole == "black":
        shown = example()
        picture, known, original = shown.picture, shown.mask, shown.truth
    else:
        raise UserError("data.mask, data.truth or data.hole is given without a picture; give data.image=PATH as well")
    known = masks.grow_hole(known, grow_hole)
    if image is not None:
        picture = without_erased(picture, known, is_mask=mask is None)
        masks.warn_of_inversion(known, "transparent" if mask is None else hole)
    if crop not in ("auto", "none"):
        picture, known, original = crop_to(crop, picture, known, original)
    return Photo(picture, known, original, regions_around(known, max_side) if crop == "auto" else (), max_side)


def read_transparency(picture: Image.Image, path: str) -> Tensor:
    """How opaque each pixel of a picture without a mask is: (1, 1, H, W)."""
    opaque = tensors.alpha(picture)
    if opaque is None or opaque.min() == 1:
        raise UserError(
            f"data.image={path} has no mask; give data.mask=PATH, white = known, black = hole, or a picture whose hole "
            "is transparent"
        )
    return opaque


def read_mask(
    mask: Image.Image,
    path: str,
    hole: masks.Hole,
    soft_mask: str,
    picture: Image.Image,
    turn: bool | str,
    resize: bool,
) -> Tensor:
    """How much of each pixel of the picture is known, from a mask file of its size, or resized to it."""
    name = f"data.mask={path}"
    tensors.check_numbers(mask, name)
    mask = turned_as(picture, mask, name, turn, resize)
    if not resize:
        same_size("data.mask", path, mask, picture.size, ", or set data.resize_mask=true")
    known = masks.known_fraction(mask, hole, name)
    masks.check_contents(mask, masks.settled(known, hole, soft_mask), hole, name, soft_mask)
    if resize and abs(math.log(mask.width / mask.height * picture.height / picture.width)) > 0.05:
        sizes = mask.width, mask.height, picture.width, picture.height
        log.warning("%s is %dx%d and is stretched to the image's %dx%d, of another shape", name, *sizes)
    return masks.settled(masks.resized(known, picture.size) if resize else known, hole, soft_mask)


def turned_as(
    picture: Image.Image, other: Image.Image, name: str, turn: bool | str = "auto", resize: bool = False
) -> Image.Image:
    """A mask or ground truth turned upright as EXIF has turned the picture, where it was not turned itself.

    turn: "auto" turns what lies on its side beside the upright picture, and warns where its size tells nothing.
    """
    orientation = picture.info.get("orientation")
    if orientation is None or "orientation" in other.info or turn is False:
        return other
    width, height = picture.size
    on_side = other.size == (height, width) or (resize and (other.width > other.height) != (width > height))
    if turn is True or (orientation > 4 and width != height and on_side):
        log.warning("%s is turned as the EXIF orientation %d turns the image; see data.turn_mask", name, orientation)
        return turned(other, orientation)
    if orientation < 5 or width == height:
        log.warning(
            "the image is turned by its EXIF orientation %d, and %s is not; if it was drawn on the image as it is "
            "stored, give data.turn_mask=true, and else false",
            *(orientation, name),
        )
    return other


def read_truth(path: str, image: str, picture: Image.Image, max_megapixels: float | None) -> Image.Image:
    truth = turned_as(picture, open_picture(path, "data.truth", max_megapixels), f"data.truth={path}")
    tensors.check_numbers(truth, f"data.truth={path}")
    same_size("data.truth", path, truth, picture.size)
    theirs, ours = DRAWN[truth.mode], DRAWN[picture.mode]
    if theirs != ours:
        raise UserError(
            f"data.truth={path} is {theirs} but data.image={image} is {ours}; both must have the same channels"
        )
    return truth


def without_erased(picture: Image.Image, known: Tensor, is_mask: bool) -> Image.Image:
    """The picture, opaque where it was erased: wherever it is transparent if that is the mask, else see `erased`."""
    opaque = tensors.alpha(picture)
    if opaque is None:
        return picture
    where = opaque < 1 if is_mask else erased(opaque, known < 1)
    hidden = (known < 1) & (opaque < 1) & ~where
    if hidden.any():
        share = 100 * hidden.sum() / (known < 1).sum()
        log.warning(
            "%.1f %% of the hole is transparent in data.image, and stays so, as what is transparent around it; without "
            "data.mask all that is transparent is the hole",
            share,
        )
    return tensors.make_opaque(picture, where)


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
