"""A directory for the files of one run, gone when the run is over."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from disks import IMAGES


@contextmanager
def directory() -> Iterator[Path]:
    """The directory. Those that launchers left when they were killed are deleted: nobody holds their lock."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with open(IMAGES / ".lock", "w", encoding="utf-8") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        for stale in IMAGES.glob("run-*"):
            if (lock := _try_lock(stale)) is not None:
                shutil.rmtree(stale, ignore_errors=True)
                os.close(lock)
        path = Path(tempfile.mkdtemp(dir=IMAGES, prefix="run-"))
        own_lock = _try_lock(path)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if own_lock is not None:
            os.close(own_lock)


def _try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock of the directory, unless somebody else has it (or has just deleted it)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
