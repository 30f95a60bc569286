"""Getting UCF11: a download that goes on after a break, and unpacking of its RAR archive."""

import http.client
import logging
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from btrnn.data.video.clips import UCF11_CLASSES, UCF11_FOLDER, index_clips
from btrnn.storage.atomic import move_file

logger = logging.getLogger(__name__)

UCF11_URL = "https://www.crcv.ucf.edu/data/UCF11_updated_mpg.rar"
UCF11_ARCHIVE = "UCF11_updated_mpg.rar"
UCF11_BYTES = 1_050_000_000  # about; the server's own figure is what the file is held to

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0


class DownloadError(Exception):
    """A data set cannot be fetched or unpacked; the message says what to do."""


def download_ucf11(data_dir: str | Path, url: str = UCF11_URL, about_bytes: int = UCF11_BYTES) -> Path:
    """Download and unpack UCF11 into `data_dir`; what is there is not fetched again.

    Returns:
        The folder that holds the class folders.

    Raises:
        DownloadError: if no program can unpack RAR, the download fails, or the archive is damaged. A partial
            download and a damaged archive are kept; a folder that is only half unpacked is not.
    """
    data_dir = Path(data_dir)
    folder, archive = data_dir / UCF11_FOLDER, data_dir / UCF11_ARCHIVE
    if folder.is_dir():
        try:
            num_clips = len(index_clips(folder, UCF11_CLASSES))
        except (FileNotFoundError, ValueError) as error:
            raise DownloadError(
                f"{error}\nTo get UCF11 anew, move {folder} away and repeat `make data-ucf11`."
            ) from error
        logger.info("UCF11 is there already: %d clips in %s", num_clips, folder)
        return folder
    _unpackers()  # asked first: to learn after 1 GB that it cannot be unpacked would be late
    if archive.is_file():
        logger.info("using the archive %s (%s)", archive, _size(archive.stat().st_size))
    else:
        try:
            download(url, archive, about_bytes=about_bytes)
        except DownloadError as error:
            raise DownloadError(
                f"{error}\nOr get the archive another way, put it at {archive} and repeat `make data-ucf11`."
            ) from error
    unpack(archive, folder)
    logger.info("UCF11 is ready: %d clips in %s", len(index_clips(folder, UCF11_CLASSES)), folder)
    return folder


def download(
    url: str, path: Path, *, about_bytes: int | None = None, attempts: int = 5, wait_seconds: float = 2.0
) -> None:
    """Download a file to `path`, by way of `<path>.part`, from which a broken download goes on.

    Args:
        url: http or https address.
        path: where the file is to be; its folder is made.
        about_bytes: roughly the size; a file of less than half or more than twice that is refused.
        attempts: how often to try again without a single new byte.
        wait_seconds: pause before trying again.

    Raises:
        DownloadError: if the server refuses, the connection fails too often, or the size is wrong.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures = 0
    while True:
        before = _bytes_in(part)
        try:
            total = _fetch(url, part, about_bytes)
            break
        except _BrokenOffError as error:
            got = _bytes_in(part)
            failures = 0 if got > before else failures + 1
            if failures >= attempts:
                raise DownloadError(
                    f"cannot download {url}: {error}. {_size(got)} are kept in {part}; "
                    "the same command goes on from there."
                ) from error
            logger.warning("broken off at %s (%s), trying again", _size(got), error)
            time.sleep(wait_seconds)
    move_file(part, path)
    logger.info("%s is complete: %s", path, _size(total))


class _BrokenOffError(Exception):
    """The network failed; to ask again may help."""


def _fetch(url: str, part: Path, about_bytes: int | None) -> int:
    """Fetch what `part` still lacks, and return the whole size in bytes."""
    start = _bytes_in(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:
            # Nothing lies beyond `start`: either all is there, or the part is of another file.
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
                return start
            part.unlink()
            return _fetch(url, part, about_bytes)
        if error.code >= 500:
            raise _BrokenOffError(f"the server answers {error.code} {error.reason}") from error
        raise DownloadError(f"cannot download {url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error
    with response:
        if response.status != 206:
            start = 0  # the server does not know ranges and sends the whole file
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        _check_size(url, total, about_bytes)
        size = "size unknown" if total is None else _size(total)
        logger.info("downloading %s (%s, %s of it there already)", url, size, _size(start))
        with part.open("ab" if start else "wb") as file, _progress(start, total) as advance:
            while chunk := _read(response):
                file.write(chunk)
                advance(len(chunk))
    got = _bytes_in(part)
    if total is not None and got != total:
        raise _BrokenOffError(f"the connection closed after {got:,} of {total:,} bytes")
    try:
        _check_size(url, got, about_bytes)
    except DownloadError:
        part.unlink()  # else the next call would go on behind it
        raise
    return got


def _read(response: http.client.HTTPResponse) -> bytes:
    """Read a piece; apart from the writing, so that a full disk is not taken for a broken connection."""
    try:
        return response.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error


def _check_size(url: str, total: int | None, about_bytes: int | None) -> None:
    if total is not None and about_bytes is not None and not about_bytes / 2 <= total <= about_bytes * 2:
        raise DownloadError(
            f"cannot download {url}: the server sends {_size(total)}, but the file has about "
            f"{_size(about_bytes)}, so this is something else."
        )


@contextmanager
def _progress(start: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show the bytes as a bar on a terminal, else as a log line at each tenth."""
    if Console().is_terminal:
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns) as progress:
            task = progress.add_task("", total=total, completed=start)
            yield lambda count: progress.advance(task, count)
        return
    done = start

    def advance(count: int) -> None:
        nonlocal done
        tenth = 10 * done // total if total else 0
        done += count
        if total and 10 * done // total > tenth:
            logger.info("%s of %s", _size(done), _size(total))

    yield advance


def _bytes_in(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _unpackers() -> list[str]:
    """Find the programs that can unpack RAR."""
    found = [name for name in ("bsdtar", "unrar") if shutil.which(name)]
    if not found:
        raise DownloadError(
            "no program to unpack a RAR archive: install bsdtar (`apt-get install libarchive-tools`) or "
            "unrar (`apt-get install unrar`, in Debian's non-free section)."
        )
    return found


def _run(name: str, archive: Path, folder: Path) -> None:
    """Unpack an archive into a folder; raise CalledProcessError when the program complains."""
    commands = {
        "bsdtar": ["bsdtar", "-x", "-f", str(archive), "-C", str(folder)],
        "unrar": ["unrar", "x", "-y", "-idq", str(archive), f"{folder}/"],
    }
    subprocess.run(commands[name], check=True, capture_output=True, text=True, errors="replace")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the archive of UCF11, so that `folder` holds the class folders; all or nothing.

    Raises:
        DownloadError: if no program for it is installed, or the archive is damaged or another one.
    """
    unpacking = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(unpacking, ignore_errors=True)  # of a killed process
    complaints = []
    for name in _unpackers():
        try:
            unpacking.mkdir(parents=True)
            logger.info("unpacking %s with %s", archive, name)
            _run(name, archive, unpacking)
            # The archive may or may not have a folder around its class folders.
            inner = unpacking / folder.name
            content = inner if inner.is_dir() else unpacking
            index_clips(content, UCF11_CLASSES)
            move_file(content, folder)
            return
        except (subprocess.CalledProcessError, FileNotFoundError, ValueError) as error:
            detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
            complaints.append(f"{name}: {detail.splitlines()[-1] if detail else error}")
        finally:
            shutil.rmtree(unpacking, ignore_errors=True)
    raise DownloadError(
        f"cannot unpack {archive} ({_size(_bytes_in(archive))}); it may be cut short or not be UCF11. "
        f"{'; '.join(complaints)}. The archive is kept: replace or delete it and run `make data-ucf11` again."
    )
