"""Masks: (1, 1 or C, H, W) float32, 1 = known, 0 = hole. In files white is known, black the hole, as published."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy.ndimage import minimum_filter
from torch import Tensor

from dip.errors import UserError
from dip.image import tensors
from dip.image.files.arrays import ArrayPicture
from dip.image.files.opening import open_picture
from dip.image.files.writing import Picture
from dip.options import written

log = logging.getLogger(__name__)
KINDS = (
    "black, white, alpha (transparent), opaque, a number such as 1, a colour such as #ff0000, or a list of these two"
)
Hole = Annotated[int | str | Sequence[int | str], KINDS]  # what is the hole in a mask file
NEARLY = 16 / 255  # how far from black, white or opaque a pixel may be, as after a JPEG or a soft brush
SIMILAR = 64  # of 255, by which a channel of a colour may be off in a file with more colours than a label map
FEW = 64  # values of a label map at most


def read_mask(path: str | Path, hole: Hole, key: str = "data.mask") -> Tensor:
    """The mask in a picture file, thresholded: 1 = known, 0 = hole."""
    picture = as_picture(open_picture(path, key))
    if isinstance(picture, ArrayPicture):
        raise UserError(f"{key}={path} has {picture.values.shape[2]} channels; give a mask of one")
    return settled(known_fraction(picture, hole, f"{key}={path}"), hole, "threshold")


def known_fraction(picture: Image.Image, hole: Hole, name: str) -> Tensor:
    """How much of each pixel is known, from 0 to 1: (1, 1, H, W). name: of the file, in a refusal."""
    opaque = tensors.alpha(picture)
    if hole in ("alpha", "opaque"):
        if opaque is None:
            raise UserError(f"{name} has no alpha channel for data.hole={hole}; give data.hole=black or white")
        return opaque if hole == "alpha" else 1 - opaque
    if hole not in ("black", "white"):
        each = [hole] if isinstance(hole, int | str) else hole
        is_hole = torch.from_numpy(np.logical_or.reduce([has_value(picture, value) for value in each]))[None, None]
        return 1 - (is_hole if opaque is None else is_hole & (opaque >= 0.5)).float()
    if opaque is not None and opaque.min() < opaque.max():
        raise UserError(
            f"{name} has transparent pixels; if they are the hole, give data.hole=alpha, and if what is painted is, "
            "data.hole=opaque"
        )
    brightness = tensors.visible(tensors.from_pil(picture)).mean(dim=1, keepdim=True)
    return brightness if hole == "black" else 1 - brightness


def known_of_each(array: ArrayPicture, hole: Hole, name: str) -> Tensor:
    """The same of an array with a mask for each channel: (1, C, H, W)."""
    if hole not in ("black", "white") and not isinstance(hole, int):
        raise UserError(
            f"{name} is an array, for which data.hole={written(hole)} is nothing; give black, white or a number"
        )
    if isinstance(hole, int):
        is_hole = array.values == hole
    else:
        is_hole = array.values == 0 if array.values.dtype.kind != "f" else array.values < array.values.max() / 2
        is_hole = is_hole if hole == "black" else ~is_hole
    return 1 - torch.from_numpy(is_hole).permute(2, 0, 1)[None].float().contiguous()


def as_picture(mask: Picture) -> Picture:
    """A mask as Pillow has it, where it is of one channel (True is white) or a picture file of 16 bits a channel."""
    if not isinstance(mask, ArrayPicture):
        return mask
    values = mask.values
    if mask.ending in (".png", ".tif") and values.dtype == np.uint16 and values.shape[2] in (1, 3):
        picture = Image.fromarray((values // 257).astype(np.uint8).squeeze(2 if values.shape[2] == 1 else ()))
        if mask.alpha is not None:
            picture.putalpha(Image.fromarray((mask.alpha // 257).astype(np.uint8)))
        return picture
    if values.shape[2] > 1:
        return mask
    if values.dtype.kind == "b":
        return Image.fromarray(values[..., 0].astype(np.uint8) * 255)
    kinds = {"u1": np.uint8, "u2": np.uint16}
    kind = kinds.get(values.dtype.str[1:], np.float32 if values.dtype.kind == "f" else np.int32)
    return Image.fromarray(np.ascontiguousarray(values[..., 0].astype(kind)))


def present_in(picture: Picture, missing: float | None, has_mask: bool) -> Tensor:
    """`present` of a picture; a pixel of a photograph is missing where all its channels are."""
    if missing is None and not tensors.is_deep(picture):
        return torch.ones(1, 1, picture.height, picture.width)
    known = present(tensors.drawn_values(picture), missing, has_mask)
    return known if isinstance(picture, ArrayPicture) else known.amax(dim=1, keepdim=True)


def present(values: NDArray[Any], missing: float | None, has_mask: bool) -> Tensor:
    """Where values (H, W, C) are there: (1, C, H, W), 1 or 0.

    What is missing has the value `missing`; NaN and infinity are missing too if there is no mask, which says what is.
    """
    if missing is None and values.dtype.kind != "f":
        return torch.ones(1, 1, *values.shape[:2])
    gone = np.zeros(values.shape, dtype=bool)
    if values.dtype.kind == "f" and (not has_mask or (missing is not None and math.isnan(missing))):
        gone |= ~np.isfinite(values)
    if missing is not None:
        gone |= values == missing
    return 1 - torch.from_numpy(gone).permute(2, 0, 1)[None].float().contiguous()


def merged(known: Tensor) -> Tensor:
    """A mask of one channel where all channels lack the same: (1, C, H, W) -> (1, 1 or C, H, W)."""
    return known[:, :1].contiguous() if (known == known[:, :1]).all() else known


def known_in_all(mask: Tensor) -> Tensor:
    """How much of all channels is known, at least: (1, 1 or C, H, W) -> (1, 1, H, W)."""
    return mask.amin(dim=1, keepdim=True)


def has_value(picture: Image.Image, value: int | str) -> NDArray[np.bool_]:
    """Where a mask has a number, of its greys, classes or palette, or a colour: (H, W)."""
    if isinstance(value, int):
        pixels = pixel_values(picture)
        return pixels == (value if pixels.dtype != np.int64 else 0x010101 * value)  # a colour may be a grey
    try:
        colour = ImageColor.getrgb(value)[:3]
    except ValueError:
        raise UserError(f"data.hole={value}, but it must be {KINDS}") from None
    shown = as_rgb(picture)
    off = np.abs(np.asarray(shown, dtype=np.int16) - np.array(colour, dtype=np.int16)).max(-1)
    return off <= (0 if shown.getcolors(FEW) else SIMILAR)


def as_rgb(picture: Image.Image) -> Image.Image:
    is_usual = picture.mode not in (*tensors.DEEP, "CMYK")
    return (picture if is_usual else tensors.to_pil(tensors.from_pil(picture))).convert("RGB")


def pixel_values(picture: Image.Image) -> NDArray[Any]:
    """(H, W) of greys, classes or indices of a palette; of colours 0xRRGGBB, which alone are of 64 bits."""
    if picture.mode in ("L", "P", *tensors.DEEP):
        return np.array(picture)
    colours = np.array(as_rgb(picture))
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    return colours.astype(np.int64) @ np.array([65536, 256, 1])


class Contents(NamedTuple):
    values: list[str]  # the four commonest of a mask file, as data.hole takes them
    words: str  # these with their shares
    areas: int  # how many values, or similar ones where there are many, fill areas of some size


def contents(picture: Image.Image) -> Contents:
    """What a mask file holds, for a message; of a large one a million pixels tell it."""
    step = math.ceil((picture.width * picture.height / 1e6) ** 0.5)
    size = (math.ceil(picture.width / step), math.ceil(picture.height / step))
    picture = picture.resize(size, Image.Resampling.NEAREST)
    pixels = pixel_values(picture)
    values, counts = np.unique(pixels, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:4]
    form = "{}" if pixels.dtype != np.int64 else "#{:06x}"
    names = [form.format(values[place]).removesuffix(".0") for place in order]
    each = [f"{name} ({100 * counts[place] / pixels.size:.1f} %)" for name, place in zip(names, order, strict=True)]
    more = [f"{len(values) - 4} more"] if len(values) > 4 else []
    if len(values) > FEW:
        pixels = pixel_values(as_rgb(picture).point([value // 64 for value in range(256)] * 3))
    inner = pixels[1:-1, 1:-1]
    even = (inner == pixels[:-2, 1:-1]) & (inner == pixels[2:, 1:-1]) & (inner == pixels[1:-1, :-2])
    _, sizes = np.unique(inner[even & (inner == pixels[1:-1, 2:])], return_counts=True)
    return Contents(names, ", ".join(each + more), int((sizes > pixels.size / 1000).sum()))


def check_contents(picture: Image.Image, known: Tensor, hole: Hole, name: str, soft_mask: str) -> None:
    """Raise UserError where a mask file shows no hole or nothing else, and warn where it is no black and white mask."""
    if known.any() and not (known == 1).all():
        found = contents(picture) if hole in ("black", "white") else None
        if found is not None and found.areas > 2 and (soft_mask == "threshold" or "#" in found.words):
            log.warning(
                "%s is not only black and white: it has %s; the %s half of them is the hole. One of them is with "
                "data.hole=%s",
                *(name, found.words, "darker" if hole == "black" else "brighter", found.values[1]),
            )
        return
    found = contents(picture.getchannel("A") if hole in ("alpha", "opaque") else picture)
    what = "opacity" if hole in ("alpha", "opaque") else "value"
    if len(found.values) == 1:
        raise UserError(f"{name} has the {what} {found.values[0]} all over, and so shows no hole; give another mask")
    lack = "no hole" if known.any() else "nothing but hole"
    cure = f"data.hole={found.values[1]} makes that the hole" if what == "value" else "give another data.hole"
    raise UserError(f"{name} has {lack} for data.hole={written(hole)}, but the {what}s {found.words}; {cure}")


def warn_of_inversion(known: Tensor, hole: Hole) -> None:
    """Speak of a hole of more than half the picture; one of all of it is refused."""
    if known.mean() >= 0.5 or not known.any():
        return
    inverse = {"black": "white", "white": "black", "alpha": "opaque", "opaque": "alpha"}
    other = inverse.get(hole) if isinstance(hole, str) else None
    cure = f"data.hole={other}" if other else "another mask" if hole == "transparent" else "another data.hole"
    share = 100 * (1 - known.mean())
    log.warning("the hole is %.0f %% of the picture; if that is the known part, give %s", share, cure)


def resized(known: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask at another size, (width, height)."""
    return F.interpolate(known, size=size[::-1], mode="bilinear", antialias=True)


def settled(known: Tensor, hole: Hole, soft_mask: str) -> Tensor:
    """How much each pixel counts as known: 1 or 0 for a threshold, else its weight, with what is nearly 0 or 1 as that.

    The threshold is a half; but whatever is transparent at all is the hole for "alpha".
    """
    if soft_mask == "threshold":
        return (known >= (1 - NEARLY if hole == "alpha" else 0.5)).float()
    return known.where(known >= NEARLY, 0).where(known <= 1 - NEARLY, 1)


def grow_hole(known: Tensor, pixels: int) -> Tensor:
    """The mask with a hole that reaches so many pixels further to every side."""
    return torch.from_numpy(minimum_filter(known.numpy(), size=(1, 1, 2 * pixels + 1, 2 * pixels + 1)))


Fraction = Annotated[float, Gt(0), Lt(1), "such as 0.5"]


def random_pixels(height: int, width: int, known_share: Fraction, seed: int) -> Tensor:
    """Exactly this fraction of the pixels is known, drawn by a generator of its own: (1, 1, height, width)."""
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(height * width)
    mask[order[: round(known_share * height * width)]] = 1
    return mask.view(1, 1, height, width)


def text(height: int, width: int, words: str, font_size: Annotated[int, Ge(1)]) -> Tensor:
    """The words are the hole, repeated over the whole picture: (1, 1, height, width)."""
    if not words.strip():
        raise UserError(f"data.example.mask.words={words!r}, but it must have a letter")
    font = ImageFont.load_default(font_size)
    mask = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(mask)
    line = f"{words} " * (1 + int(width / font.getlength(words)) + 1)
    for row, top in enumerate(range(font_size // 2, height, 2 * font_size)):
        # Every line starts elsewhere, so that no gap between words runs down the picture.
        draw.text((-(row * 3 * font_size) % width - width, top), 2 * line, fill=0, font=font)
    return torch.from_numpy(np.array(mask) >= 128)[None, None].float()
