"""Getting COCO: the official archives of 2014, and Karpathy's split."""

import logging
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from btrnn.data.fetch import DownloadError, download
from btrnn.data.progress import show_progress
from btrnn.storage.atomic import move_file

logger = logging.getLogger(__name__)

COCO_URL = "http://images.cocodataset.org"
KARPATHY_URL = "https://cs.stanford.edu/people/karpathy/deepimagesent"


class Archive(NamedTuple):
    """A zip file: its path below a site's address, about how many bytes it has, and what is wanted of it."""

    path: str
    about_bytes: int
    wanted: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.rpartition("/")[2]


# Captions come last: where their folder stands, the configuration takes COCO to be there.
IMAGES = (
    Archive("/zips/val2014.zip", 6_645_000_000, ("val2014",)),
    Archive("/zips/train2014.zip", 13_511_000_000, ("train2014",)),
)
KARPATHY = Archive("/caption_datasets.zip", 36_700_000, ("dataset_coco.json",))
CAPTIONS = Archive(
    "/annotations/annotations_trainval2014.zip",
    253_000_000,
    ("annotations/captions_train2014.json", "annotations/captions_val2014.json"),
)


def download_coco(folder: str | Path, coco_url: str = COCO_URL, karpathy_url: str = KARPATHY_URL) -> None:
    """Download and unpack what is missing of COCO 2014: images, captions and Karpathy's split.

    Without that split a seeded one is used in its place, so it is only a warning that it cannot be had.

    Args:
        folder: Where it is to be.
        coco_url: The site of COCO's archives.
        karpathy_url: The site of the split.

    Raises:
        DownloadError: A download fails, an archive is damaged, or the disk is too small. What has come is kept, and
            the same call goes on from there.
    """
    folder = Path(folder)
    sites = dict.fromkeys((*IMAGES, CAPTIONS), coco_url) | {KARPATHY: karpathy_url}
    missing = [archive for archive in (*IMAGES, KARPATHY, CAPTIONS) if not _is_there(folder, archive)]
    for archive in missing:
        logger.info("missing: %s, %s", sites[archive] + archive.path, _size(archive.about_bytes))
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(folder, missing)
    for archive in missing:
        path = folder / archive.name
        try:
            if not path.is_file():
                download(sites[archive] + archive.path, path, about_bytes=archive.about_bytes)
            unpack(path, folder, archive.wanted)
        except DownloadError as error:
            if archive is not KARPATHY:
                raise DownloadError(f"{error}\nOr get it another way, put it at {path} and repeat this.") from error
            logger.warning("%s\nWithout %s a seeded split in its sizes is used.", error, KARPATHY.wanted[0])
    logger.info("COCO is in %s; its archives (*.zip) are no longer needed", folder)


def unpack(path: Path, folder: Path, wanted: tuple[str, ...]) -> None:
    """Unpack some files or folders of an archive; each appears whole or not at all.

    Raises:
        DownloadError: The archive is damaged, or lacks one of them.
    """
    unpacking = folder / f"{path.name}.unpacking"
    shutil.rmtree(unpacking, ignore_errors=True)  # of a killed process
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.startswith(wanted)]
            with show_progress(f"unpacking {path.name}", len(names)) as advance:
                for name in names:
                    archive.extract(name, unpacking)
                    advance(1)
        for name in wanted:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            move_file(unpacking / name, folder / name)
    except FileNotFoundError:
        raise DownloadError(f"{path} lacks one of {', '.join(wanted)}: replace it, or delete it") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DownloadError(f"{path} is damaged ({error}): replace it, or delete it") from error
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)


def _is_there(folder: Path, archive: Archive) -> bool:
    return all((folder / name).exists() for name in archive.wanted)


def _check_space(folder: Path, missing: list[Archive]) -> None:
    """Refuse to begin where archives and their content, which is no larger, do not fit."""
    packed = [folder / name for archive in missing for name in (archive.name, f"{archive.name}.part")]
    needed = 2 * sum(archive.about_bytes for archive in missing)
    needed -= sum(path.stat().st_size for path in packed if path.is_file())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{folder} has {_size(free)} free, but archives and their content need {_size(needed)}: free some space, "
            "or choose another disk with --data-dir"
        )


def _size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
