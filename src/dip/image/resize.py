"""Reduce a picture for the work, and enlarge the result to full size."""

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from PIL import Image
from scipy import ndimage
from torch import Tensor

Factor = Annotated[int, Ge(2), Le(8), "each side is divided by it"]
Kernel = Literal["lanczos", "bicubic", "hamming", "bilinear", "box"]
PART = 1024  # pixels of a line whose weights are computed at once
FEATHER = 4  # pixels of the reduced picture over which the enlarged result fades into the known pixels


def reduced_size(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """The size at which height x width has no more pixels than a square of `max_side`; None is no limit."""
    if max_side is None or height * width <= max_side**2:
        return height, width
    scale = max_side / (height * width) ** 0.5
    return max(int(height * scale), 1), max(int(width * scale), 1)


def reduce(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Average the pixels that each smaller pixel covers: (1, C, H, W) -> (1, C, *size)."""
    return F.adaptive_avg_pool2d(picture, size)


def reduce_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A smaller pixel is as known as the least known pixel that it covers: (1, 1 or C, H, W) -> the same, *size."""
    return -F.adaptive_max_pool2d(-mask, size)


def pad(picture: Tensor, side: int) -> Tensor:
    """Repeat the last row and column until each has `side` pixels: (1, C, H, W) -> (1, C, H', W')."""
    height, width = picture.shape[-2:]
    return F.pad(picture, (0, max(side - width, 0), 0, max(side - height, 0)), mode="replicate")


def enlarge(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, C, h, w) -> (1, C, *size), by Lanczos interpolation."""
    height, width = size
    channels = [Image.fromarray(channel.numpy()) for channel in picture[0]]
    larger = [np.array(channel.resize((width, height), Image.Resampling.LANCZOS)) for channel in channels]
    return torch.from_numpy(np.stack(larger))[None]


@lru_cache(maxsize=2)  # rows and columns, which several objects of a run share
def reducing(length: int, shorter: int, kernel: str) -> Tensor:
    """The matrix (shorter, length) by which an antialiased filter of Pillow, such as "lanczos", reduces a line."""
    parts = []
    for first in range(0, length, PART):  # of the identity, which is large for a long line
        lines = Image.fromarray(np.eye(length, min(PART, length - first), -first, dtype=np.float32))
        parts.append(lines.resize((lines.width, shorter), Image.Resampling[kernel.upper()]))
    return torch.from_numpy(np.concatenate(parts, axis=1))


def feather(output: Tensor, target: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Carry the error on the known pixels a little way into the hole, where it fades: (1, C, H, W).

    So the edge of the hole stays invisible where an enlarged output is duller than the known pixels next to it.
    output, target: (1, C, H, W); mask: (1, 1 or C, H, W); scale: by how much the output was enlarged.
    """
    if mask.shape[1] > 1:
        each = zip(output.split(1, dim=1), target.split(1, dim=1), mask.split(1, dim=1), strict=True)
        return torch.cat([feather(drawn, known, where, scale) for drawn, known, where in each], dim=1)
    width = FEATHER * scale
    known = (mask[0, 0] > 0).numpy()
    error = ((target - output)[0].numpy() * known).astype(np.float32)
    near = ndimage.gaussian_filter(known.astype(np.float32), width / 2)
    carried = ndimage.gaussian_filter(error, (0, width / 2, width / 2)) / np.maximum(near, 1e-3)
    distance = np.asarray(ndimage.distance_transform_edt(~known))
    fade = (1 - distance / width).clip(0) * ~known
    return output + torch.from_numpy((fade * carried).astype(np.float32))
