"""Turns: functions that run at once, of which one at a time goes on, until it hands over to the next.

What each has begun on a GPU goes on there, on a stream of its own. Each has its own random generators, so that it does
the same as by itself.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T")


class Turn(threading.Thread):
    """A function that goes on while it is the first of the ring."""

    def __init__(self, function: Callable[[], Any], ring: deque["Turn"], device: torch.device):
        super().__init__()
        self.function, self.ring, self.device = function, ring, device
        self.is_shown = not ring  # the first one's log stands for all
        self.may_go_on = threading.Semaphore(0)
        self.threads = torch.get_num_threads()
        self.waited = 0.0  # seconds
        self.result: Any = None
        self.error: BaseException | None = None
        ring.append(self)

    def run(self) -> None:
        self.may_go_on.acquire()
        torch.set_num_threads(self.threads)  # which a new thread has of its own
        on_gpu = self.device.type == "cuda"
        try:
            with torch.cuda.stream(torch.cuda.Stream(self.device)) if on_gpu else nullcontext():
                Generators(self.device, copied=True).restore()
                self.result = self.function()
        except BaseException as error:  # raised again where the turns began
            self.error = error
        finally:
            self.ring.popleft()
            self.begin_next()

    def hand_over(self) -> None:
        """Wait until each of the others has handed over, or ended."""
        kept, since = Generators(self.device), time.monotonic()
        self.ring.rotate(-1)
        self.begin_next()
        self.may_go_on.acquire()
        self.waited += time.monotonic() - since
        kept.restore()

    def begin_next(self) -> None:
        if self.ring:
            self.ring[0].may_go_on.release()


class Generators:
    """The states of the random generators, to which they can return.

    copied: of a GPU's, a copy, which goes on by itself; CUDA graphs that were captured in turn would else share one.
    """

    def __init__(self, device: torch.device, copied: bool = False):
        self.python, self.numpy, self.torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self.of_gpu = torch.cuda.default_generators[device.index or 0] if device.type == "cuda" else None
        if self.of_gpu is not None:
            self.cuda = self.of_gpu.clone_state() if copied else self.of_gpu.graphsafe_get_state()

    def restore(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.of_gpu is not None:
            self.of_gpu.graphsafe_set_state(self.cuda)


def take_turns(functions: Mapping[str, Callable[[], T]], device: torch.device) -> dict[str, T]:
    """The results of functions that take turns, by their names. Raises the first one's error, once all have ended.

    device: what they work on.

    >>> def count(name):
    ...     for number in range(2):
    ...         print(name, number)
    ...         hand_over()
    >>> found = take_turns({"a": lambda: count("a"), "b": lambda: count("b")}, torch.device("cpu"))
    a 0
    b 0
    a 1
    b 1
    """
    if len(functions) == 1:
        return {name: function() for name, function in functions.items()}
    before, ring = Generators(device), deque()
    turns = {name: Turn(function, ring, device) for name, function in functions.items()}
    for turn in turns.values():
        turn.start()
    ring[0].begin_next()
    for turn in turns.values():
        while turn.is_alive():
            turn.join(timeout=0.1)  # signals are handled between two of these
    before.restore()
    for turn in turns.values():
        if turn.error is not None:
            raise turn.error
    return {name: turn.result for name, turn in turns.items()}


def hand_over() -> None:
    """Let the other functions go on, if this one takes turns with any."""
    if isinstance(turn := threading.current_thread(), Turn):
        turn.hand_over()


def clock() -> float:
    """Seconds, without those in which others had their turns."""
    turn = threading.current_thread()
    return time.monotonic() - (turn.waited if isinstance(turn, Turn) else 0)


def is_shown() -> bool:
    """Whether what happens here is shown: of functions that take turns, what the first one does."""
    return not isinstance(turn := threading.current_thread(), Turn) or turn.is_shown
