"""Interruption: a signal ends a run after the current step, with all results saved."""

import logging
import signal
import threading
from typing import Any

from pytorch_lightning import Callback, Trainer

from dip.prior.sample import Sample

log = logging.getLogger(__name__)
# What asks a run to end; Windows has no SIGUSR1.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


def announce_stop() -> None:
    log.warning("Stopping after this step and saving the results; press Ctrl-C again to exit at once.")


class Interruption(Callback):
    """Ends the run after the current step on Ctrl-C, SIGTERM, SIGUSR1 or SIGUSR2; a second Ctrl-C exits at once.

    It comes before the callbacks that act on the last step. A signal that had a handler before, such as submitit's,
    does not end the run: its handler gets it after a checkpoint.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.handlers: dict[signal.Signals, Any] = {}  # from before the run
        self.pending: list[signal.Signals] = []  # received, to be passed on to those handlers

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if threading.current_thread() is threading.main_thread():  # no other one may handle signals
            self.handlers = {number: signal.signal(number, self.receive) for number in SIGNALS}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        for number in list(self.handlers)[1:]:  # Lightning has replaced them by handlers of its own
            signal.signal(number, self.receive)

    def receive(self, number: int, frame: Any) -> None:
        received = signal.Signals(number)
        if self.handlers[received] not in (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, None):
            self.pending.append(received)
            return
        if self.received is None:
            self.received = received
            announce_stop()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Sample, batch_idx: int) -> None:
        trainer.should_stop = trainer.should_stop or self.received is not None

    def pass_on(self) -> None:
        """Call the earlier handlers of the pending signals; they may end the process."""
        while self.pending:
            number = self.pending.pop()
            self.handlers[number](number, None)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.restore()

    def restore(self) -> None:
        """Restore the earlier handlers. Call it after an exception too, where Lightning calls no teardown."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
