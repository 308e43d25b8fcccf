"""Tables: what the runs differ in and what they reached, as CSV and as Markdown, and which run is the best."""

import csv
import io
import math
from pathlib import Path
from typing import Any

from dip.results.report.collect import Run, differing_keys, find_failures, read_runs

# The metrics that judge the hole, best first; if the runs have none of them, no run is called the best.
QUALITY = {"psnr_hole": "PSNR in the hole, dB", "psnr_held_out": "PSNR of held-out pixels, dB"}
METRICS = QUALITY | {"psnr_known": "PSNR of known pixels, dB", "loss": "loss"}
ORDER = [
    *("psnr_hole", "ssim_hole", "psnr_composite", "psnr_all", "texture_distance", "psnr_held_out", "psnr_known"),
    *("loss", "best_step", "steps", "seconds"),
]
NONE = "-"


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
            masked = run.folder / "masked.png"
            groups.setdefault(masked.read_bytes() if masked.exists() else b"", []).append(run)
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
