"""UCF11, UCF101, MNIST, COCO and Flickr8k from their sites to their folders; what is there is not fetched again."""

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from btrnn.data.captions.flickr8k import CAPTIONS_FILE, FOLDER, LISTS
from btrnn.data.fetch import DownloadError, bytes_in, download, folder_to_unpack_in, shown_address
from btrnn.data.mnist import FOLDERS
from btrnn.data.progress import size_text
from btrnn.data.unpacking import unpack_rar, unpack_zip, unpackers
from btrnn.data.video.clips import UCF11_CLASSES, UCF11_FOLDER, UCF101_CLASSES, UCF101_LAYOUT, index_clips
from btrnn.storage.atomic import move_file

logger = logging.getLogger(__name__)

UCF11_URL = "https://www.crcv.ucf.edu/data/UCF11_updated_mpg.rar"
UCF11_ARCHIVE = "UCF11_updated_mpg.rar"
UCF11_BYTES = 1_050_000_000  # about; the server's own figure is what the file is held to
COCO_URL = "https://s3.amazonaws.com/images.cocodataset.org"  # their own address has a certificate of another name
KARPATHY_URL = "https://cs.stanford.edu/people/karpathy/deepimagesent"
UCF101_URL = "https://storage.googleapis.com/thumos14_files"  # of the THUMOS challenge, in which UCF101 is a part
FLICKR8K_URL = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"  # a mirror
MNIST_URLS = {  # as torchvision has them, and the authors' own
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist",
    "fashion_mnist": "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
}
MNIST_SHA256 = {  # of what was first published
    "mnist": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
}


def download_mnist(data_dir: str | Path, source: Literal["mnist", "fashion_mnist"], url: str | None = None) -> Path:
    """Download the four packed files of MNIST, or of Fashion-MNIST, that are missing.

    Args:
        data_dir: In which torchvision's MNIST/raw and FashionMNIST/raw stand.
        source: Which of the two.
        url: The site, if not the usual one.

    Returns:
        The folder, which appears when it is complete.

    Raises:
        DownloadError: A file cannot be fetched, or is another than the one that is published; the others are kept.
    """
    folder = Path(data_dir) / FOLDERS[source]
    # where the folder stands, the configuration takes MNIST to be there
    coming = folder if folder.is_dir() else folder.with_name(f"{folder.name}.downloading")
    for name, sha256 in MNIST_SHA256[source].items():
        if not any((coming / there).is_file() for there in (name, name.removesuffix(".gz"))):
            try:
                address = f"{url or MNIST_URLS[source]}/{name}"
                download(address, coming / name, digest=f"sha256:{sha256}")
            except DownloadError as error:
                raise DownloadError(f"{error}\nOr put the four files into {folder} by hand.") from error
    if coming != folder:
        move_file(coming, folder)
    logger.info("the four files are in %s", folder)
    return folder


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
    if _are_clips_there("UCF11", folder, lambda: len(index_clips(folder, UCF11_CLASSES))):
        return folder
    unpackers()  # asked first: to learn after 1 GB that it cannot be unpacked would be late
    _fetch(url, archive, about_bytes)
    unpack_rar(archive, folder, lambda content: index_clips(content, UCF11_CLASSES))
    logger.info("UCF11 is ready: %d clips in %s", len(index_clips(folder, UCF11_CLASSES)), folder)
    return folder


def _fetch(url: str, path: Path, about_bytes: int, digest: str | None = None) -> None:
    """Download an archive, if it is not there."""
    if path.is_file():
        logger.info("using the archive %s (%s)", path, size_text(bytes_in(path)))
        return
    try:
        download(url, path, about_bytes=about_bytes, digest=digest)
    except DownloadError as error:
        raise DownloadError(f"{error}\nOr get it another way, put it at {path} and repeat this.") from error


def _are_clips_there(name: str, folder: Path, count: Callable[[], int]) -> bool:
    """Return whether a data set is in its folder, and raise DownloadError where something else is."""
    if not folder.is_dir():
        return False
    try:
        logger.info("%s is there already: %d clips in %s", name, count(), folder)
    except (FileNotFoundError, ValueError) as error:
        again = f"To get {name} anew, move {folder} away and repeat `make data-{name.lower()}`."
        raise DownloadError(f"{error}\n{again}") from error
    return True


class Archive(NamedTuple):
    """A zip file: its path below a site's address, about its bytes, what is wanted of it, and its published digest."""

    path: str
    about_bytes: int
    wanted: tuple[str, ...]
    digest: str | None = None

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.rpartition("/")[2]


# Captions come last: where their folder stands, the configuration takes COCO to be there.
# Digests of COCO's archives: TensorFlow Datasets, url_checksums/coco.txt. Of Karpathy's and Flickr8k's no SHA-256 is
# published; their MD5: torchvision for R (mlverse/torchvision), R/dataset-flickr.R.
IMAGES = (
    Archive(
        "/zips/val2014.zip",
        6_645_000_000,
        ("val2014",),
        "sha256:fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
    ),
    Archive(
        "/zips/train2014.zip",
        13_511_000_000,
        ("train2014",),
        "sha256:ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
    ),
)
KARPATHY = Archive("/caption_datasets.zip", 36_700_000, ("dataset_coco.json",), "md5:4fa8c08369d22fe16e41dc124bd1adc2")
CAPTIONS = Archive(
    "/annotations/annotations_trainval2014.zip",
    253_000_000,
    ("annotations/captions_train2014.json", "annotations/captions_val2014.json"),
    "sha256:031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
)
UCF101_VIDEOS = Archive(  # digest: TensorFlow Datasets, url_checksums/ucf101.txt
    "/UCF101_videos.zip",
    6_960_400_115,
    ("UCF101",),
    "sha256:dabf56f573cd19c79e096563529fec8126a2a34e18e10c72eb621dd687532b0d",
)
PHOTOGRAPHS = Archive("/Flickr8k_Dataset.zip", 1_115_000_000, (FOLDER,), "md5:f18a1e2920de5bd84dae7cf08ec78978")
FLICKR8K_TEXTS = Archive(
    "/Flickr8k_text.zip", 2_340_000, (CAPTIONS_FILE, *LISTS.values()), "md5:bf6c1abcb8e4a833b7f922104de18627"
)


def download_ucf101(data_dir: str | Path, url: str = UCF101_URL) -> Path:
    """Download UCF101 and unpack its eleven classes that are read into `data_dir`; what is there is not fetched again.

    Returns:
        The folder that holds the class folders.

    Raises:
        DownloadError: The download fails, the archive is damaged or another one, or the disk is too small. What has
            come is kept; a folder that is only half unpacked is not.
    """
    data_dir = Path(data_dir)
    folder, archive = data_dir / "UCF-101", data_dir / UCF101_VIDEOS.name

    def count(there: Path) -> int:
        return len(index_clips(there, UCF101_CLASSES, layout=UCF101_LAYOUT))

    if _are_clips_there("UCF101", folder, lambda: count(folder)):
        return folder
    data_dir.mkdir(parents=True, exist_ok=True)
    _check_space(data_dir, [UCF101_VIDEOS], content=0.2)
    _fetch(url + UCF101_VIDEOS.path, archive, UCF101_VIDEOS.about_bytes, UCF101_VIDEOS.digest)
    with folder_to_unpack_in(folder.with_name(f"{folder.name}.unpacking")) as unpacking:
        unpack_zip(
            archive, unpacking, UCF101_VIDEOS.wanted, tuple(f"UCF101/{name}_g" for name in UCF101_CLASSES.values())
        )
        for name, stem in UCF101_CLASSES.items():  # whose clips stand side by side in this archive
            (unpacking / "classes" / name).mkdir(parents=True)
            for clip in (unpacking / "UCF101").glob(f"{stem}_g*"):
                clip.rename(unpacking / "classes" / name / clip.name)
        try:
            num_clips = count(unpacking / "classes")
        except (FileNotFoundError, ValueError) as error:
            raise DownloadError(f"{archive} is not UCF101: {error} Replace or delete it.") from error
        move_file(unpacking / "classes", folder)
    logger.info("UCF101 is ready: %d clips in %s; %s is no longer needed", num_clips, folder, archive)
    return folder


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
    sites = dict.fromkeys(IMAGES, coco_url) | {KARPATHY: karpathy_url, CAPTIONS: coco_url}
    _download_zips(
        Path(folder), sites, {KARPATHY: f"Without {KARPATHY.wanted[0]} a seeded split in its sizes is used."}
    )
    logger.info("COCO is in %s; its archives (*.zip) are no longer needed", folder)


def download_flickr8k(folder: str | Path, url: str = FLICKR8K_URL) -> None:
    """Download and unpack what is missing of Flickr8k: photographs, captions and official lists.

    Args:
        folder: Where it is to be.
        url: The site of its two archives.

    Raises:
        DownloadError: A download fails, an archive is damaged, or the disk is too small. What has come is kept, and
            the same call goes on from there.
    """
    _download_zips(Path(folder), {PHOTOGRAPHS: url, FLICKR8K_TEXTS: url}, {})
    logger.info("Flickr8k is in %s; its archives (*.zip) are no longer needed", folder)


def _download_zips(folder: Path, sites: Mapping[Archive, str], dispensable: Mapping[Archive, str]) -> None:
    """Download and unpack the archives whose content is missing, in order; those put into the folder are used.

    Args:
        folder: Where they are to be, and their content.
        sites: The address before the path of each.
        dispensable: Of archives that need not be had: what happens without them.
    """
    missing = [archive for archive in sites if not _is_there(folder, archive)]
    for archive in missing:
        logger.info("missing: %s, %s", shown_address(sites[archive] + archive.path), size_text(archive.about_bytes))
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(folder, missing)
    for archive in missing:
        try:
            _fetch(sites[archive] + archive.path, folder / archive.name, archive.about_bytes, archive.digest)
            unpack_zip(folder / archive.name, folder, archive.wanted)
        except DownloadError as error:
            if archive not in dispensable:
                raise
            logger.warning("%s\n%s", error, dispensable[archive])


def _is_there(folder: Path, archive: Archive) -> bool:
    return all((folder / name).exists() for name in archive.wanted)


def _check_space(folder: Path, missing: list[Archive], content: float = 1.0) -> None:
    """Refuse to begin where archives and their content, so many times as large, do not fit."""
    packed = [folder / name for archive in missing for name in (archive.name, f"{archive.name}.part")]
    needed = int((1 + content) * sum(archive.about_bytes for archive in missing))
    needed -= sum(path.stat().st_size for path in packed if path.is_file())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{folder} has {size_text(free)} free, but archives and their content need {size_text(needed)}: "
            "free some space, or choose another disk with --data-dir"
        )
