"""What the machine offers: its devices, its precision, its memory; and what Lightning says of it."""

import logging
import os
import warnings
from contextlib import suppress
from pathlib import Path

import joblib
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from omegaconf import DictConfig
from pytorch_lightning.accelerators import AcceleratorRegistry

from dip.errors import UserError


def check_machine(cfg: DictConfig) -> None:
    """Raise UserError for an accelerator that is not there."""
    here = [name for name, entry in AcceleratorRegistry.items() if entry["accelerator"].is_available()]
    here += ["gpu"] if {"cuda", "mps"} & set(here) else []
    if cfg.trainer.accelerator not in ("auto", *here):
        raise UserError(f"trainer.accelerator={cfg.trainer.accelerator}, but this machine has {', '.join(here)}")


def choose_precision(wanted: str, accelerator: str) -> str:
    """`wanted`; for "auto" bfloat16 autocast where the hardware multiplies bfloat16 itself, float32 elsewhere."""
    if wanted != "auto":
        return wanted
    if is_cuda(accelerator):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif is_mps(accelerator):
        native = False
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"


def is_cuda(accelerator: str) -> bool:
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def is_mps(accelerator: str) -> bool:
    return accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available()


def is_cpu(accelerator: str) -> bool:
    return accelerator in ("auto", "cpu") and not is_cuda(accelerator) and not is_mps(accelerator)


def memory_for(threads: int | None) -> float:
    """Bytes of the machine or of its container; a share of them, where `threads` are a share of its cores."""
    bounds = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in ("memory.max", "memory/memory.limit_in_bytes"):  # of control groups, version 2 and 1
        with suppress(OSError, ValueError):  # there is none, or "max"
            bounds.append(int(Path("/sys/fs/cgroup", file).read_text()))
    return min(bounds) * (1.0 if threads is None else min(threads / joblib.cpu_count(), 1.0))


def device_of(cfg: DictConfig) -> torch.device:
    """The CUDA device that a run trains on; the CPU, where that is none or another GPU."""
    index, *_ = cfg.trainer.devices or [0]
    return torch.device("cuda", index) if is_cuda(cfg.trainer.accelerator) else torch.device("cpu")


def one_process() -> LightningEnvironment:
    """Tells Lightning that the run is this process alone, whatever the variables of Slurm, torchrun, MPI or LSF say."""
    environment = LightningEnvironment()
    environment.set_global_rank(0)  # else only the process that the scheduler numbers 0 would log
    return environment


def out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def quiet() -> None:
    """Silence what Lightning says in every run and what nobody can act on."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a full disk is reported once, not for each line of the log
    for message in (
        ".*does not have many workers",  # the one sample is in memory
        ".*is smaller than the logging interval",  # of self.log, which nothing here calls
        ".*your dataloader is not resumable",  # every step has the same sample
        ".*callbacks used to create the checkpoint need to be provided",  # one may be left out
        "Synchronization debug mode is a prototype",  # torch's, where a CUDA graph is captured
        r".*treespec, LeafSpec",  # Lightning's own, with torch 2.13
    ):
        warnings.filterwarnings("ignore", message=message)
