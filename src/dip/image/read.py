"""Read a damaged photograph or array, its mask and its ground truth from files; or damage a whole one."""

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from dip.errors import UserError
from dip.image import masks, tensors
from dip.image.files.arrays import ArrayPicture
from dip.image.files.modes import DRAWN
from dip.image.files.opening import open_picture, same_size, turned
from dip.image.files.writing import Picture
from dip.image.holes import Box, erased, regions_around
from dip.image.photo import MaxSide, Photo, Read, crop
from dip.image.resize import Factor, Kernel, reducing
from dip.options import written

log = logging.getLogger(__name__)


def read_photo(
    image: str | None,
    mask: str | None,
    truth: str | None,  # the undamaged picture, to measure with
    hole: masks.Hole,
    soft_mask: Literal["threshold", "weight"],  # how the greys of a mask count
    turn_mask: bool | Literal["auto"],  # as the picture's EXIF turns it; auto does where the mask's size asks for it
    resize_mask: bool,
    missing: Any,  # the value of missing pixels; None: NaN, where there is no mask
    channel_axis: Annotated[int, Ge(-3), Le(2), "of an array"] | None,  # None: the shorter of first and last
    grow_hole: Annotated[int, Ge(0)],
    crop: Any,  # "auto" works around the holes, "none" on everything, a box cuts first
    max_side: MaxSide,
    max_megapixels: Annotated[float, Gt(0), "null is no limit"] | None,  # of a file
    example: Callable[[], Photo],
    is_hole_transparent: bool = True,  # without a mask; else transparency stays as it is
) -> Photo:
    """Read a picture file and its mask file; without a mask its transparent pixels, without a picture the example."""
    check_mask_options(mask, hole, resize_mask, turn_mask)
    if image is not None:
        opened = partial(open_picture, max_megapixels=max_megapixels, channel_axis=channel_axis)
        picture = opened(image, "data.image")
        known = masks.present_in(picture, missing_value(missing, picture), mask is not None)
        if mask is not None:
            known = known * read_mask(opened(mask, "data.mask"), mask, hole, soft_mask, picture, turn_mask, resize_mask)
        elif is_hole_transparent and (opaque := tensors.alpha(picture)) is not None:
            known = known * masks.settled(opaque, "alpha", soft_mask)
        original = None if truth is None else read_truth(opened(truth, "data.truth"), truth, image, picture)
    elif mask is None and truth is None and hole == "black":
        shown = example()
        picture, known, original = shown.picture, shown.mask, shown.truth
    else:
        raise UserError("data.mask, data.truth or data.hole is given without a picture; give data.image=PATH as well")
    known = masks.grow_hole(masks.merged(known), grow_hole)
    if image is not None:
        picture = without_erased(picture, known, is_mask=mask is None and is_hole_transparent)
        masks.warn_of_inversion(known, "transparent" if mask is None else hole)
    if crop not in ("auto", "none"):
        picture, known, original = crop_to(crop, picture, known, original)
    return Photo(picture, known, original, regions_around(known, max_side) if crop == "auto" else (), max_side)


def check_mask_options(mask: str | None, hole: masks.Hole, resize_mask: bool, turn_mask: bool | str) -> None:
    """Raise UserError for an option that speaks of a mask file where there is none."""
    given = {"hole": hole not in ("black", "alpha"), "resize_mask": resize_mask, "turn_mask": turn_mask is True}
    if mask is None and any(given.values()):
        key = next(key for key in given if given[key])
        value = written(hole) if key == "hole" else "true"
        raise UserError(f"data.{key}={value} speaks of a mask file, and there is none; give data.mask=PATH")


def missing_value(given: Any, picture: Picture) -> float | None:
    """The value of missing pixels that is given, or that the file says."""
    if isinstance(given, bool) or not (given is None or isinstance(given, int | float)):
        raise UserError(f"data.missing={written(given)}, but it must be a number, nan, or null")
    return picture.missing if given is None and isinstance(picture, ArrayPicture) else given


def read_mask(
    mask: Picture,
    path: str,
    hole: masks.Hole,
    soft_mask: str,
    picture: Picture,
    turn: bool | str,
    resize: bool,
) -> Tensor:
    """How much of each pixel of the picture is known, from a mask file of its size, or resized to it."""
    name = f"data.mask={path}"
    tensors.check_numbers(mask, name)
    mask = turned_as(picture, mask, name, turn, resize)
    if not resize:
        same_size("data.mask", path, mask, picture.size, ", or set data.resize_mask=true")
    mask = masks.as_picture(mask)
    if isinstance(mask, ArrayPicture):
        channels = mask.values.shape[2]
        if channels != (theirs := tensors.drawn_values(picture).shape[2]):
            raise UserError(f"{name} has {channels} channels and the image {theirs}; give a mask of one, or of as many")
        known = masks.known_of_each(mask, hole, name)
    else:
        known = masks.known_fraction(mask, hole, name)
        masks.check_contents(mask, masks.settled(known, hole, soft_mask), hole, name, soft_mask)
    if resize and abs(math.log(mask.width / mask.height * picture.height / picture.width)) > 0.05:
        sizes = mask.width, mask.height, picture.width, picture.height
        log.warning("%s is %dx%d and is stretched to the image's %dx%d, of another shape", name, *sizes)
    return masks.settled(masks.resized(known, picture.size) if resize else known, hole, soft_mask)


def turned_as(picture: Picture, other: Picture, name: str, turn: bool | str = "auto", resize: bool = False) -> Picture:
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


def read_truth(truth: Picture, path: str, image: str, picture: Picture) -> Picture:
    truth = turned_as(picture, truth, f"data.truth={path}")
    tensors.check_numbers(truth, f"data.truth={path}")
    times = max(truth.width // picture.width, 1)  # of a reduced picture
    if truth.size != (times * picture.width, times * picture.height):
        same_size("data.truth", path, truth, picture.size)
    theirs, ours = (kind_of(each) for each in (truth, picture))
    if theirs != ours:
        raise UserError(
            f"data.truth={path} is {theirs} but data.image={image} is {ours}; both must have the same channels"
        )
    return truth


def kind_of(picture: Picture) -> str:
    """The channels of a picture, and what their values are, for which two have to be alike to be compared."""
    if not isinstance(picture, ArrayPicture):
        return DRAWN[picture.mode]
    values = picture.values
    if values.dtype == np.uint8 and values.shape[2] in (1, 3):
        return "L" if values.shape[2] == 1 else "RGB"
    return f"{'floats' if values.dtype.kind == 'f' else values.dtype} of {values.shape[2]} channels"


def without_erased(picture: Picture, known: Tensor, is_mask: bool) -> Picture:
    """The picture, opaque where it was erased: wherever it is transparent if that is the mask, else see `erased`."""
    opaque = tensors.alpha(picture)
    if opaque is None:
        return picture
    known = masks.known_in_all(known)
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


def crop_to(given: Any, picture: Picture, known: Tensor, truth: Picture | None) -> Read:
    """The part that `data.crop` gives, which must have a hole and known pixels."""
    part = crop(picture, known, truth, check_crop(given, picture.size))
    if (part[1] == 1).all() and (known < 1).any():
        raise UserError(f"data.crop={given} has nothing of the hole in it; data.crop=auto lies around it")
    if not part[1].any():
        raise UserError(f"data.crop={given} lies within the hole, and no pixel of it is known; give a larger one")
    return part


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
    return damage(open_whole(image), mask)


def noisy(
    image: str,
    sigma: Annotated[float, Ge(0), "of white at 255"],
    photons: Annotated[float, Gt(0), "null adds no shot noise"] | None,  # of white
    seed: Annotated[int, Ge(0)],
) -> Photo:
    """A whole picture file with noise, so that the ground truth is known: shot noise (Poisson), then Gaussian noise."""
    truth = open_whole(image)
    levels, random = tensors.full_range(truth), np.random.default_rng(seed)
    clean = tensors.from_pil(truth, levels)
    values = clean.numpy() if photons is None else random.poisson(photons * clean.clamp(0, 1).numpy()) / photons
    values = values + random.normal(0, sigma / 255, size=clean.shape)
    picture = tensors.draw(truth, torch.from_numpy(values.astype(np.float32)), levels)
    return Photo(picture, torch.ones(1, 1, *clean.shape[-2:]), truth)


def reduced(image: str, factor: Factor, kernel: Kernel) -> Photo:
    """A whole picture file, reduced, so that the ground truth is known. What does not divide is cut off its edges."""
    truth = open_whole(image)
    width, height = truth.width // factor, truth.height // factor
    if min(width, height) < 1:
        raise UserError(f"data.factor={factor} leaves no pixel of data.image={image}; lower it")
    truth, levels = truth.crop((0, 0, factor * width, factor * height)), tensors.full_range(truth)
    rows, columns = reducing(factor * height, height, kernel), reducing(factor * width, width, kernel)
    picture = tensors.draw(truth, rows @ tensors.from_pil(truth, levels) @ columns.T, levels)
    return Photo(picture, torch.ones(1, 1, height, width), truth)


def open_whole(image: str) -> Picture:
    picture = open_picture(image, "data.image")
    tensors.check_numbers(picture, f"data.image={image}")
    return picture


def example(photograph: str, width: int, height: int, mask: Callable[[int, int], Tensor]) -> Photo:
    """A photograph from the scikit-image wheel with a mask drawn over it."""
    return damage(tensors.to_pil(tensors.photograph(photograph, width, height)), mask)


def damage(truth: Picture, mask: Callable[[int, int], Tensor]) -> Photo:
    """The picture with the hole of mask(H, W) in it."""
    photo = Photo(truth, mask(truth.height, truth.width), truth)
    if not photo.has_hole:
        raise UserError("data.mask has no hole; give one that shows where it is")
    return photo
