"""Where the holes of a mask are, how deep they are, and what lies around them."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import label
from torch import Tensor

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels
SMALL = 512 * 512  # pixels; a smaller picture is one region
MARGIN = 96  # pixels at least around a hole; more where the hole is longer


def regions_around(mask: Tensor) -> list[Box]:
    """Disjoint boxes that hold every hole with a margin; the whole picture where that saves little.

    mask: (1, 1, H, W), 1 = known. Holes whose margins meet share a box.
    """
    hole = mask[0, 0].numpy() < 1
    everything = (0, 0, hole.shape[1], hole.shape[0])
    if hole.size <= SMALL:
        return [everything]
    boxes = [with_margin(box, *everything[2:]) for box in component_boxes(hole)]
    while True:
        covered = np.zeros_like(hole)
        for left, top, right, bottom in boxes:
            covered[top:bottom, left:right] = True
        joined = component_boxes(covered)
        if len(joined) == len(boxes):
            return joined if covered.sum() <= hole.size / 2 else [everything]
        boxes = joined


def component_boxes(region: np.ndarray) -> list[Box]:
    """The box of every connected part of a boolean (H, W), from top to bottom."""
    numbered = np.asarray(label(region, connectivity=2))
    return [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(numbered)]


def with_margin(box: Box, width: int, height: int) -> Box:
    left, top, right, bottom = box
    margin = max(MARGIN, right - left, bottom - top)
    return max(left - margin, 0), max(top - margin, 0), min(right + margin, width), min(bottom + margin, height)


def split_by_depth(mask: Tensor, large_from: float) -> dict[str, Tensor]:
    """The pixels of "thin" and of "large" holes, each (1, 1, H, W), boolean; a kind that is empty is left out.

    mask: (1, 1, H, W), 1 = known; large_from: pixels. A kind with at most a tenth of the hole joins the other.
    """
    hole = mask[0, 0].numpy() < 1
    numbered, depths = number_by_depth(hole)
    large = hole & (depths[numbered] >= large_from)
    fraction = large.sum() / hole.sum()
    if fraction <= 0.1 or fraction >= 0.9:
        large = hole & (fraction > 0.5)
    found = {"thin": hole & ~large, "large": large}
    return {kind: torch.from_numpy(region)[None, None] for kind, region in found.items() if region.any()}


def hole_depth(mask: Tensor) -> float:
    """The distance in pixels of the hole's deepest pixel from the nearest known one."""
    return float(distance_to_edge(mask[0, 0].numpy() < 1).max())


def distance_to_edge(hole: np.ndarray) -> np.ndarray:
    """The distance in pixels of each pixel of the hole from the nearest known one: (H, W)."""
    return np.asarray(ndimage.distance_transform_edt(hole))


def number_by_depth(hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each pixel's hole, (H, W), 0 where known; and the depth of the hole of each number."""
    numbered = np.asarray(label(hole, connectivity=2))
    return numbered, np.asarray(ndimage.maximum(distance_to_edge(hole), numbered, np.arange(numbered.max() + 1)))


def deep_holes(region: Tensor, depth: float) -> Iterator[Tensor]:
    """The connected parts of a boolean (1, 1, H, W) that are at least `depth` pixels deep, one by one."""
    numbered, depths = number_by_depth(region[0, 0].numpy())
    for number in np.flatnonzero(depths[1:] >= depth) + 1:
        yield torch.from_numpy(numbered == number)[None, None]


def surroundings(hole: Tensor, known: Tensor, at_least: float) -> Tensor:
    """The known pixels no farther from the hole than it is deep, or than `at_least`; all (1, 1, H, W), boolean."""
    inside = hole[0, 0].numpy()
    distance = max(distance_to_edge(inside).max(), at_least)
    return known & torch.from_numpy(distance_to_edge(~inside) <= distance)


def erased(opaque: Tensor, hole: Tensor) -> Tensor:
    """The transparent regions that are most transparent within the hole, so that it was not cut out along a shape.

    opaque: (1, 1, H, W), 1 is opaque; hole and the result: (1, 1, H, W), boolean.
    """
    alpha, inside = opaque[0, 0].numpy(), hole[0, 0].numpy()
    numbered = np.asarray(label(alpha < 1, connectivity=2))
    each = np.arange(numbered.max() + 1)
    least = [ndimage.minimum(np.where(part, alpha, 2), numbered, each) for part in (inside, ~inside)]
    return torch.from_numpy((np.less(*least) & (each > 0))[numbered])[None, None]
