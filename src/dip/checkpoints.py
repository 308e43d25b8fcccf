"""Checkpoints: written whole, read without running what is in them, and enough to go on bit for bit."""

import logging
import random
import time
from pathlib import Path
from textwrap import shorten
from typing import Any
from zlib import crc32

import numpy as np
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer, callbacks

from dip.callbacks import Interruption, stopped_by
from dip.data import Sample
from dip.files import whole

log = logging.getLogger(__name__)
LAST = Path("checkpoints", "last.ckpt")  # in the run's folder


class WholeFiles(TorchCheckpointIO):
    """Reads and writes for Lightning: the file before stays until the new one is whole; tensors and plain values only,
    so that nothing in a stranger's file is run."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with whole(Path(path)) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        return torch.load(path, map_location, weights_only=True)


def read(path: Path) -> dict[str, Any]:
    """The checkpoint in `path`, on the CPU. Raises ValueError for a file that is none or holds more than values."""
    try:
        checkpoint = WholeFiles().load_checkpoint(path)
    except Exception as error:  # a broken file can raise anything
        raise ValueError(f"{path} is no checkpoint that can be read: {shorten(str(error), 200)}") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step", "sample"} <= set(checkpoint):
        raise ValueError(f"{path} is no checkpoint of a run")
    return checkpoint


class Checkpoint(callbacks.Checkpoint):
    """checkpoints/last.ckpt: all that a run needs to go on as if it had never stopped.

    It is written every few minutes, after an interruption, and at the end. Where there is no room for it the run goes
    on, and the one before stays. Lightning calls it after all other callbacks.
    """

    def __init__(self, every_minutes: float):
        if every_minutes < 0:
            raise ValueError(f"callbacks.checkpoint.every_minutes={every_minutes}, but time goes on; 0 is every step")
        self.every_seconds = 60 * every_minutes
        self.generators: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.generators:
            set_generators(self.generators)
        self.due = time.monotonic() + self.every_seconds

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        ends = trainer.should_stop or trainer.global_step == trainer.max_steps
        if ends:
            if interrupted(trainer):
                self.save(trainer)
            return
        waiting = [interruption for interruption in interruptions(trainer) if interruption.theirs]
        if waiting or time.monotonic() >= self.due:
            self.save(trainer)
        for interruption in waiting:
            interruption.hand_on()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # After the results, so that a checkpoint of the last step means that they are there.
        if not interrupted(trainer):
            self.save(trainer)
        for interruption in interruptions(trainer):
            interruption.hand_on()

    def save(self, trainer: Trainer) -> None:
        try:
            for logger in trainer.loggers:
                logger.save()  # so that every point up to this step is on the disk
            trainer.save_checkpoint(Path(trainer.default_root_dir, LAST))
        except OSError as error:
            step = trainer.global_step
            log.warning("No checkpoint of step %d; the run goes on, the one before stays: %s", step, error.strerror)
        self.due = time.monotonic() + self.every_seconds

    def state_dict(self) -> dict[str, Any]:
        return generators()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.generators = state_dict

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["sample"] = fingerprint(trainer.datamodule.sample)  # pyright: ignore[reportAttributeAccessIssue]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """A run that has reached its end goes on in the same epoch, if it is given more steps."""
        loops = checkpoint["loops"]["fit_loop"]
        for progress in loops["epoch_progress"].values():
            progress |= {"processed": 0, "completed": 0}
        loops["epoch_loop.batch_progress"]["is_last_batch"] = False


def interrupted(trainer: Trainer) -> bool:
    """Whether the run ends before its time, and can go on."""
    received = any(interruption.received for interruption in interruptions(trainer))
    return received and stopped_by(trainer) == "interrupt"


def interruptions(trainer: Trainer) -> list[Interruption]:
    return [callback for callback in trainer.callbacks if isinstance(callback, Interruption)]  # pyright: ignore[reportAttributeAccessIssue]


def fingerprint(sample: Sample) -> int:
    """A number that another picture or another hole does not have."""
    return crc32(sample.mask.numpy().tobytes(), crc32(sample.target.numpy().tobytes()))


def generators() -> dict[str, Any]:
    """The states of all random generators, as tensors and plain values."""
    numpy = np.random.get_state(legacy=False)
    return {
        "python": random.getstate(),
        "numpy": {**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].tolist()}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_generators(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])  # there were more of them, perhaps
