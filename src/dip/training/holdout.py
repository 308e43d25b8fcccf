"""Held-out pixels: known pixels that the loss does not see, chosen so that their error stands for the hole's."""

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import label
from torch import Tensor

PLACES = 64  # tried for each copy of a hole
FEWEST = 50  # pixels, whose error says more of the picture than of the places that chance has found
TILE = 16  # pixels, the side of what is copied of a mask for each channel
ENOUGH, COPIES = 500, 100  # pixels, to which small holes are copied again and again; and how often at most


class Evidence(NamedTuple):
    """What the held-out pixels judge."""

    picture: Tensor  # (1, C, H, W), the result before they were given back
    held_out: Tensor  # (1, 1 or C, H, W), boolean
    deviation: Tensor | None = None  # (1, C, H, W), the standard deviation of the picture, where the run has one


def choose_pixels(mask: Tensor, share: float, seed: int, single: bool = False) -> Tensor | None:
    """Choose about the fraction `share` of the known pixels, at most 0.5: mask (1, 1 or C, H, W) -> the same, boolean.

    Single pixels where single pixels are missing, or with `single`, else copies of the holes, shrunk where they would
    exceed it. None where they are fewer than FEWEST. Of a mask for each channel, see `copy_patterns`.
    """
    random = np.random.default_rng(seed)  # a generator of its own, so that no other option moves the choice
    known = mask[0].numpy() == 1
    known = known.all(axis=0)[None] if single else known
    budget = round(share * known.sum())
    if budget < FEWEST:
        return None
    if len(known) > 1:
        chosen = copy_patterns(known, budget, random)
    elif single or is_scattered(known[0]):
        chosen = choose_single(known[0], budget, random)[None]
    else:
        chosen = copy_holes(known[0], budget, random)[None]
    return torch.from_numpy(chosen)[None] if chosen.sum() >= FEWEST else None


def copy_patterns(known: np.ndarray, budget: int, random: np.random.Generator) -> np.ndarray:
    """What copies of tiles of the hole cover of the known values, about `budget` of them; all (C, H, W), boolean.

    A tile has all channels: where one lacks a value, others may show it or not, and so they do in its copy. Its side is
    a pixel where pixels are scattered.
    """
    hole, (_, height, width) = ~known, known.shape
    side = 1 if is_scattered(np.asarray(known.all(axis=0))) else TILE
    corners = [(row, column) for row in range(0, height, side) for column in range(0, width, side)]
    lacking = np.argwhere(hole.any(axis=0))
    chosen = np.zeros_like(known)
    left = budget
    for number in random.permutation(len(corners)):
        row, column = corners[number]
        tile = np.s_[:, row : row + side, column : column + side]
        # From anywhere in the hole to anywhere in the tile; what leaves the picture comes in on the other side.
        down, right = random.integers(side, size=2) + corners[number] - lacking[random.integers(len(lacking))]
        rows, columns = ((np.arange(size) - by) % size for size, by in ((height, down), (width, right)))
        pattern = hole[:, rows[row : row + side]][:, :, columns[column : column + side]]
        chosen[tile] = pattern & known[tile]
        left -= int(chosen[tile].sum())
        if left <= 0:
            break
    return chosen


def is_scattered(known: np.ndarray) -> bool:
    """Whether so many single pixels are missing that hardly any 3x3 square is known."""
    return ndimage.binary_opening(known, np.ones((3, 3))).sum() < known.sum() / 2


def choose_single(known: np.ndarray, budget: int, random: np.random.Generator) -> np.ndarray:
    chosen = np.zeros_like(known)
    chosen.flat[random.choice(np.flatnonzero(known), budget, replace=False)] = True
    return chosen


def copy_holes(known: np.ndarray, budget: int, random: np.random.Generator) -> np.ndarray:
    """Copy the holes in random order, until the copies cover `budget` pixels; each once, or until there are ENOUGH."""
    chosen = np.zeros_like(known)
    numbered = np.asarray(label(~known, connectivity=2))
    pieces = [numbered[box] == number for number, box in enumerate(ndimage.find_objects(numbered), 1)]
    order = [int(number) for number in random.permutation(len(pieces))]
    tried = 0
    while tried < len(order) or (chosen.sum() < min(budget, ENOUGH) and tried < COPIES):
        left = budget - chosen.sum()
        if left < budget / 10:  # too small to stand for a hole
            break
        chosen |= place(shrink(pieces[order[tried % len(order)]], left), known & ~chosen, random)
        tried += 1
    return chosen


def shrink(piece: np.ndarray, pixels: int) -> np.ndarray:
    """The same outline with no more than about `pixels` pixels."""
    if piece.sum() <= pixels:
        return piece
    return np.asarray(ndimage.zoom(piece.astype(np.float32), (pixels / piece.sum()) ** 0.5, order=1)) > 0.5


def place(piece: np.ndarray, free: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The free part of the piece, at whichever of `PLACES` random places covers the most pixels away from holes."""
    height, width = piece.shape
    rows = random.integers(free.shape[0] - height + 1, size=PLACES)
    columns = random.integers(free.shape[1] - width + 1, size=PLACES)
    windows = [np.s_[row : row + height, column : column + width] for row, column in zip(rows, columns, strict=True)]
    inside = ndimage.binary_erosion(free, iterations=2)  # two holes that touch become one that is deeper
    window = max(windows, key=lambda window: (piece & inside[window]).sum())
    chosen = np.zeros_like(free)
    chosen[window] = piece & free[window]
    return chosen
