"""What the command starts: a run, a run of a sweep or of a search, or the runs of a batch."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import joblib
import torch
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dip.cli.batch import repair_all
from dip.cli.command import show_tracebacks
from dip.cli.pairs import is_several
from dip.config.build import is_exact
from dip.config.compose import depends_on_hole_kind
from dip.config.machine import choose_precision
from dip.config.resume import resumed_config, same_config
from dip.errors import UserError
from dip.files import locked
from dip.repair.run import repair
from dip.results.folder import RunFolder

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Repair what Hydra was given; in a search, return the objective.

    A run that cannot continue says why in its own log. It ends the process, or in a sweep that run alone.
    """
    hydra = HydraConfig.get()
    sweep = hydra.mode is RunMode.MULTIRUN
    folder = Path(hydra.runtime.output_dir)
    try:
        with locked(folder / f"{hydra.job.name}.log") as ours:
            if not ours:
                raise UserError("another process works on this run; stop it first")
            if sweep:
                return run_job(with_fair_share(cfg, hydra), folder)
            perform(cfg, RunFolder(folder, resume=cfg.resume is not None))
            return None
    except UserError as error:
        log.error("error: %s", error)
        if sweep or show_tracebacks:
            raise UserError(f"{folder}: {error}") from error
        sys.exit(2)
    except Exception as error:
        log.exception("the run failed")
        if sweep:
            raise UserError(f"{folder}: the run failed; {hydra.job.name}.log in it says where") from error
        sys.exit(1)


def with_fair_share(cfg: DictConfig, hydra: HydraConf) -> DictConfig:
    """The configuration with this job's share of the machine, where none is given."""
    cfg = cfg.copy()
    if cfg.threads is None:
        cfg.threads = threads_per_job(hydra.launcher)
    gpus = torch.cuda.device_count() if cfg.trainer.accelerator in ("auto", "gpu", "cuda") else 0
    if cfg.trainer.devices is None and gpus > 1:
        cfg.trainer.devices = [hydra.job.num % gpus]
    return cfg


def run_job(cfg: DictConfig, folder: Path) -> float | None:
    """One run of a sweep; of a search, its objective."""
    if not is_search(HydraConfig.get().sweeper):
        perform_job(cfg, folder)
        return None
    with end_search():
        check_objective(cfg)
    metrics = perform_job(cfg, folder)
    with end_search():
        return score(metrics, cfg.objective)


@contextmanager
def end_search() -> Iterator[None]:
    """End the whole search where no run of it can have an objective."""
    try:
        yield
    except UserError as error:
        log.error("error: %s", error)
        sys.exit(2)


def perform_job(cfg: DictConfig, path: Path) -> dict[str, Any]:
    """A run of a sweep: it resumes if it has started, and is left alone if it is complete."""
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)  # as config.yaml has it
    folder = RunFolder(path, resume=RunFolder(path).exists)
    if folder.resumes and same_config(folder, cfg) and folder.is_complete:
        log.info("The run in %s is complete.", folder)
        return folder.metrics
    return perform(cfg, folder)


def perform(cfg: DictConfig, folder: RunFolder) -> dict[str, Any]:
    """A new run, or with cfg.resume the one in `folder`; returns its metrics."""
    if cfg.hole_kind != "auto" and not depends_on_hole_kind(cfg):
        raise UserError(f"hole_kind={cfg.hole_kind}, but no key of this recipe depends on it; take experiment=quick")
    if cfg.resume is not None:
        cfg = resumed_config(folder, cfg, HydraConfig.get().overrides.task)
    if is_several(cfg.data.get("image")):
        return repair_all(cfg, folder)
    return repair(cfg, folder)


def threads_per_job(launcher: DictConfig) -> int | None:
    """The threads of each job that a launcher runs at once, so that together they use no more than the cores.

    None where it runs one job at a time, or sees to the threads itself.
    """
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
    """Raise UserError where the runs cannot have the score that a search needs."""
    data = cfg.data
    if cfg.objective == "psnr_held_out" and (cfg.stopping is None or not cfg.stopping._target_.endswith("HeldOut")):
        raise UserError("objective=psnr_held_out, but no pixels are held out; set stopping=held_out")
    if cfg.objective == "psnr_hole" and not is_exact(cfg):
        raise UserError("objective=psnr_hole, but this operator's result is judged by all its pixels; set psnr_all")
    if cfg.objective != "psnr_held_out" and "truth" in data and data.truth is None and data.image is not None:
        raise UserError(
            f"objective={cfg.objective}, but the ground truth is not known; give data.truth, or objective=psnr_held_out"
        )


def score(metrics: dict[str, Any], objective: str) -> float:
    """The objective in dB, the mean over several pictures or parts. Raises UserError where there is none."""
    if objective in metrics:
        return metrics[objective]
    parts = [part for part in metrics.get("parts", metrics).values() if isinstance(part, dict)]
    if not parts or "steps" in metrics:
        raise UserError(
            f"objective={objective}: the run has no such score; it held no pixels out, or ended before the first one"
        )
    return mean(score(part, objective) for part in parts)
