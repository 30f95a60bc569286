"""Archives, unpacked so that nothing leaves the folder they are unpacked in, and none fills the disk."""

import errno
import logging
import re
import shutil
import stat
import struct
import subprocess
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile

from btrnn.data.fetch import DownloadError, bytes_in, folder_to_unpack_in
from btrnn.data.progress import show_progress, size_text
from btrnn.storage.atomic import move_file

logger = logging.getLogger(__name__)

_LARGEST_RATIO = 20  # of an archive's content to its bytes: texts are packed to a tenth, pictures and videos not at all
_LOOK_SECONDS = 0.05
# what zipfile raises at damaged bytes, taken for an offset, a way of packing that it lacks, or a mark of a password
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error)
# what bsdtar says of an archive that another program may read, and of one that is not to be unpacked by any
_UNREADABLE = re.compile("unrecognized archive format|unsupported|unavailable|no support for", re.IGNORECASE)
_REFUSED = re.compile("path contains|path is absolute|through (sym|hard)link", re.IGNORECASE)


def unpackers() -> list[str]:
    """Find the programs that can unpack RAR."""
    found = [name for name in ("bsdtar", "unrar") if shutil.which(name)]
    if not found:
        raise DownloadError(
            "no program to unpack a RAR archive: install bsdtar (`apt-get install libarchive-tools`) or "
            "unrar (`apt-get install unrar`, in Debian's non-free section)."
        )
    return found


def unpack(name: str, archive: Path, folder: Path) -> None:
    """Unpack an archive into a folder.

    Raises:
        CalledProcessError: The program complains, as it does of names that lead out of the folder.
        ValueError: It is larger than such an archive can be, or holds a link or a device.
    """
    commands = {
        "bsdtar": ["bsdtar", "-x", "--no-same-owner", "--no-same-permissions", "-f", str(archive), "-C", str(folder)],
        "unrar": ["unrar", "x", "-y", "-idq", "-ol-", "-p-", str(archive), f"{folder}/"],
    }
    largest = _largest_content(archive)
    with TemporaryFile("w+", errors="replace") as said:  # no pipe, which could be full before anyone reads it
        process = subprocess.Popen(commands[name], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None and _bytes_below(folder) <= largest:
            time.sleep(_LOOK_SECONDS)
        process.kill()
        process.wait()
        if _bytes_below(folder) > largest:
            raise ValueError(f"it holds more than {size_text(largest)}, which no such archive does")
        said.seek(0)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, commands[name], stderr=said.read())
    for path in folder.rglob("*"):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) and not (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
            raise ValueError(f"{path.relative_to(folder)} is a link or a device, which have no place in it")


def unpack_rar(archive: Path, folder: Path, check: Callable[[Path], object]) -> None:
    """Unpack an archive, so that `folder` holds its content, without the folder of that name around it; all or nothing.

    Args:
        archive: Its path.
        folder: Which is made.
        check: Raises FileNotFoundError or ValueError where a folder does not hold what is wanted.

    Raises:
        DownloadError: No program for it is installed, or the archive is damaged, another one, or one that would leave
            its folder.
    """
    unpacking = folder.with_name(folder.name + ".unpacking")
    complaints = []
    for name in unpackers():
        try:
            with folder_to_unpack_in(unpacking):
                logger.info("unpacking %s with %s", archive, name)
                unpack(name, archive, unpacking)
                inner = unpacking / folder.name
                content = inner if inner.is_dir() else unpacking
                check(content)
                move_file(content, folder)
                return
        except (FileNotFoundError, ValueError) as error:
            complaints.append(f"{name}: {error}")
            break
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip()
            complaints.append(f"{name}: {said.splitlines()[0] if said else error}")
            if not _UNREADABLE.search(said) or _REFUSED.search(said):
                break  # it was read, and is not to be tried again by a program that may let it pass
    raise DownloadError(
        f"cannot unpack {archive} ({size_text(bytes_in(archive))}); it may be cut short or another one. "
        f"{'; '.join(complaints)}. The archive is kept: replace or delete it and repeat the command."
    )


def unpack_zip(path: Path, folder: Path, wanted: tuple[str, ...], within: tuple[str, ...] = ()) -> None:
    """Unpack some files or folders of an archive; each appears whole or not at all.

    Args:
        path: Of the archive.
        folder: Where they are to be.
        wanted: Their names in the archive.
        within: How the names begin of what is unpacked in them; all of it without.

    Raises:
        DownloadError: The archive is damaged, lacks one of them, or is not one to be unpacked: it is too large, or
            holds a link or a name that leads out of the folder.
    """
    unpacking = folder / f"{path.name}.unpacking"
    try:
        with folder_to_unpack_in(unpacking), zipfile.ZipFile(path) as archive:
            found = [info for info in archive.infolist() if info.filename.startswith(within or wanted)]
            _check_members(path, found)
            names = [info.filename for info in found]
            with show_progress(f"unpacking {path.name}", len(names)) as advance:
                for name in names:
                    archive.extract(name, unpacking)
                    advance(1)
            for name in wanted:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                move_file(unpacking / name, folder / name)
    except FileNotFoundError:
        raise DownloadError(f"{path} lacks one of {', '.join(wanted)}: replace it, or delete it") from None
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: an offset before the file
            raise
        raise DownloadError(f"{path} is damaged ({error}): replace it, or delete it") from error


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive that would reach out of the folder in which it is unpacked, or fill the disk."""
    total, largest = sum(info.file_size for info in members), _largest_content(path)  # zipfile reads no more than that
    if total > largest:
        raise DownloadError(
            f"{path} is not unpacked: it holds {size_text(total)}, and may hold {size_text(largest)}: replace it"
        )
    for info in members:
        kind = stat.S_IFMT(info.external_attr >> 16)
        leads_out = ".." in PurePosixPath(info.filename).parts
        if leads_out or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "leads out of its folder" if leads_out else "is a link or a device"
            raise DownloadError(f"{path} is not unpacked: {info.filename} in it {what}: replace it")


def _bytes_below(folder: Path) -> int:
    """Return the bytes of all files below a folder in which another process may be at work."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total


def _largest_content(archive: Path) -> int:
    """Return the bytes that an archive of pictures, videos or texts may hold at most, so that none fills the disk."""
    return _LARGEST_RATIO * bytes_in(archive) + 10_000_000
