"""Where the work is done: the parts of a picture around its holes, reduced where they are large, and the way back."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from skimage.measure import label
from torch import Tensor

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels
SMALL = 512 * 512  # pixels; a smaller picture is worked on as a whole
MARGIN = 96  # pixels at least around a hole, and as many as the hole is long
FEATHER = 4  # pixels of the reduced picture, over which the enlarged one fades into what is known


def around(mask: Tensor) -> list[Box]:
    """Boxes that hold every hole with a margin, apart from each other; all of the picture where that saves little.

    mask: (1, 1, H, W), 1 = known. Holes whose margins meet share a box.
    """
    hole = mask[0, 0].numpy() < 1
    everything = (0, 0, hole.shape[1], hole.shape[0])
    if hole.size <= SMALL:
        return [everything]
    boxes = [with_margin(box, everything) for box in components(hole)]
    while True:
        covered = np.zeros_like(hole)
        for left, top, right, bottom in boxes:
            covered[top:bottom, left:right] = True
        joined = components(covered)
        if len(joined) == len(boxes):
            return joined if covered.sum() <= hole.size / 2 else [everything]
        boxes = joined


def kinds(mask: Tensor, large_from: float) -> dict[str, Tensor]:
    """Which pixels are in a "thin" and which in a "large" hole, by its depth; each (1, 1, H, W), boolean, none empty.

    A tenth of the hole or less is counted to the other kind. mask: (1, 1, H, W), 1 = known; large_from: pixels.
    """
    hole = mask[0, 0].numpy() < 1
    numbered, depths = by_depth(hole)
    large = hole & (depths[numbered] >= large_from)
    share = large.sum() / hole.sum()
    if share <= 0.1 or share >= 0.9:
        large = hole if share > 0.5 else ~hole & hole
    found = {"thin": hole & ~large, "large": large}
    return {kind: torch.from_numpy(region)[None, None] for kind, region in found.items() if region.any()}


def depth(mask: Tensor) -> float:
    """The distance in pixels of the hole's deepest pixel from what is known."""
    return float(from_edge(mask[0, 0].numpy() < 1).max())


def from_edge(hole: np.ndarray) -> np.ndarray:
    """The distance of each pixel of the hole from what is known: (H, W)."""
    return np.asarray(ndimage.distance_transform_edt(hole))


def by_depth(hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each pixel's hole, from 1 on, (H, W), 0 for what is known; and the depth of each number."""
    numbered = np.asarray(label(hole, connectivity=2))
    return numbered, np.asarray(ndimage.maximum(from_edge(hole), numbered, np.arange(numbered.max() + 1)))


def surroundings(hole: Tensor, known: Tensor, at_least: float) -> Tensor:
    """The known pixels as near to the hole as it is deep, or within `at_least` pixels; all (1, 1, H, W), boolean."""
    inside = hole[0, 0].numpy()
    return known & torch.from_numpy(from_edge(~inside) <= max(from_edge(inside).max(), at_least))


def components(region: np.ndarray) -> list[Box]:
    """The box of every connected part of a boolean (H, W), from top to bottom."""
    numbered = np.asarray(label(region, connectivity=2))
    return [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(numbered)]


def with_margin(box: Box, within: Box) -> Box:
    left, top, right, bottom = box
    margin = max(MARGIN, right - left, bottom - top)
    return (
        max(left - margin, within[0]),
        max(top - margin, within[1]),
        min(right + margin, within[2]),
        min(bottom + margin, within[3]),
    )


def reduced_size(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """The size at which height x width has no more pixels than a square of `max_side`; None is no limit."""
    if max_side is None or height * width <= max_side**2:
        return height, width
    scale = max_side / (height * width) ** 0.5
    return max(int(height * scale), 1), max(int(width * scale), 1)


def reduced(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean of the pixels that each pixel of the smaller picture stands for: (1, C, H, W) -> (1, C, *size)."""
    return F.adaptive_avg_pool2d(picture, size)


def reduced_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A pixel of the smaller mask is as known as the least known of those it stands for."""
    return -F.adaptive_max_pool2d(-mask, size)


def enlarged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, C, h, w) -> (1, C, *size), by Lanczos interpolation."""
    height, width = size
    channels = [Image.fromarray(channel.numpy()) for channel in picture[0]]
    larger = [np.array(channel.resize((width, height), Image.Resampling.LANCZOS)) for channel in channels]
    return torch.from_numpy(np.stack(larger))[None]


def feathered(drawn: Tensor, target: Tensor, mask: Tensor, scale: float) -> Tensor:
    """`drawn`, in the hole corrected by its error on the known pixels near by, which fades within some pixels.

    So that the edge of the hole is not seen where an enlarged picture is duller than the known pixels beside it.
    drawn, target: (1, C, H, W); mask: (1, 1, H, W); scale: by how much it was enlarged.
    """
    width = FEATHER * scale
    known = (mask[0, 0] > 0).numpy()
    error = ((target - drawn)[0].numpy() * known).astype(np.float32)
    near = ndimage.gaussian_filter(known.astype(np.float32), width / 2)
    carried = ndimage.gaussian_filter(error, (0, width / 2, width / 2)) / np.maximum(near, 1e-3)
    distance = np.asarray(ndimage.distance_transform_edt(~known))
    fade = (1 - distance / width).clip(0) * ~known
    return drawn + torch.from_numpy((fade * carried).astype(np.float32))
