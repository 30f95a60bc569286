"""Files that are whole or not there, also after a power cut or on a full disk, and folders held for one process."""

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, delete it when it does not.

    Whoever reads `path`, also after a kill, a power cut or on a full disk, finds the old file or the new one, never a
    part. Folders are made as needed.

    Raises:
        OSError: The system does not let it be written; the error names the file, as the system's own often do not.
    """
    # of its own also beside a process of the same number on another machine
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            _wait_for_disk(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        _wait_for_disk(path.parent)
    except OSError as error:
        if error.errno is None or (error.filename is not None and str(error.filename) not in (str(part), "")):
            raise  # it says itself what it is about
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def replace_file(path: Path, content: bytes | str | Callable[[IO[bytes]], object]) -> None:
    """Write a file whole, as `replacing`.

    Args:
        path: The file.
        content: What it shall hold, or a function that writes it into an open file.

    Raises:
        OSError: See `replacing`.
    """
    with replacing(path) as part, part.open("wb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content.encode() if isinstance(content, str) else content)


def move_file(old: Path, new: Path) -> None:
    """Rename a whole file, or a folder of whole files, and wait until its content and the new name are on disk."""
    if old.is_dir():
        os.sync()  # of all files at once: to wait for each of a hundred thousand pictures would take longer
    else:
        _wait_for_disk(old)
    old.replace(new)
    _wait_for_disk(new.parent)


def remove_leftovers(*folders: Path) -> None:
    """Delete the temporary files of `replacing` that killed processes left in folders, also in one that is not there.

    The caller holds the lock, see `locked`, that all take who write there: none of the files is another's, however old.
    """
    for folder in folders:
        for path in folder.glob(".*.part"):
            path.unlink(missing_ok=True)


def _wait_for_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's names, would outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:  # macOS, where a full disk shows while writing
                file.truncate(size)
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
    """Hold a folder, made if missing, for one process. The system frees the lock if the process is killed.

    Whoever may write to the folder may hold it, also a user other than the one whose process came first.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", mode=0o666)  # whatever the first user's umask
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("Another process is at work in %s; waiting for it.", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
