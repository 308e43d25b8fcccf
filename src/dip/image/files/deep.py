"""TIFF and PNG files that hold more than Pillow hands over: depth, channels, bands, and where they lie on the earth."""

import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image

from dip.image.files.arrays import ArrayPicture, Check, from_array

TIFFS = (".tif", ".tiff")
PLACES = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)  # tags of GeoTIFF and GDAL
MISSING = 42113  # GDAL's tag of the value that stands for a missing pixel
PROFILE, EXTRA, FORMAT, XMP = 34675, 338, 339, 700  # colour profile, kind of further samples, type of numbers
SOFTWARE = 305  # which tifffile writes itself
FLOAT, SIGNED = 3, 2  # of FORMAT
ALPHA = (1, 2)  # of EXTRA: associated, and not
ABOUT = (b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # chunks of a PNG


def exceeds_pillow(file: Any) -> bool:
    """Whether a file that Pillow has opened holds more than it hands over."""
    if file.format == "PNG":
        return file.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile) for tile in getattr(file, "tile", ()))
    if file.format != "TIFF":
        return False
    tags = file.tag_v2
    bits, samples, kind = max(tags.get(258, (1,))), tags.get(277, 1), max(tags.get(FORMAT, (1,)))
    is_read = (bits <= 8 and kind == 1) or (samples == 1 and (bits, kind) in ((16, 1), (32, SIGNED), (32, FLOAT)))
    is_stack = bits > 8 and getattr(file, "n_frames", 1) > 1
    return not is_read or is_stack or any(tag in tags for tag in PLACES)


def read_tiff(path: Path, axis: int | None, name: str, check: Check) -> ArrayPicture:
    """The first picture of a TIFF file, of as many channels as it has; of pages of one size each is a channel."""
    with tifffile.TiffFile(path) as file:
        series, page = file.series[0], file.pages.first
        check(series.shape)
        array, tags = series.asarray(), page.tags
        axis = channel_axis(series.axes, series.shape) if axis is None else axis
        missing = number(tags[MISSING].value) if MISSING in tags else None
        picture = from_array(array, axis, name, ending=".tif", missing=missing, info=about(page))
    extra, values = tuple(page.extrasamples), picture.values
    if extra and extra[-1] in ALPHA and values.shape[2] in (2, 4, 5) and array.dtype.kind == "u":
        return replace(picture, values=values[..., :-1], alpha=values[..., -1])
    return picture


def channel_axis(axes: str, shape: tuple[int, ...]) -> int | None:
    """The axis of the channels by tifffile's letters; of pages (Q, I) the last one if it is the shortest."""
    if len(axes) != 3 or not {"Y", "X"} <= set(axes):
        return None
    (axis,) = (number for number, letter in enumerate(axes) if letter not in "YX")
    return -1 if axes[axis] in "QI" and shape[2] < min(shape[:2]) else axis


def about(page: Any) -> dict[str, Any]:
    """What of a TIFF file's tags goes on into the result, beside what Pillow hands over."""
    tags, found = page.tags, {"photometric": page.photometric.name.lower()}
    found["tags"] = [
        (code, tags[code].dtype, tags[code].count, as_bytes(tags[code].value)) for code in PLACES if code in tags
    ]
    if page.extrasamples and page.extrasamples[-1] in ALPHA:
        found["extra"] = int(page.extrasamples[-1])
    if PROFILE in tags:
        found["icc_profile"] = tags[PROFILE].value
    return found


def as_bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def read_png(path: Path) -> ArrayPicture:
    """A PNG file of 16 bits a channel."""
    values = imagecodecs.png_decode(path.read_bytes())
    values = values[..., None] if values.ndim == 2 else values
    has_alpha = values.shape[2] in (2, 4)
    colours, alpha = (values[..., :-1], values[..., -1]) if has_alpha else (values, None)
    return ArrayPicture(colours, alpha, axis=-1 if colours.shape[2] > 1 else None, ending=".png")


def holds(ending: str, picture: ArrayPicture) -> bool:
    """Whether a TIFF or a PNG file gives back every value of the picture."""
    if ending == ".png":
        return picture.values.shape[2] in (1, 3) and picture.values.dtype in (np.uint8, np.uint16)
    return ending in TIFFS


def encoded_tiff(picture: ArrayPicture) -> bytes:
    file, values, is_chunky = io.BytesIO(), with_alpha(picture), picture.axis in (None, -1, 2)
    channels, info = picture.values.shape[2], picture.info
    photometric = "separated" if info.get("photometric") == "separated" else "rgb" if channels == 3 else "minisblack"
    options: dict[str, Any] = {"photometric": photometric, "iccprofile": info.get("icc_profile"), "metadata": None}
    options["extratags"] = [(*tag, True) for tag in (*info.get("tags", ()), *described_by(info))]
    if "dpi" in info:
        options |= {"resolution": tuple(map(float, info["dpi"])), "resolutionunit": "inch"}
    if picture.alpha is not None:
        options["extrasamples"] = [info.get("extra", 2)]
    if values.shape[2] == 1:
        tifffile.imwrite(file, values[..., 0], **options)
    else:
        planes = values if is_chunky else np.moveaxis(values, -1, 0)
        tifffile.imwrite(file, planes, planarconfig="contig" if is_chunky else "separate", **options)
    return file.getvalue()


def described_by(info: dict[str, Any]) -> Iterator[tuple[int, str, int, bytes]]:
    """The texts of EXIF and XMP as tags: code, type, count and value."""
    exif = Image.Exif()
    exif.load(info.get("exif", b""))
    for code, value in exif.items():
        if isinstance(value, str) and code in ExifTags.TAGS and code != SOFTWARE and not describes_pixels(value):
            yield code, "s", 0, value.encode()
    if "xmp" in info:
        yield XMP, "B", len(info["xmp"]), info["xmp"]


def describes_pixels(text: str) -> bool:
    """Whether it is what microscopes write of a stack: OME, ImageJ, or tifffile's shape."""
    return text.startswith(("ImageJ=", '{"shape"')) or "<OME" in text


def encoded_png(picture: ArrayPicture, other: bytes) -> bytes:
    """A PNG of 16 bits with the chunks of another, of Pillow, that are about the photograph."""
    png = bytes(imagecodecs.png_encode(np.ascontiguousarray(with_alpha(picture))))
    chosen = b"".join(chunk for kind, chunk in chunks(other) if kind in ABOUT)
    start = png.index(b"IHDR") - 4 + 25  # the signature and the first chunk
    return png[:start] + chosen + png[start:]


def with_alpha(picture: ArrayPicture) -> NDArray[Any]:
    """(H, W, C), or one channel more where the picture has an alpha channel."""
    return picture.values if picture.alpha is None else np.dstack([picture.values, picture.alpha])


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        yield png[place + 4 : place + 8], png[place : place + length + 12]
        place += length + 12
