"""A process of train.py that has imported everything and waits, so that a repair begins when its button is pressed."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

from dip.config.check import check_types
from dip.config.compose import CONFIGS

TRAIN = CONFIGS.parent / "train.py"


class Warm:
    """The process that waits."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Have a process wait; the one before has ended."""
        command = [sys.executable, "-m", __name__, TRAIN]
        # In a session of its own: Ctrl-C in the terminal is not for it.
        self.waiting = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)

    def run(self, arguments: list[str], log: Path) -> "subprocess.Popen[str]":
        """Give the process that waits the arguments of train.py; what it says is appended to the log."""
        if self.waiting.poll() is not None:  # it has failed or was killed
            self.begin()
        assert self.waiting.stdin is not None
        with self.waiting.stdin as told:
            told.write(json.dumps([str(log), *arguments]))
        return self.waiting

    def close(self) -> None:
        with self.waiting:
            self.waiting.terminate()


def wait(train: str) -> None:
    """Import everything, and run train.py once the arguments are there; end where none come."""
    import dip.cli.ready  # noqa: F401  not by the studio itself

    check_types(["experiment=quick"])  # composes once, as the command does
    told = sys.stdin.read()
    if not told:
        return
    log, *arguments = json.loads(told)
    with open(log, "a") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.argv[:] = [train, *arguments]
    runpy.run_path(train, run_name="__main__")


if __name__ == "__main__":
    wait(sys.argv[1])
