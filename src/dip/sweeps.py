"""What a sweep needs besides Hydra: folders that are found again, a command that is remembered, a search's score."""

import re
from pathlib import Path
from statistics import mean
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from yaml import safe_load

from dip.command import Refused, quote_files
from dip.files import write
from dip.schema import sweep_folder

NAMED = "hydra.job.config.override_dirname.exclude_keys"  # what a job's folder is not named by
NOT_REMEMBERED = {NAMED, "hydra.sweep.dir", "hydra.mode"}


def prepared(arguments: list[str]) -> list[str]:
    """The command line for Hydra: files quoted, and a sweep's jobs named by what they differ in.

    With -m, resume=FOLDER is the command that the sweep in FOLDER was begun with; keys beside it are given anew.
    """
    if not {"-m", "--multirun"} & set(arguments):
        for argument in arguments:
            if key(argument) == "sweep":
                raise Refused(f"{argument} is several runs; add -m: python train.py -m {' '.join(arguments)}")
        return quote_files(arguments)
    try:
        arguments = quote_files(remembered(arguments))
    except ValueError as error:
        raise Refused(str(error)) from error
    fixed = of_all_jobs(arguments)
    if any(key(argument) == "data.image" for argument in arguments) and not {"data.image", "name"} & set(fixed):
        arguments, fixed = [*arguments, "name=pictures"], [*fixed, "name"]  # the sweep's folder, not one for each
    first = next((number for number, argument in enumerate(arguments) if is_override(argument)), len(arguments))
    return [*arguments[:first], f"{NAMED}=[{','.join(fixed)}]", *arguments[first:]]


def key(argument: str) -> str:
    return re.split("[=@]", argument.lstrip("+~"), maxsplit=1)[0]


def is_override(argument: str) -> bool:
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def remembered(arguments: list[str]) -> list[str]:
    given = [argument for argument in arguments if key(argument) == "resume"]
    if not given:
        return arguments
    folder = sweep_folder(given[-1].partition("=")[2])
    begun = safe_load((folder / "multirun.yaml").read_text())["hydra"]["overrides"]
    anew = NOT_REMEMBERED | {key(argument) for argument in arguments}
    before = [override for override in (*begun["hydra"], *begun["task"]) if key(override) not in anew]
    return [*(a for a in arguments if a not in given), *before, f"hydra.sweep.dir={folder}"]


def of_all_jobs(arguments: list[str]) -> list[str]:
    """The keys that have one value in the whole sweep."""
    overrides = OverridesParser.create().parse_overrides([a for a in arguments if is_override(a)])
    swept = {override.key_or_group: override.is_sweep_override() for override in overrides}  # the last one counts
    return sorted(name for name in swept if not swept[name] and not name.startswith("hydra"))


class Memory(Callback):
    """What of a sweep is kept: multirun.yaml in its folder, the command for resume=, which not every sweeper writes.

    Of a run that has ended Hydra keeps the configurations, in memory and to the end; these are let go.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        write(Path(config.hydra.sweep.dir, "multirun.yaml"), OmegaConf.to_yaml(config))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        job_return.cfg = job_return.hydra_cfg = None


def threads_of_a_job(launcher: DictConfig) -> int | None:
    """How many threads each of the jobs has that a launcher runs at once, so that together they have no more than the
    cores; None where it runs one, or sees to it itself."""
    import joblib  # so that help does not wait for it

    if "cpus_per_task" in launcher:  # submitit; its local one starts all jobs at once
        return launcher.cpus_per_task or (1 if "Local" in launcher._target_ else None)
    if "n_jobs" not in launcher:
        return None
    cores = joblib.cpu_count()  # that this process may use
    jobs = launcher.n_jobs if launcher.n_jobs > 0 else max(cores + 1 + launcher.n_jobs, 1)
    return max(cores // jobs, 1)


def is_search(sweeper: DictConfig) -> bool:
    return not sweeper._target_.endswith("BasicSweeper")


def check_objective(cfg: DictConfig) -> None:
    """Raises ValueError where the runs cannot have the score that a search needs."""
    data = cfg.data
    if cfg.objective == "psnr_held_out" and (cfg.stopping is None or not cfg.stopping._target_.endswith("HeldOut")):
        raise ValueError("objective=psnr_held_out, but no pixels are held out; set stopping=held_out")
    if cfg.objective == "psnr_hole" and "truth" in data and data.truth is None and data.image is not None:
        raise ValueError("objective=psnr_hole, but the truth is not known; give data.truth, or objective=psnr_held_out")


def score(metrics: dict[str, Any], objective: str) -> float:
    """The objective in dB; of several pictures or regions, their mean. Raises ValueError where there is none."""
    if objective in metrics:
        return metrics[objective]
    parts = [part for part in metrics.get("parts", metrics).values() if isinstance(part, dict)]
    if not parts or "steps" in metrics:
        raise ValueError(
            f"objective={objective}: the run has no such score; it held no pixels out, or ended before the first one"
        )
    return mean(score(part, objective) for part in parts)
