"""Checkpoints: enough to resume bit for bit, replaced atomically, and loaded without running code from the file."""

import logging
import random
import time
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any
from zlib import crc32

import numpy as np
import torch
from annotated_types import Ge
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import Trainer, callbacks

from dip.errors import UserError
from dip.files import atomic_write
from dip.options import checked
from dip.prior.sample import Sample
from dip.training.interruption import Interruption
from dip.training.stopping import stopped_by

log = logging.getLogger(__name__)
LAST = Path("checkpoints", "last.ckpt")  # in the run's folder


class AtomicCheckpointIO(TorchCheckpointIO):
    """The old file stays until the new one is complete; only tensors and plain values are loaded, no code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with atomic_write(Path(path)) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        return torch.load(path, map_location, weights_only=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU. Raises UserError for a file that is none, or that holds more than plain values."""
    try:
        checkpoint = AtomicCheckpointIO().load_checkpoint(path)
    except Exception as error:  # a broken file can raise anything
        raise UserError(f"{path} is no checkpoint that can be read: {shorten(str(error), 200)}") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step", "sample"} <= set(checkpoint):
        raise UserError(f"{path} is no checkpoint of a run")
    return checkpoint


@checked
class Checkpoint(callbacks.Checkpoint):
    """Writes checkpoints/last.ckpt every `every_minutes`, after an interruption, and at the end.

    On a full disk the run continues, and the last checkpoint stays. Lightning calls it after all other callbacks.
    """

    def __init__(self, every_minutes: Annotated[float, Ge(0), "0 writes one after every step"]):
        self.every_seconds = 60 * every_minutes
        self.loaded_states: dict[str, Any] = {}  # of the generators, from the checkpoint that the run resumes from

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if states := self.loaded_states:
            random.setstate(states["python"])
            np.random.set_state(states["numpy"])
            torch.set_rng_state(states["torch"])
            if torch.cuda.is_available():  # the earlier process may have had more GPUs
                torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])
        self.due = time.monotonic() + self.every_seconds  # the next checkpoint

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Sample, batch_idx: int) -> None:
        if trainer.should_stop or trainer.global_step == trainer.max_steps:
            if is_interrupted(trainer):
                self.save(trainer)
            return
        interruption = interruption_of(trainer)
        if interruption.pending or time.monotonic() >= self.due:
            self.save(trainer)
            interruption.pass_on()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        # After the results, so that a checkpoint of the last step implies that they exist.
        if not is_interrupted(trainer):
            self.save(trainer)
        interruption_of(trainer).pass_on()

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint and everything logged up to this step."""
        try:
            for logger in trainer.loggers:
                logger.save()
            trainer.save_checkpoint(Path(trainer.default_root_dir, LAST))
        except OSError as error:
            step = trainer.global_step
            log.warning("No checkpoint of step %d: %s. The run continues, the last one stays.", step, error.strerror)
        self.due = time.monotonic() + self.every_seconds

    def state_dict(self) -> dict[str, Any]:
        """The states of all random generators, as tensors and plain values."""
        numpy = np.random.get_state(legacy=False)
        return {
            "python": random.getstate(),
            "numpy": {**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].tolist()}},
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loaded_states = state_dict

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["sample"] = fingerprint(trainer.datamodule.sample)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Reopen the one epoch, so that a run that has done all its steps can be given more."""
        loops = checkpoint["loops"]["fit_loop"]
        for progress in loops["epoch_progress"].values():
            progress |= {"processed": 0, "completed": 0}
        loops["epoch_loop.batch_progress"]["is_last_batch"] = False


def is_interrupted(trainer: Trainer) -> bool:
    """Whether a signal ends the run before its last step, so that it can resume."""
    return interruption_of(trainer).received is not None and stopped_by(trainer) == "interrupt"


def interruption_of(trainer: Any) -> Interruption:
    return next(callback for callback in trainer.callbacks if isinstance(callback, Interruption))


def fingerprint(sample: Sample) -> int:
    """A checksum of image and mask; other ones have another."""
    return crc32(sample.mask.numpy().tobytes(), crc32(sample.target.numpy().tobytes()))
