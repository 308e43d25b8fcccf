"""Reports: what the runs below a folder were told and what came of them, as a page, as CSV and as Markdown.

They are read from what each run leaves in its folder: config.yaml, metrics.json, train.log, curves and pictures.
"""

import csv
import io
import json
import logging
import math
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, StrictUndefined
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dip import plots
from dip.files import write

# The measures that say something of the hole, best first; where the runs have none of them, nothing says which is best.
QUALITY = {"psnr_hole": "PSNR in the hole, dB", "psnr_held_out": "PSNR of held-out pixels, dB"}
MEASURES = QUALITY | {"psnr_known": "PSNR of known pixels, dB", "loss": "loss"}
ORDER = [
    *("psnr_hole", "ssim_hole", "psnr_composite", "psnr_all", "texture_distance", "psnr_held_out", "psnr_known"),
    *("loss", "best_step", "steps", "seconds", "stopped_by"),
]
# Where results go, which no result depends on.
PLACES = ("name", "resume", "output.path", "output.overwrite", "callbacks.results.path", "callbacks.results.overwrite")
PHOTOGRAPH = ("data.image", "data.example.photograph")  # what says which picture it is
PARTNERS = ("data.mask", "data.truth")  # each picture has its own
PICTURES = {
    "masked": "damaged",
    "truth": "truth",
    "biharmonic": "biharmonic (baseline)",
    "composite": "repaired",
    "output": "all that the network draws",
    "supervision": "supervision: magenta is out of the known pixels' reach",
    "uncertainty": "uncertainty: white differs most",
}
SHEET_SIDE, PAGE_SIDE = 360, 1024  # pixels of the longer side, of a picture among many and of one by itself
NONE = "-"


class Run(NamedTuple):
    folder: Path
    name: str  # the folder below that of the report
    config: dict[str, Any]  # "model.depth": 6; "model": "UNet"
    metrics: dict[str, Any]  # scalars only, "baseline.psnr_hole" among them; nothing where there is no result
    said: str  # why there is no result: the last line of the log


class Column(NamedTuple):
    key: str
    kind: str  # run, knob, state or measure


def write_report(folder: Path) -> str:
    """Writes report.html, report.csv and report.md into `folder`, and returns a line that says so.

    Raises ValueError where no run has begun in it or below.
    """
    runs = collected(folder)
    table = columns(runs)
    write(folder / "report.csv", as_csv(runs, table))
    write(folder / "report.md", as_markdown(folder, runs, table))
    write(folder / "report.html", as_page(folder, runs, table))
    done = sum(bool(run.metrics) for run in runs)
    return f"report of {done} runs with results and {len(runs) - done} without: {folder / 'report.html'}"


def collected(folder: Path) -> list[Run]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give that of a run or a sweep, such as outputs/NAME/DATE_TIME")
    runs = [read(job, folder) for job in jobs(folder)]
    if not runs:
        raise ValueError(
            f"{folder} holds no run, since there is no config.yaml in it or below; give outputs/NAME or so"
        )
    return runs


def jobs(folder: Path) -> list[Path]:
    """The folders of runs in `folder` or below, in the order of their numbers; of several pictures, that of each.

    The members of a mean are no runs to compare, but their mean is; and those that find colours for a run are its own.
    """
    marks = [*folder.rglob("config.yaml"), *folder.rglob("train.log")]
    begun = {mark.parent for mark in marks if not any(part.startswith(".") for part in mark.relative_to(folder).parts)}
    begun = {job for job in begun if job == folder or not re.fullmatch(r"member_\d+|fill", job.name)}
    whole = {parent for job in begun for parent in job.parents}
    return sorted(begun - whole, key=lambda job: natural(str(job.relative_to(folder))))


def natural(name: str) -> list[tuple[int, str]]:
    """A key to sort by, which puts 10_ after 9_."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def read(job: Path, root: Path) -> Run:
    """What a run has left; a file that cannot be read counts as no result, and `said` tells of it."""
    name = str(job.relative_to(root)) if job != root else job.resolve().name
    try:
        config = flat(loaded(job / "config.yaml", yaml.safe_load, yaml.YAMLError))
        metrics = flat(loaded(job / "metrics.json", json.loads, ValueError))
    except ValueError as error:
        return Run(job, name, {}, {}, str(error))
    # Of a mean, what it is; its members are in their own folders.
    own = {key: value for key, value in metrics.items() if not key.startswith("members.")}
    scalars = {key: value for key, value in own.items() if isinstance(value, int | float | str)}
    return Run(job, name, config, scalars, "" if scalars else last_words(job))


def loaded(path: Path, parse: Any, fault: type[Exception]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = parse(path.read_text())
    except (fault, OSError) as error:
        raise ValueError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} cannot be read: it holds no keys")
    return found


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"_target_": "dip.UNet", "depth": 6}} -> {"model": "UNet", "model.depth": 6}"""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if key == "_target_":
            found[prefix.rstrip(".")] = str(value).rpartition(".")[2]
        elif isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        elif not str(key).startswith("_"):
            found[f"{prefix}{key}"] = value
    return found


def last_words(job: Path) -> str:
    """The last line of the run's log, without its time and place."""
    log = job / "train.log"
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it has no log")
    return re.sub(r"^(\[[^\]]*\])+ - (error: )?", "", said)


def differing(runs: Sequence[Run]) -> list[str]:
    """The keys in which the runs differ. One that a part does not have at all differs as the part does."""
    configs = [run.config for run in runs if run.config]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    found = [key for key in keys if key not in PLACES and len(values(configs, key)) > 1]
    absent = [key for key in keys if key not in (*found, *PLACES) and any(key not in config for config in configs)]
    found += [key for key in absent if key.rpartition(".")[0] not in found]
    if "data.image" in found:
        pairs = {
            partner: {(str(config["data.image"]), str(config.get(partner))) for config in configs}
            for partner in PARTNERS
        }
        found = [key for key in found if len(pairs.get(key, ())) != len(values(configs, "data.image"))]
    return sorted(found, key=lambda key: (not key.startswith("data."), key == "seed"))


def values(configs: Sequence[dict[str, Any]], key: str) -> set[str]:
    return {str(config[key]) for config in configs if key in config}


def columns(runs: Sequence[Run]) -> list[Column]:
    measured = list(dict.fromkeys(key for run in runs for key in run.metrics if key != "stopped_by"))
    measured.sort(key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER) + ("." in key))
    knobs = [Column(key, "knob") for key in differing(runs)]
    return [Column("run", "run"), *knobs, Column("state", "state"), *(Column(key, "measure") for key in measured)]


def cell(run: Run, column: Column) -> Any:
    """What stands in the table, None for nothing."""
    if column.kind == "run":
        return run.name
    if column.kind == "state":
        return run.metrics.get("stopped_by", "done") if run.metrics else f"no result: {run.said}"
    found = (run.config if column.kind == "knob" else run.metrics).get(column.key)
    if column.kind == "knob" and column.key in run.config and not isinstance(found, int | float):
        return named(column.key, found)
    return found


def named(key: str, value: Any) -> str:
    """A value that is no number; of a picture's path the name."""
    return (
        Path(value).stem if key.startswith("data.") and isinstance(value, str) else str(value).replace("None", "none")
    )


def readable(value: Any, key: str) -> str:
    """A cell as a person reads it, with the digits that mean something."""
    if value is None:
        return NONE
    if not isinstance(value, float):
        return str(value)
    digits = {"psnr": ".2f", "ssim": ".3f", "text": ".2f", "seco": ".1f"}.get(key.rpartition(".")[2][:4], ".4g")
    return f"{value:{digits}}"


def as_csv(runs: Sequence[Run], table: Sequence[Column]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.key for column in table])
    writer.writerows([cell(run, column) for column in table] for run in runs)
    return file.getvalue()


def as_markdown(folder: Path, runs: Sequence[Run], table: Sequence[Column]) -> str:
    rows = [[readable(cell(run, column), column.key) for column in table] for run in runs]
    lines = [[column.key for column in table], ["---"] * len(table), *rows]
    text = ["| " + " | ".join(entry.replace("|", "\\|") for entry in line) + " |" for line in lines]
    said, *best = best_lines(runs)
    found = [f"Best. {said}", "", *(f"- {line}" for line in best), *(f"- {remark}" for remark in remarks(folder))]
    return "\n".join([f"# {folder.resolve().name}", "", *text, "", *found]) + "\n"


def best_lines(runs: Sequence[Run]) -> list[str]:
    """By what the runs are judged, and the best of each picture, a line each."""
    quality = judged_by(runs)
    if quality not in QUALITY:
        return ["Nothing says which run is best: there is no truth (data.truth) to compare with."]
    found = [sheet[0] for sheet in by_picture(runs)]
    heads = [f"{picture_of(run, runs)}: " if len(found) > 1 else "" for run in found]
    lines = [head + caption(run, turned(runs), quality) for head, run in zip(heads, found, strict=True)]
    return [f"By {MEASURES[quality].removesuffix(', dB')}:", *lines]


def judged_by(runs: Sequence[Run]) -> str:
    """The first of the measures that every run with a result has, "" where there is none."""
    done = [run for run in runs if run.metrics]
    return next((key for key in MEASURES if done and all(key in run.metrics for run in done)), "")


def by_picture(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs with a result that were given the same damaged picture, the best first."""
    sheets: dict[str, list[Run]] = {}
    for run in runs:
        if run.metrics:
            masked = run.folder / "masked.png"
            sheets.setdefault(sha256(masked.read_bytes()).hexdigest() if masked.exists() else "", []).append(run)
    quality = judged_by(runs)
    if quality not in QUALITY:
        return list(sheets.values())
    return [sorted(sheet, key=lambda run: finite(run, quality), reverse=True) for sheet in sheets.values()]


def finite(run: Run, quality: str) -> float:
    """The measure, or less than all others in a run that has diverged."""
    return run.metrics[quality] if math.isfinite(run.metrics[quality]) else -math.inf


def picture_of(run: Run, runs: Sequence[Run]) -> str:
    """How the run's damaged picture differs from those of others."""
    given = [key for key in differing(runs) if key.startswith("data.")]
    told = [
        named(key, run.config[key]) if key == "data.image" else f"{key}={named(key, run.config[key])}" for key in given
    ]
    return ", ".join(told) or named("data.", run.config.get("data.image") or "the example")


def remarks(folder: Path) -> list[str]:
    """What the logs of several pictures tell of those that failed, since these may not have a folder of their own."""
    leaves = set(jobs(folder))
    logs = [log for log in sorted(folder.rglob("train.log")) if log.parent not in leaves]
    lines = [line for log in logs for line in log.read_text(errors="replace").split("\n") if "[ERROR] - " in line]
    return list(dict.fromkeys(line.partition("[ERROR] - ")[2] for line in lines))


def curve(events: EventAccumulator, tag: str, label: str) -> Iterator[plots.Curve]:
    if tag in events.Tags()["scalars"]:
        points = events.Scalars(tag)
        yield plots.Curve(label, [point.step for point in points], [point.value for point in points])


def events_of(run: Run) -> EventAccumulator:
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every file that it reads, and of killed runs
    events = EventAccumulator(str(run.folder), size_guidance={"scalars": 0, "images": 1, "tensors": 1})
    return events.Reload()


def as_page(folder: Path, runs: Sequence[Run], table: Sequence[Column]) -> str:
    template = Path(__file__).with_name("report.html").read_text()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    single = len(runs) == 1
    return environment.from_string(template).render(
        title=folder.resolve().name,
        runs=runs,
        columns=table,
        cell=cell,
        readable=readable,
        best=best_lines(runs),
        winners={sheet[0].name for sheet in by_picture(runs)} if judged_by(runs) in QUALITY and not single else set(),
        remarks=remarks(folder),
        alone=alone(runs[0]) if single else None,
        effects=[] if single else effects(runs),
        sheets=[] if single else sheets(runs),
        settings=settings(runs),
    )


def alone(run: Run) -> dict[str, Any]:
    """What the page of a single run shows: its pictures, the animation and the curves."""
    pictures = {name: found for name in PICTURES if (found := embedded(run.folder / f"{name}.png", PAGE_SIDE))}
    gif = run.folder / "training.gif"
    animation = as_url(gif.read_bytes(), "gif") if gif.exists() else None
    return {"pictures": pictures, "labels": PICTURES, "animation": animation, "plots": own_plots(run)}


def own_plots(run: Run) -> list[str]:
    events = events_of(run)
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("psnr_")]
    quality = [line for tag in sorted(tags) for line in curve(events, tag, tag)]
    loss = list(curve(events, "loss", "loss"))
    baseline = run.metrics.get("baseline.psnr_hole")
    found = [plots.learning(quality, "PSNR, dB", baseline)] if quality else []
    return [*found, plots.learning(loss, "loss", log=True)] if loss else found


def effects(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """For each knob a plot of what its values result in, and one of the curves in the colours of the values."""
    quality = judged_by(runs)
    if not quality:
        return []
    title = MEASURES[quality]
    done = [run for run in runs if run.metrics and math.isfinite(run.metrics[quality])]
    curves = {run.name: line for run in done for line in curve(events_of(run), quality, "")}
    found = []
    for knob in questions(done):
        own = sorted(done, key=lambda run: ordered(run.config.get(knob)))
        given = [NONE if (value := cell(run, Column(knob, "knob"))) is None else value for run in own]
        results, said = [run.metrics[quality] for run in own], title
        if knob not in PHOTOGRAPH and len({photograph_of(run) for run in own}) > 1:
            results, said = levelled(own, quality), f"{title}, pictures levelled"
        lines = [
            curves[run.name]._replace(label=str(value))
            for run, value in zip(own, given, strict=True)
            if run.name in curves
        ]
        drawn = [plots.effect(given, results, knob, said), *([plots.learning(lines, title)] if lines else [])]
        found.append({"knob": knob, "plots": drawn})
    return found


def questions(runs: Sequence[Run]) -> list[str]:
    """The knobs that a sweep asks about; seeds and pictures are what it asks about them on, or all there is to ask."""
    found = differing(runs)
    return [key for key in found if key not in ("seed", "data.crop", *PHOTOGRAPH)] or found


def ordered(value: Any) -> tuple[bool, float, str]:
    """A key to sort by: numbers, then names."""
    number = isinstance(value, int | float)
    return not number, value if number else 0.0, str(value)


def levelled(runs: Sequence[Run], quality: str) -> list[float]:
    """The results with the mean of each picture moved to the mean of all, so that no picture hides a knob's effect."""
    results: dict[str, list[float]] = {}
    for run in runs:
        results.setdefault(photograph_of(run), []).append(run.metrics[quality])
    means = {picture: fmean(found) for picture, found in results.items()}
    level = fmean(run.metrics[quality] for run in runs)
    return [run.metrics[quality] - means[photograph_of(run)] + level for run in runs]


def photograph_of(run: Run) -> str:
    return " ".join(str(run.config.get(key)) for key in PHOTOGRAPH)


def sheets(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """For each damaged picture itself, the truth and the baseline, and what every run made of it, the best first."""
    found = []
    for sheet in by_picture(runs):
        best, baseline = sheet[0], sheet[0].metrics.get("baseline.psnr_hole")
        labels = {name: PICTURES[name] for name in ("masked", "truth", "biharmonic")}
        labels["biharmonic"] += f": {baseline:.2f} dB" if baseline is not None else ""
        given = [(label, embedded(best.folder / f"{name}.png", SHEET_SIDE)) for name, label in labels.items()]
        captions = (caption(run, turned(runs), judged_by(runs)) for run in sheet)
        made = [
            (said, embedded(run.folder / "composite.png", SHEET_SIDE))
            for run, said in zip(sheet, captions, strict=True)
        ]
        found.append({"picture": picture_of(best, runs), "pictures": [pair for pair in given + made if pair[1]]})
    return found


def turned(runs: Sequence[Run]) -> list[str]:
    return [key for key in differing(runs) if not key.startswith("data.")]


def caption(run: Run, knobs: Sequence[str], quality: str) -> str:
    said = ", ".join(f"{knob.rpartition('.')[2]}={named(knob, run.config.get(knob))}" for knob in knobs)
    measure = f": {readable(run.metrics[quality], quality)}" if quality else ""
    return f"{said or run.name}{measure}{' dB' if 'psnr' in quality else ''}"


def settings(runs: Sequence[Run]) -> str:
    """The keys of a run, or those that all runs have in common."""
    configs = [run.config for run in runs if run.config]
    common = [key for key in (configs[0] if configs else ()) if all(c.get(key) == configs[0][key] for c in configs)]
    return "\n".join(f"{key}: {configs[0][key]}" for key in common)


def embedded(path: Path, side: int) -> str | None:
    """The picture as the value of an element's src, no side longer than `side` pixels; None where there is none."""
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
