"""Ensemble members in turn, or on a CPU at once: each process trains one at a time, with its share of the threads."""

import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from logging.handlers import QueueHandler
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from time import sleep
from typing import Any

import torch
from omegaconf import OmegaConf

from dip.config.build import build_operator
from dip.config.compose import SWEPT, swept_overrides
from dip.config.machine import is_cpu, memory_for
from dip.errors import Interrupted, UserError
from dip.prior.operators.operator import picture_shape
from dip.repair.advice import explain_resource_errors
from dip.repair.plan import Job
from dip.results.folder import RunFolder
from dip.results.result import Result
from dip.training.interruption import SIGNALS, announce_stop

log = logging.getLogger(__name__)  # heard in the runs that find colours too, which take minutes
LOGGERS = ("", "dip", __name__)  # whose levels hold in the process that shows its progress
DEFAULT = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler)  # handlers of a signal that nobody serves
PROCESS, DRAWN, READ = 700e6, 2300.0, 60.0  # bytes of a process, of a pixel that is drawn in float32, and of the photo
ONLY_HERE = re.compile(r"\$\{(now|hydra):|_target_: ['\"]?__main__\.")  # what of a configuration no other process knows
SERVE = """
import gc, sys
gc.disable()  # as in `dip.cli.command.quick_imports`
sys.path[:] = {path}
from {module} import serve
gc.freeze()
gc.enable()
serve({descriptor})
"""

Run = Callable[[Job, RunFolder], Result]
Found = Iterator[tuple[str, Result]]  # the name of each child and its result, as they come


def processes_for(job: Job) -> int:
    """How many members of a job train at once: as many as there are threads, in half of the machine's memory.

    One on a GPU, in a notebook, whose progress bar no other process can draw, and where a signal has a handler already,
    such as submitit's.
    """
    threads = threads_of(job)
    if job.has_parts or threads == 1 or not is_cpu(job.cfg.trainer.accelerator):
        return 1
    if os.name != "posix" or "ipykernel" in sys.modules or getattr(sys, "frozen", False) or not sys.executable:
        return 1
    if ONLY_HERE.search(OmegaConf.to_yaml(job.cfg)):
        return 1
    if threading.current_thread() is not threading.main_thread():  # no other one may handle signals
        return 1
    if any(signal.getsignal(number) not in DEFAULT for number in SIGNALS):
        return 1
    target, (wide, high) = job.photo.work.target, job.photo.picture.size
    *_, height, width = picture_shape(build_operator(job.cfg, target), target)
    fit = int(memory_for(job.cfg.threads) / 2 / (PROCESS + DRAWN * height * width + READ * wide * high))
    return max(min(len(job.children), threads, fit), 1)


def threads_of(job: Job) -> int:
    return job.cfg.threads or torch.get_num_threads()


def run_each(job: Job, folder: RunFolder, run: Run, processes: int) -> Found:
    """Run each child in a folder of its own, so many at once."""
    return run_at_once(job, folder, run, processes) if processes > 1 else run_in_turn(job, folder, run)


def run_in_turn(job: Job, folder: RunFolder, run: Run) -> Found:
    for number, child in enumerate(job.children, 1):
        if child.is_member:
            log.info(title(job, number))
        yield child.name, run(child, folder / child.name)


def title(job: Job, number: int) -> str:
    kind = "colour run" if job.name == "fill" else "ensemble member"
    return f"{kind} {number} of {len(job.children)}"


def run_at_once(job: Job, folder: RunFolder, run: Run, processes: int) -> Found:
    """Whatever ends one of them ends the others, with results saved."""
    log.info("%d runs, %d at once; the progress is that of one of them", len(job.children), processes)
    own = [with_threads(child, threads_of(job) // processes) for child in job.children]
    calls = [Call(title(job, number), run, child, folder / child.name) for number, child in enumerate(own, 1)]
    error: BaseException | None = None
    with started(processes) as workers, forwarded(workers) as received:
        running = {worker: worker.begin(calls.pop(0)) for worker in workers}
        while running:
            ready = wait([worker.connection for worker in running])
            for worker in [worker for worker in running if worker.connection in ready]:
                said = worker.receive()
                if isinstance(said, logging.LogRecord):
                    relay(said)
                    continue
                call = running.pop(worker)
                if isinstance(said, Result):
                    yield call.job.name, said
                elif error is None and not received:
                    error = said
                    end(running)
                if calls and error is None and not received:
                    running[worker] = worker.begin(calls.pop(0))
    if received:
        raise Interrupted(received[0], "")
    if error is not None:
        raise error


def with_threads(job: Job, threads: int) -> Job:
    own = job.cfg.copy()
    own.threads = threads
    return replace(job, cfg=own)


@dataclass(frozen=True)
class Call:
    """What a process is to do."""

    title: str
    run: Run
    job: Job
    folder: RunFolder

    def __call__(self) -> Result:
        log.info(self.title)
        with explain_resource_errors(self.job.cfg, self.folder):
            return self.run(self.job, self.folder)


@dataclass(eq=False)
class Worker:
    """A process that trains members."""

    process: subprocess.Popen[bytes]
    connection: Connection
    is_ending: bool = False

    def begin(self, call: Call) -> Call:
        with suppress(BrokenPipeError):  # of one that was killed, as `receive` finds
            send(self.connection, call)
        return call

    def receive(self) -> "Result | BaseException | logging.LogRecord":
        try:
            return receive(self.connection)
        except (EOFError, OSError):
            code = self.process.wait()
            said = "was killed, perhaps for lack of memory" if code == -signal.SIGKILL else f"ended with code {code}"
            return UserError(f"a process that trained a member {said}; threads=1 trains one at a time")

    def end(self, by: signal.Signals) -> None:
        """Have it save the result of the step that it is at; a second signal would end it without."""
        if not self.is_ending:
            self.is_ending = True
            self.process.send_signal(by)


def end(workers: Iterable[Worker], by: signal.Signals = signal.SIGINT) -> None:
    for worker in workers:
        worker.end(by)


@contextmanager
def started(count: int) -> Iterator[list[Worker]]:
    """Processes that live as long as this one at most, and get its Ctrl-C from `forwarded` alone."""
    workers: list[Worker] = []
    try:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # in the processes, until they can handle it
        try:
            for number in range(count):
                workers.append(start(is_shown=number == 0))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield workers
    except BaseException:
        end(workers)
        raise
    finally:
        for worker in workers:
            worker.connection.close()
        for worker in workers:
            worker.process.wait()


def start(is_shown: bool) -> Worker:
    """One of them shows its progress, the others only warn."""
    ours, theirs = Pipe()
    with theirs:
        path = [os.path.abspath(entry) if entry else entry for entry in sys.path if isinstance(entry, str)]
        command = [sys.executable, "-c", SERVE.format(path=path, module=__name__, descriptor=theirs.fileno())]
        process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=None if is_shown else subprocess.DEVNULL,
            start_new_session=True,
        )
    levels = {name: logging.getLogger(name).getEffectiveLevel() if is_shown else logging.WARNING for name in LOGGERS}
    send(ours, (os.getpid(), levels, swept_overrides()))
    return Worker(process, ours)


@contextmanager
def forwarded(workers: list[Worker]) -> Iterator[list[signal.Signals]]:
    """Hand the first signal on to all processes; a second Ctrl-C ends this one at once, and they end with it."""
    received: list[signal.Signals] = []

    def receive(number: int, frame: Any) -> None:
        received.append(signal.Signals(number))
        if len(received) == 1:
            announce_stop()
            end(workers, received[0])
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = {number: signal.signal(number, receive) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def send(connection: Connection, message: Any) -> None:
    """As `Connection.send`, but without what torch adds to it, which shares the memory of tensors."""
    connection.send_bytes(pickle.dumps(message))


def receive(connection: Connection) -> Any:
    return pickle.loads(connection.recv_bytes())


def relay(record: logging.LogRecord) -> None:
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def serve(descriptor: int) -> None:
    """What a process does: the calls that come through the connection, whose outcomes and log go back through it."""
    parent = Connection(descriptor)
    process, levels, swept = receive(parent)
    SWEPT.set(swept)
    threading.Thread(target=end_with, args=(process,), daemon=True).start()
    logging.getLogger().addHandler(Sender(parent))  # pyright: ignore[reportArgumentType]
    logging.getLogger("dip.training.interruption").setLevel(logging.ERROR)  # the parent says it
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    asked_to_end = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: asked_to_end.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with suppress(EOFError, OSError):  # the parent is done, or has ended
        while True:
            send(parent, outcome(receive(parent), asked_to_end))


class Sender(QueueHandler):
    """Sends records through the connection that it is given."""

    def enqueue(self, record: logging.LogRecord) -> None:
        send(self.queue, record)  # pyright: ignore[reportArgumentType]


def end_with(parent: int) -> None:
    while os.getppid() == parent:
        sleep(0.5)
    os._exit(1)


def outcome(call: Call, asked_to_end: threading.Event) -> Result | BaseException:
    between = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if asked_to_end.is_set():
            raise KeyboardInterrupt
        return call()
    except (UserError, KeyboardInterrupt) as error:
        return error
    except Exception as error:
        log.exception("%s failed", call.title)  # the parent does not see where
        return RuntimeError(f"{type(error).__name__}: {error}")  # not every error can be sent
    finally:
        signal.signal(signal.SIGINT, between)
