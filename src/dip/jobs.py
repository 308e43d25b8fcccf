"""What the command starts: a run, a run of a sweep or of a search, or those of many pictures."""

import logging
import sys
from pathlib import Path
from typing import Any

import torch
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dip import batch
from dip.command import Refused, show_tracebacks
from dip.experiment import check, precision
from dip.files import held
from dip.repair import begun, interrupted, refusing, restore, results_before, told
from dip.resume import begun_so, is_done, resumed
from dip.schema import goes_by_hole
from dip.sweeps import check_objective, is_search, score, threads_of_a_job

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Repairs what Hydra was told to; in a search, returns the objective.

    A run that cannot go on says why in its own log; it ends the process, or in a sweep that run alone.
    """
    hydra = HydraConfig.get()
    sweep = hydra.mode is RunMode.MULTIRUN
    folder = Path(hydra.runtime.output_dir)
    try:
        with held(folder / f"{hydra.job.name}.log") as ours:
            if not ours:
                raise Refused("another process is at this run; end it first")
            if not sweep:
                perform(cfg, folder)
                return None
            cfg = shared(cfg, hydra)
            if not is_search(hydra.sweeper):
                perform_job(cfg, folder)
                return None
            return searched(cfg, folder)
    except Refused as refused:
        log.error("error: %s", refused)
        if sweep or show_tracebacks:
            raise Refused(f"{folder}: {refused}") from refused
        sys.exit(2)
    except Exception as error:
        log.exception("the run failed")
        if sweep:
            raise Refused(f"{folder}: the run failed; {hydra.job.name}.log in it says where") from error
        sys.exit(1)


def shared(cfg: DictConfig, hydra: HydraConf) -> DictConfig:
    """The configuration with this job's part of the machine, where it is not given."""
    cfg = cfg.copy()
    if cfg.threads is None:
        cfg.threads = threads_of_a_job(hydra.launcher)
    gpus = torch.cuda.device_count() if cfg.trainer.accelerator in ("auto", "gpu", "cuda") else 0
    if cfg.trainer.devices is None and gpus > 1:
        cfg.trainer.devices = [hydra.job.num % gpus]
    return cfg


def searched(cfg: DictConfig, folder: Path) -> float:
    """The objective of one run of a search; the whole search ends where no run of it can have one."""
    try:
        check_objective(cfg)
        metrics = perform_job(cfg, folder)
        return score(metrics, cfg.objective)
    except ValueError as error:
        log.error("error: %s", error)
        sys.exit(2)


def perform_job(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """A run of a sweep: it goes on where it has begun, and is left as it is where it is complete."""
    cfg.trainer.precision = precision(cfg.trainer.precision, cfg.trainer.accelerator)  # as in what it is compared with
    go_on = begun(folder, True)
    if not go_on:
        return perform(cfg, folder)
    before = results_before(folder)
    if refusing(begun_so, folder, cfg) and is_done(before):
        log.info("The run in %s is complete.", folder)
        return before
    return perform(cfg, folder, go_on)


def perform(cfg: DictConfig, folder: Path, go_on: bool = False) -> dict[str, Any]:
    """A new run, or with cfg.resume the one in `folder`. Raises Refused for bad input and a lack of memory or room."""
    if cfg.hole_kind != "auto" and not goes_by_hole(cfg):
        raise Refused(f"hole_kind={cfg.hole_kind}, but no key of this recipe depends on it; take experiment=quick")
    if cfg.resume is not None:
        go_on = True
        cfg = refusing(resumed, folder, cfg, HydraConfig.get().overrides.task)
    several = batch.is_several(cfg.data.get("image"))
    return restore_all(cfg, folder, go_on) if several else restore(cfg, folder, go_on)


def restore_all(cfg: DictConfig, folder: Path, go_on: bool) -> dict[str, Any]:
    """Repairs each picture of a folder or pattern, in a folder of its own below `folder`; returns their metrics.

    One that fails is told of and left out, and Refused is raised at the end. One that a run beside this one has
    repaired already, from the same files and in the same way, is not repaired again.
    """
    cfg.trainer.precision = precision(cfg.trainer.precision, cfg.trainer.accelerator)  # as in what is compared
    refusing(check, cfg, folder, go_on)
    each = refusing(batch.pictures, cfg.data.image, *(batch.files_named(cfg, key) for key in ("mask", "truth")))
    refusing(batch.check_outputs, cfg, each)
    done, failed = {}, []
    with told(cfg, folder):
        for number, files in enumerate(each, 1):
            log.info("picture %d of %d: %s", number, len(each), files.image)
            part = batch.configured(cfg, files)
            if before := batch.finished(part, folder, files):
                log.info("it is repaired already, in %s", before)
                done[files.name] = results_before(before)
                continue
            try:
                if part.output.path is not None:
                    make_folder(Path(part.output.path).expanduser().parent)
                done[files.name] = restore(part, folder / files.name, begun(folder / files.name, go_on))
            except KeyboardInterrupt as interrupt:
                raise interrupted(interrupt, f"{len(done)} of {len(each)} pictures are repaired", cfg, folder) from None
            except Refused as refused:
                log.error("error: %s", refused)
                failed.append(files.name)
            except Exception:
                log.exception("the run failed")
                failed.append(files.name)
        if not done:  # what all refuse is not what they are told from now on
            raise unrepaired(failed, each)
    if failed:
        raise unrepaired(failed, each)
    return done


def unrepaired(failed: list[str], each: list[batch.Files]) -> Refused:
    return Refused(f"{len(failed)} of {len(each)} pictures are not repaired: {', '.join(failed)}")


def make_folder(folder: Path) -> None:
    """Raises Refused where there can be no such folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"output.path={folder} cannot be written: {error.strerror}; give another folder") from None
