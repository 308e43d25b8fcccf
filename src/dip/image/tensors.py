"""Pictures and tensors of them: (1, C, H, W) float32 in [0, 1]; C is 1 for grey, 3 for colour, 4 for CMYK."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.spatial import KDTree
from torch import Tensor

from dip.errors import UserError
from dip.files import atomic_write
from dip.image.files.arrays import ArrayPicture
from dip.image.files.modes import DRAWN
from dip.image.files.opening import open_picture
from dip.image.files.writing import Picture

DEEP = ("I;16", "I", "F")  # more than 8 bits
RARE = 10_000  # one value of so many, or one of fewer, can be mad: farther from the rest than SPANS times their range
SPANS = 10
FAR = 1e6  # a finite number for the tensors of mad values
Levels = tuple[Any, Any]  # the values that become 0 and 1: numbers, or an array (C,) each


def read_tensor(path: str | Path, key: str) -> Tensor:
    """The picture in `path` as a tensor, without its alpha channel; errors as those of `open_picture`."""
    return from_pil(open_picture(path, key))


def from_pil(picture: Picture, levels: Levels | None = None) -> Tensor:
    """The channels that the network draws. levels: the values that become 0 and 1, `full_range` by default."""
    values = drawn_values(picture)
    black, white = (np.asarray(level, dtype=exact(values.dtype)) for level in levels or full_range(picture))
    with np.errstate(invalid="ignore", over="ignore"):
        pixels = values.astype(exact(values.dtype), copy=False)
        scaled = ((pixels - black) / (white - black)).astype(np.float32)
    if values.dtype.kind == "f":  # in the hole there may be anything
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=FAR, neginf=-FAR).clip(-FAR, FAR)
    return torch.from_numpy(scaled).permute(2, 0, 1)[None].contiguous()


def exact(kind: np.dtype[Any]) -> np.dtype[Any]:
    """float32, or float64 for numbers that float32 does not hold."""
    return np.result_type(kind, np.float32)


def drawn_values(picture: Picture) -> NDArray[Any]:
    """The channels that the network draws, as they are in the picture: (H, W, C)."""
    if isinstance(picture, ArrayPicture):
        return picture.values
    mode = DRAWN[picture.mode]
    return np.array(picture if mode == picture.mode else picture.convert(mode)).reshape(*picture.size[::-1], -1)


def is_deep(picture: Picture) -> bool:
    """Whether values have more than 8 bits."""
    return picture.values.dtype != np.uint8 if isinstance(picture, ArrayPicture) else picture.mode in DEEP


def full_range(picture: Picture, known: Tensor | None = None) -> Levels:
    """The values of black and white, one pair for all channels, or (C,) each of an array whose channels have their own.

    known: (1, 1 or C, H, W), above 0 where a value counts.
    """
    if not is_deep(picture):
        return 0.0, 255.0
    values = drawn_values(picture)
    # Microscopes fill but a part of their range.
    counts = np.ones((1, 1, 1), dtype=bool) if known is None else known[0].permute(1, 2, 0).numpy() > 0
    counts = np.broadcast_to(counts, values.shape)
    each = [value_range(values[..., channel][counts[..., channel]]) for channel in range(values.shape[2])]
    blacks, whites = zip(*each, strict=True)
    return (blacks[0], whites[0]) if len(each) == 1 else (np.array(blacks), np.array(whites))


def value_range(values: NDArray[Any]) -> tuple[float, float]:
    """The least and the largest value of (N,).

    A value that is far from all others, as that of a broken pixel, is brighter than white or darker than black.
    """
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        values = values.astype(np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    few = len(values) // RARE + 1
    ordered = np.partition(values, sorted({0, min(few, len(values) - 1), max(len(values) - 1 - few, 0)}))
    low, high = float(ordered[min(few, len(values) - 1)]), float(ordered[max(len(values) - 1 - few, 0)])
    reach = SPANS * (high - low)
    if reach > 0:
        values = values[(values >= low - reach) & (values <= high + reach)]
    black, white = float(values.min()), float(values.max())
    if black < white:
        return black, white
    around = 1e-3 * abs(black) or 1.0  # of a constant one, which lies in the middle
    return black - around, black + around


def check_numbers(picture: Picture, name: str, known: Tensor | None = None) -> None:
    """Raise UserError for a value that is no number, where it counts: everywhere, or where `known` is above 0.

    known: (1, 1 or C, H, W).
    """
    if not is_deep(picture) or (values := drawn_values(picture)).dtype.kind != "f":
        return
    missing = ~np.isfinite(values) if known is None else np.isnan(values) & (known[0].permute(1, 2, 0).numpy() > 0)
    if count := int(missing.any(axis=2).sum()):
        where = "" if known is None else " outside the hole"
        cure = "give a number there" if known is None else "data.missing=nan makes them part of the hole"
        raise UserError(f"{name} has {count} pixels{where} that are no numbers (NaN); {cure}")


def alpha(picture: Picture) -> Tensor | None:
    """How opaque each pixel is: (1, 1, H, W), 0 to 1; None where the picture has no alpha channel."""
    if isinstance(picture, ArrayPicture):
        if picture.alpha is None:
            return None
        return torch.from_numpy(picture.alpha / np.float32(np.iinfo(picture.alpha.dtype).max))[None, None]
    return from_pil(picture.getchannel("A")) if picture.mode in ("LA", "RGBA") else None


def make_opaque(picture: Picture, where: Tensor) -> Picture:
    """The picture, opaque where `where` (1, 1, H, W), boolean, says so."""
    if isinstance(picture, ArrayPicture):
        if picture.alpha is None:
            return picture
        opaque = np.where(where[0, 0].numpy(), np.iinfo(picture.alpha.dtype).max, picture.alpha)
        return replace(picture, alpha=opaque.astype(picture.alpha.dtype))
    if picture.mode not in ("LA", "RGBA"):
        return picture
    channel = picture.getchannel("A")
    channel.paste(255, mask=Image.fromarray(where[0, 0].numpy()))
    picture = picture.copy()
    picture.putalpha(channel)
    return picture


def paste(picture: Picture, output: Tensor, known: Tensor, box: tuple[int, int, int, int], levels: Levels) -> Picture:
    """A copy of the picture with `output` (1, C, h, w) in the hole, in the picture's own mode, depth and alpha.

    known: (1, 1 or C, h, w); where it is 1 no bit changes, and what is between 0 and 1 is mixed. Both lie in `box`.
    """
    part = picture.crop(box)
    mixed = from_pil(part, levels) * known + output.clamp(0, 1) * (1 - known)
    filled = picture.copy()
    if isinstance(part, ArrayPicture):
        hole = (known[0] < 1).permute(1, 2, 0).numpy()
        part = replace(part, values=np.where(hole, in_type_of(part.values, mixed, levels), part.values))
        filled.paste(part, box[:2], Image.fromarray(hole.any(axis=2)))  # pyright: ignore[reportArgumentType]
        return filled
    hole = Image.fromarray((known[0, 0] < 1).numpy())
    filled.paste(in_mode_of(part, mixed, levels), box[:2], hole)  # pyright: ignore[reportArgumentType]
    return filled


def draw(picture: Picture, output: Tensor, levels: Levels) -> Picture:
    """`output` (1, C, H, W) as a picture of the same mode, depth and alpha, whose size may be another."""
    height, width = output.shape[-2:]
    if not isinstance(picture, ArrayPicture) and picture.mode in ("P", "PA", "1"):  # its few colours are not enough
        picture = picture.convert("RGBA" if picture.has_transparency_data else DRAWN[picture.mode])
    canvas = picture if picture.size == (width, height) else picture.resize((width, height))
    return paste(canvas, output, torch.zeros(1, 1, height, width), (0, 0, width, height), levels)


def in_type_of(values: NDArray[Any], drawn: Tensor, levels: Levels) -> NDArray[Any]:
    """`drawn` (1, C, H, W) as values (H, W, C) of the same type."""
    pixels = drawn[0].permute(1, 2, 0).numpy().astype(exact(values.dtype), copy=False)
    black, white = (np.asarray(level, dtype=pixels.dtype) for level in levels)
    scaled = black + (white - black) * pixels
    if values.dtype.kind != "f":
        most = np.iinfo(values.dtype).max
        highest = pixels.dtype.type(most)
        highest = highest if int(highest) <= most else np.nextafter(highest, pixels.dtype.type(0))
        scaled = scaled.round().clip(np.iinfo(values.dtype).min, highest)
    return scaled.astype(values.dtype)


def in_mode_of(part: Image.Image, drawn: Tensor, levels: Levels) -> Image.Image:
    """`drawn` (1, C, H, W) as a picture of the mode, palette and alpha of `part`."""
    values = in_type_of(np.array(Image.new(DRAWN[part.mode], (1, 1))), drawn, levels)
    if part.mode == "P":
        palette = np.reshape(part.getpalette("RGB") or (), (-1, 3))
        _, nearest = KDTree(palette).query(values)
        return Image.frombytes("P", part.size, nearest.astype(np.uint8).tobytes())
    picture = Image.frombytes(DRAWN[part.mode], part.size, values.tobytes())
    if part.mode in ("LA", "RGBA"):
        picture.putalpha(part.getchannel("A"))
    return picture.convert(part.mode, dither=Image.Dither.NONE)


def visible(picture: Tensor) -> Tensor:
    """The picture in [0, 1] for the screen: (1, C, H, W), C = 1 or 3. Of many channels three show, the last as red."""
    picture, channels = picture.clamp(0, 1), picture.shape[1]
    if channels == 4:
        return (1 - picture[:, :3]) * (1 - picture[:, 3:])
    return picture if channels in (1, 3) else picture[:, [channels - 1, channels // 2, 0]]


def to_pil(picture: Tensor) -> Image.Image:
    """(1, C, H, W) -> 8-bit grey or RGB picture; values outside [0, 1] are clipped."""
    pixels = (visible(picture)[0] * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def save_png(picture: Image.Image, path: Path) -> None:
    """A PNG file, whole or not at all."""
    with atomic_write(path) as file:
        file.write(encode_png(picture))


def encode_png(picture: Image.Image) -> bytes:
    """The bytes of a PNG file, in a quarter of the time that Pillow takes, and no more of them."""
    fast = {"level": 1, "strategy": imagecodecs.PNG.STRATEGY.RLE, "filter": imagecodecs.PNG.FILTER.SUB}
    return bytes(imagecodecs.png_encode(np.asarray(picture), **fast))


def photograph(name: str, width: int, height: int) -> Tensor:
    """A photograph from the scikit-image wheel, cut to the shape of width x height around its middle and reduced."""
    from skimage import data

    # Others would be downloaded, and most of these are no photographs.
    names = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "page", "rocket")
    if name not in names:
        raise UserError(f"data.example.photograph={name} is not in scikit-image; choose from {', '.join(names)}")
    original = Image.fromarray(getattr(data, name)())
    return from_pil(ImageOps.fit(original, (width, height), Image.Resampling.LANCZOS))
