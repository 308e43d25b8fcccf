"""Picture files of every format that Pillow reads: upright, in their own mode and depth, with their metadata."""

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, PngImagePlugin, UnidentifiedImageError
from PIL.Image import Transpose as Turn

from dip.errors import UserError
from dip.files import atomic_write
from dip.image.files.kinds import RAW, described_as, is_raw, register_plugins, what_helps
from dip.image.files.metadata import XMP, metadata

log = logging.getLogger(__name__)

# Pillow's modes, each with the one whose channels the network draws.
DRAWN = {
    **{"1": "L", "L": "L", "LA": "L", "I;16": "I;16", "I": "I", "F": "F"},
    **{"P": "RGB", "RGB": "RGB", "RGBA": "RGB", "YCbCr": "RGB", "CMYK": "CMYK"},
}
# Other ways to hold the same pixels, each with the one of the above that it becomes.
SAME = {"I;16B": "I;16", "I;16L": "I;16", "I;16N": "I;16", "La": "LA", "RGBa": "RGBA", "PA": "RGBA", "RGBX": "RGB"}
# What Pillow is told for a format, so that no more is lost than must be.
WRITTEN = {
    "AVIF": {"quality": 95},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
}
LOSSY = ("AVIF", "JPEG")
USUAL = {"PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "JPEG": ".jpg"}  # formats that a message proposes
TURNS: dict[int, Turn] = {  # by EXIF's orientation
    **{2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE},
    **{6: Turn.ROTATE_270, 7: Turn.TRANSVERSE, 8: Turn.ROTATE_90},
}
Image.MAX_IMAGE_PIXELS = None  # data.max_megapixels is the limit


def open_picture(path: str | Path, key: str, max_megapixels: float | None = None) -> Image.Image:
    """The first picture in a file, upright, in a mode of DRAWN, with a transparent colour as alpha, metadata in `info`.

    Raises UserError, which names the configuration `key`, for what is no picture, is too large, or cannot be read. Of a
    damaged photograph what can be read is used.
    """
    path = ordinary_file(path, key)
    register_plugins()
    try:
        picture, left_out = decoded(path, key, max_megapixels)
    except UnidentifiedImageError:
        said = what_helps(path) or "is not a picture that Pillow can read"
        raise UserError(f"{key}={path} {said}") from None
    except UserError:
        raise
    except Exception as error:  # decoders of broken files raise anything
        said = what_helps(path) or f"cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
        picture, left_out = (None, []) if key != "data.image" else saved(path, key)
        if picture is None:
            raise UserError(f"{key}={path} {said}") from None
        log.warning("%s=%s %s; what can be read of it is used", key, path, said.replace("cannot be read", "is damaged"))
    if picture.mode not in DRAWN:
        raise UserError(f"{key}={path} has the mode {picture.mode}; save it as one of {', '.join(DRAWN)}")
    if left_out and key == "data.image":
        log.warning("%s=%s: the result goes without its %s", key, path, ", ".join(dict.fromkeys(left_out)))
    return picture


def decoded(path: Path, key: str, max_megapixels: float | None) -> tuple[Image.Image, list[str]]:
    """The picture in a file, and the names of the metadata that it goes without."""
    with ignored_warnings(), Image.open(path) as file:
        megapixels = file.width * file.height / 1e6
        if max_megapixels is not None and megapixels > max_megapixels:
            raise UserError(
                f"{key}={path} has {megapixels:.0f} megapixels, and data.max_megapixels={max_megapixels:g}; give a "
                "larger one if you trust the file"
            )
        if is_raw(path, file):
            raise UserError(f"{key}={path} {described_as(RAW)}")
        warn_of_the_unread(file, f"{key}={path}")
        file.load()
        info, left_out = metadata(file)
        orientation = orientation_of(file)
        picture = usual_mode(turned(file, orientation))
    writable = {name: value for name, value in info.items() if value and can_be_written(name, value)}
    left_out += [f"{name} (broken)" for name in info if info[name] and name not in writable]
    # By which the picture was turned upright, for a mask that was not.
    picture.info = {**writable} if orientation == 1 else {**writable, "orientation": orientation}
    return picture, left_out


def saved(path: Path, key: str) -> tuple[Image.Image | None, list[str]]:
    """What can be read of a damaged file; None for nothing."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        picture, left_out = decoded(path, key, None)
    except Exception:
        return None, []
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    extremes = np.array(picture.getextrema()).reshape(-1, 2)
    return (picture, left_out) if (extremes[:, 0] < extremes[:, 1]).any() else (None, [])


def orientation_of(file: Image.Image) -> int:
    """How EXIF turns the picture, 1 for not at all; it stays as it lies in the file where the EXIF is broken."""
    try:
        found = file.getexif().get(int(ExifTags.Base.Orientation), 1)
    except Exception:  # broken blocks raise anything
        return 1
    return found if found in TURNS else 1


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture turned as one with this EXIF orientation is."""
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


@contextmanager
def ignored_warnings() -> Iterator[None]:
    """Pillow's, of odd metadata and of pictures half as large as it refuses, say nothing that a user can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def warn_of_the_unread(file: Image.Image, name: str) -> None:
    """Say what of a file, just opened, Pillow does not hand over."""
    if file.mode in ("RGB", "RGBA") and any(";16" in str(tile) for tile in getattr(file, "tile", ())):
        log.warning("%s has colours of 16 bits a channel, of which Pillow reads 8, and so has the result", name)
    if (count := getattr(file, "n_frames", 1)) > 1 and file.format not in ("MPO", "PSD"):  # previews, and layers
        log.warning("%s holds %d pictures, of which the first is taken", name, count)


def usual_mode(picture: Image.Image) -> Image.Image:
    """The same pixels in one of the modes of DRAWN, where there is one."""
    if SAME.get(picture.mode) == "I;16":
        return Image.fromarray(np.array(picture).astype(np.uint16))
    if picture.has_transparency_data and picture.mode in ("1", "L", "P", "RGB"):
        return picture.convert("LA" if DRAWN[picture.mode] == "L" else "RGBA")
    return picture.convert(SAME[picture.mode]) if picture.mode in SAME else picture


def can_be_written(name: str, value: Any) -> bool:
    """Whether files can hold this part of the metadata, which what came from a broken file they cannot."""
    blank = Image.new("L", (1, 1))
    blank.info = {name: value}
    try:
        return all(encoded(blank, format) for format in ("PNG", "TIFF", "JPEG"))
    except Exception:  # encoders of broken values raise anything
        return False


def encoded(picture: Image.Image, format: str) -> bytes:
    """The file of this format, with the picture's metadata as far as the format has a place for it."""
    info = picture.info
    options: dict[str, Any] = WRITTEN.get(format, {}) | {
        str(name): info[name] for name in info if name not in ("text", "orientation")
    }
    file = io.BytesIO()
    with ignored_warnings():
        if format == "PNG":
            options["pnginfo"] = png_texts(info)
        if format == "TIFF":
            options["exif"] = tiff_tags(info)
        picture.save(file, format, **options)
    return file.getvalue()


def png_texts(info: dict[Any, Any]) -> PngImagePlugin.PngInfo:
    texts = PngImagePlugin.PngInfo()
    for name, text in info.get("text", {}).items():
        texts.add_itxt(name, text)
    if "xmp" in info:
        texts.add_itxt(XMP, info["xmp"].decode())
    return texts


def tiff_tags(info: dict[Any, Any]) -> bytes:
    exif = Image.Exif()
    exif.load(info.get("exif", b""))
    if "xmp" in info:
        exif[ExifTags.Base.XMLPacket] = info["xmp"]
    return exif.tobytes()


def file_format(path: Path) -> str:
    """Pillow's name for the format that the file's ending stands for. Raises UserError for one it cannot write."""
    Image.init()
    format = Image.registered_extensions().get(path.suffix.lower())
    if format not in Image.SAVE:
        raise UserError(f"output.path={path}: Pillow writes no files of this ending; end it with .png, .tif or .jpg")
    return format


def holds(format: str, picture: Image.Image) -> bool:
    """Whether a file of this format gives back what a picture of this mode has; a lossy one, its channels and depth."""
    noise = picture.resize((24, 24))
    bytes_a_colour = 256 if noise.mode != "P" else len(noise.getpalette() or ()) // 3
    values = np.random.default_rng(0).integers(0, bytes_a_colour, len(noise.tobytes()), dtype=np.uint8)
    noise.frombytes(values.tobytes())
    noise.info = picture.info
    try:
        back = Image.open(io.BytesIO(encoded(noise, format)))
        if format in LOSSY:
            return back.mode in (noise.mode, DRAWN[noise.mode])
        mode = "RGB" if noise.mode == "P" else noise.mode
        return back.convert(mode).tobytes() == noise.convert(mode).tobytes()
    except (OSError, ValueError, SystemError):
        return False


def fits(format: str, picture: Image.Image) -> bool:
    """Whether a file of this format can be as large as the picture."""
    blank = Image.new(picture.mode, picture.size)
    if picture.mode == "P":
        blank.putpalette(picture.getpalette() or ())
    try:
        with ignored_warnings():
            return Image.open(io.BytesIO(encoded(blank, format))).size == picture.size
    except Exception:  # encoders raise anything
        return False


def lossless_ending(picture: Image.Image) -> str:
    """.png, or .tif for what no PNG holds: CMYK, YCbCr and more than 16 bits."""
    return ".png" if holds("PNG", picture) else ".tif"


def check_output(picture: Image.Image, path: Path, overwrite: bool) -> None:
    """Raise UserError where `write` would fail, or replace a file against the user's will."""
    if path.is_dir():
        raise UserError(f"output.path={path} is a folder; give a file, such as {path / 'fixed.png'}")
    if path.exists() and not overwrite:
        raise UserError(f"output.path={path} is there already; give another name, or set output.overwrite=true")
    if not holds(format := file_format(path), picture):
        fit = ", ".join(ending for other, ending in USUAL.items() if holds(other, picture))
        raise UserError(f"output.path={path}: {format} cannot hold this picture (mode {picture.mode}), but {fit} can")
    if not fits(format, picture):
        size = "{}x{}".format(*picture.size)
        raise UserError(f"output.path={path}: {format} cannot hold a picture of {size}; end it with .png or .tif")
    try:
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"output.path={path} cannot be written: {error.strerror}; give another folder") from None


def write(picture: Image.Image, path: Path) -> Path:
    """Write the picture with its metadata, in the format of the file's ending; return the path."""
    content = encoded(picture, file_format(path))
    with atomic_write(path) as file:
        file.write(content)
    return path


def same_size(key: str, path: str | Path, picture: Image.Image, wanted: tuple[int, int], cure: str = "") -> None:
    """Raise UserError where the picture of `path` has not the `wanted` width and height."""
    if picture.size != wanted:
        ours, theirs = ("{}x{}".format(*size) for size in (picture.size, wanted))
        turn = "turn it upright, or " if picture.size == wanted[::-1] else ""
        raise UserError(
            f"{key}={path} is {ours} but the image is {theirs}; {turn}give a file of the image's size{cure}"
        )
