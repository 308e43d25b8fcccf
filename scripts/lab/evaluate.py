"""Runs a recipe on suites of pictures with a known ground truth, and writes a table of its results.

    python scripts/lab/evaluate.py outputs/evaluate/default
    python scripts/lab/evaluate.py outputs/evaluate/skip --suites text,holes --seeds 0,1,2 model=skip input=noise
    python scripts/lab/evaluate.py outputs/evaluate/set11 --suites pixels50 --pictures DIR experiment=paper_pixels

In pixels20 to pixels90 that percentage of the pixels is missing; pixels50 is grey. In text, words lie over each
picture. In holes, each picture has one region of some size and shape. In denoise15 to denoise50 each has noise of that
standard deviation, in shot_noise that of 100 photons and of reading them; in enlarge4 each is reduced to a quarter. A
second call runs what is missing in the folder.
"""

import argparse
import csv
import json
import os
import signal
import statistics
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from PIL import Image, ImageDraw
from pytorch_lightning import Callback, LightningModule, Trainer
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

from dip.cli.pairs import listed
from dip.config.build import Experiment, build, read_data
from dip.config.check import check_values
from dip.config.compose import CONFIGS, compose
from dip.config.parts import instantiate_group
from dip.errors import UserError
from dip.files import write_json
from dip.image import masks, tensors
from dip.image.metrics import psnr, texture_distance
from dip.image.photo import Photo
from dip.prior.sample import Sample
from dip.repair.advice import explain_resource_errors
from dip.repair.plan import plan_part
from dip.repair.run import run
from dip.results.folder import RunFolder
from dip.training.stopping import Stopping

SIDE = 256
# The pictures that recipes are tuned on, and those that are kept aside for published figures.
TUNING = ("astronaut", "coffee", "brick")
FINAL = ("chelsea", "rocket", "camera", "gravel")
WORDS = "The quick brown fox jumps over the lazy dog"
QUIET = ["callbacks.images=null", "callbacks.animation=null"]  # nobody looks at them


class Case(NamedTuple):
    suite: str
    picture: str
    seed: int
    overrides: list[str]

    @property
    def name(self) -> str:
        return f"{self.suite}/{self.picture}/seed_{self.seed}"


class Oracle(Callback):
    """Records the PSNR of the hole, which nothing in the run may see, and the scores of every stopping rule.

    rules: by name; they only score and stop nothing.
    """

    def __init__(self, rules: dict[str, Stopping]):
        self.rules = rules
        self.curve: list[tuple[int, float]] = []
        self.scores: dict[str, list[tuple[int, float]]] = {name: [] for name in rules}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        step, picture = trainer.global_step, outputs["picture"]
        due = [name for name, rule in self.rules.items() if step % rule.every_steps == 0]
        if due or step == trainer.max_steps:
            assert batch.truth is not None
            self.curve.append((step, round(psnr(picture, batch.truth, batch.judged[1]), 3)))
        for name in due:
            score = self.rules[name].score(picture, batch)
            if score is not None:
                self.scores[name].append((step, score))

    def seen(self) -> dict[str, Any]:
        return {"curve": self.curve, "scores": self.scores}


def uncertainty(folder: Path, sample: Sample) -> float | None:
    """The rank correlation of uncertainty.png and the error before texture; None where there is no such file."""
    if not (folder / "uncertainty.png").exists():
        return None
    names = [name for name in ("before_refine.png", "before_texture.png", "output.png") if (folder / name).exists()]
    deviation, output = (tensors.read_tensor(folder / name, "result") for name in ("uncertainty.png", names[0]))
    return rank_correlation(deviation, output, sample)


def rank_correlation(uncertain: Tensor, output: Tensor, sample: Sample) -> float | None:
    """Spearman's, over the hole's pixels, of the uncertainty (1, 1, H, W) and the output's (1, C, H, W) absolute error.

    None where one of them is the same everywhere.
    """
    assert sample.truth is not None
    hole = ~sample.mask.bool()
    error = (output - sample.truth).abs().mean(dim=1, keepdim=True)
    deviation, error = uncertain[hole], error[hole]
    if any(values.min() == values.max() for values in (deviation, error)):
        return None
    return round(float(spearmanr(deviation, error).statistic), 4)  # pyright: ignore[reportAttributeAccessIssue]


def shadows() -> dict[str, Stopping]:
    """Every rule of configs/stopping with its options there."""
    names = sorted(path.stem for path in (CONFIGS / "stopping").glob("*.yaml"))
    return {name: rule_named(name, "hole_kind=thin") for name in names if name != "none"}  # no score depends on it


def rule_named(name: str, *overrides: str) -> Stopping:
    """A rule of configs/stopping with overrides such as stopping.patience_steps=100. Raises UserError for a bad one."""
    return instantiate_group(compose([f"stopping={name}", *overrides]), "stopping")


def rectangle(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    draw.rectangle((0.3 * width, 0.35 * height, 0.55 * width, 0.55 * height), fill=0)


def ellipse(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    draw.ellipse((0.35 * width, 0.2 * height, 0.75 * width, 0.8 * height), fill=0)


def disks(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    for x, y, radius in ((0.2, 0.3, 0.05), (0.7, 0.2, 0.08), (0.5, 0.6, 0.1), (0.8, 0.75, 0.04), (0.25, 0.8, 0.07)):
        draw.circle((x * width, y * height), radius * min(width, height), fill=0)


def strokes(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    for line in (((0.1, 0.2), (0.5, 0.3), (0.9, 0.1)), ((0.2, 0.9), (0.5, 0.5), (0.8, 0.95))):
        draw.line([(x * width, y * height) for x, y in line], fill=0, width=round(0.04 * width), joint="curve")


SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, int, int], None]] = {
    "rectangle": rectangle,
    "ellipse": ellipse,
    "disks": disks,
    "strokes": strokes,
}


def shape(name: str, height: int, width: int) -> Tensor:
    mask = Image.new("L", (width, height), 255)
    SHAPES[name](ImageDraw.Draw(mask), width, height)
    return tensors.from_pil(mask)


def own_pictures(names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: tensors.photograph(name, SIDE, SIDE) for name in names}


def pictures_of(folder: Path, grey: bool) -> dict[str, Tensor]:
    """Every picture of the folder, without the NAME_mask files, which are the holes of NAME in the suite holes."""
    paths = (Path(path) for path in listed(str(folder)) if not Path(path).stem.endswith("_mask"))
    read = {path.stem: tensors.read_tensor(path, "--pictures") for path in paths}
    return {name: luminance(picture) if grey else picture for name, picture in read.items()}


def luminance(picture: Tensor) -> Tensor:
    return tensors.from_pil(tensors.to_pil(picture).convert("L"))


def masks_of(folder: Path | None) -> dict[str, Tensor]:
    paths = sorted(folder.glob("*_mask.*")) if folder else []
    return {path.stem.removesuffix("_mask"): masks.read_mask(path, "black") for path in paths}


def pixels(missing: float, grey: bool, pictures: dict[str, Tensor], folder: Path) -> Iterator[tuple[str, list[str]]]:
    for name, picture in pictures.items():
        path = folder / f"{name}{'_grey' if grey else ''}.png"
        tensors.to_pil(luminance(picture) if grey else picture).save(path)
        yield name, ["data=random_pixels", f"data.image='{path}'", f"data.mask.known_share={1 - missing:.2f}"]


def regions(pictures: dict[str, Tensor], holes: dict[str, Tensor], folder: Path) -> Iterator[tuple[str, list[str]]]:
    """holes: the masks by the names of their pictures."""
    for name, known in holes.items():
        image, mask = folder / f"{name}.png", folder / f"{name}_hole.png"
        tensors.to_pil(pictures[name]).save(image)
        tensors.to_pil(known).save(mask)
        yield name, [f"data.image='{image}'", f"data.mask='{mask}'", f"data.truth='{image}'"]


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    folder = arguments.folder / "pictures"
    if arguments.pictures:
        pictures = pictures_of(arguments.pictures, arguments.grey)
    else:
        pictures = own_pictures(FINAL if arguments.final else TUNING)
    for suite in arguments.suites:
        (folder / suite).mkdir(parents=True, exist_ok=True)
        for name, overrides in SUITES[suite](pictures, masks_of(arguments.pictures), folder / suite):
            for seed in arguments.seeds:
                given = [*arguments.overrides, *overrides, f"seed={seed}"]
                recipes = [override for override in given if override.startswith("experiment=")]
                rest = [override for override in given if override not in recipes]
                yield Case(suite, name, seed, [*QUIET, *recipes[:1], *rest])


def text(pictures: dict[str, Tensor], own: dict[str, Tensor], folder: Path) -> Iterator[tuple[str, list[str]]]:
    written = {name: masks.text(picture.shape[-2], picture.shape[-1], WORDS, 16) for name, picture in pictures.items()}
    return regions(pictures, written, folder)


def holes(pictures: dict[str, Tensor], own: dict[str, Tensor], folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each picture with its own mask, or with each of the shapes. Raises UserError for a mask without a picture."""
    if alone := own.keys() - pictures.keys():
        raise UserError(f"--pictures: {min(alone)}_mask has no picture {min(alone)} beside it")
    bare = {name: picture for name, picture in pictures.items() if name not in own}
    drawn = {f"{name}_{kind}": shape(kind, *picture.shape[-2:]) for name, picture in bare.items() for kind in SHAPES}
    same = {f"{name}_{kind}": picture for name, picture in bare.items() for kind in SHAPES}
    return regions(pictures | same, own | drawn, folder)


Suite = Callable[[dict[str, Tensor], dict[str, Tensor], Path], Iterator[tuple[str, list[str]]]]


def measured(
    options: list[str], pictures: dict[str, Tensor], own: dict[str, Tensor], folder: Path
) -> Iterator[tuple[str, list[str]]]:
    """Each picture with the options that measure it; a recipe among them counts where none is given."""
    for name, picture in pictures.items():
        tensors.to_pil(picture).save(folder / f"{name}.png")
        yield name, [*options, f"data.image='{folder / name}.png'"]


def noisy(*options: str) -> Suite:
    return partial(measured, ["experiment=denoise", "data=noisy", *options])


SUITES: dict[str, Suite] = {
    "pixels20": lambda pictures, own, folder: pixels(0.2, False, pictures, folder),
    "pixels50": lambda pictures, own, folder: pixels(0.5, True, pictures, folder),
    "pixels70": lambda pictures, own, folder: pixels(0.7, False, pictures, folder),
    "pixels80": lambda pictures, own, folder: pixels(0.8, False, pictures, folder),
    "pixels90": lambda pictures, own, folder: pixels(0.9, False, pictures, folder),
    "text": text,
    "holes": holes,
    "denoise15": noisy("data.sigma=15"),
    "denoise25": noisy("data.sigma=25"),
    "denoise50": noisy("data.sigma=50"),
    "shot_noise": noisy("data.sigma=5", "data.photons=100"),
    "enlarge4": partial(measured, ["experiment=super_resolution", "data=reduced", "data.factor=4"]),
}
DEFAULT = ["pixels50", "pixels80", "pixels90", "text", "holes"]


def end_with_parent() -> None:
    """End this process when its parent ends, in whatever way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the parent reports it
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def evaluate(case: Case, folder: Path, threads: int) -> str | None:
    """Run the case and write `folder`/name, complete or not at all; return the error, which said.txt has in full."""
    torch.set_num_threads(threads)
    wanted = folder / case.name
    wanted.parent.mkdir(parents=True, exist_ok=True)
    attempt = Path(mkdtemp(prefix=f"{wanted.name}_", dir=wanted.parent))
    with (attempt / "said.txt").open("w") as said, redirect_stdout(said), redirect_stderr(said):
        try:
            found = evaluated(case, attempt / "run")
        except Exception as error:
            traceback.print_exc(file=said)
            return f"{case.name} failed: {' '.join(str(error).split())}; {attempt}/said.txt has more"
    write_json(attempt / "evaluation.json", found)
    attempt.rename(wanted)
    return None


def evaluated(case: Case, folder: Path) -> dict[str, Any]:
    """Run the case; return what evaluation.json holds."""
    watched: dict[Path, tuple[Oracle, Experiment]] = {}  # by folder; the last experiment there is the one that runs

    def watch(experiment: Experiment, within: Path) -> None:
        watched[within] = Oracle(shadows()), experiment
        observe(experiment, watched[within][0])

    photo, metrics = repair_whole(compose(case.overrides), folder, watch)
    _, mask, truth = photo.full
    assert truth is not None
    each = list(watched.values())
    return {
        **{"suite": case.suite, "picture": case.picture, "seed": case.seed, "overrides": case.overrides},
        "metrics": metrics,
        "truth": {"texture_distance": texture_distance(truth, mask) if photo.has_hole else None},
        "rank_correlation": uncertainty(folder, Sample(*photo.work)) if photo.has_hole else None,
        "hole_kind": each[0][1].cfg.hole_kind,
        "runs": [
            {"stop": stop(own), **oracle.seen()}
            for (oracle, _), own in zip(each, metrics.get("members", {"": metrics}).values(), strict=True)
        ],
    }


def repair_whole(
    cfg: DictConfig, folder: Path, watch: Callable[[Experiment, Path], None]
) -> tuple[Photo, dict[str, Any]]:
    """Repair a photograph as one part, by one run or an ensemble; return it, and what metrics.json holds.

    watch: gets each run with its folder before it starts, without those that find the colours of large holes.
    """
    check_values(cfg)
    photo = read_data(cfg)

    def build_watched(own: DictConfig, part: Photo, within: RunFolder, *more: Any) -> Experiment:
        experiment = build(own, part, within, *more)
        if "fill" not in within.path.relative_to(folder).parts:
            watch(experiment, within.path)
        return experiment

    with explain_resource_errors(cfg, RunFolder(folder)):
        return photo, run(plan_part("", cfg, photo), RunFolder(folder), build=build_watched).metrics


def stop(metrics: dict[str, Any]) -> float:
    """The PSNR of the state that the rule has chosen, in dB, before anything is done to its hole."""
    return judged(metrics.get("before_refine", metrics.get("before_texture", metrics)), "psnr")


def judged(measures: dict[str, Any], key: str) -> float:
    """A measure of the hole; of a picture without one, of all of it."""
    return round(measures[f"{key}_hole"] if f"{key}_hole" in measures else measures[f"{key}_all"], 4)


def observe(experiment: Experiment, observer: Callback) -> None:
    """Let the observer see each step of the run first."""
    experiment.trainer.callbacks.insert(0, observer)  # pyright: ignore[reportAttributeAccessIssue]


def row(case: Case, folder: Path) -> dict[str, Any]:
    """The case's row in the table, with means over the runs of an ensemble."""
    found = json.loads((folder / case.name / "evaluation.json").read_text())
    metrics, baseline, runs = found["metrics"], found["metrics"]["baseline"], found["runs"]
    oracles = [max(run["curve"], key=lambda point: point[1]) for run in runs]
    return {
        **{"suite": case.suite, "picture": case.picture, "seed": case.seed},
        **{f"{key}_hole": judged(metrics, key) for key in ("psnr", "ssim")},
        **{key: metrics.get(key) and round(metrics[key], 4) for key in ("psnr_all", "psnr_composite")},
        "before_texture": round(stop(metrics), 4),
        "oracle": round(statistics.fmean(quality for _, quality in oracles), 4),
        "oracle_step": statistics.fmean(step for step, _ in oracles),
        "last": round(statistics.fmean(run["curve"][-1][1] for run in runs), 4),
        "gap": round(statistics.fmean(best - run["stop"] for (_, best), run in zip(oracles, runs, strict=True)), 4),
        **{"steps": metrics["steps"], "stopped_by": metrics["stopped_by"], "seconds": metrics["seconds"]},
        "texture_distance": metrics.get("texture_distance"),
        "rank_correlation": found.get("rank_correlation"),  # which earlier versions did not write
        "coverage": metrics.get("interval", {}).get("coverage_hole"),
        **{f"biharmonic_{key}_hole": judged(baseline, key) for key in ("psnr", "ssim")},
        "biharmonic_psnr_composite": baseline.get("psnr_composite"),
        "biharmonic_texture_distance": baseline.get("texture_distance"),
        "truth_texture_distance": found["truth"]["texture_distance"],
    }


# The columns of table.md: heading, key, digits. table.csv has all others too.
COLUMNS = [
    *(("hole", "psnr_hole", 2), ("spread", "spread", 2), ("before texture", "before_texture", 2)),
    *(("SSIM", "ssim_hole", 3), ("texture", "texture_distance", 2), ("all", "psnr_all", 2), ("gap", "gap", 2)),
    *(
        ("last", "last", 2),
        ("uncertainty", "rank_correlation", 2),
        ("coverage", "coverage", 3),
        ("steps", "steps", 0),
        ("seconds", "seconds", 0),
    ),
    *(("biharmonic hole", "biharmonic_psnr_hole", 2), ("SSIM", "biharmonic_ssim_hole", 3)),
    *(("texture", "biharmonic_texture_distance", 2), ("truth texture", "truth_texture_distance", 2)),
]


def markdown(rows: list[dict[str, Any]], command: str) -> str:
    """The table: a line for the mean of each picture over its seeds, and one for each suite."""
    lines = [
        f"`{command}`",
        "",
        "PSNR in dB and SSIM in the hole, PSNR over all pixels; raw output. Spread: standard deviation over seeds.",
        "Gap: from the state that the rule chose, before texture, to the best step of the same curve (the oracle).",
        "Texture: distance of the hole's texture from that around it (0 the same, 1 flat). Uncertainty: its rank",
        "correlation with the error, over the hole's pixels. Coverage: the share of the hole's values within the",
        "interval that is to hold 90 % of them. Of denoise and shot_noise the hole is the whole picture and biharmonic",
        "non-local means, of enlarge Lanczos interpolation.",
        "",
        "| suite | picture | " + " | ".join(heading for heading, _, _ in COLUMNS) + " |",
        "|" + (2 + len(COLUMNS)) * "---|",
    ]
    for suite in dict.fromkeys(row["suite"] for row in rows):
        within = [row for row in rows if row["suite"] == suite]
        for picture in dict.fromkeys(row["picture"] for row in within):
            lines.append(line([row for row in within if row["picture"] == picture], suite, picture))
        lines.append(line(within, suite, "**mean**"))
    return "\n".join([*lines, "", verdict(rows), ""])


def line(rows: list[dict[str, Any]], suite: str, picture: str) -> str:
    cells = [shown(summary(rows, key), digits) for _, key, digits in COLUMNS]
    return "| " + " | ".join([suite, picture, *cells]) + " |"


def summary(rows: list[dict[str, Any]], key: str) -> float | None:
    """The mean over the runs that have the key; None where none has it."""
    if key == "spread":
        return spread(rows)
    known = [row[key] for row in rows if row[key] is not None]
    return statistics.fmean(known) if known else None


def shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def spread(rows: list[dict[str, Any]]) -> float:
    """The standard deviation over the seeds of a picture, averaged over the pictures."""
    pictures = dict.fromkeys(row["picture"] for row in rows)
    over_seeds = ([row["psnr_hole"] for row in rows if row["picture"] == picture] for picture in pictures)
    return statistics.fmean(statistics.stdev(values) if len(values) > 1 else 0.0 for values in over_seeds)


def verdict(rows: list[dict[str, Any]]) -> str:
    better = [row["psnr_hole"] > row["biharmonic_psnr_hole"] for row in rows]
    before = [row["before_texture"] > row["biharmonic_psnr_hole"] for row in rows]
    gaps = [row["gap"] for row in rows]
    return (
        f"Better than biharmonic in the hole: {sum(better)} of {len(rows)} runs, {sum(before)} before texture. "
        f"Gap to the oracle: {statistics.fmean(gaps):.2f} dB on average, {max(gaps):.2f} dB at worst."
    )


def write(rows: list[dict[str, Any]], command: str, folder: Path) -> None:
    (folder / "table.md").write_text(markdown(rows, command))
    write_json(folder / "table.json", rows)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def same_recipe(folder: Path, overrides: list[str]) -> bool:
    """Whether the folder's runs are of these pictures and overrides; a new folder takes them."""
    path = folder / "overrides.json"
    if path.exists():
        return json.loads(path.read_text()) == overrides
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(overrides) + "\n")
    return True


def suites(names: str) -> list[str]:
    if unknown := set(names.split(",")) - set(SUITES):
        raise argparse.ArgumentTypeError(f"no suite is named {', '.join(sorted(unknown))}")
    return names.split(",")


def numbers(given: str) -> list[int]:
    return [int(number) for number in given.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where runs and tables go; runs that are there are not repeated")
    parser.add_argument(
        "--suites", type=suites, default=DEFAULT, help=f"which of {','.join(SUITES)} ({','.join(DEFAULT)})"
    )
    parser.add_argument("--seeds", type=numbers, default=[0], help="of the runs, such as 0,1,2 (0)")
    parser.add_argument("--pictures", type=Path, help="a folder of pictures instead of those of the scikit-image wheel")
    parser.add_argument("--grey", action="store_true", help="the luminance of --pictures")
    parser.add_argument("--final", action="store_true", help=f"{', '.join(FINAL)} instead of {', '.join(TUNING)}")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time, which share the cores (%(default)s)")
    parser.add_argument("overrides", nargs="*", help="keys of the runs, such as experiment=quality")
    arguments = parser.parse_intermixed_args()
    if arguments.pictures and not arguments.pictures.is_dir():
        parser.error(f"--pictures {arguments.pictures} is no folder")
    if arguments.grey and not arguments.pictures:
        parser.error("--grey is for --pictures")
    pictures = [f"--pictures {arguments.pictures.resolve()}"] if arguments.pictures else []
    pictures += ["--grey"] if arguments.grey else []
    if not same_recipe(arguments.folder, [*pictures, *arguments.overrides]):
        parser.error(
            f"{arguments.folder} holds runs of other keys or pictures (overrides.json), which stay; give another folder"
        )
    try:
        everything = list(cases(arguments))
    except UserError as error:
        parser.error(str(error))
    if not everything:
        parser.error(f"--pictures {arguments.pictures} holds no picture")
    missing = [case for case in everything if not (arguments.folder / case.name).exists()]
    threads = max(1, torch.get_num_threads() // arguments.processes)
    failed = False
    try:
        with get_context("spawn").Pool(arguments.processes, end_with_parent, maxtasksperchild=1) as pool:
            runs = pool.imap_unordered(partial(evaluate, folder=arguments.folder, threads=threads), missing)
            for error in tqdm(runs, total=len(missing), desc="Evaluating", unit="run"):
                if error is not None:
                    failed = True
                    print(error, file=sys.stderr)
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the same command continues with the missing runs\n")
    rows = [row(case, arguments.folder) for case in everything if (arguments.folder / case.name).exists()]
    if rows:
        write(rows, f"python scripts/lab/evaluate.py {' '.join(sys.argv[1:])}", arguments.folder)
        print((arguments.folder / "table.md").read_text())
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
