"""A batch: the files of a folder or a pattern, each with its mask and ground truth by name, repaired one by one."""

import glob
import logging
import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dip.cli.pairs import Files, find_pictures, plain
from dip.config.check import check_values
from dip.config.compose import to_yaml
from dip.config.machine import choose_precision
from dip.config.resume import as_measured, load_config
from dip.errors import UserError
from dip.image.files.arrays import ARRAYS
from dip.repair.run import interrupted, repair
from dip.results.folder import RunFolder

log = logging.getLogger(__name__)


def repair_all(cfg: DictConfig, folder: RunFolder) -> dict[str, Any]:
    """Repair each picture of a folder or pattern, in a folder of its own below `folder`; return their metrics.

    One that fails is logged and left out, and UserError is raised at the end. One that a run in a neighbouring folder
    has repaired already, from the same files and in the same way, is skipped.
    """
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)  # as config.yaml has it
    check_values(cfg)
    folder.check_new()
    each = find_pictures(cfg.data.image, *(files_named(cfg, key) for key in ("mask", "truth")))
    check_outputs(cfg.output.path, each)
    done: dict[str, Any] = {}
    with folder.begin(to_yaml(cfg)):
        for number, files in enumerate(sorted(each, key=lambda files: files.missing is None), 1):  # refusals first
            log.info("picture %d of %d: %s", number, len(each), files.image)
            try:
                done[files.name] = repair_one(configured(cfg, files), folder, files)
            except KeyboardInterrupt as interrupt:
                said = f"{len(done)} of {len(each)} pictures are repaired"
                raise interrupted(interrupt, said, cfg, folder) from None
            except UserError as error:
                log.error("error: %s", error)
            except Exception:
                log.exception("the run failed")
        if not done:  # a configuration that every picture refuses is not kept
            raise unrepaired(each, done)
    if len(done) < len(each):
        raise unrepaired(each, done)
    return done


def repair_one(cfg: DictConfig, folder: RunFolder, files: Files) -> dict[str, Any]:
    if files.missing is not None:
        raise UserError(files.missing)
    if before := find_finished(cfg, folder.path, files):
        log.info("it is repaired already, in %s", before)
        return before.metrics
    if cfg.output.path is not None:
        make_folder(Path(cfg.output.path).expanduser().parent)
    return repair(cfg, folder / files.name)


def unrepaired(each: list[Files], done: dict[str, Any]) -> UserError:
    failed = [files.name for files in each if files.name not in done]
    more = f" and {len(failed) - 20} more" if len(failed) > 20 else ""
    return UserError(f"{len(failed)} of {len(each)} pictures are not repaired: {', '.join(failed[:20])}{more}")


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output.path={folder} cannot be written: {error.strerror}; give another folder") from None


def files_named(cfg: DictConfig, key: str) -> str | None:
    """The files that `cfg.data` names by this key; None where it has none, or makes a mask itself."""
    found = cfg.data.get(key)
    return found if isinstance(found, str) else None


def configured(cfg: DictConfig, files: Files) -> DictConfig:
    """The configuration of one of the pictures."""
    part = cfg.copy()
    for key in ("image", "mask", "truth"):
        if files_named(cfg, key) is not None:
            part.data[key] = getattr(files, key)
    part.output.path = output_path(cfg.output.path, files)
    return part


def output_path(given: str | None, files: Files) -> str | None:
    """Where one of the results goes; `output.path` is a folder, or a pattern such as fixed/*.jpg."""
    if given is None:
        return None
    stem, ending = os.path.splitext(files.name)
    ending = ending if ending.lower() in ARRAYS else ".png"
    return (given if "*" in given else os.path.join(given, f"*{ending}")).replace("*", stem)


def check_outputs(given: str | None, each: list[Files]) -> None:
    """Raise UserError where the results of two pictures would be one file."""
    taken: dict[str, str] = {}
    for files in each:
        path = output_path(given, files)
        if path is None:
            return
        if path in taken:
            raise UserError(f"output.path={given}: {path} would be of both {taken[path]} and {files.image}")
        taken[path] = files.image


def find_finished(cfg: DictConfig, folder: Path, files: Files) -> RunFolder | None:
    """A run in or beside `folder` that has repaired this picture, from these files and in this very way."""
    paths = (plain(path) for path in files[1:4] if path is not None)
    # The time of the change, too: a file that was moved here may be of an earlier day.
    newest = max(max(os.stat(path).st_mtime, os.stat(path).st_ctime) for path in paths if os.path.exists(path))
    for config in sorted(folder.parent.glob(f"*/{glob.escape(files.name)}/config.yaml")):
        metrics, run = config.with_name("metrics.json"), RunFolder(config.parent)
        if (
            metrics.exists()
            and os.path.getmtime(metrics) > newest
            and run.is_complete
            and config.read_text() in possible_configs(cfg, run)
            and (cfg.output.path is None or os.path.exists(plain(cfg.output.path)))
        ):
            return run
    return None


def possible_configs(cfg: DictConfig, run: RunFolder) -> set[str]:
    """What config.yaml of the same run may hold: with the hole measured, or of several parts without."""
    return {to_yaml(as_measured(cfg, load_config(run))), to_yaml(cfg)}
