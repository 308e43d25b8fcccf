"""Picture files and tensors: (1, C, H, W) float32 in [0, 1], C = 1 for grey and 3 for colour."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from torch import Tensor

from dip.files import whole

GREY_MODES = ("1", "L")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # more than 8 bits a channel


def open_picture(path: str | Path, key: str) -> Image.Image:
    """The picture in `path`, decoded, turned upright as the camera says. Errors name the configuration `key`."""
    path = Path(path).expanduser()
    if not path.exists():
        raise ValueError(f"{key}={path}: there is no such file")
    if path.is_dir():
        raise ValueError(f"{key}={path} is a folder; give a picture file")
    try:
        with Image.open(path) as file:
            file.load()
            return ImageOps.exif_transpose(file)
    except UnidentifiedImageError:
        raise ValueError(f"{key}={path} is not a picture that Pillow can read") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{key}={path} cannot be read: {error}") from None


def read(path: str | Path, key: str) -> Tensor:
    """The picture in `path` as a tensor; grey stays grey (1 channel), anything else becomes RGB.

    Raises ValueError for what is no picture, for transparency, and for grey of more than 8 bits (Pillow itself
    reduces colour to 8).
    """
    picture = open_picture(path, key)
    if picture.mode in DEEP_MODES:
        raise ValueError(f"{key}={path} has more than 8 bits a channel (mode {picture.mode}); save it with 8 bits")
    if picture.has_transparency_data and np.array(picture.convert("RGBA"))[..., 3].min() < 255:
        raise ValueError(f"{key}={path} has transparent pixels; save it without an alpha channel")
    return from_pil(picture)


def from_pil(picture: Image.Image) -> Tensor:
    grey = picture.mode in (*GREY_MODES, "LA")
    pixels = np.array(picture.convert("L" if grey else "RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels.reshape(picture.height, picture.width, -1)).permute(2, 0, 1)[None].contiguous()


def to_pil(picture: Tensor) -> Image.Image:
    """(1, C, H, W) -> 8-bit picture; values outside [0, 1] are clipped."""
    pixels = (picture[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def save(picture: Image.Image, path: Path) -> None:
    """A PNG file, whole or not at all."""
    with whole(path) as file:
        picture.save(file, "PNG")


def photograph(name: str, width: int, height: int) -> Tensor:
    """A photograph from the scikit-image wheel, cut to the shape of width x height around its middle and reduced.

    name: astronaut, coffee, chelsea, rocket (colour), camera, brick, grass, gravel (grey), ...
    """
    from skimage import data

    # Others would be downloaded, and most of these are no photographs.
    names = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "page", "rocket")
    if name not in names:
        raise ValueError(f"data.example.photograph={name} is not in scikit-image; choose from {', '.join(names)}")
    whole = Image.fromarray(getattr(data, name)())
    return from_pil(ImageOps.fit(whole, (width, height), Image.Resampling.LANCZOS))


def side_by_side(pictures: dict[str, Tensor]) -> Image.Image:
    """One row of pictures of the same size, each under its label."""
    font = ImageFont.load_default(16)
    gap, line = 8, 28
    height, width = next(iter(pictures.values())).shape[-2:]
    # A label is never cut, however narrow the picture.
    columns = [max(width, int(font.getlength(label)) + 1) + gap for label in pictures]
    sheet = Image.new("RGB", (sum(columns) + gap, height + line + gap), "white")
    draw = ImageDraw.Draw(sheet)
    left = gap
    for (label, picture), column in zip(pictures.items(), columns, strict=True):
        draw.text((left, 4), label, fill="black", font=font)
        sheet.paste(to_pil(picture), (left, line))
        left += column
    return sheet


def animation(frames: list[Image.Image], path: Path, frame_ms: int, last_ms: int) -> None:
    """A GIF that plays the frames, rests on the last one and starts again."""
    durations = [frame_ms] * (len(frames) - 1) + [last_ms]
    with whole(path) as file:
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
