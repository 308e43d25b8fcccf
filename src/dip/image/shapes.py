"""Holes drawn on a photograph in mode RGB or found in it: (H, W) boolean arrays, True in the hole."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage import filters, measure, morphology

from dip.errors import UserError

Hole: TypeAlias = NDArray[np.bool_]


class Point(NamedTuple):
    x: int  # in pixels, from 0 at the left
    y: int  # from 0 at the top


def rectangle(photo: Image.Image, corner: Point, opposite: Point) -> Hole:
    """Both corners are in the hole."""
    return painted(photo, lambda pen: pen.rectangle(box(corner, opposite), fill=1))


def ellipse(photo: Image.Image, corner: Point, opposite: Point) -> Hole:
    """The one that fills the rectangle between the corners."""
    return painted(photo, lambda pen: pen.ellipse(box(corner, opposite), fill=1))


def polygon(photo: Image.Image, *points: Point) -> Hole:
    if len(points) < 3:
        raise UserError(f"a polygon has three points or more, and this one {len(points)}")
    return painted(photo, lambda pen: pen.polygon(points, fill=1))


def stroke(photo: Image.Image, width: int, *points: Point) -> Hole:
    """From point to point with a round brush of `width` pixels; a dot where there is one point only."""
    if not points:
        raise UserError("a stroke has one point or more")

    def paint(pen: ImageDraw.ImageDraw) -> None:
        pen.point(points, fill=1)
        pen.line(points, fill=1, width=width)
        for point in points:
            pen.circle(point, (width - 1) / 2, fill=1)

    return painted(photo, paint)


def words(photo: Image.Image, text: str, size: int, corner: Point) -> Hole:
    """`text` of `size` pixels, with its top left corner there."""
    font = ImageFont.load_default(size)
    return painted(photo, lambda pen: pen.text(corner, text, fill=1, font=font))


def painted(photo: Image.Image, paint: Callable[[ImageDraw.ImageDraw], None]) -> Hole:
    canvas = Image.new("1", photo.size)
    paint(ImageDraw.Draw(canvas))
    return np.array(canvas)


def box(corner: Point, opposite: Point) -> tuple[int, int, int, int]:
    """Left, top, right, bottom."""
    (left, right), (top, bottom) = sorted((corner.x, opposite.x)), sorted((corner.y, opposite.y))
    return left, top, right, bottom


def near_colour(photo: Image.Image, colour: tuple[int, int, int], tolerance: int) -> Hole:
    """The pixels whose red, green and blue are each within `tolerance` of the colour's; all are 0 to 255."""
    distance = np.abs(np.asarray(photo, dtype=np.int16) - np.array(colour, dtype=np.int16)).max(axis=2)
    if distance.min() > tolerance:
        raise UserError(f"no pixel has this colour within {tolerance}; the nearest is {distance.min()} away")
    return distance <= tolerance


def scratches(photo: Image.Image, kind: str, width: int, contrast: int) -> Hole:
    """Lines up to `width` pixels wide and about ten times as long or more; those that belong there are among them.

    kind: "bright" or "dark". contrast: how much (of 255) a line stands out from both its sides, beyond what the texture
    around it does. scripts/lab/scratch_benchmark.py measures what is found.
    """
    narrow = {"bright": morphology.white_tophat, "dark": morphology.black_tophat}[kind]
    grey = filters.gaussian(np.asarray(photo.convert("L"), dtype=np.float32), 1, preserve_range=True)
    relief = np.asarray(narrow(grey, morphology.disk(width // 2 + 1)))
    relief -= filters.gaussian(relief, 3 * width, preserve_range=True)
    lines = filters.apply_hysteresis_threshold(relief, contrast / 2, contrast)
    parts = np.asarray(measure.label(lines, connectivity=2))
    return np.isin(parts, [part.label for part in measure.regionprops(parts) if part.axis_major_length >= 10 * width])


def grow(hole: Hole, pixels: int) -> Hole:
    """The hole and all that is at most so many pixels away from it."""
    if not hole.any():
        raise UserError("there is no hole yet that could grow")
    return morphology.isotropic_dilation(hole, pixels)


def tinted(photo: Image.Image, hole: Hole, colour: str = "magenta") -> Image.Image:
    """The photograph with its hole in a colour that photographs hardly have."""
    veiled = Image.blend(photo, Image.new("RGB", photo.size, colour), 0.6)
    return Image.composite(veiled, photo, Image.fromarray(hole))
