"""Masks: (1, 1, H, W) float32, 1 = known, 0 = hole. In files white is known and black is the hole, as published."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dip import images


def read(path: str | Path, hole: str, key: str = "data.mask") -> Tensor:
    """The mask in a picture file. hole: the colour of the hole, "black" or "white"; the border is at half the range.

    Errors name the `key` that gave the path.
    """
    brightness = images.read(path, key).mean(dim=1, keepdim=True)
    if brightness.max() < 0.01:
        raise ValueError(f"{key}={path} is black all over, but a mask has white (255) and black (0) pixels")
    known = brightness >= 0.5
    return (known if hole == "black" else ~known).float()


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
