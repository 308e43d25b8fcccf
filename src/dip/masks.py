"""Masks: (1, 1, H, W) float32, 1 = known, 0 = hole. In files white is known and black is the hole, as published."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import minimum_filter
from torch import Tensor

from dip import images
from dip.formats import open_picture


def read(path: str | Path, hole: str, key: str = "data.mask") -> Tensor:
    """The mask in a picture file, as that of `known_share` with a threshold: 1 = known, 0 = hole."""
    return threshold(known_share(open_picture(path, key), hole, f"{key}={path}"))


def known_share(picture: Image.Image, hole: str, name: str) -> Tensor:
    """How much of each pixel is known, 0 to 1, as the picture of a mask says: (1, 1, H, W).

    hole: what is the hole there: "black", "white" or, for what is transparent, "alpha". Errors begin with `name`.
    """
    opaque = images.alpha(picture)
    if hole == "alpha":
        if opaque is None:
            raise ValueError(f"{name} has no alpha channel for data.hole=alpha; give data.hole=black or white")
        return opaque
    if opaque is not None and opaque.min() < 1:
        raise ValueError(f"{name} has transparent pixels; if they are the hole, give data.hole=alpha")
    brightness = images.visible(images.from_pil(picture)).mean(dim=1, keepdim=True)
    if brightness.max() < 0.01:
        raise ValueError(f"{name} is black all over, but a mask has white (255) and black (0) pixels")
    return brightness if hole == "black" else 1 - brightness


def resized(known: Tensor, size: tuple[int, int]) -> Tensor:
    """size: width and height."""
    return F.interpolate(known, size=size[::-1], mode="bilinear", antialias=True)


def threshold(known: Tensor) -> Tensor:
    """Known is what is at least half known."""
    return (known >= 0.5).float()


def grown(known: Tensor, pixels: int) -> Tensor:
    """The mask with a hole that reaches so many pixels further to every side."""
    if pixels < 0:
        raise ValueError(f"data.grow_hole={pixels}, but a hole grows by 0 pixels or more")
    return torch.from_numpy(minimum_filter(known[0, 0].numpy(), size=2 * pixels + 1))[None, None]


def random_pixels(height: int, width: int, known_share: float, seed: int) -> Tensor:
    """Exactly this share of the pixels is known, the same ones in every channel, drawn by a generator of its own."""
    if not 0 < known_share < 1:
        raise ValueError(f"data.mask.known_share={known_share}, but a share lies between 0 and 1, such as 0.5")
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(height * width)
    mask[order[: round(known_share * height * width)]] = 1
    return mask.view(1, 1, height, width)


def text(height: int, width: int, words: str, font_size: int) -> Tensor:
    """The words are the hole, written over the whole picture again and again."""
    if not words.strip() or font_size < 1:
        raise ValueError(f"data.example.mask: nothing is written by words={words!r} at font_size={font_size}")
    font = ImageFont.load_default(font_size)
    mask = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(mask)
    line = f"{words} " * (1 + int(width / font.getlength(words)) + 1)
    for row, top in enumerate(range(font_size // 2, height, 2 * font_size)):
        # Every line starts elsewhere, so that no gap between words runs down the picture.
        draw.text((-(row * 3 * font_size) % width - width, top), 2 * line, fill=0, font=font)
    return torch.from_numpy(np.array(mask) >= 128)[None, None].float()
