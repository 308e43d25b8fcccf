"""Measures how well `make_mask.py --scratches` finds scratches, on scikit-image photographs that it scratches itself.

    python scripts/lab/scratch_benchmark.py
    python scripts/lab/scratch_benchmark.py --contrast 40

A photograph gets 12 scratches: 1 to 4 pixels wide, curved, fading and torn; then grain and JPEG. Recall is the share of
the scratched pixels that are found, precision the share of the found pixels that are scratched; both allow one pixel of
distance. "clean" is the share that is found in the photograph without scratches, but with grain.
"""

import argparse
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw
from skimage import data, morphology

from dip.image import shapes
from dip.image.shapes import Hole

# The constants of dip.image.shapes.scratches were chosen by the figures of the first group alone.
TUNED = ("astronaut", "coffee", "camera")
HELD_OUT = ("chelsea", "rocket", "moon", "coins")
COUNT = 12  # scratches on a photograph


def scratched(photo: Image.Image, kind: str, seed: int) -> tuple[Image.Image, Hole]:
    """The photograph with scratches of this kind, "bright" or "dark", and their pixels."""
    rng = np.random.default_rng(seed)
    pixels = np.asarray(photo, dtype=np.float32)
    truth = np.zeros(pixels.shape[:2], dtype=bool)
    for _ in range(COUNT):
        opacity = scratch(photo.size, rng)
        shade = rng.uniform(225, 255) if kind == "bright" else rng.uniform(0, 40)
        pixels = pixels + opacity[..., None] * (shade - pixels)
        truth |= opacity > 0.25
    return aged(pixels, rng), truth


def scratch(size: tuple[int, int], rng: np.random.Generator, fine: int = 4) -> np.ndarray:
    """The opacity, 0 to 1, of one scratch from a random point in a direction that wanders and mostly runs down."""
    width, height = size
    steps = int(rng.uniform(0.15, 0.9) * height)
    directions = rng.normal(np.pi / 2, 0.5) + np.cumsum(rng.normal(0, 0.015, steps))
    start = rng.uniform((0, -0.2 * height), (width, 0.8 * height))
    path = start + np.cumsum(np.stack([np.cos(directions), np.sin(directions)], axis=1), axis=0)
    canvas = Image.new("L", (width * fine, height * fine))
    pen = ImageDraw.Draw(canvas)
    thickness = rng.uniform(1, 4) * fine
    # It fades along its way, and tears where the curve falls below zero.
    fading = np.interp(
        np.arange(steps), np.arange(0, steps + 20, 20), rng.uniform(-0.1, 1.6, len(range(0, steps + 20, 20)))
    )
    for here, there, opacity in zip(path[:-1] * fine, path[1:] * fine, fading.clip(0, 1), strict=False):
        pen.line([*here, *there], fill=round(255 * opacity), width=round(thickness))
    return np.asarray(canvas.resize(size, Image.Resampling.BOX), dtype=np.float32) / 255


def aged(pixels: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Add grain of standard deviation 4, and compress as JPEG."""
    grain = rng.normal(0, 4, (*pixels.shape[:2], 1))
    buffer = BytesIO()
    Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return Image.open(buffer).convert("RGB")


def near(hole: Hole) -> Hole:
    return morphology.dilation(hole, morphology.disk(1))


def rates(found: Hole, truth: Hole) -> tuple[float, float]:
    """Precision and recall."""
    return (found & near(truth)).sum() / max(found.sum(), 1), (truth & near(found)).sum() / truth.sum()


def measured(photo: Image.Image, kind: str, arguments: argparse.Namespace) -> tuple[float, float, float]:
    """Precision, recall and the share found in the clean photograph, in percent, averaged over the seeds."""
    figures = []
    for seed in range(arguments.seeds):
        damaged, truth = scratched(photo, kind, seed)
        found = shapes.scratches(damaged, kind, arguments.width, arguments.contrast)
        clean = aged(np.asarray(photo, dtype=np.float32), np.random.default_rng(seed))
        taken = shapes.scratches(clean, kind, arguments.width, arguments.contrast).mean()
        figures.append((*rates(found, truth), taken))
    return tuple(100 * np.mean(figures, axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=4, help="of --scratches (%(default)s)")
    parser.add_argument("--contrast", type=int, default=20, help="of --scratches (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="scratched photographs of each (%(default)s)")
    arguments = parser.parse_args()
    print(f"{'':20} precision   recall   clean")
    for kind in ("bright", "dark"):
        for group in (TUNED, HELD_OUT):
            figures = []
            for name in group:
                photo = Image.fromarray(getattr(data, name)()).convert("RGB")
                figures.append(measured(photo, kind, arguments))
                print("{:20} {:7.0f} % {:6.0f} % {:5.1f} %".format(f"{kind} {name}", *figures[-1]), flush=True)
            print("{:20} {:7.0f} % {:6.0f} % {:5.1f} %".format("  mean", *np.mean(figures, axis=0)), flush=True)


if __name__ == "__main__":
    main()
