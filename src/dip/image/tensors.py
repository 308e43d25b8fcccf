"""Pictures and tensors of them: (1, C, H, W) float32 in [0, 1], C = 1 for grey, 3 for colour and 4 for CMYK."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy.spatial import KDTree
from torch import Tensor

from dip.errors import UserError
from dip.files import atomic_write
from dip.image.formats import DRAWN, open_picture

DEEP = ("I;16", "I", "F")  # more than 8 bits
RARE = 10_000  # one value of so many, or one of fewer, can be mad: farther from the rest than SPANS times their range
SPANS = 10
FAR = 1e6  # a finite number for the tensors of mad values


def read_tensor(path: str | Path, key: str) -> Tensor:
    """The picture in `path` as a tensor, without its alpha channel; errors as those of `open_picture`."""
    return from_pil(open_picture(path, key))


def from_pil(picture: Image.Image, levels: tuple[float, float] | None = None) -> Tensor:
    """The channels that the network draws. levels: the values that become 0 and 1, `full_range` by default."""
    mode = DRAWN[picture.mode]
    black, white = levels or full_range(picture)
    pixels = np.array(picture if mode == picture.mode else picture.convert(mode), dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = (pixels.reshape(picture.height, picture.width, -1) - black) / (white - black)
    if mode == "F":  # in the hole there may be anything
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=FAR, neginf=-FAR).clip(-FAR, FAR)
    return torch.from_numpy(scaled).permute(2, 0, 1)[None].contiguous()


def full_range(picture: Image.Image, known: Tensor | None = None) -> tuple[float, float]:
    """The values of black and white. known: (1, 1, H, W), above 0 where a pixel counts.

    A value that is far from all others, as that of a broken pixel, is brighter than white or darker than black.
    """
    if picture.mode not in DEEP:
        return 0.0, 255.0
    # Microscopes fill but a part of their range.
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        values = np.array(picture, dtype=np.float64)
    values = values.ravel() if known is None else values[known[0, 0].numpy() > 0]
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
    return (black, white) if black < white else (0.0, white or 1.0)


def check_numbers(picture: Image.Image, name: str, known: Tensor | None = None) -> None:
    """Raise UserError for a pixel that is no number, where it counts: `known` (1, 1, H, W) above 0, or everywhere."""
    if picture.mode == "F":
        missing = np.isnan(np.array(picture)) if known is not None else ~np.isfinite(np.array(picture))
        count = int((missing if known is None else missing & (known[0, 0].numpy() > 0)).sum())
        if count:
            where = "" if known is None else " outside the hole"
            cure = "give a number there" if known is None else "give a number there, or make them part of the hole"
            raise UserError(f"{name} has {count} pixels{where} that are no numbers (NaN); {cure}")


def alpha(picture: Image.Image) -> Tensor | None:
    """How opaque each pixel is: (1, 1, H, W), 0 to 1; None where the picture has no alpha channel."""
    return from_pil(picture.getchannel("A")) if picture.mode in ("LA", "RGBA") else None


def make_opaque(picture: Image.Image, where: Tensor) -> Image.Image:
    """The picture, opaque where `where` (1, 1, H, W), boolean, says so."""
    if picture.mode not in ("LA", "RGBA"):
        return picture
    channel = picture.getchannel("A")
    channel.paste(255, mask=Image.fromarray(where[0, 0].numpy()))
    picture = picture.copy()
    picture.putalpha(channel)
    return picture


def paste(
    picture: Image.Image, output: Tensor, known: Tensor, box: tuple[int, int, int, int], levels: tuple[float, float]
) -> Image.Image:
    """A copy of the picture with `output` (1, C, h, w) in the hole, in the picture's own mode, depth and alpha.

    known: (1, 1, h, w); where it is 1 no bit changes, and what is between 0 and 1 is mixed. Both lie in `box`.
    """
    part = picture.crop(box)
    mixed = from_pil(part, levels) * known + output.clamp(0, 1) * (1 - known)
    hole = Image.fromarray((known[0, 0] < 1).numpy())
    filled = picture.copy()
    filled.paste(in_mode_of(part, mixed, levels), box[:2], hole)
    return filled


def in_mode_of(part: Image.Image, drawn: Tensor, levels: tuple[float, float]) -> Image.Image:
    """`drawn` (1, C, H, W) as a picture of the mode, palette and alpha of `part`."""
    black, white = levels
    kind = np.array(Image.new(DRAWN[part.mode], (1, 1))).dtype
    drawn = drawn.double() if kind == np.int32 else drawn  # which float32 cannot hold
    values = (black + (white - black) * drawn[0].permute(1, 2, 0)).numpy()
    if kind != np.float32:
        values = values.round().clip(np.iinfo(kind).min, np.iinfo(kind).max)
    values = values.astype(kind)
    if part.mode == "P":
        palette = np.reshape(part.getpalette("RGB") or (), (-1, 3))
        _, nearest = KDTree(palette).query(values)
        return Image.frombytes("P", part.size, nearest.astype(np.uint8).tobytes())
    picture = Image.frombytes(DRAWN[part.mode], part.size, values.tobytes())
    if part.mode in ("LA", "RGBA"):
        picture.putalpha(part.getchannel("A"))
    return picture.convert(part.mode, dither=Image.Dither.NONE)


def visible(picture: Tensor) -> Tensor:
    """The picture in [0, 1] for the screen: (1, C, H, W), C = 1 or 3."""
    picture = picture.clamp(0, 1)
    return picture if picture.shape[1] < 4 else (1 - picture[:, :3]) * (1 - picture[:, 3:])


def to_pil(picture: Tensor) -> Image.Image:
    """(1, C, H, W) -> 8-bit grey or RGB picture; values outside [0, 1] are clipped."""
    pixels = (visible(picture)[0] * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def save_png(picture: Image.Image, path: Path) -> None:
    """A PNG file, whole or not at all."""
    with atomic_write(path) as file:
        picture.save(file, "PNG")


def photograph(name: str, width: int, height: int) -> Tensor:
    """A photograph from the scikit-image wheel, cut to the shape of width x height around its middle and reduced."""
    from skimage import data

    # Others would be downloaded, and most of these are no photographs.
    names = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "page", "rocket")
    if name not in names:
        raise UserError(f"data.example.photograph={name} is not in scikit-image; choose from {', '.join(names)}")
    original = Image.fromarray(getattr(data, name)())
    return from_pil(ImageOps.fit(original, (width, height), Image.Resampling.LANCZOS))
