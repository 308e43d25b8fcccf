"""The hole of a photograph as it is painted, found or loaded: boolean arrays (H, W), True where pixels are missing."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from dip.errors import UserError
from dip.image import masks, shapes, tensors
from dip.image.files.opening import open_picture
from dip.image.shapes import Hole, Point

CANVAS = 1000  # pixels, the longer side of what is painted on
MOST = 60  # megapixels of a photograph
PAINT = 255, 0, 255, 255  # red, green, blue and opacity of the brush


def open_photo(path: Path) -> Image.Image:
    """The photograph upright, in 8-bit RGB. Raises UserError for what is no picture."""
    try:
        return tensors.to_pil(tensors.from_pil(open_picture(path, "photo", max_megapixels=MOST))).convert("RGB")
    except UserError as error:
        raise UserError(str(error).replace(f"photo={path}", path.name)) from error


def for_canvas(photo: Image.Image) -> Image.Image:
    """The photograph at the size of the canvas; one that fits stays as it is."""
    smaller = photo.copy()
    smaller.thumbnail((CANVAS, CANVAS))
    return smaller


def as_layer(hole: Hole, photo: Image.Image) -> Image.Image:
    """The hole as what is painted on the canvas, in which not a pixel of it is lost."""
    size = for_canvas(photo).size
    is_hole = np.asarray(Image.fromarray(hole).convert("L").resize(size, Image.Resampling.BOX)) > 0
    return Image.fromarray((is_hole[..., None] * np.array(PAINT)).astype(np.uint8))


def painted(layer: NDArray[np.uint8] | None, exact: Hole | None, photo: Image.Image) -> Hole:
    """What is painted in a layer (h, w, 4) of the canvas, at the photograph's size.

    exact: what of it was drawn, found or loaded at the photograph's size. Where the layer shows that, and no more was
    painted, the hole is exactly that; what was erased is known.
    """
    if layer is None:
        return np.zeros((photo.height, photo.width), dtype=bool)
    hole = enlarged(layer, photo)
    return hole if exact is None else hole & (exact | ~enlarged(np.asarray(as_layer(exact, photo)), photo))


def enlarged(layer: NDArray[np.uint8], photo: Image.Image) -> Hole:
    """Where a layer is painted, be it the soft edge of a brush."""
    return np.asarray(Image.fromarray(layer[..., 3] > 0).resize(photo.size, Image.Resampling.NEAREST))


def find_colour(photo: Image.Image, colour: str, tolerance: int, clicked: Point | None = None, reach: int = 0) -> Hole:
    """Where the photograph has a colour, "#rrggbb" or "rgba(r, g, b, a)"; up to `reach` pixels from what was clicked.

    Anywhere where nothing was clicked, or with a reach of 0.
    """
    found = shapes.near_colour(photo, read_colour(colour), tolerance)
    if clicked is None or reach == 0:
        return found
    x, y = clicked
    return found & shapes.rectangle(photo, Point(x - reach, y - reach), Point(x + reach, y + reach))


def on_photo(photo: Image.Image, x: int, y: int) -> Point:
    """The pixel of the photograph that a point of the canvas shows."""
    scale = max(max(photo.size) / CANVAS, 1)
    return Point(min(round(x * scale), photo.width - 1), min(round(y * scale), photo.height - 1))


def colour_at(photo: Image.Image, point: Point) -> str:
    """As "#rrggbb"."""
    return "#" + np.asarray(photo)[point.y, point.x].tobytes().hex()


def sides_between(corner: Point, opposite: Point) -> tuple[int, int, int, int]:
    """Left, top, right and bottom, in pixels."""
    (left, right), (top, bottom) = sorted((corner.x, opposite.x)), sorted((corner.y, opposite.y))
    return left, top, right, bottom


def rectangle(photo: Image.Image, left: int, top: int, right: int, bottom: int) -> Hole:
    """All four sides are in the hole. Raises UserError where they are out of order or outside the photograph."""
    if not (0 <= left <= right < photo.width and 0 <= top <= bottom < photo.height):
        said = f"from {left} to {right} and from {top} to {bottom} is no rectangle in a photograph of "
        raise UserError(f"{said}{photo.width}x{photo.height} pixels, which count from 0")
    return shapes.rectangle(photo, Point(left, top), Point(right, bottom))


def read_colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of what a colour picker gives."""
    if text.startswith("rgba("):
        red, green, blue, *_ = (round(float(part)) for part in text[5:-1].split(","))
        return red, green, blue
    return ImageColor.getrgb(text)[:3]


def load(path: Path, size: tuple[int, int]) -> Hole:
    """The hole of a mask file, which is black. Raises UserError where it has not the photograph's size."""
    known = masks.read_mask(path, "black", "mask")[0, 0].numpy()
    if known.shape != (size[1], size[0]):
        raise UserError(f"the mask is {known.shape[1]}x{known.shape[0]} but the photograph is {size[0]}x{size[1]}")
    return known < 0.5


def check(hole: Hole) -> Hole:
    """Raise UserError where there is no hole, or nothing else."""
    if not hole.any():
        raise UserError("nothing is marked yet; paint over what should go, or find it below the photograph")
    if hole.all():
        raise UserError("all of the photograph is marked; leave something that the repair can learn from")
    return hole


def save(hole: Hole, path: Path) -> Path:
    """Write a mask, white where the photograph is known."""
    tensors.save_png(Image.fromarray(~hole).convert("L"), path)
    return path


def tinted(photo: Image.Image, hole: Hole, found: Hole | None = None) -> Image.Image:
    """The photograph with its hole in magenta, and with what was just found in cyan."""
    shown = shapes.tinted(photo, hole)
    return shown if found is None else shapes.tinted(shown, found, "cyan")
