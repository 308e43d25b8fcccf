"""Pictures that Pillow has no mode for: any number of channels, of any type of number, from arrays and their files."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Transpose as Turn

from dip.errors import UserError

log = logging.getLogger(__name__)
Check = Callable[[tuple[int, ...]], None]  # raises UserError for a shape that is too large
ARRAYS = (".npy", ".npz")


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

    def resize(self, size: tuple[int, int]) -> "ArrayPicture":
        """The picture with another width and height, each pixel the nearest one; it lies at no place on a map."""
        columns, rows = (np.arange(new) * own // new for new, own in zip(size, self.size, strict=True))
        at = np.ix_(rows, columns)
        info = {name: value for name, value in self.info.items() if name != "tags"}
        return replace(self, values=self.values[at], alpha=None if self.alpha is None else self.alpha[at], info=info)

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
        if axis == 0:
            log.warning(
                "%s has the shape %s: its first axis is taken for %d channels; data.channel_axis=-1 takes the last one",
                *(name, array.shape, array.shape[0]),
            )
    if not isinstance(axis, int) or not -3 <= axis < 3:
        raise UserError(f"{name}: channel_axis={axis}, but the array has the axes 0 to 2")
    return ArrayPicture(np.moveaxis(array, axis, -1), axis=axis, **others)


def read_array(path: Path, axis: int | None, name: str, check: Check) -> ArrayPicture:
    """The array of a .npy file, or the only one of a .npz file. No code that a file may hold is run."""
    found, info = np.load(path, allow_pickle=False, mmap_mode="r"), {}
    if isinstance(found, np.ndarray):
        check(found.shape)
        found = np.array(found)
    else:
        with found as arrays:
            if len(arrays.files) != 1:
                raise UserError(f"{name} holds {len(arrays.files)} arrays; give a file with one")
            check(shape_in(arrays))
            (key,) = arrays.files
            found, info = arrays[key], {"key": key}
    return from_array(found, axis, name, ending=path.suffix.lower(), info=info)


def shape_in(arrays: Any) -> tuple[int, ...]:
    """The shape of the only array of a .npz file, without reading it."""
    with arrays.zip.open(arrays.zip.namelist()[0]) as file:
        is_old = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_old else np.lib.format.read_array_header_2_0
        return read(file)[0]


def described(picture: ArrayPicture) -> str:
    alpha = " with alpha" if picture.alpha is not None else ""
    return f"{picture.values.dtype} values of {picture.values.shape[2]} channels{alpha}"
