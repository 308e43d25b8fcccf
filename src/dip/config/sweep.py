"""What one run knows of the sweep that it belongs to."""

from pathlib import Path
from statistics import mean
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dip.config.compose import parse
from dip.errors import UserError


def swept_overrides() -> dict[str, Any]:
    """The options that a sweep varies, with their values in this run; {} in a single run."""
    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return {}
    hydra = HydraConfig.get()
    keys = {str(key) for key in hydra.sweeper.get("params") or ()}
    started = Path(hydra.sweep.dir, "multirun.yaml")  # Hydra's basic sweeper keeps all values of a key there
    if started.exists():
        given = parse(OmegaConf.load(started).hydra.overrides.task)
        keys |= {override.get_key_element() for override in given if override.is_sweep_override()}
    own = parse(hydra.overrides.task)
    return {name: plain(override) for override in own if (name := override.get_key_element()) in keys or not keys}


def plain(override: Override) -> Any:
    value = override.value()
    return value if isinstance(value, bool | int | float) else str(value)


def threads_per_job(launcher: DictConfig) -> int | None:
    """The threads of each job that a launcher runs at once, so that together they use no more than the cores.

    None where it runs one job at a time, or sees to the threads itself.
    """
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
    """Raise UserError where the runs cannot have the score that a search needs."""
    data = cfg.data
    if cfg.objective == "psnr_held_out" and (cfg.stopping is None or not cfg.stopping._target_.endswith("HeldOut")):
        raise UserError("objective=psnr_held_out, but no pixels are held out; set stopping=held_out")
    if cfg.objective == "psnr_hole" and "truth" in data and data.truth is None and data.image is not None:
        raise UserError(
            "objective=psnr_hole, but the ground truth is not known; give data.truth, or objective=psnr_held_out"
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
