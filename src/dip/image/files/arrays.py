"""Pictures that Pillow has no mode for: any number of channels, of any type of number, from arrays and their files."""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Transpose as Turn

from dip.errors import UserError

Check = Callable[[tuple[int, ...]], None]  # raises UserError for a shape that is too large
ARRAYS = (".npy", ".npz")
TIFFS = (".tif", ".tiff")
PLACES = range(33550, 33923), range(34264, 34265), range(34735, 34738), range(42112, 42114)  # tags of GeoTIFF and GDAL
MISSING = 42113  # GDAL's tag of the value that stands for a missing pixel
ABOUT = (b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # chunks of a PNG


@dataclass(frozen=True, eq=False)
class ArrayPicture:
    """An array (H, W, C) with what of Pillow's interface a repair needs.

    Values keep their type, units and range. `alpha` is of the type of the values, (H, W), where there is one.
    """

    mode: ClassVar = "array"
    values: NDArray[Any]  # (H, W, C)
    alpha: NDArray[Any] | None = None
    axis: int | None = -1  # of the channels in the array that it came from; None for (H, W)
    ending: str = ".npy"  # of the file that it came from
    missing: float | None = None  # the value of a missing pixel, as far as the file says
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def width(self) -> int:
        return self.values.shape[1]

    @property
    def height(self) -> int:
        return self.values.shape[0]

    @property
    def array(self) -> NDArray[Any]:
        """The values in the shape that they came in."""
        return self.values[..., 0] if self.axis is None else np.moveaxis(self.values, -1, self.axis)

    def copy(self) -> "ArrayPicture":
        return replace(self, values=self.values.copy(), alpha=None if self.alpha is None else self.alpha.copy())

    def crop(self, box: tuple[int, int, int, int]) -> "ArrayPicture":
        left, top, right, bottom = box
        part = np.s_[top:bottom, left:right]
        return replace(self, values=self.values[part], alpha=None if self.alpha is None else self.alpha[part])

    def paste(self, part: Any, at: tuple[int, int], where: Image.Image) -> None:
        """Put the pixels of a part where `where`, of mode "1", is set."""
        left, top = at
        own = self.values[top : top + part.height, left : left + part.width]
        np.copyto(own, part.values, where=np.array(where)[..., None])

    def transpose(self, turn: Turn) -> "ArrayPicture":
        alpha = None if self.alpha is None else turned(self.alpha, turn)
        return replace(self, values=turned(self.values, turn), alpha=alpha)


def turned(values: NDArray[Any], turn: Turn) -> NDArray[Any]:
    """The array turned as `Image.transpose` turns a picture."""
    flips = {Turn.FLIP_LEFT_RIGHT: np.fliplr, Turn.FLIP_TOP_BOTTOM: np.flipud}
    if turn in flips:
        return flips[turn](values)
    if turn in (Turn.TRANSPOSE, Turn.TRANSVERSE):
        values = values.swapaxes(0, 1)
        return values if turn is Turn.TRANSPOSE else np.rot90(values, 2)
    return np.rot90(values, {Turn.ROTATE_90: 1, Turn.ROTATE_180: 2, Turn.ROTATE_270: 3}[turn])


def from_array(array: NDArray[Any], axis: int | None, name: str, **others: Any) -> ArrayPicture:
    """A picture from (H, W), or three axes of which `axis` has the channels; None takes the shorter of first and last.

    Raises UserError, which calls the array `name`, for what is no picture.
    """
    if array.dtype.kind not in "iufb":
        raise UserError(f"{name} has the type {array.dtype}, but it must be of whole or floating-point numbers")
    if array.ndim not in (2, 3) or not array.size:
        raise UserError(f"{name} has the shape {array.shape}, but it must be (H, W) or (H, W, C)")
    if array.ndim == 2:
        return ArrayPicture(array[..., None], axis=None, **others)
    if axis is None:
        axis = 0 if array.shape[0] < array.shape[-1] else -1
    if not -3 <= axis < 3:
        raise UserError(f"{name}: data.channel_axis={axis}, but the array has the axes 0 to 2")
    return ArrayPicture(np.moveaxis(array, axis, -1), axis=axis, **others)


def read_array(path: Path, axis: int | None, name: str, check: Check) -> ArrayPicture:
    """The array of a .npy file, or the only one of a .npz file. No code that a file may hold is run."""
    found = np.load(path, allow_pickle=False, mmap_mode="r")
    if isinstance(found, np.ndarray):
        check(found.shape)
        found = np.array(found)
    else:
        with found as arrays:
            if len(arrays.files) != 1:
                raise UserError(f"{name} holds {len(arrays.files)} arrays; give a file with one")
            check(shape_in(arrays))
            found = arrays[arrays.files[0]]
    return from_array(found, axis, name, ending=path.suffix.lower())


def shape_in(arrays: Any) -> tuple[int, ...]:
    """The shape of the only array of a .npz file, without reading it."""
    with arrays.zip.open(arrays.zip.namelist()[0]) as file:
        is_old = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_old else np.lib.format.read_array_header_2_0
        return read(file)[0]


def read_tiff(path: Path, axis: int | None, name: str, check: Check) -> ArrayPicture:
    """The first picture of a TIFF file, of as many channels as it has."""
    with tifffile.TiffFile(path) as file:
        series, page = file.series[0], file.pages.first
        check(series.shape)
        axes, array, tags = series.axes, series.asarray(), page.tags
        if len(axes) == 3 and axis is None and "Q" not in axes and {"Y", "X"} <= set(axes):
            (axis,) = (number for number, letter in enumerate(axes) if letter not in "YX")
        kept = [(tag.code, tag.dtype, tag.count, tag.value) for tag in tags if any(tag.code in each for each in PLACES)]
        about: dict[str, Any] = {"tags": kept} if kept else {}
        if 34675 in tags:
            about["icc_profile"] = tags[34675].value
        missing = number(tags[MISSING].value) if MISSING in tags else None
        picture = from_array(array, axis, name, ending=".tif", missing=missing, info=about)
        values = picture.values
        if page.extrasamples and values.shape[2] in (2, 4) and array.dtype.kind == "u":
            return replace(picture, values=values[..., :-1], alpha=values[..., -1])
    return picture


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


def exceeds_pillow(file: Any) -> bool:
    """Whether a file that Pillow has opened holds more than it hands over: depth, channels or bands."""
    deep_colours = file.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile) for tile in getattr(file, "tile", ()))
    if file.format != "TIFF":
        return file.format == "PNG" and deep_colours
    bits, samples = file.tag_v2.get(258, (1,)), file.tag_v2.get(277, 1)
    is_stack = file.mode in ("F", "I", "I;16", "I;16B") and getattr(file, "n_frames", 1) > 1
    return (samples > 1 and max(bits) > 8) or max(bits) > 32 or is_stack


def described(picture: ArrayPicture) -> str:
    return f"{picture.values.dtype} values of {picture.values.shape[2]} channels" + (
        " with alpha" * (picture.alpha is not None)
    )


def holds(ending: str, picture: ArrayPicture) -> bool:
    """Whether a file of this ending gives back every value of the picture."""
    if ending == ".png":
        return picture.values.shape[2] in (1, 3) and picture.values.dtype in (np.uint8, np.uint16)
    return ending in (*ARRAYS, *TIFFS) and (picture.alpha is None or ending in TIFFS)


def encoded(picture: ArrayPicture, ending: str, about: bytes) -> bytes:
    """The file of this ending; about: a PNG of Pillow with the metadata that one of 16 bits is to have."""
    file = io.BytesIO()
    if ending == ".npz":
        np.savez_compressed(file, image=picture.array)
    elif ending in TIFFS:
        write_tiff(file, picture)
    elif ending == ".png":
        return with_chunks(imagecodecs.png_encode(np.ascontiguousarray(with_alpha(picture))), about)
    else:
        np.save(file, picture.array)
    return file.getvalue()


def with_alpha(picture: ArrayPicture) -> NDArray[Any]:
    """(H, W, C), or one channel more where the picture has an alpha channel."""
    return picture.values if picture.alpha is None else np.dstack([picture.values, picture.alpha])


def write_tiff(file: io.BytesIO, picture: ArrayPicture) -> None:
    values, is_chunky = with_alpha(picture), picture.axis in (None, -1, 2)
    options: dict[str, Any] = {"photometric": "rgb" if picture.values.shape[2] == 3 else "minisblack"}
    options |= {"iccprofile": picture.info.get("icc_profile"), "extratags": picture.info.get("tags", ())}
    if picture.alpha is not None:
        options["extrasamples"] = ["unassalpha"]
    if values.shape[2] == 1:
        tifffile.imwrite(file, picture.array, **options)
    else:
        planes = values if is_chunky else np.moveaxis(values, -1, 0)
        tifffile.imwrite(file, planes, planarconfig="contig" if is_chunky else "separate", **options)


def with_chunks(png: bytes | bytearray, other: bytes) -> bytes:
    """A PNG with the chunks of another that are about the photograph."""
    about = b"".join(chunk for kind, chunk in chunks(other) if kind in ABOUT)
    start = png.index(b"IHDR") - 4 + 25  # the signature and the first chunk
    return bytes(png[:start]) + about + bytes(png[start:])


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        yield png[place + 4 : place + 8], png[place : place + length + 12]
        place += length + 12
