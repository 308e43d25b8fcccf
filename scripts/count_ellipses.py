"""Counts the seeds with which a recipe draws saturated ellipses in a large hole: colours that nothing around it has.

    python scripts/count_ellipses.py outputs/ellipses/quick
    python scripts/count_ellipses.py outputs/ellipses/published experiment=published
    python scripts/count_ellipses.py outputs/ellipses/mine --image PICTURE --mask MASK --seeds 5

From step 200 on it looks at the hole every 50 steps, and once more at the result. A table and a picture of each seed at
its worst are written to the folder; the second call into it runs only the seeds that are missing there.
"""

import argparse
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from evaluate import QUIET, composed, observed, same_recipe, shape
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning import Callback, LightningModule, Trainer
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from skimage.color import rgb2lab
from skimage.measure import label
from torch import Tensor
from tqdm import tqdm

from dip import images
from dip.command import Refused, one_line, quote_files
from dip.data import Sample
from dip.files import write
from dip.repair import repair

FIRST, EVERY = 200, 50  # steps
# Both chosen on the published recipe's pictures of a rabbit in grass, and on textures of which the truth is known.
SHARE = 0.01  # of the hole, that the smallest ellipse covers; and 20 pixels
FAR = 15.0  # from every colour around the hole, in CIELAB, where 100 is from black to white


class Look(NamedTuple):
    """Where the hole's colours occur nowhere around it."""

    area: float  # of the largest connected region, as a share of the hole; a strong colour looks larger, being smoothed
    distance: float  # of the strangest colour from the nearest one around the hole, in CIELAB
    region: np.ndarray  # that region, (H, W), boolean
    ellipse: bool  # whether the region is large enough to be one


def look(picture: Tensor, mask: Tensor) -> Look:
    """picture: (1, C, H, W) with the hole filled; mask: (1, 1, H, W), 1 = known.

    Pixels are smoothed, those of the hole apart from the known ones, so that no highlight of a texture counts, but
    whatever is as large as the smallest ellipse. Known ones are smoothed more as well, as a plain fill is.
    """
    hole = mask[0, 0].numpy() < 1
    smallest = max(20.0, SHARE * hole.sum())
    width = (smallest / np.pi) ** 0.5 / 2  # half its radius
    colours = images.visible(picture)[0].permute(1, 2, 0).numpy()
    around = np.concatenate([smoothed(colours, ~hole, scale * width) for scale in (1, 2, 4)])
    distances = np.zeros(hole.shape)
    distances[hole], _ = KDTree(np.unique(around.round(), axis=0)).query(smoothed(colours, hole, width))
    numbered = np.asarray(label(distances > FAR, connectivity=2))
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    largest = sizes.argmax()
    region = (numbered == largest) & (distances > FAR)
    return Look(float(region.sum() / hole.sum()), float(distances.max()), region, bool(region.sum() >= smallest))


def smoothed(colours: np.ndarray, where: np.ndarray, width: float) -> np.ndarray:
    """The colours at these pixels as a Gaussian mean of these pixels alone: (H, W, C) -> (N, 3), in CIELAB."""
    weight = gaussian_filter(where.astype(float), width)
    mean = gaussian_filter(colours * where[..., None], (width, width, 0))[where] / weight[where][:, None]
    return rgb2lab(np.broadcast_to(mean, (len(mean), 3)))


class Watch(Callback):
    """Looks at the run's picture every few steps, and keeps the one with the largest region."""

    def __init__(self, bar: tqdm):
        self.bar = bar
        self.looks: list[tuple[int, Look]] = []
        self.worst: tuple[str, Tensor, Look] | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        self.bar.update()
        if trainer.global_step >= FIRST and trainer.global_step % EVERY == 0:
            composite = batch.composite(outputs["picture"]).cpu()
            self.see(trainer.global_step, f"step {trainer.global_step}", composite, batch.mask.cpu())

    def see(self, step: int, name: str, picture: Tensor, mask: Tensor) -> Look:
        seen = look(picture, mask)
        self.looks.append((step, seen))
        if self.worst is None or (seen.area, seen.distance) > (self.worst[2].area, self.worst[2].distance):
            self.worst = name, picture, seen
        return seen


def count(seed: int, overrides: list[str], folder: Path, bar: tqdm) -> None:
    """Runs the seed and leaves seed_N.png and, as the last, seed_N.json in `folder`."""
    watch = Watch(bar)
    with TemporaryDirectory() as run, (folder / f"seed_{seed}.log").open("w") as said:
        with redirect_stdout(said), redirect_stderr(said):
            experiment = observed([*QUIET, *overrides, f"seed={seed}"], watch, Path(run))
            try:
                repair(experiment, Path(run))
            except Refused:
                if not Path(run, "metrics.json").exists():
                    raise  # else it has diverged, and counts as well, with its last good picture
        metrics = json.loads(Path(run, "metrics.json").read_text())
        result = images.read(Path(run, "composite.png"), "composite")
    sample = experiment.data.sample
    end = watch.see(metrics["steps"], "result", result, sample.mask)
    assert watch.worst is not None
    name, picture, seen = watch.worst
    magenta = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    marked = torch.where(torch.from_numpy(seen.region), magenta, images.visible(picture))
    row = {"given": sample.target, f"worst: {name}": picture, "strange colours": marked, "result": result}
    images.save(images.side_by_side(row), folder / f"seed_{seed}.png")
    looks = [seen for _, seen in watch.looks]
    found = {
        **{"seed": seed, "first": next((step for step, seen in watch.looks if seen.ellipse), None)},
        **{"area": max(seen.area for seen in looks), "distance": max(seen.distance for seen in looks)},
        **{"end": end.ellipse, "steps": metrics["steps"], "stopped_by": metrics["stopped_by"]},
        "looks": [[step, round(seen.area, 5), round(seen.distance, 2)] for step, seen in watch.looks],
    }
    write(folder / f"seed_{seed}.json", json.dumps(found) + "\n")


def table(rows: list[dict[str, Any]], command: str) -> str:
    lines = [
        f"`{command}`",
        "",
        "First: the step of the first look that found an ellipse. Largest: region of colours that nothing around the",
        f"hole has, of the hole. Strangest: distance of a colour from the nearest one around; {FAR:g} is strange.",
        "",
        "| seed | first | largest, % | strangest | at the end | steps | stopped by |",
        "|" + 7 * "---|",
    ]
    for row in rows:
        cells = [row["seed"], "-" if row["first"] is None else row["first"], f"{100 * row['area']:.1f}"]
        cells += [f"{row['distance']:.0f}", "yes" if row["end"] else "no", row["steps"], row["stopped_by"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    found, left = sum(row["first"] is not None for row in rows), sum(row["end"] for row in rows)
    return "\n".join([*lines, "", f"ellipses in {found} of {len(rows)} seeds, at the end in {left}", ""])


def pictures(arguments: argparse.Namespace) -> list[str]:
    """The overrides that name picture and mask; without any, a cat's fur with a deep hole in it."""
    if arguments.image is None:
        arguments.image, arguments.mask = arguments.folder / "picture.png", arguments.folder / "hole.png"
        images.save(images.to_pil(images.photograph("chelsea", 384, 256)), arguments.image)
        images.save(images.to_pil(shape("ellipse", 256, 384)), arguments.mask)
    return quote_files([f"data.image={arguments.image}", f"data.mask={arguments.mask}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where table and pictures go; seeds that are there are not run again")
    parser.add_argument("--image", type=Path, help="instead of the cat of the scikit-image wheel")
    parser.add_argument("--mask", type=Path, help="of --image, black in the hole")
    parser.add_argument("--seeds", type=int, default=20, help="how many, from 0 on (%(default)s)")
    parser.add_argument("--steps", type=int, default=1000, help="of each run (%(default)s)")
    parser.add_argument("overrides", nargs="*", help="keys of the runs, such as experiment=published")
    arguments = parser.parse_intermixed_args()
    folder, steps = arguments.folder, arguments.steps
    if (arguments.image is None) != (arguments.mask is None):
        parser.error("--image and --mask belong together; give both or none")
    if arguments.seeds < 1:
        parser.error(f"--seeds {arguments.seeds}, but it is at least 1")
    if any(key.startswith("trainer.max_steps=") for key in arguments.overrides):
        parser.error("trainer.max_steps is given as --steps")
    files = [str(path) for path in (arguments.image, arguments.mask) if path is not None]
    if not same_recipe(folder, [*files, f"trainer.max_steps={steps}", *arguments.overrides]):
        parser.error(f"{folder} holds runs of other keys (overrides.json), which stay; give another folder")
    overrides = [*pictures(arguments), f"trainer.max_steps={steps}", *arguments.overrides]
    missing = [seed for seed in range(arguments.seeds) if not (folder / f"seed_{seed}.json").exists()]
    try:
        if (members := composed(overrides).members) > 1:
            raise ValueError(f"members={members}, but one run is looked at for each seed; give members=1")
        with tqdm(total=len(missing) * steps, desc="Counting", unit="step") as bar:
            for done, seed in enumerate(missing, 1):
                count(seed, overrides, folder, bar)
                bar.update(done * steps - bar.n)  # a run may have stopped by itself
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the same command goes on with the seeds that are missing\n")
    except (ValueError, Refused, HydraException, OmegaConfBaseException) as error:
        if not list(folder.glob("seed_*.json")):
            (folder / "overrides.json").unlink()  # the corrected command may have the folder
        parser.error(" ".join(one_line(error).split()))
    rows = [json.loads((folder / f"seed_{seed}.json").read_text()) for seed in range(arguments.seeds)]
    write(folder / "table.md", table(rows, f"python scripts/count_ellipses.py {' '.join(sys.argv[1:])}"))
    print((folder / "table.md").read_text(), end="")


if __name__ == "__main__":
    main()
