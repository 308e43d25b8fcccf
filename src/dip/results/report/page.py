"""The report: a page with tables, plots and pictures of all runs below a folder, and its tables as files."""

import io
import logging
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dip.files import write_text
from dip.results.folder import BASELINES
from dip.results.report import plots
from dip.results.report.plots import Curve
from dip.results.report.tables import (
    DAMAGED,
    METRICS,
    NONE,
    Report,
    Run,
    as_csv,
    as_markdown,
    differing_keys,
    option,
    readable,
)

PHOTOGRAPH = ("data.image", "data.example.photograph")  # the options that say which image it is
PICTURES = {
    "masked": "damaged",
    "measured": "measured",
    "truth": "ground truth",
    **{name: f"{method} (baseline)" for name, method in BASELINES.items()},
    "composite": "repaired",
    "output": "the network's whole output",
    "supervision": "coverage: magenta is outside the receptive field of every known pixel",
    "uncertainty": "uncertainty: white is the largest standard deviation",
}
BASELINE_SCORES = ("baseline.psnr_hole", "baseline.psnr_all")
REPAIRED = ("composite", "output")
SHEET_SIDE, PAGE_SIDE = 360, 1024  # pixels of the longer side, of a picture among many and of one by itself


def write_report(folder: Path) -> str:
    """Write report.html, .csv and .md into `folder`; return a line that says so. Raises UserError without a run."""
    report = Report(folder)
    write_text(folder / "report.csv", as_csv(report))
    write_text(folder / "report.md", as_markdown(report))
    write_text(folder / "report.html", as_page(report))
    done, without = len(report.done), len(report.runs) - len(report.done)
    return f"report of {done} runs with results and {without} without: {folder / 'report.html'}"


def as_page(report: Report) -> str:
    """The page, one HTML file that needs no other."""
    template = Path(__file__).with_name("report.html").read_text()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    single = len(report.runs) == 1
    return environment.from_string(template).render(
        report=report,
        readable=readable,
        winners={ranked[0].name for ranked in report.pictures} if report.has_best else set(),
        labels=PICTURES,
        first=first,
        names={"damaged": DAMAGED, "baselines": tuple(BASELINES), "repaired": REPAIRED},
        embedded=embedded,
        single=describe_single(report.runs[0]) if single else None,
        effects={} if single else effects(report),
        settings=settings(report.runs),
    )


def first(run: Run, names: Sequence[str]) -> Path:
    """The first of the run's pictures with one of these names that there is."""
    paths = [run.folder / f"{name}.png" for name in names]
    return next((path for path in paths if path.exists()), paths[0])


def describe_single(run: Run) -> dict[str, Any]:
    """What the page of a single run shows: its pictures, the animation and the curves of every PSNR and the loss."""
    pictures = {name: embedded(run.folder / f"{name}.png", PAGE_SIDE) for name in PICTURES}
    gif = run.folder / "training.gif"
    curves = read_curves(run)
    quality = [curves[tag] for tag in sorted(curves) if tag.startswith("psnr_")]
    baseline = next((run.metrics[key] for key in BASELINE_SCORES if key in run.metrics), None)
    drawn = [plots.learning(quality, "PSNR, dB", baseline)] if quality else []
    if "loss" in curves:
        drawn.append(plots.learning([curves["loss"]], "loss", log=True))
    return {
        "before": embedded(first(run, DAMAGED), PAGE_SIDE),
        "after": embedded(first(run, REPAIRED), PAGE_SIDE),
        "pictures": {name: picture for name, picture in pictures.items() if picture},
        "animation": as_url(gif.read_bytes(), "gif") if gif.exists() else None,
        "plots": drawn,
    }


def read_curves(run: Run) -> dict[str, Curve]:
    """Every curve in TensorBoard's files of a run, by its tag, which is its label too."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # else it reports every file, and every killed run
    events = EventAccumulator(str(run.folder), size_guidance={"scalars": 0, "images": 1, "tensors": 1}).Reload()
    points = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    return {tag: Curve(tag, [p.step for p in found], [p.value for p in found]) for tag, found in points.items()}


def effects(report: Report) -> dict[str, list[str]]:
    """For each swept option a plot of what its values result in, and one of the learning curves in the same colours."""
    metric = report.metric
    if not metric:
        return {}
    runs = [run for run in report.done if math.isfinite(run.metrics[metric])]
    curves = {run.name: read_curves(run).get(metric) for run in runs}
    differing = differing_keys(runs)
    # Seeds and images, which a sweep repeats its options on, count if nothing else differs.
    swept = [key for key in differing if key not in ("seed", "data.crop", *PHOTOGRAPH)] or differing
    return {key: plot_effect(key, runs, metric, curves) for key in swept}


def plot_effect(key: str, runs: Sequence[Run], metric: str, curves: Mapping[str, Curve | None]) -> list[str]:
    runs = sorted(runs, key=lambda run: value_order(run.config.get(key)))
    given = [NONE if (value := option(run, key)) is None else value for run in runs]
    results, label = [run.metrics[metric] for run in runs], METRICS[metric]
    if key not in PHOTOGRAPH and len({photograph_of(run) for run in runs}) > 1:
        results, label = picture_adjusted(runs, metric), f"{label}, adjusted for the image"
    drawn = [plots.effect(given, results, key, label)]
    pairs = [(curves[run.name], value) for run, value in zip(runs, given, strict=True)]
    if lines := [curve._replace(label=str(value)) for curve, value in pairs if curve is not None]:
        drawn.append(plots.learning(lines, METRICS[metric]))
    return drawn


def value_order(value: Any) -> tuple[bool, float, str]:
    """A sort key: numbers, then names."""
    number = isinstance(value, int | float)
    return not number, value if number else 0.0, str(value)


def picture_adjusted(runs: Sequence[Run], metric: str) -> list[float]:
    """The results with each image's mean moved to the mean of all, so that no image hides an option's effect."""
    results: dict[str, list[float]] = {}
    for run in runs:
        results.setdefault(photograph_of(run), []).append(run.metrics[metric])
    means = {picture: fmean(found) for picture, found in results.items()}
    level = fmean(run.metrics[metric] for run in runs)
    return [run.metrics[metric] - means[photograph_of(run)] + level for run in runs]


def photograph_of(run: Run) -> str:
    return " ".join(str(run.config.get(key)) for key in PHOTOGRAPH)


def settings(runs: Sequence[Run]) -> str:
    """The options of a run, or those that all runs have in common."""
    configs = [run.config for run in runs if run.config]
    options = configs[0].items() if configs else ()
    return "\n".join(f"{key}: {value}" for key, value in options if all(c.get(key) == value for c in configs))


def embedded(path: Path, side: int = SHEET_SIDE) -> str | None:
    """The picture as a data URL, no side longer than `side` pixels; None without a file."""
    try:
        with Image.open(path) as picture:
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
            file = io.BytesIO()
            picture.save(file, "WEBP", quality=92)
    except OSError:
        return None
    return as_url(file.getvalue(), "webp")


def as_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(content).decode()}"
