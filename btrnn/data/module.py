"""What a run asks of any task's data: batches in an exact order, three splits, and the way to a stand-in's generator.

Which item comes when is a function of (seed, epoch) alone. So a run that was stopped and goes on from the end of an
epoch sees the batches that the unbroken run would have seen. Several processes share these batches: each gets its part
of every one.
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import Sampler

from btrnn.data import ORDER_STREAM, generator
from btrnn.data.progress import show_progress
from btrnn.ops.shared_batch import Share, share_of
from btrnn.storage.atomic import locked, remove_leftovers, replace_file

Item = tuple[int, int]


class BatchOrder(Sampler[list[Item]]):
    """The batches of an epoch, each a list of (row, pass).

    Passes over the rows are counted from the run's first epoch, one an epoch where nothing else is said. The number
    travels with the row, so that a data set which draws anew in each pass needs no state.
    Give it to a loader as `sampler` with `batch_size=None`: Lightning (2.6) calls `set_epoch` on
    `loader.sampler`, but never on `loader.batch_sampler` itself.

    Args:
        rows: rows of the data set that belong to this split.
        batch_size: rows in a batch; the last batch holds what is left.
        seed: seed of the run.
        shuffle: a new order in every pass; else `rows` as given.
        passes: how often an epoch goes over the rows.
        process: whose part of each batch is given, from 0.
        num_processes: how many share a batch; see `share_of` for which rows are whose.

    Raises:
        ValueError: if there are no rows, or `batch_size` or `passes` is below 1.
    """

    def __init__(
        self,
        rows: Sequence[int] | np.ndarray,
        batch_size: int,
        seed: int,
        *,
        shuffle: bool,
        passes: int = 1,
        process: int = 0,
        num_processes: int = 1,
    ) -> None:
        if len(rows) == 0:
            raise ValueError("a split without a single row gives no batches")
        if min(batch_size, passes) < 1:
            raise ValueError(f"batch_size and passes must be at least 1, got {batch_size} and {passes}")
        self.rows = np.asarray(rows, dtype=np.int64)
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.passes = passes
        self.process, self.num_processes = process, num_processes
        self.epoch = 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.passes * len(self.rows) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 0) of the next iteration; called by Lightning before each epoch."""
        self.epoch = epoch

    def share(self, index: int) -> Share:
        """Return which rows of a batch this process has.

        Args:
            index: of the batch in its epoch.
        """
        rows = min(self.batch_size, self.passes * len(self.rows) - index * self.batch_size)
        return share_of(rows, self.process, self.num_processes)

    def __iter__(self) -> Iterator[list[Item]]:
        """Yield this process's part of the batches of the current epoch; one row of another's where it has none."""
        # This body runs at the first `next`, and it must: Lightning makes the iterator of the first epoch
        # before it calls `set_epoch`.
        draw, first_pass = generator(self.seed, ORDER_STREAM, self.epoch), self.epoch * self.passes
        order = [
            (int(row), first_pass + number)
            for number in range(self.passes)
            for row in (draw.permutation(self.rows) if self.shuffle else self.rows)
        ]
        for index in range(len(self)):
            share = self.share(index)
            first = index * self.batch_size + share.first
            yield order[first : first + max(share.size, 1)]


class DataModule(LightningDataModule, ABC):
    """Batches of three splits, and what is to be said of them.

    Attributes:
        splits: A row for each example, with at least the column "split".
        batch_size: Examples in a batch, of all processes together.
        seed: Of the run.
        passes: How often an epoch goes over the training examples.
        process: Which of those that share each batch this one is, from 0.
        num_processes: How many share each batch.
    """

    splits: pd.DataFrame
    batch_size: int
    seed: int
    passes: int = 1
    process: int = 0
    num_processes: int = 1

    def share(self, process: int, num_processes: int) -> None:
        """Share each batch with other processes from now on.

        Raises:
            ValueError: There are not enough examples in one.
        """
        if num_processes > self.batch_size:
            raise ValueError(
                f"data.batch_size={self.batch_size} is of all devices together, and {num_processes} of them need at "
                f"least one example each: raise it, or take at most {self.batch_size} devices"
            )
        self.process, self.num_processes = process, num_processes

    def rows(self, split: str) -> np.ndarray:
        """Return which rows of `splits` belong to a split, int (examples,)."""
        return np.flatnonzero(self.splits["split"] == split)

    def batches(self, rows: np.ndarray, *, shuffle: bool) -> BatchOrder:
        """Return the order of the batches of a split, shuffled that of training; each process gets its part of them."""
        return BatchOrder(
            rows,
            self.batch_size,
            self.seed,
            shuffle=shuffle,
            passes=self.passes if shuffle else 1,
            process=self.process,
            num_processes=self.num_processes,
        )

    @property
    def last_tested(self) -> bool:
        """Whether the last weights are tested beside the chosen ones, as they are where the test split chooses."""
        return False

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """Return what a run's summary tells of its data; at least "source" and "stand_in"."""


def files_digest(root: Path, paths: Iterable[str], cache_dir: Path | None = None) -> str:
    """Take the SHA-256 over a line `<sha256>  <root's name>/<path>` for each file below `root`, sorted by path.

    Args:
        root: The folder.
        paths: The files.
        cache_dir: Keeps the digest, which is taken again where a file has another size or time.
    """
    files, stamps = sorted(paths), hashlib.sha256()
    for path in files:
        stat = (root / path).stat()
        stamps.update(f"{root.resolve() / path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    kept = cache_dir / "digests" / f"{stamps.hexdigest()[:32]}.txt" if cache_dir else None
    if kept is not None and kept.is_file():
        known = kept.read_text(encoding="ascii", errors="replace")
        if re.fullmatch("[0-9a-f]{64}", known):
            return known
    digest = hashlib.sha256()
    with show_progress("taking the files' digest", len(files)) as advance:
        for path in files:
            with (root / path).open("rb") as file:
                digest.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {root.name}/{path}\n".encode())
            advance(1)
    if kept is not None:
        with suppress(OSError), locked(kept.parent):  # it is only slower without
            remove_leftovers(kept.parent)
            replace_file(kept, digest.hexdigest())
    return digest.hexdigest()


class VideoBatch(NamedTuple):
    """A batch of clips; short clips have zero frames in front.

    frames: (B, T, I), I values a frame; where the loader's are uint8, float16, or numbers of frames,
        `on_after_batch_transfer` makes them float32.
    mask: (B, T) bool, True where a frame is real.
    labels: (B,) int64.
    clips: (B,) int64, row of the clip in the data's `splits`.
    whole: Whether all frames are known to be real, so that nobody has to read the mask from a device.
    """

    frames: Tensor
    mask: Tensor
    labels: Tensor
    clips: Tensor
    whole: bool = False


class ClipData(DataModule):
    """Clips, each of one class; `splits` has the columns clip, group, label and split.

    Attributes:
        input_size: I, the values of a frame.
        class_names: Of label 0, 1, ..
    """

    input_size: int
    class_names: list[str]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


class StandInError(ModuleNotFoundError):
    """The package was installed without what makes stand-ins."""


def stand_in(name: str) -> ModuleType:
    """Return the module of `btrnn.data.standins` that makes a stand-in.

    Raises:
        StandInError: The package was installed without the generators; the message says what to do.
    """
    try:
        return import_module(f"btrnn.data.standins.{name}")
    except ModuleNotFoundError as error:
        raise StandInError(
            f"the stand-in {name} is made by code that the installed package leaves out: install a clone of the "
            "repository with `pip install --editable .`, or name real data",
            name=error.name,
        ) from error
