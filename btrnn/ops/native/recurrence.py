"""The recurrence of an LSTM in the native kernel of `recurrence.cpp`; `btrnn.ops.lstm_fast` says what is computed."""

import ctypes
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from btrnn.ops import native

FEWEST_STEPS = 2  # a single one does not repay laying U out
LARGEST_WEIGHT_BYTES = 4 * 2**20  # of U, which every thread reads at every step: beyond, the cache does not hold it


class LSTMKept(NamedTuple):
    """What the backward pass needs: c (rows, H) and the activated gates (rows, 4 H) of every step."""

    cells: Tensor
    activations: Tensor


class StepGradients(NamedTuple):
    """Of the gates (rows, 4 H) and of the first state (B, H) each; and h of every step (rows, H), computed again."""

    gates: Tensor
    hidden_0: Tensor
    cell_0: Tensor
    hidden: Tensor


class Sequences:
    """Which rows each step has, as the kernel is told it.

    Args:
        sizes: How many rows each step has, in the order of time; never more than the step before.
        reverse: Whether the last step is read first.
        hard: Whether the gates' activation is the hard sigmoid.
    """

    def __init__(self, sizes: Sequence[int], *, reverse: bool, hard: bool) -> None:
        self.sizes, self.reverse, self.hard = sizes, reverse, hard
        count = len(sizes)
        self._size = (ctypes.c_int64 * count)(*sizes)
        self._start = (ctypes.c_int64 * count)(*accumulate(sizes[:-1], initial=0))

    def argument(self, hidden_size: int) -> Any:
        """Return a pointer to the kernel's Sequences; `self` must live as long as it is used."""
        self._struct = _Sequences(
            len(self.sizes), self.sizes[0], hidden_size, self._size, self._start, self.reverse, self.hard
        )
        return ctypes.byref(self._struct)


class _Sequences(ctypes.Structure):
    """The kernel's Sequences."""

    _fields_ = (
        ("count", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("hidden", ctypes.c_int64),
        ("size", ctypes.POINTER(ctypes.c_int64)),
        ("start", ctypes.POINTER(ctypes.c_int64)),
        ("reverse", ctypes.c_int32),
        ("hard", ctypes.c_int32),
    )


def serves(num_steps: int, weight: Tensor, tensors: Sequence[Tensor]) -> bool:
    """Return whether the kernel is available for these tensors, and faster for a U of this size and so many steps."""
    small = weight.numel() * weight.element_size() <= LARGEST_WEIGHT_BYTES
    return num_steps >= FEWEST_STEPS and small and native.serves(weight, tensors)


def forward(
    sequences: Sequences,
    gates: Tensor,
    hidden_0: Tensor,
    cell_0: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    kept: LSTMKept | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the recurrence over all steps.

    Args:
        sequences: Which rows each step has.
        gates: As in `btrnn.ops.lstm_fast.unroll`, like the next four.
        hidden_0: The first h.
        cell_0: The first c.
        weight: U.
        mask: Of h_{t-1}.
        kept: Filled for the backward pass, unless it is None.

    Returns:
        h of every step, (rows, H); h and c after each sequence's last step, (B, H) each.
    """
    size = weight.shape[1]
    operands = [None if tensor is None else tensor.contiguous() for tensor in (gates, weight, mask)]
    hidden, cell = (state.clone(memory_format=torch.contiguous_format) for state in (hidden_0, cell_0))
    outputs = gates.new_empty(gates.shape[0], size)
    native.function("recurrence_forward", gates.dtype)(
        sequences.argument(size),
        *map(native.address, (*operands, hidden, cell, outputs, *(kept or (None, None)))),
        ctypes.c_int(torch.get_num_threads()),
    )
    return outputs, hidden, cell


def backward(
    sequences: Sequences,
    kept: LSTMKept,
    cell_0: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    grads: Sequence[Tensor | None],
    *,
    to_hidden_0: bool,
) -> StepGradients:
    """Go back through all steps.

    Args:
        sequences: Which rows each step has.
        kept: What `forward` filled.
        cell_0: As for `forward`, like the next two.
        weight: U.
        mask: Of h_{t-1}.
        grads: Of the three results of `forward`.
        to_hidden_0: Whether the gradient of the first h is wanted; else what is returned in its place means nothing.
    """
    d_outputs, *d_states = grads
    before, u, factors, wanted = (
        None if tensor is None else tensor.contiguous() for tensor in (cell_0, weight, mask, d_outputs)
    )
    d_hidden, d_cell = (
        torch.zeros_like(cell_0, memory_format=torch.contiguous_format)
        if grad is None
        else grad.clone(memory_format=torch.contiguous_format)
        for grad in d_states
    )
    found = StepGradients(torch.empty_like(kept.activations), d_hidden, d_cell, torch.empty_like(kept.cells))
    native.function("recurrence_backward", weight.dtype)(
        sequences.argument(weight.shape[1]),
        *map(native.address, (kept.activations, kept.cells, before, u, factors, wanted)),
        *map(native.address, (found.hidden_0, found.cell_0, found.gates, found.hidden)),
        ctypes.c_int(to_hidden_0),
        ctypes.c_int(torch.get_num_threads()),
    )
    return found
