"""Open picture files: upright, in their own mode, type and depth, with their metadata."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from PIL.Image import Transpose as Turn

from dip.errors import UserError
from dip.image.files import arrays, deep
from dip.image.files.arrays import ArrayPicture
from dip.image.files.kinds import RAW, described_as, is_raw, register_plugins, what_helps
from dip.image.files.metadata import metadata
from dip.image.files.modes import DRAWN, SAME
from dip.image.files.writing import Picture, can_be_written, ignored_warnings

log = logging.getLogger(__name__)

TURNS: dict[int, Turn] = {  # by EXIF's orientation
    **{2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE},
    **{6: Turn.ROTATE_270, 7: Turn.TRANSVERSE, 8: Turn.ROTATE_90},
}


def open_picture(
    path: str | Path, key: str, max_megapixels: float | None = None, channel_axis: int | None = None
) -> Picture:
    """The first picture in a file, upright, in a mode of DRAWN or as an array, with metadata in `info`.

    Raises UserError, which names the configuration `key`, for what is no picture, is too large, or cannot be read. Of a
    damaged photograph what can be read is used. channel_axis: of an array; None takes the shorter of first and last.
    """
    path = ordinary_file(path, key)
    register_plugins()
    try:
        picture, left_out = decoded(path, key, max_megapixels, channel_axis)
    except UnidentifiedImageError:
        said = what_helps(path) or "is not a picture that can be read"
        raise UserError(f"{key}={path} {said}") from None
    except UserError:
        raise
    except Exception as error:  # decoders of broken files raise anything
        said = what_helps(path) or f"cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
        picture, left_out = (None, []) if key != "data.image" else saved(path, key)
        if picture is None:
            raise UserError(f"{key}={path} {said}") from None
        log.warning("%s=%s %s; what can be read of it is used", key, path, said.replace("cannot be read", "is damaged"))
    if picture.mode not in DRAWN and not isinstance(picture, ArrayPicture):
        raise UserError(f"{key}={path} has the mode {picture.mode}; save it as one of {', '.join(DRAWN)}")
    if left_out and key == "data.image":
        log.warning("%s=%s: the result goes without its %s", key, path, ", ".join(dict.fromkeys(left_out)))
    return picture


def decoded(
    path: Path, key: str, max_megapixels: float | None, axis: int | None = None, all_bits: bool = True
) -> tuple[Picture, list[str]]:
    """The picture in a file, and the names of the metadata that it goes without.

    all_bits: where Pillow would drop some, the file is read as an array.
    """

    def check(shape: tuple[int, ...]) -> None:
        # Of many channels, the pixels of a photograph with as many values.
        megapixels = max(math.prod(sorted(shape)[-2:]), math.prod(shape) / 3) / 1e6
        if max_megapixels is not None and megapixels > max_megapixels:
            raise UserError(
                f"{key}={path} has {megapixels:.0f} megapixels, and data.max_megapixels={max_megapixels:g}; give a "
                "larger one if you trust the file"
            )

    if path.suffix.lower() in arrays.ARRAYS:
        return arrays.read_array(path, axis, f"{key}={path}", check), []
    try:
        with ignored_warnings(), without_limit(), Image.open(path) as file:
            check(file.size)
            if is_raw(path, file):
                raise UserError(f"{key}={path} {described_as(RAW)}")
            if all_bits and deep.exceeds_pillow(file):
                return decoded_array(file, path, key, check, axis)
            return decoded_picture(file, f"{key}={path}")
    except UnidentifiedImageError:
        if path.suffix.lower() not in deep.TIFFS:
            raise
    return deep.read_tiff(path, axis, f"{key}={path}", check), []


def decoded_picture(file: ImageFile.ImageFile, name: str) -> tuple[Picture, list[str]]:
    warn_of_the_unread(file, name)
    file.load()
    info, left_out = about(file)
    picture = usual_mode(turned(file, orientation_of(file)))  # a TIFF file has been turned by Pillow
    picture.info = info
    return picture, left_out


def decoded_array(
    file: ImageFile.ImageFile, path: Path, key: str, check: arrays.Check, axis: int | None
) -> tuple[Picture, list[str]]:
    """The picture in a file of which Pillow reads the metadata only."""
    if file.format == "TIFF":
        whole = deep.read_tiff(path, axis, f"{key}={path}", check)
    else:
        whole = deep.read_png(path)
        file.load()  # for the texts that follow the pixels
    info, left_out = about(file)
    whole = whole if "orientation" not in info else whole.transpose(TURNS[info["orientation"]])
    return replace(whole, info={**whole.info, **info}), left_out


def about(file: ImageFile.ImageFile) -> tuple[dict[Any, Any], list[str]]:
    """What goes on into the result, with the orientation by which it is turned upright, and what does not."""
    info, left_out = metadata(file)
    writable = {name: value for name, value in info.items() if value and can_be_written(name, value)}
    left_out += [f"{name} (broken)" for name in info if info[name] and name not in writable]
    orientation = orientation_of(file)
    # By which the picture was turned upright, for a mask that was not.
    return ({**writable} if orientation == 1 else {**writable, "orientation": orientation}), left_out


@contextmanager
def without_limit() -> Iterator[None]:
    """Pillow's own limit of size is off; data.max_megapixels is the limit."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def saved(path: Path, key: str) -> tuple[Picture | None, list[str]]:
    """What can be read of a damaged file; None for nothing."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        picture, left_out = decoded(path, key, None, all_bits=False)
    except Exception:
        return None, []
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    if isinstance(picture, ArrayPicture):
        return picture, left_out
    extremes = np.array(picture.getextrema()).reshape(-1, 2)
    return (picture, left_out) if (extremes[:, 0] < extremes[:, 1]).any() else (None, [])


def orientation_of(file: Image.Image) -> int:
    """How EXIF turns the picture, 1 for not at all; it stays as it lies in the file where the EXIF is broken."""
    try:
        found = file.getexif().get(int(ExifTags.Base.Orientation), 1)
    except Exception:  # broken blocks raise anything
        return 1
    return found if found in TURNS else 1


def turned(picture: Any, orientation: int) -> Any:
    """The picture, or array, turned as one with this EXIF orientation is."""
    return picture.copy() if orientation == 1 else picture.transpose(TURNS[orientation])


def ordinary_file(path: str | Path, key: str) -> Path:
    path = Path(path).expanduser()
    if not os.path.exists(path):
        raise UserError(f"{key}={path}: there is no such file")
    if not os.path.isfile(path):
        raise UserError(f"{key}={path} is {'a folder' if path.is_dir() else 'no ordinary file'}; give a picture file")
    if path.stat().st_size == 0:
        raise UserError(f"{key}={path} is an empty file")
    return path


def warn_of_the_unread(file: Image.Image, name: str) -> None:
    """Say what of a file, just opened, Pillow does not hand over."""
    if (count := getattr(file, "n_frames", 1)) > 1 and file.format not in ("MPO", "PSD"):  # previews, and layers
        log.warning("%s holds %d pictures, of which the first is taken", name, count)


def usual_mode(picture: Image.Image) -> Image.Image:
    """The same pixels in one of the modes of DRAWN, where there is one."""
    if SAME.get(picture.mode) == "I;16":
        return Image.fromarray(np.array(picture).astype(np.uint16))
    if picture.has_transparency_data and picture.mode in ("1", "L", "P", "RGB"):
        return picture.convert("LA" if DRAWN[picture.mode] == "L" else "RGBA")
    return picture.convert(SAME[picture.mode]) if picture.mode in SAME else picture


def reopen(path: Path, channel_axis: int | None) -> ArrayPicture:
    """The array in a result's file, with the axis that its channels had."""
    ending = path.suffix.lower()
    if ending in arrays.ARRAYS:
        return arrays.read_array(path, channel_axis, str(path), lambda shape: None)
    found = deep.read_png(path) if ending == ".png" else deep.read_tiff(path, None, str(path), lambda shape: None)
    return replace(found, axis=channel_axis)


def same_size(key: str, path: str | Path, picture: Picture, wanted: tuple[int, int], cure: str = "") -> None:
    """Raise UserError where the picture of `path` has not the `wanted` width and height."""
    if picture.size != wanted:
        ours, theirs = ("{}x{}".format(*size) for size in (picture.size, wanted))
        turn = "turn it upright, or " if picture.size == wanted[::-1] else ""
        raise UserError(
            f"{key}={path} is {ours} but the image is {theirs}; {turn}give a file of the image's size{cure}"
        )
