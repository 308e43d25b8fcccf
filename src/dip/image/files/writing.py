"""Write a picture: in the format of the file's ending, whole, with its metadata, and only where it can hold it."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from dip.errors import UserError
from dip.files import atomic_write
from dip.image.files import arrays, deep
from dip.image.files.arrays import ArrayPicture
from dip.image.files.metadata import XMP
from dip.image.files.modes import DRAWN

Picture = Image.Image | ArrayPicture
# What Pillow is told for a format, so that no more is lost than must be.
WRITTEN = {
    "AVIF": {"quality": 95},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
}
METADATA = ("icc_profile", "dpi", "comment", "exif", "xmp", "text")  # of `picture.info`, as Pillow has it
LOSSY = ("AVIF", "JPEG")
USUAL = {"PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "JPEG": ".jpg"}  # formats that a message proposes


@contextmanager
def ignored_warnings() -> Iterator[None]:
    """Pillow's, of odd metadata and of pictures half as large as it refuses, say nothing that a user can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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


def lossless_ending(picture: Picture) -> str:
    """.png, or .tif for what no PNG holds: CMYK, YCbCr and more than 16 bits; of an array that of its file."""
    if isinstance(picture, ArrayPicture):
        return picture.ending
    return ".png" if holds("PNG", picture) else ".tif"


def check_output(picture: Picture, path: Path, overwrite: bool) -> None:
    """Raise UserError where `write` would fail, or replace a file against the user's will."""
    if path.is_dir():
        raise UserError(f"output.path={path} is a folder; give a file, such as {path / 'fixed.png'}")
    if path.exists() and not overwrite:
        raise UserError(f"output.path={path} is there already; give another name, or set output.overwrite=true")
    check_ending(picture, path)
    try:
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"output.path={path} cannot be written: {error.strerror}; give another folder") from None


def check_ending(picture: Picture, path: Path) -> None:
    """Raise UserError where a file of this ending cannot hold the picture."""
    if isinstance(picture, ArrayPicture):
        if not holds_array(path.suffix.lower(), picture):
            fit = ", ".join(ending for ending in (".png", ".tif", ".npy", ".npz") if holds_array(ending, picture))
            raise UserError(f"output.path={path} cannot hold {arrays.described(picture)}; end it with one of {fit}")
        return
    if not holds(format := file_format(path), picture):
        fit = ", ".join(ending for other, ending in USUAL.items() if holds(other, picture))
        raise UserError(f"output.path={path}: {format} cannot hold this picture (mode {picture.mode}), but {fit} can")
    if not fits(format, picture):
        size = "{}x{}".format(*picture.size)
        raise UserError(f"output.path={path}: {format} cannot hold a picture of {size}; end it with .png or .tif")


def holds_array(ending: str, picture: ArrayPicture) -> bool:
    """Whether a file of this ending gives back every value of an array."""
    return deep.holds(ending, picture) or (ending in arrays.ARRAYS and picture.alpha is None)


def encoded_array(picture: ArrayPicture, ending: str) -> bytes:
    """The file of this ending; a PNG or TIFF with the picture's metadata."""
    file = io.BytesIO()
    if ending in deep.TIFFS:
        return deep.encoded_tiff(picture)
    if ending == ".png":
        blank = Image.new("L", (1, 1))
        blank.info = {name: value for name, value in picture.info.items() if name in METADATA}
        return deep.encoded_png(picture, encoded(blank, "PNG"))
    if ending == ".npz":
        named: dict[str, Any] = {picture.info.get("key", "image"): picture.array}
        np.savez_compressed(file, **named)
    else:
        np.save(file, picture.array)
    return file.getvalue()


def write(picture: Picture, path: Path) -> Path:
    """Write the picture with its metadata, in the format of the file's ending; return the path."""
    if isinstance(picture, ArrayPicture):
        content = encoded_array(picture, path.suffix.lower())
    else:
        content = encoded(picture, file_format(path))
    with atomic_write(path) as file:
        file.write(content)
    return path
