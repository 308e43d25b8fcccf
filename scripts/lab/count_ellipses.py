"""Counts the seeds with which a recipe draws saturated ellipses in a large hole: colours that nothing around it has.

    python scripts/lab/count_ellipses.py outputs/ellipses/quick
    python scripts/lab/count_ellipses.py outputs/ellipses/published experiment=published
    python scripts/lab/count_ellipses.py outputs/ellipses/mine --image PICTURE --mask MASK --seeds 5

It looks at the hole every 50 steps from step 200 on, and at the result. It writes a table and, for each seed, its worst
picture to the folder. A second call runs the missing seeds only.
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
from evaluate import QUIET, observe, repair_whole, same_recipe, shape
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning import Callback, LightningModule, Trainer
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from skimage.color import rgb2lab
from skimage.measure import label
from torch import Tensor
from tqdm import tqdm

from dip.cli.command import one_line, quote_files
from dip.config.build import read_data
from dip.config.compose import compose
from dip.errors import UserError
from dip.files import write_json, write_text
from dip.image import tensors
from dip.prior.sample import Sample
from dip.results.folder import RunFolder
from dip.results.pictures import side_by_side

FIRST, EVERY = 200, 50  # steps
# Both chosen on the published recipe's pictures of a rabbit in grass, and on textures with a known ground truth.
SHARE = 0.01  # of the hole, which the smallest ellipse covers; at least 20 pixels
FAR = 15.0  # from every colour around the hole, in CIELAB, where 100 is from black to white


class Look(NamedTuple):
    """The colours of the hole that occur nowhere around it."""

    area: float  # of their largest connected region, as a fraction of the hole; smoothing enlarges a strong colour
    distance: float  # of the strangest colour from the nearest one around the hole, in CIELAB
    region: np.ndarray  # that region, (H, W), boolean
    ellipse: bool  # whether the region is large enough to be one


def look(picture: Tensor, mask: Tensor) -> Look:
    """Look for an ellipse. picture: (1, C, H, W) with the hole filled; mask: (1, 1, H, W), 1 = known.

    The pixels of the hole and the known ones are smoothed apart, so that highlights of a texture do not count, and
    what is as large as the smallest ellipse does. Known pixels count smoothed more as well, as a plain fill is.
    """
    hole = mask[0, 0].numpy() < 1
    smallest = max(20.0, SHARE * hole.sum())
    width = (smallest / np.pi) ** 0.5 / 2  # half its radius
    colours = tensors.visible(picture)[0].permute(1, 2, 0).numpy()
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
    """The Gaussian mean of the colours at these pixels, of these pixels alone: (H, W, C) -> (N, 3), in CIELAB."""
    weight = gaussian_filter(where.astype(float), width)
    mean = gaussian_filter(colours * where[..., None], (width, width, 0))[where] / weight[where][:, None]
    return rgb2lab(np.broadcast_to(mean, (len(mean), 3)))


class Watch(Callback):
    """Looks at the picture every few steps, and keeps the one with the largest region."""

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
    """Run the seed; write seed_N.png and then seed_N.json to `folder`."""
    watch = Watch(bar)
    with TemporaryDirectory() as run, (folder / f"seed_{seed}.log").open("w") as said:
        with redirect_stdout(said), redirect_stderr(said):
            cfg = compose([*QUIET, *overrides, f"seed={seed}"])
            try:
                repair_whole(cfg, Path(run), lambda experiment, _: observe(experiment, watch))
            except UserError:
                if not RunFolder(Path(run)).metrics:
                    raise  # else it has diverged, and its last good picture counts
        metrics = RunFolder(Path(run)).metrics
        result = tensors.read_tensor(Path(run, "composite.png"), "composite")
    target, mask, _ = read_data(cfg).work
    end = watch.see(metrics["steps"], "result", result, mask)
    assert watch.worst is not None
    name, picture, seen = watch.worst
    magenta = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    marked = torch.where(torch.from_numpy(seen.region), magenta, tensors.visible(picture))
    row = {"given": target, f"worst: {name}": picture, "strange colours": marked, "result": result}
    tensors.save_png(side_by_side(row), folder / f"seed_{seed}.png")
    looks = [seen for _, seen in watch.looks]
    found = {
        **{"seed": seed, "first": next((step for step, seen in watch.looks if seen.ellipse), None)},
        **{"area": max(seen.area for seen in looks), "distance": max(seen.distance for seen in looks)},
        **{"end": end.ellipse, "steps": metrics["steps"], "stopped_by": metrics["stopped_by"]},
        "looks": [[step, round(seen.area, 5), round(seen.distance, 2)] for step, seen in watch.looks],
    }
    write_json(folder / f"seed_{seed}.json", found)


def table(rows: list[dict[str, Any]], command: str) -> str:
    lines = [
        f"`{command}`",
        "",
        "First: the step of the first look that found an ellipse. Largest: region of colours that nothing around the",
        f"hole has, % of the hole. Strangest: distance of a colour from the nearest one around; {FAR:g} is strange.",
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
    """The overrides for picture and mask; by default a cat's fur with a deep hole in it."""
    if arguments.image is None:
        arguments.image, arguments.mask = arguments.folder / "picture.png", arguments.folder / "hole.png"
        tensors.save_png(tensors.to_pil(tensors.photograph("chelsea", 384, 256)), arguments.image)
        tensors.save_png(tensors.to_pil(shape("ellipse", 256, 384)), arguments.mask)
    return quote_files([f"data.image={arguments.image}", f"data.mask={arguments.mask}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where table and pictures go; seeds that are there are not repeated")
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
        if (members := compose(overrides).members) > 1:
            raise UserError(f"members={members}, but one run is looked at for each seed; give members=1")
        with tqdm(total=len(missing) * steps, desc="Counting", unit="step") as bar:
            for done, seed in enumerate(missing, 1):
                count(seed, overrides, folder, bar)
                bar.update(done * steps - bar.n)  # a run may have stopped by itself
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the same command continues with the missing seeds\n")
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if not list(folder.glob("seed_*.json")):
            (folder / "overrides.json").unlink()  # the corrected command may have the folder
        parser.error(" ".join(one_line(error).split()))
    rows = [json.loads((folder / f"seed_{seed}.json").read_text()) for seed in range(arguments.seeds)]
    write_text(folder / "table.md", table(rows, f"python scripts/lab/count_ellipses.py {' '.join(sys.argv[1:])}"))
    print((folder / "table.md").read_text(), end="")


if __name__ == "__main__":
    main()
