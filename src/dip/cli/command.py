"""What the command line adds to Hydra: file names as they are, sweeps that resume, bad input refused in one line."""

import gc
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import safe_load

from dip.config.compose import parse
from dip.config.messages import one_line
from dip.errors import UserError
from dip.files import write_text
from dip.results.folder import find_sweep

log = logging.getLogger(__name__)
NAMED = "hydra.job.config.override_dirname.exclude_keys"  # what a job's folder is not named by
NOT_REMEMBERED = {NAMED, "hydra.sweep.dir", "hydra.mode"}
# The keys of files and folders, whose values are taken as they are typed.
FILES = {
    "data.image",
    "data.mask",
    "data.truth",
    "operator.kernel",
    "output.path",
    "resume",
    "name",
    "hydra.run.dir",
    "hydra.sweep.dir",
}
PLAIN = re.compile(r"[\w./-]*", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?|[\d_]*\.\d[\d_]*)(e[+-]?\d+)?|[+-]?(nan|inf)|true|false", re.IGNORECASE)
show_tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"  # for whoever looks for a bug


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns whatever is refused, here or by Hydra, into one line and exit code 2, and a signal into 128 + it."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints several lines and ends the process itself
    threading.excepthook = report_full_disk_once
    try:
        yield
    except KeyboardInterrupt as interrupt:
        sweep = {"-m", "--multirun"} & set(sys.argv)
        resume = "-m resume=latest continues with what is not complete" if sweep else "there was nothing to save yet"
        log.error("interrupted: %s", interrupt if interrupt.args else resume)
        sys.exit(128 + getattr(interrupt, "received", signal.SIGINT))
    except (HydraException, OmegaConfBaseException, UserError) as error:
        if show_tracebacks:
            raise
        log.error("error: %s", one_line(error))
        sys.exit(2)
    except BrokenPipeError:  # such as of `--help | head`, which wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is said on the way out goes nowhere
        sys.exit(1)
    except OSError as error:  # of Hydra, which makes the run's folder before there is a log
        if show_tracebacks:
            raise
        said = f"error: {error.filename} cannot be written: {error.strerror}; give another hydra.run.dir"
        print(said, file=sys.stderr)
        sys.exit(2)
    finally:
        for folder in Report.due:
            report(folder)


@contextmanager
def quick_imports() -> Iterator[None]:
    """Imports without garbage collection, a third sooner; what is imported stays, and no collection visits it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def report_full_disk_once(hook: threading.ExceptHookArgs) -> None:
    """Says nothing of a full disk in TensorBoard's thread, which hands it to the main one with the next point."""
    if not issubclass(hook.exc_type, OSError):
        threading.__excepthook__(hook)


class RememberCommand(Callback):
    """What of a sweep is kept: multirun.yaml in its folder, the command for resume=, which not every sweeper writes.

    Of a run that has ended Hydra keeps the configurations, in memory and to the end; these are let go.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        write_text(Path(config.hydra.sweep.dir, "multirun.yaml"), OmegaConf.to_yaml(config))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        job_return.cfg = job_return.hydra_cfg = None


class Report(Callback):
    """Has the report of a sweep written at its end, whatever came of its jobs; it never changes the exit code."""

    due: ClassVar[list[Path]] = []  # by `one_line_errors`, since Hydra tells of no end where a job has failed

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.due.append(Path(config.hydra.sweep.dir).resolve())


def report(folder: Path) -> None:
    """report.html and its tables in the sweep's folder; where that fails, one line about it."""
    again = f"python scripts/report.py {folder}"
    try:
        from dip.results.report.page import write_report
        from dip.results.report.tables import find_runs

        said = write_report(folder) if find_runs(folder) else None
    except ImportError as error:
        said = f"no report, since {error.name} is missing: pip install -e '.[report]' and {again}"
    except Exception as error:
        if show_tracebacks:
            raise
        said = f"no report: {type(error).__name__}: {' '.join(str(error).split())}; {again} tries it again"
    if said is not None:
        print(said, file=sys.stderr)  # and not to the log of a job that Ctrl-C has ended


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
    overrides = parse([argument for argument in arguments if is_override(argument)])
    swept = {override.key_or_group: override.is_sweep_override() for override in overrides}  # the last one counts
    fixed = sorted(name for name in swept if not swept[name] and not name.startswith("hydra"))
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


def quote_files(arguments: list[str]) -> list[str]:
    """The arguments with every value that is a file, a folder or a colour quoted, as Hydra's grammar asks for.

    Without that it refuses `photo (1).jpg`, `Bär.jpg`, `~/photo.jpg` and `#ff0000`, and takes `2024` for a number.
    """
    sweep = bool({"-m", "--multirun"} & set(arguments))
    return [argument if argument.startswith("-") else quote_value(argument, sweep) for argument in arguments]


def quote_value(argument: str, sweep: bool) -> str:
    key, _, value = argument.partition("=")
    name = key.lstrip("+")
    if os.path.exists(os.path.expanduser(value)) and not PLAIN.fullmatch(value):
        values = [value]
    elif name == "data.hole":
        return re.sub(r"(?<!['\"])#\w+", r"'\g<0>'", argument)
    elif name not in FILES or not value or re.search(r"""\$\{|^(['"]).*\1$""", value):
        return argument  # as it is given for Hydra
    elif sweep and re.match(r"(choice|shuffle|sort|tag)\(", value):
        return argument
    else:
        values = value.split(",") if sweep else [value]
    if name.startswith("hydra."):  # which would make a folder of the name ~
        values = [os.path.expanduser(each) for each in values]
    return f"{key}={','.join(map(quoted, values))}"


def quoted(text: str) -> str:
    """The text in quotes, unless Hydra's grammar reads it as it is, or as null."""
    if PLAIN.fullmatch(text) and not NUMBER.fullmatch(text):
        return text
    # Hydra halves backslashes before a quote only.
    escaped = re.sub(r"(\\+)(?='|\Z)", r"\1\1", text).replace("'", "\\'").replace("${", "\\${")
    return f"'{escaped}'"
