"""Programs of the project as real processes, forked from one that is ready to run them: seconds sooner each."""

import multiprocessing
import os
import runpy
import sys
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["dip.cli.ready"])


def run_forked(program: Path, *arguments: str | Path, cwd: Path) -> "CompletedProcess[str]":
    """What `python PROGRAM ARGUMENTS` said in a folder, and its exit code."""
    words = [str(program), *map(str, arguments)]
    with TemporaryDirectory() as said:
        files = (Path(said, "stdout"), Path(said, "stderr"))
        process = FORKSERVER.Process(target=perform, args=(words, cwd, dict(os.environ), files))
        process.start()
        process.join(300)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{words} has not ended; it said {files[1].read_text()}")
        return CompletedProcess(words, process.exitcode, *(file.read_text() for file in files))


def perform(words: list[str], cwd: Path, environment: dict[str, str], files: tuple[Path, Path]) -> None:
    """Run the program in this process, in a folder and with an environment; what it says goes to two files."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for file, stream in zip(files, (sys.stdout, sys.stderr), strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream.fileno())
    sys.argv[:] = words
    sys.path.insert(0, str(Path(words[0]).parent))
    runpy.run_path(words[0], run_name="__main__")
