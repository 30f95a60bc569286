"""Batches in an exact order: which item comes when is a function of (seed, epoch) alone.

So a run that was stopped and goes on from the end of an epoch sees the batches that the unbroken run would have seen.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

# Numbers that keep the random streams of one seed apart from one another.
ORDER_STREAM, FRAME_STREAM, SPLIT_STREAM, BINARY_STREAM = range(4)

Item = tuple[int, int]


def generator(seed: int, *keys: int) -> np.random.Generator:
    """Make a NumPy generator that is a function of its arguments alone.

    Raises:
        ValueError: if the seed or a key is negative.
    """
    if min(seed, *keys, 0) < 0:
        raise ValueError(f"a seed must not be negative, got seed={seed}, keys={keys}")
    # As spawn keys, since plain entropy is padded with zeros: (1,) and (1, 0) would give the same numbers.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=keys))


class BatchOrder(Sampler[list[Item]]):
    """The batches of an epoch, each a list of (row, epoch).

    The epoch travels with the row, so that a data set which draws anew in each epoch needs no state.
    Give it to a loader as `sampler` with `batch_size=None`: Lightning (2.6) calls `set_epoch` on
    `loader.sampler`, but never on `loader.batch_sampler` itself.

    Args:
        rows: rows of the data set that belong to this split.
        batch_size: rows in a batch; the last batch holds what is left.
        seed: seed of the run.
        shuffle: a new order in every epoch; else `rows` as given.

    Raises:
        ValueError: if there are no rows, or `batch_size` is below 1.
    """

    def __init__(self, rows: Sequence[int] | np.ndarray, batch_size: int, seed: int, *, shuffle: bool) -> None:
        if len(rows) == 0:
            raise ValueError("a split without a single row gives no batches")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.rows = np.asarray(rows, dtype=np.int64)
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.rows) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 0) of the next iteration; called by Lightning before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[Item]]:
        """Give the batches of the current epoch."""
        # This body runs at the first `next`, and it must: Lightning makes the iterator of the first epoch
        # before it calls `set_epoch`.
        epoch = self.epoch
        order = self.rows
        if self.shuffle:
            order = generator(self.seed, ORDER_STREAM, epoch).permutation(order)
        for index in range(len(self)):
            batch = order[index * self.batch_size : (index + 1) * self.batch_size]
            yield [(int(row), epoch) for row in batch]
