"""Files that are whole at every moment, whatever happens to the process that writes them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TextIO


@contextmanager
def whole(path: Path) -> Iterator[BytesIO]:
    """What is written to the buffer becomes the content of `path`, all of it or nothing; until then the old file stays.

    Raises OSError, with `path` in it, where there is no room or no permission.
    """
    buffer = BytesIO()
    yield buffer
    beside = path.with_name(f".{path.name}")  # one name, so that what a killed process left is written over
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def write(path: Path, text: str) -> None:
    """A text file, whole or not at all; raises what `whole` does."""
    with whole(path) as file:
        file.write(text.encode())


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether the file `path` is ours until the end, however that comes, and not another process's."""
    with path.open("a") as file:
        yield locked(file)


def locked(file: TextIO) -> bool:
    try:
        import fcntl
    except ImportError:
        return True  # Windows has no such lock
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
