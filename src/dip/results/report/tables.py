"""The runs below a folder, from the config.yaml, metrics.json and train.log that each leaves, and tables of them."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dip.errors import UserError

# Where results go, which no result depends on.
PLACES = ("name", "resume", "output.path", "output.overwrite", "callbacks.results.path", "callbacks.results.overwrite")
PARTNERS = ("data.mask", "data.truth")  # files that each image has of its own
# The metrics that judge the hole, best first; if the runs have none of them, no run is called the best.
QUALITY = {"psnr_hole": "PSNR in the hole, dB", "psnr_all": "PSNR, dB", "psnr_held_out": "PSNR of held-out pixels, dB"}
METRICS = QUALITY | {"psnr_known": "PSNR of known pixels, dB", "loss": "loss"}
ORDER = [
    *("psnr_hole", "ssim_hole", "psnr_composite", "psnr_all", "ssim_all", "texture_distance"),
    *("psnr_held_out", "psnr_known"),
    *("loss", "best_step", "steps", "seconds"),
]
DAMAGED = ("masked", "measured")  # the pictures that a run is given, the second where an operator measures it
NONE = "-"


class Run(NamedTuple):
    folder: Path
    name: str  # the folder, relative to that of the report
    config: dict[str, Any]  # "model.depth": 6; "model": "UNet"
    metrics: dict[str, Any]  # scalars only, "baseline.psnr_hole" among them; empty without a result
    failure: str  # why there is no result: the last line of the log

    @property
    def state(self) -> str:
        return self.metrics.get("stopped_by", "done") if self.metrics else f"no result: {self.failure}"


def read_runs(folder: Path) -> list[Run]:
    """Read all runs in `folder` or below. Raises UserError if there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give that of a run or a sweep, such as outputs/NAME/DATE_TIME")
    runs = [read_run(run, folder) for run in find_runs(folder)]
    if not runs:
        raise UserError(f"{folder} holds no run: there is no config.yaml in it or below; give outputs/NAME or so")
    return runs


def find_runs(folder: Path) -> list[Path]:
    """The folders of runs in `folder` or below, in the order of their numbers; of a batch, that of each image.

    An ensemble is one run, and its members are not listed; neither are the runs that find the colours of large holes.
    """
    marks = [*folder.rglob("config.yaml"), *folder.rglob("train.log")]
    found = {mark.parent for mark in marks if not any(part.startswith(".") for part in mark.relative_to(folder).parts)}
    found = {run for run in found if run == folder or not re.fullmatch(r"member_\d+|fill", run.name)}
    parents = {parent for run in found for parent in run.parents}
    return sorted(found - parents, key=lambda run: natural_order(str(run.relative_to(folder))))


def natural_order(name: str) -> list[tuple[int, str]]:
    """A sort key that puts 10_ after 9_."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def read_run(folder: Path, root: Path) -> Run:
    """Read one run; a file that cannot be read counts as no result, and `failure` names it."""
    name = str(folder.relative_to(root)) if folder != root else folder.resolve().name
    try:
        config = flat(load(folder / "config.yaml", yaml.safe_load))
        metrics = flat(load(folder / "metrics.json", json.loads))
    except UserError as error:
        return Run(folder, name, {}, {}, str(error))
    # An ensemble counts as a whole; the members' metrics are in their own folders. The figures of a refinement stay
    # in metrics.json.
    own = {key: value for key, value in metrics.items() if not key.startswith(("members.", "refine."))}
    scalars = {key: value for key, value in own.items() if isinstance(value, int | float | str)}
    return Run(folder, name, config, scalars, "" if scalars else last_line(folder / "train.log"))


def load(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """The mapping in a file, empty if there is no file. Raises UserError for one that cannot be read."""
    if not path.exists():
        return {}
    try:
        found = parse(path.read_text())
    except (ValueError, yaml.YAMLError, OSError) as error:
        raise UserError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path.name} cannot be read: it holds no keys")
    return found


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """One level of keys; a part is named by its class.

    >>> flat({"model": {"_target_": "dip.UNet", "depth": 6}})
    {'model': 'UNet', 'model.depth': 6}
    """
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if key == "_target_":
            found[prefix.rstrip(".")] = str(value).rpartition(".")[2]
        elif isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        elif not str(key).startswith("_"):
            found[f"{prefix}{key}"] = value
    return found


def last_line(log: Path) -> str:
    """The last line of a run's log, without its time and place."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it has no log")
    return re.sub(r"^(\[[^\]]*\])+ - (error: )?", "", last)


def find_failures(folder: Path, runs: Sequence[Run]) -> list[str]:
    """The errors in the logs of batches: an image that failed there may have no folder of its own."""
    logs = sorted({*folder.rglob("train.log")} - {run.folder / "train.log" for run in runs})
    lines = [line for log in logs for line in log.read_text(errors="replace").split("\n") if "[ERROR] - " in line]
    return list(dict.fromkeys(line.partition("[ERROR] - ")[2] for line in lines))


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """The keys in which runs differ. A key that one part lacks is left out where the part itself differs."""
    configs = [{key: str(run.config[key]) for key in run.config if key not in PLACES} for run in runs if run.config]
    values: dict[str, set[str]] = {}
    for config in configs:
        for key, value in config.items():
            values.setdefault(key, set()).add(value)
    found = [key for key in values if len(values[key]) > 1]
    lacked = [key for key in values if key not in found and any(key not in config for config in configs)]
    found += [key for key in lacked if key.rpartition(".")[0] not in found]
    for partner in PARTNERS if "data.image" in found else ():
        pairs = {(config["data.image"], str(config.get(partner))) for config in configs}
        if partner in found and len(pairs) == len(values["data.image"]):
            found.remove(partner)
    return sorted(found, key=lambda key: (not key.startswith("data."), key == "seed"))


class Report:
    """The runs in a folder or below, and what all three forms of the report say of them."""

    def __init__(self, folder: Path):
        self.title = folder.resolve().name
        self.runs = read_runs(folder)
        self.done = [run for run in self.runs if run.metrics]
        self.failures = find_failures(folder, self.runs)
        self.differing = differing_keys(self.runs)
        metrics = list(dict.fromkeys(key for run in self.runs for key in run.metrics if key != "stopped_by"))
        metrics.sort(key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER) + ("." in key))
        self.columns = ["run", *self.differing, "state", *metrics]
        self.rows = [
            [run.name, *(option(run, key) for key in self.differing), run.state, *map(run.metrics.get, metrics)]
            for run in self.runs
        ]
        # What the runs are judged by: the first of METRICS that all with a result have, or "".
        self.metric = next((key for key in METRICS if self.done and all(key in run.metrics for run in self.done)), "")
        self.has_best = self.metric in QUALITY
        self.pictures = self.rank_by_picture()

    def rank_by_picture(self) -> list[list[Run]]:
        """The runs with a result, those of the same damaged picture together, the best first."""
        groups: dict[bytes, list[Run]] = {}
        for run in self.done:
            shown = [path for name in DAMAGED if (path := run.folder / f"{name}.png").exists()]
            groups.setdefault(shown[0].read_bytes() if shown else b"", []).append(run)
        for group in groups.values() if self.has_best else ():
            group.sort(key=self.quality, reverse=True)
        return list(groups.values())

    def quality(self, run: Run) -> float:
        """What the run is judged by; minus infinity if it is not finite, as after divergence."""
        value = run.metrics[self.metric]
        return value if math.isfinite(value) else -math.inf

    def best_lines(self) -> list[str]:
        """What the runs are judged by, and then the best run of each damaged picture, a line each."""
        if not self.has_best:
            return ["No run can be called the best without a ground truth (data.truth) or held-out pixels."]
        winners = [ranked[0] for ranked in self.pictures]
        lines = [self.caption(run) for run in winners]
        if len(winners) > 1:
            lines = [f"{self.picture_name(run)}: {self.caption(run)}" for run in winners]
        return [f"By {METRICS[self.metric].removesuffix(', dB')}:", *lines]

    def picture_name(self, run: Run) -> str:
        """How the run's damaged picture differs from those of others."""
        names = {key: as_name(key, run.config[key]) for key in self.differing if key.startswith("data.")}
        text = ", ".join(name if key == "data.image" else f"{key}={name}" for key, name in names.items())
        return text or as_name("data.image", run.config.get("data.image") or "the example")

    def caption(self, run: Run) -> str:
        """What the run differs in besides its image, or else its name, and what it is judged by."""
        options = [key for key in self.differing if not key.startswith("data.")]
        text = ", ".join(f"{key.rpartition('.')[2]}={as_name(key, run.config.get(key))}" for key in options)
        value = f": {readable(run.metrics[self.metric], self.metric)}" if self.metric else ""
        return f"{text or run.name}{value}{' dB' if 'psnr' in self.metric else ''}"


def option(run: Run, key: str) -> Any:
    """An option's value as the table has it; None where the run has no such option."""
    found = run.config.get(key)
    return found if key not in run.config or isinstance(found, int | float) else as_name(key, found)


def as_name(key: str, value: Any) -> str:
    """An option's value as text; for the path of an image its name."""
    if key.startswith("data.") and isinstance(value, str):
        return Path(value).stem
    return str(value).replace("None", "none")


def readable(value: Any, key: str) -> str:
    """A table value with the digits that mean something: 20.12 for a PSNR, "-" for None."""
    if value is None:
        return NONE
    if not isinstance(value, float):
        return str(value)
    digits = {"psnr": ".2f", "ssim": ".3f", "text": ".2f", "seco": ".1f"}.get(key.rpartition(".")[2][:4], ".4g")
    return f"{value:{digits}}"


def as_csv(report: Report) -> str:
    """The table with all digits."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([report.columns, *report.rows])
    return file.getvalue()


def as_markdown(report: Report) -> str:
    """The table, the best runs, and the failures."""
    rows = [map(readable, row, report.columns) for row in report.rows]
    lines = [report.columns, ["---"] * len(report.columns), *rows]
    table = ["| " + " | ".join(entry.replace("|", "\\|") for entry in line) + " |" for line in lines]
    criterion, *best = report.best_lines()
    listed = [f"- {line}" for line in (*best, *report.failures)]
    return "\n".join([f"# {report.title}", "", *table, "", f"Best. {criterion}", "", *listed]) + "\n"
