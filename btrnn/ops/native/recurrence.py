"""What the native kernels of the recurrences are told, and where they serve."""

import ctypes
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from torch import Tensor

from btrnn.ops import native
from btrnn.ops.steps import Steps

FEWEST_STEPS = 2  # a single one does not repay laying U out
LARGEST_WEIGHT_BYTES = 4 * 2**20  # of U, which every thread reads at every step: beyond, the cache does not hold it


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


def sequences_of(steps: Steps, hidden_size: int, activation: str) -> Any:
    """Return a pointer to the kernel's Sequences, which keeps alive what it points to."""
    sizes, count = steps.sizes, len(steps.sizes)
    array, hard = ctypes.c_int64 * count, activation == "hard_sigmoid"
    starts = accumulate(sizes[:-1], initial=0)
    return ctypes.byref(_Sequences(count, sizes[0], hidden_size, array(*sizes), array(*starts), steps.reverse, hard))


def serves(num_steps: int, weight: Tensor, tensors: Sequence[Tensor]) -> bool:
    """Return whether the kernel is available for these tensors, and faster for a U of this size and so many steps."""
    small = weight.numel() * weight.element_size() <= LARGEST_WEIGHT_BYTES
    return num_steps >= FEWEST_STEPS and small and native.serves(weight, tensors)
