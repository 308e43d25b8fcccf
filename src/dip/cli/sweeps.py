"""Prepare the command line of a sweep: folders that are found again, and a command that is remembered."""

import re
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from yaml import safe_load

from dip.cli.command import quote_files
from dip.config.compose import parse
from dip.errors import UserError
from dip.files import write_text
from dip.results.folder import find_sweep

NAMED = "hydra.job.config.override_dirname.exclude_keys"  # what a job's folder is not named by
NOT_REMEMBERED = {NAMED, "hydra.sweep.dir", "hydra.mode"}


def prepare(arguments: list[str]) -> list[str]:
    """The command line for Hydra: files quoted, and a sweep's jobs named by what they differ in.

    With -m, resume=FOLDER is the command that the sweep in FOLDER was begun with; keys beside it are given anew.
    """
    if not {"-m", "--multirun"} & set(arguments):
        for argument in arguments:
            if key(argument) == "sweep":
                raise UserError(f"{argument} is several runs; add -m: python train.py -m {' '.join(arguments)}")
        return quote_files(arguments)
    arguments = quote_files(remembered(arguments))
    fixed = constant_keys(arguments)
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
    folder = find_sweep(given[-1].partition("=")[2])
    started = safe_load((folder / "multirun.yaml").read_text())["hydra"]["overrides"]
    given_now = NOT_REMEMBERED | {key(argument) for argument in arguments}
    before = [override for override in (*started["hydra"], *started["task"]) if key(override) not in given_now]
    return [*(a for a in arguments if a not in given), *before, f"hydra.sweep.dir={folder}"]


def constant_keys(arguments: list[str]) -> list[str]:
    """The keys with one value in the whole sweep."""
    overrides = parse([a for a in arguments if is_override(a)])
    swept = {override.key_or_group: override.is_sweep_override() for override in overrides}  # the last one counts
    return sorted(name for name in swept if not swept[name] and not name.startswith("hydra"))


class RememberCommand(Callback):
    """What of a sweep is kept: multirun.yaml in its folder, the command for resume=, which not every sweeper writes.

    Of a run that has ended Hydra keeps the configurations, in memory and to the end; these are let go.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        write_text(Path(config.hydra.sweep.dir, "multirun.yaml"), OmegaConf.to_yaml(config))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        job_return.cfg = job_return.hydra_cfg = None
