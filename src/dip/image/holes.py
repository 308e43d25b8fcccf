"""Where the holes of a mask are, how deep they are, and what lies around them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import label
from torch import Tensor

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels
SMALL = 512 * 512  # pixels; a smaller picture is one region
MARGIN = 96  # pixels at least around a hole; more where the hole is longer
THIN = 8  # pixels; what is less deep is cut into pieces where it would be reduced
EDGE = 32  # pixels around the hole of a piece
PIECE = 320 * 320  # pixels of a piece at most


def regions_around(mask: Tensor, max_side: int | None = None) -> list[Box]:
    """Boxes that hold every hole with a margin, apart from each other; the whole picture where that saves little.

    mask: (1, 1 or C, H, W), 1 = known. Holes whose margins meet share a box. One with more pixels than a square of
    `max_side`, which would have to be reduced, is cut along its thin holes into pieces, whose margins overlap.
    """
    hole = lacking_any(mask)
    everything = (0, 0, hole.shape[1], hole.shape[0])
    most = float("inf") if max_side is None else max_side**2
    if hole.size <= min(SMALL, most):
        return [everything]
    found = joined(hole)
    if any(area(box) > most for box in found):
        thin = thin_holes(hole)
        found = [part for box in found for part in ([box] if area(box) <= most else pieces(thin, box, most))]
        found += [box for box in joined(hole & ~thin) if box not in found]
    return found if sum(map(area, found)) <= hole.size / 2 else [everything]


def joined(hole: np.ndarray) -> list[Box]:
    """Disjoint boxes that hold every hole of a boolean (H, W) with a margin."""
    height, width = hole.shape
    boxes = [with_margin(box, width, height) for box in component_boxes(hole)]
    while True:
        covered = np.zeros_like(hole)
        for left, top, right, bottom in boxes:
            covered[top:bottom, left:right] = True
        larger = component_boxes(covered)
        if len(larger) == len(boxes):
            return larger
        boxes = larger


def thin_holes(hole: np.ndarray) -> np.ndarray:
    """The connected parts of a boolean (H, W) that hold no square of 2 THIN - 1 pixels a side."""
    numbered = np.asarray(label(hole, connectivity=2))
    is_thin = np.ones(numbered.max() + 1, dtype=bool)
    is_thin[np.unique(numbered[np.asarray(ndimage.minimum_filter(hole, size=2 * THIN - 1)).astype(bool)])] = False
    is_thin[0] = False
    return is_thin[numbered]


def pieces(hole: np.ndarray, within: Box, most: float) -> list[Box]:
    """Boxes of at most PIECE, or `most`, pixels that together hold what of the hole lies within a box."""
    left, top, right, bottom = within
    rows, columns = (np.flatnonzero(hole[top:bottom, left:right].any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return []
    left, right = left + int(columns[0]), left + int(columns[-1]) + 1
    top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
    height, width = hole.shape
    box = (max(left - EDGE, 0), max(top - EDGE, 0), min(right + EDGE, width), min(bottom + EDGE, height))
    if area(box) <= min(PIECE, most) or max(right - left, bottom - top) <= EDGE:
        return [box]
    x, y = (left + right) // 2, (top + bottom) // 2
    if right - left > bottom - top:
        halves = (left, top, x, bottom), (x, top, right, bottom)
    else:
        halves = (left, top, right, y), (left, y, right, bottom)
    return [piece for half in halves for piece in pieces(hole, half, most)]


def area(box: Box) -> int:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def owned(boxes: Sequence[Box], number: int, size: tuple[int, int]) -> np.ndarray:
    """Which pixels of a box lie farther from its edge than from that of any other box: (h, w), boolean.

    size: width and height of the picture, whose own edge is no edge, since nothing of it lies beyond.
    """
    left, top, right, bottom = boxes[number]
    found = np.ones((bottom - top, right - left), dtype=bool)
    for other, box in enumerate(boxes):
        if other != number and left < box[2] and box[0] < right and top < box[3] and box[1] < bottom:
            mine, theirs = (distance_within(edge, boxes[number], size) for edge in (boxes[number], box))
            found &= (theirs < mine) | ((theirs == mine) & (number < other))
    return found


def distance_within(box: Box, region: Box, size: tuple[int, int]) -> np.ndarray:
    """How far each pixel of a region is from the edge of a box, below 0 outside of it: (h, w)."""
    inside = []
    for axis in (1, 0):
        at = np.arange(region[axis], region[axis + 2])
        before = at - box[axis] if box[axis] > 0 else np.full_like(at, max(size))
        after = box[axis + 2] - 1 - at if box[axis + 2] < size[axis] else np.full_like(at, max(size))
        inside.append(np.minimum(before, after))
    return np.minimum(inside[0][:, None], inside[1])


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

    mask: (1, 1 or C, H, W), 1 = known; large_from: pixels. A kind with at most a tenth of the hole joins the other.
    Where a channel is known, the others are not lost: only what all channels lack is deep.
    """
    hole, deepest = lacking_any(mask), lacking_all(mask)
    numbered, depths = number_by_depth(deepest)
    large = deepest & (depths[numbered] >= large_from)
    fraction = large.sum() / hole.sum()
    if fraction <= 0.1 or fraction >= 0.9:
        large = hole & (fraction > 0.5)
    found = {"thin": hole & ~large, "large": large}
    return {kind: torch.from_numpy(region)[None, None] for kind, region in found.items() if region.any()}


def hole_depth(mask: Tensor) -> float:
    """The distance in pixels of the hole's deepest pixel from the nearest known one."""
    return float(distance_to_edge(lacking_all(mask)).max())


def lacking_any(mask: Tensor) -> np.ndarray:
    """Where any channel is missing: (1, 1 or C, H, W) -> (H, W), boolean."""
    return (mask < 1).any(dim=1)[0].numpy()


def lacking_all(mask: Tensor) -> np.ndarray:
    """Where every channel is missing: (1, 1 or C, H, W) -> (H, W), boolean."""
    return (mask < 1).all(dim=1)[0].numpy()


def distance_to_edge(hole: np.ndarray) -> np.ndarray:
    """The distance in pixels of each pixel of the hole from the nearest known one: (H, W)."""
    return np.asarray(ndimage.distance_transform_edt(hole))


def number_by_depth(hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each pixel's hole, (H, W), 0 where known; and the depth of the hole of each number."""
    numbered = np.asarray(label(hole, connectivity=2))
    return numbered, np.asarray(ndimage.maximum(distance_to_edge(hole), numbered, np.arange(numbered.max() + 1)))


def deep_part(region: Tensor, depth: float) -> Tensor:
    """What of a boolean (1, 1, H, W) is within 1.5 times `depth` of a pixel that is so deep: (1, 1, H, W), boolean.

    That is all of a stroke with its corners, and little of single missing pixels that touch each other.
    """
    inside = region[0, 0].numpy()
    core = distance_to_edge(inside) >= depth
    near = distance_to_edge(~core) <= 1.5 * depth if core.any() else core
    return torch.from_numpy(inside & near)[None, None]


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
