"""Repairs scientific arrays whose truth is known, beside what else fills gaps, and prints a table.

    python scripts/lab/evaluate_arrays.py
    python scripts/lab/evaluate_arrays.py --arrays cube31,elevation --damages values trainer.max_steps=500

Arrays: a cube of 8, 31 or 200 bands, mixed from smooth spectra by the brightness of photographs; an elevation model
(matplotlib's, in metres); a stained tissue (scikit-image's, 3 channels as floating-point numbers). Damages: half the
values of each channel on its own; lines that a scan has skipped; stripes of each channel on its own; a gap in all
channels. Further arguments are overrides.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import griddata
from skimage import data, transform
from skimage.restoration import inpaint_biharmonic

import dip
from dip.results.interval import HALF_WIDTH

Array = NDArray[Any]
SIDE = 128


def cube(bands: int) -> Array:
    """(SIDE, SIDE, bands): each pixel is a mixture of six smooth spectra, by what photographs show there."""
    random = np.random.default_rng(0)
    shown = [data.coffee()[50:350, 100:400], data.astronaut()[0:300, 100:400]]
    reduced: Any = [transform.resize(picture, (SIDE, SIDE), anti_aliasing=True) for picture in shown]
    weights = np.dstack(reduced)
    at = np.linspace(0, 1, bands)
    centres, widths = random.uniform(0, 1, (6, 3)), random.uniform(0.05, 0.3, (6, 3))
    peaks = np.exp(-(((at - centres[..., None]) / widths[..., None]) ** 2))
    spectra = (random.uniform(0.2, 1, (6, 3, 1)) * peaks).sum(axis=1)
    gains = np.linspace(0.2, 3, bands)  # the response of a sensor, which differs from band to band
    return (gains * (weights @ spectra) + 0.005 * random.normal(size=(SIDE, SIDE, bands))).astype(np.float32)


def elevation() -> Array:
    """(256, 256), metres."""
    from matplotlib.cbook import get_sample_data

    file: Any = get_sample_data("jacksboro_fault_dem.npz")
    return file["elevation"][:256, :256].astype(np.int16)


def tissue() -> Array:
    return data.immunohistochemistry()[128:384, 128:384].astype(np.float32)


ARRAYS: dict[str, Callable[[], Array]] = {
    "cube8": partial(cube, 8),
    "cube31": partial(cube, 31),
    "cube200": partial(cube, 200),
    "elevation": elevation,
    "tissue": tissue,
}


def lose_values(hole: Array, random: np.random.Generator) -> None:
    hole |= random.random(hole.shape) < 0.5


def lose_lines(hole: Array, random: np.random.Generator) -> None:
    hole[random.random(len(hole)) < 0.3] = True


def lose_stripes(hole: Array, random: np.random.Generator) -> None:
    for channel in range(hole.shape[2]):
        for left in random.integers(0, hole.shape[1] - 4, hole.shape[1] // 16):
            hole[:, left : left + random.integers(1, 5), channel] = True


def lose_gap(hole: Array, random: np.random.Generator) -> None:
    height, width = hole.shape[:2]
    hole[height // 3 : height // 3 + 12, width // 4 : 3 * width // 4] = True


DAMAGES = {"values": lose_values, "lines": lose_lines, "stripes": lose_stripes, "gap": lose_gap}


def by_channel(fill: Callable[[Array, Array], Array], truth: Array, hole: Array) -> Array:
    channels = zip(np.moveaxis(truth * ~hole, -1, 0).copy(), np.moveaxis(hole, -1, 0).copy(), strict=True)
    return np.stack([fill(*channel) for channel in channels], axis=-1)


def interpolated(channel: Array, hole: Array) -> Array:
    known = np.argwhere(~hole)
    filled, places = channel.copy(), np.argwhere(hole)
    linear = griddata(known, channel[~hole], places, method="linear")
    nearest = griddata(known, channel[~hole], places, method="nearest")
    filled[hole] = np.where(np.isnan(linear), nearest, linear)
    return filled


def psnr(found: Array, truth: Array, hole: Array) -> float:
    """In dB, over the hole, each channel in its own range."""
    axes = tuple(range(truth.ndim - 1))
    span = truth.max(axis=axes) - truth.min(axis=axes)
    return -10 * np.log10(np.mean((((found - truth) / span)[hole]) ** 2))


def evaluate(name: str, damage: str, overrides: list[str], recipe: str) -> str:
    truth = np.atleast_3d(ARRAYS[name]())
    hole = np.zeros(truth.shape, dtype=bool)
    DAMAGES[damage](hole, np.random.default_rng(1))
    numbers = truth.astype(np.float64)
    started = time.perf_counter()
    damaged = np.where(hole, 0, truth).astype(truth.dtype)
    found = dip.inpaint(damaged, hole, recipe=recipe, overrides=overrides, progress=False, return_result=True)
    seconds = time.perf_counter() - started
    assert (found.image[~hole] == truth[~hole]).all()
    off = np.abs(found.image.astype(np.float64) - numbers)[hole]
    coverage = np.mean(off <= HALF_WIDTH * found.std[hole])
    others = [by_channel(fill, numbers, hole) for fill in (inpaint_biharmonic, interpolated)]
    scores = [psnr(each.astype(np.float64), numbers, hole) for each in (found.image, *others)]
    cells = [name, damage, f"{100 * hole.mean():.0f} %", *(f"{score:.2f}" for score in scores)]
    return "| " + " | ".join([*cells, f"{np.sqrt(np.mean(off**2)):.3g}", f"{coverage:.3f}", f"{seconds:.0f}"]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", default=",".join(ARRAYS), help="(%(default)s)")
    parser.add_argument("--damages", default=",".join(DAMAGES), help="(%(default)s)")
    parser.add_argument("--recipe", default="quick", help="(%(default)s)")
    parser.add_argument("overrides", nargs="*", help="such as trainer.max_steps=500")
    arguments = parser.parse_args()
    print("PSNR in dB over the missing values, each channel in its own range; known values are exact.\n")
    heads = ["array", "damage", "missing", "dip.inpaint", "biharmonic, by channel", "griddata, linear"]
    print("| " + " | ".join([*heads, "RMS error", "coverage", "seconds"]) + " |\n|" + 9 * "---|")
    for name in arguments.arrays.split(","):
        for damage in arguments.damages.split(","):
            print(evaluate(name, damage, arguments.overrides, arguments.recipe), flush=True)


if __name__ == "__main__":
    main()
