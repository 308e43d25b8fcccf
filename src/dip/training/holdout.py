"""Held-out pixels: known pixels that the loss does not see, chosen so that their error stands for the hole's."""

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import label
from torch import Tensor

PLACES = 64  # tried for each copy of a hole
FEWEST = 50  # pixels, whose error says more of the picture than of the places that chance has found
ENOUGH, COPIES = 500, 100  # pixels, to which small holes are copied again and again; and how often at most


class Evidence(NamedTuple):
    """What the held-out pixels judge."""

    picture: Tensor  # (1, C, H, W), the result before they were given back
    held_out: Tensor  # (1, 1 or C, H, W), boolean
    deviation: Tensor | None = None  # (1, C, H, W), the standard deviation of the picture, where the run has one


def choose_pixels(mask: Tensor, share: float, seed: int) -> Tensor | None:
    """Choose about the fraction `share` of the known pixels, at most 0.5: mask (1, 1 or C, H, W) -> the same, boolean.

    Single pixels where single pixels are missing, else copies of the holes, shrunk where they would exceed it. None
    where they are fewer than FEWEST. A channel without a hole has none of them.
    """
    random = np.random.default_rng(seed)  # a generator of its own, so that no other option moves the choice
    chosen = np.stack([choose_within(known, share, random) for known in mask[0].numpy() == 1])
    return torch.from_numpy(chosen)[None] if chosen.sum() >= FEWEST else None


def choose_within(known: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """The pixels that are chosen of one channel, all (H, W), boolean."""
    budget = round(share * known.sum())
    if budget == 0 or known.all():
        return np.zeros_like(known)
    return choose_single(known, budget, random) if is_scattered(known) else copy_holes(known, budget, random)


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
