"""Masks: (1, 1, H, W) float32, 1 = known, 0 = hole. In files white is known and black is the hole, as published."""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import minimum_filter
from torch import Tensor

from dip.errors import UserError
from dip.image import tensors
from dip.image.formats import open_picture


def read_mask(path: str | Path, hole: str, key: str = "data.mask") -> Tensor:
    """The mask in a picture file, thresholded: 1 = known, 0 = hole."""
    return threshold(known_fraction(open_picture(path, key), hole, f"{key}={path}"))


def known_fraction(picture: Image.Image, hole: str, name: str) -> Tensor:
    """How much of each pixel is known, from 0 to 1: (1, 1, H, W). hole: "black", "white" or "alpha" (transparent)."""
    opaque = tensors.alpha(picture)
    if hole == "alpha":
        if opaque is None:
            raise UserError(f"{name} has no alpha channel for data.hole=alpha; give data.hole=black or white")
        return opaque
    if opaque is not None and opaque.min() < 1:
        raise UserError(f"{name} has transparent pixels; if they are the hole, give data.hole=alpha")
    brightness = tensors.visible(tensors.from_pil(picture)).mean(dim=1, keepdim=True)
    if brightness.max() < 0.01:
        raise UserError(f"{name} is black all over, but a mask has white (255) and black (0) pixels")
    return brightness if hole == "black" else 1 - brightness


def resized(known: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask at another size, (width, height)."""
    return F.interpolate(known, size=size[::-1], mode="bilinear", antialias=True)


def threshold(known: Tensor) -> Tensor:
    """1 where a pixel is at least half known, else 0."""
    return (known >= 0.5).float()


def grow_hole(known: Tensor, pixels: int) -> Tensor:
    """The mask with a hole that reaches so many pixels further to every side."""
    return torch.from_numpy(minimum_filter(known[0, 0].numpy(), size=2 * pixels + 1))[None, None]


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
