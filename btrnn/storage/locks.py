"""Disk space taken beforehand, and folders held for one process."""

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


def reserve(path: Path, size: int) -> None:
    """Take a file's whole space on disk, so that a full disk shows here and not as a crash while writing.

    Args:
        path: the file; made if missing, else lengthened.
        size: in bytes.

    Raises:
        OSError: with errno ENOSPC if the disk is full, or another; it names the file, which is then removed.
    """
    with path.open("ab") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            path.unlink()
            if error.errno != errno.ENOSPC:
                raise OSError(error.errno, error.strerror, str(path)) from error  # the system's own names no file
            free = shutil.disk_usage(path.parent).free
            raise OSError(
                errno.ENOSPC,
                f"disk full: {path.name} needs {size / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free; "
                "free some space, choose another cache folder, or use fewer clips or images",
                str(path.parent),
            ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, made if missing, for one process. The system frees the lock if the process is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("Another process is at work in %s; waiting for it.", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
