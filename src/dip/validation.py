"""Known pixels that the loss does not see, chosen so that the error on them stands for the error in the hole."""

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import label
from torch import Tensor

PLACES = 64  # tried for each copy of a hole


def held_out(mask: Tensor, share: float, seed: int) -> Tensor:
    """About `share` of the known pixels, at most half of them: (1, 1, H, W), boolean.

    Single pixels where single pixels are missing; else copies of the holes, each moved to where it covers the most of
    what is known, and reduced where it would take more than its share.
    mask: (1, 1, H, W), 1 = known. seed: of a generator of its own, so that no other change moves them.
    """
    known = mask[0, 0].numpy() == 1
    random = np.random.default_rng(seed)
    budget = max(1, round(share * known.sum()))
    chosen = single_pixels(known, budget, random) if scattered(known) else copies(known, budget, random)
    return torch.from_numpy(chosen)[None, None]


def scattered(known: np.ndarray) -> bool:
    """Whether so many single pixels are missing that hardly a 3x3 square of known ones is left."""
    return ndimage.binary_opening(known, np.ones((3, 3))).sum() < known.sum() / 2


def single_pixels(known: np.ndarray, budget: int, random: np.random.Generator) -> np.ndarray:
    chosen = np.zeros_like(known)
    chosen.flat[random.choice(np.flatnonzero(known), budget, replace=False)] = True
    return chosen


def copies(known: np.ndarray, budget: int, random: np.random.Generator) -> np.ndarray:
    """Copies of the holes, in turns from a random one on, until they cover `budget` pixels."""
    chosen = np.zeros_like(known)
    numbered = np.asarray(label(~known, connectivity=2))
    pieces = [numbered[box] == number for number, box in enumerate(ndimage.find_objects(numbered), 1)]
    for number in random.permutation(len(pieces)):
        left = budget - chosen.sum()
        if left < budget / 10:  # a crumb says nothing of a hole
            break
        chosen |= placed(smaller(pieces[number], left), known & ~chosen, random)
    return chosen


def smaller(piece: np.ndarray, pixels: int) -> np.ndarray:
    """The same outline with no more than about so many pixels."""
    if piece.sum() <= pixels:
        return piece
    return np.asarray(ndimage.zoom(piece.astype(np.float32), (pixels / piece.sum()) ** 0.5, order=1)) > 0.5


def placed(piece: np.ndarray, free: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The free part of the piece, at that one of some random places where the most of it is well within."""
    height, width = (whole - part for whole, part in zip(free.shape, piece.shape, strict=True))
    rows, columns = random.integers(height + 1, size=PLACES), random.integers(width + 1, size=PLACES)
    windows = [
        (slice(row, row + piece.shape[0]), slice(column, column + piece.shape[1]))
        for row, column in zip(rows, columns, strict=True)
    ]
    within = ndimage.binary_erosion(free, iterations=2)  # two holes that touch are one, and deeper
    window = max(windows, key=lambda window: (piece & within[window]).sum())
    chosen = np.zeros_like(free)
    chosen[window] = piece & free[window]
    return chosen
