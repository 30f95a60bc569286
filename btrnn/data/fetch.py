"""What getting data takes: a download that goes on after a break, and a folder to unpack in."""

import hashlib
import http.client
import logging
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from btrnn.data.progress import show_progress, size_text
from btrnn.storage.atomic import move_file

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0


class DownloadError(Exception):
    """A data set cannot be fetched or unpacked; the message says what to do."""


def download(
    url: str,
    path: Path,
    *,
    about_bytes: int | None = None,
    digest: str | None = None,
    attempts: int = 5,
    wait_seconds: float = 2.0,
) -> None:
    """Download a file to `path`, by way of `<path>.part`, from which a broken download goes on.

    Args:
        url: https address; plain http where a SHA-256 tells what comes, or from this machine.
        path: where the file is to be; its folder is made.
        about_bytes: roughly the size; a file of less than half or more than twice that is refused.
        digest: what is published of the file, an algorithm of hashlib and hexadecimal digits, as in `sha256:440f..`;
            another file is refused. Without it the SHA-256 is logged.
        attempts: how often to try again without a single new byte.
        wait_seconds: pause before trying again.

    Raises:
        DownloadError: if the address is not safe, the server refuses, the connection fails too often, or the size or
            the digest is wrong.
    """
    _check_address(url, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures = 0
    while True:
        before = bytes_in(part)
        try:
            total = _fetch(url, part, about_bytes, digest)
            break
        except _BrokenOffError as error:
            got = bytes_in(part)
            failures = 0 if got > before else failures + 1
            if failures >= attempts:
                raise DownloadError(
                    f"cannot download {shown_address(url)}: {error}. {size_text(got)} are kept in {part}; "
                    "the same command goes on from there."
                ) from error
            logger.warning("broken off at %s (%s), trying again", size_text(got), error)
            time.sleep(wait_seconds)
    algorithm = digest.partition(":")[0] if digest else "sha256"
    with part.open("rb") as file:
        found = f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
    if digest not in (None, found):
        part.unlink()
        raise DownloadError(
            f"{shown_address(url)} gave another file than the one that is published: its digest is {found}, "
            f"not {digest}. It is deleted; repeat the command, and if this comes again, do not trust that server"
        )
    move_file(part, path)
    told = "as published" if digest else "none is published to compare it with"
    logger.info("%s is complete: %s, digest %s, %s", path, size_text(total), found, told)


def _check_address(url: str, digest: str | None) -> None:
    """Refuse an address with a password, or from which another could send a file in the server's place.

    Raises:
        DownloadError: It is one of these, but for a file whose SHA-256 is known, or none that can be read.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError:  # whose message repeats the address
        raise _no_address(url) from None
    trusted = str(digest).startswith("sha256:") or parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not (parts.scheme == "https" or (parts.scheme == "http" and trusted)):
        raise DownloadError(
            f"{shown_address(url)} is not fetched: only https tells whose answer comes; give an address with https://"
        )
    if "@" in parts.netloc:  # which urllib would take for a part of the server's name, and repeat
        raise DownloadError(
            f"{shown_address(url)} is not fetched: a user's name and password before it are not sent; fetch the file "
            "another way"
        )


def _no_address(url: str) -> DownloadError:
    return DownloadError(f"{shown_address(url)} is not fetched: it is no address")


def shown_address(url: str) -> str:
    """Return an address as it may stand in a log: without a user's name, a password or a key that a query holds."""
    bare = re.sub("//.*@", "//", re.split("[?#]", url, maxsplit=1)[0])
    # what stands as a port and is none is a password that was cut at its "?"
    return re.sub(r"(//[^/:\[]*):(?!\d*(/|$))[^/]*", r"\1", bare)


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follow a server that leads elsewhere, each step of which must be safe: any of them could name the next.

    Args:
        digest: See `download`.
    """

    def __init__(self, digest: str | None) -> None:
        self.digest = digest

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request of the next step.

        Raises:
            DownloadError: Its address is not safe.
        """
        _check_address(newurl, self.digest)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _BrokenOffError(Exception):
    """The network failed; to ask again may help."""


def _fetch(url: str, part: Path, about_bytes: int | None, digest: str | None) -> int:
    """Fetch what `part` still lacks, and return the whole size in bytes."""
    start = bytes_in(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        opener = urllib.request.build_opener(_CheckedRedirects(digest))
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:
            # Nothing lies beyond `start`: either all is there, or the part is of another file.
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
                return start
            part.unlink()
            return _fetch(url, part, about_bytes, digest)
        answer = f"the server answers {error.code} {error.reason}"
        if error.code >= 500:
            raise _BrokenOffError(answer) from error
        raise DownloadError(f"cannot download {shown_address(url)}: {answer}") from error
    except http.client.InvalidURL:  # whose message repeats the address
        raise _no_address(url) from None
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error
    with response:
        if response.status != 206:
            start = 0  # the server does not know ranges and sends the whole file
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        _check_size(url, total, about_bytes)
        size = "size unknown" if total is None else size_text(total)
        logger.info("downloading %s (%s, %s of it there already)", shown_address(url), size, size_text(start))
        progress = show_progress(part.stem, total, done=start, in_bytes=True)
        with part.open("ab" if start else "wb") as file, progress as advance:
            while chunk := _read(response):
                file.write(chunk)
                advance(len(chunk))
    got = bytes_in(part)
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
            f"cannot download {shown_address(url)}: the server sends {size_text(total)}, but the file has about "
            f"{size_text(about_bytes)}, so this is something else."
        )


@contextmanager
def folder_to_unpack_in(path: Path) -> Iterator[Path]:
    """Make and give an empty folder, and delete it in the end with all that was not moved out of it."""
    shutil.rmtree(path, ignore_errors=True)  # of a killed process
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def bytes_in(path: Path) -> int:
    """Return the size of a file, 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0
