"""Files that are complete at every moment, whatever happens to the process that writes them."""

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TextIO

NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def atomic_write(path: Path) -> Iterator[BytesIO]:
    """Yield a buffer; its content replaces `path` at once when the block ends, and the old file stays until then.

    Raises OSError, which names `path`, where there is no room or no permission.
    """
    buffer = BytesIO()
    yield buffer
    partial = path.with_name(f".{path.name}")  # one name, so that the next write replaces what a killed process left
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            sync(file)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync(file: BinaryIO) -> None:
    """Have the disk hold what was written, where it knows how to."""
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically; raises what `atomic_write` does."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON atomically: what is no finite number becomes null."""
    write_text(path, json.dumps(strict(value), indent=2, allow_nan=False) + "\n")


def strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Yield whether this process holds the file; the lock ends with the block or the process."""
    with path.open("a") as file:
        yield lock(file)


def lock(file: TextIO) -> bool:
    try:
        import fcntl
    except ImportError:
        return True  # Windows has no such lock
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # the disk has no locks, as Lustre, NFS or FUSE often
    return True
