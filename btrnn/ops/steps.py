"""The steps of a batch of sequences, padded or ragged: which rows each has, and in which order they are read."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Steps(NamedTuple):
    """Which rows each step has, and the order in which the steps are read.

    Attributes:
        sizes: How many rows each step has. As in PackedSequence, step t has a row for each sequence of at least t + 1
            steps, longest first; in a padded batch every step has all rows.
        reverse: Whether to read from the end.
    """

    sizes: list[int]
    reverse: bool

    def order(self) -> range:
        """Return the steps' numbers in the order in which they are read."""
        count = len(self.sizes)
        return range(count - 1, -1, -1) if self.reverse else range(count)

    def before(self, states: Mapping[int, Tensor], t: int, first: Tensor) -> Tensor:
        """Return the state that step t starts from; read from the end, the shorter sequences begin later."""
        size, neighbour = self.sizes[t], t + 1 if self.reverse else t - 1
        if not 0 <= neighbour < len(self.sizes):
            return first[:size]
        rows = self.sizes[neighbour]
        if _is_same(size, rows):
            return states[neighbour]
        if self.reverse:
            return torch.cat([states[neighbour], first[rows:size]])
        return states[neighbour][:size]

    def final(self, states: Mapping[int, Tensor]) -> Tensor:
        """Return the state of each sequence after its last step, in a tensor of its own."""
        if self.reverse:
            return states[0].clone()
        pairs = enumerate(zip(self.sizes, [*self.sizes[1:], 0], strict=True))
        ends = [(t, rest) for t, (size, rest) in pairs if t == len(self.sizes) - 1 or not _is_same(size, rest)]
        return torch.cat([states[t][rest:] for t, rest in reversed(ends)])

    def split(self, rows: Tensor) -> dict[int, Tensor]:
        """Return each step's view of a tensor that has the rows of all steps."""
        return dict(enumerate(rows.split_with_sizes(self.sizes)))


def _is_same(size: int, other: int) -> bool:
    """Compare two steps' sizes; those that tracing has made tensors are not, which would fix them for ever."""
    return size is other or (isinstance(size, int) and size == other)
