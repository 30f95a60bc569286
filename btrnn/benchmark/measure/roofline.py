"""The least time that a product can take on this machine: its fewest operations at the best rate, and x read once."""

from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from btrnn.benchmark.measure.timing import Effort, timer_of
from btrnn.benchmark.results.costs import FLOAT_BYTES, Family, Phase, cheapest_contraction
from btrnn.benchmark.results.settings import Shape

_GEMMS = ((2048, 2048, 2048), (1024, 4096, 1024), (96, 57_600, 1024), (4096, 512, 512))
_SMALL_GEMMS = ((128, 128, 128), (256, 256, 256))
_READ_FLOATS = 2**26


class Rates(NamedTuple):
    """What the machine can do, as measured.

    Attributes:
        flops: Additions and multiplications a second, in the best of some matrix products.
        bytes_read: Bytes a second, summing up a tensor that is larger than the caches.
        median_flops, median_bytes_read: The same, by the median of the calls.
    """

    flops: float
    bytes_read: float
    median_flops: float
    median_bytes_read: float


def measure_rates(device: torch.device, effort: Effort, *, small: bool = False) -> Rates:
    """Time matrix products of a few shapes, and the sum of a large tensor; small ones for a try."""
    timer, repeats = timer_of(device), 2 * effort.least_rounds
    best, middle = 0.0, 0.0
    for rows, depth, columns in _SMALL_GEMMS if small else _GEMMS:
        left, right = torch.randn(rows, depth, device=device), torch.randn(depth, columns, device=device)
        out = torch.empty(rows, columns, device=device)
        _multiply(left, right, out)
        seconds = [timer(partial(_multiply, left, right, out)) for _ in range(repeats)]
        work = 2 * rows * depth * columns
        best, middle = max(best, work / min(seconds)), max(middle, work / median(seconds))
    large = torch.ones(2**16 if small else _READ_FLOATS, device=device)
    seconds = [timer(partial(_read, large)) for _ in range(repeats)]
    size = FLOAT_BYTES * large.numel()
    return Rates(best, size / min(seconds), middle, size / median(seconds))


def _multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    torch.mm(left, right, out=out)


def _read(tensor: Tensor) -> None:
    tensor.sum()


def roofline_seconds(shape: Shape, family: Family, phase: Phase, rates: Rates) -> tuple[float, float]:
    """Return the roofline of a product by the best and by the median rates, with gradients of the weights alone."""
    contraction = cheapest_contraction(shape, family)
    flops = contraction.forward_flops if phase == "forward" else contraction.training_flops
    size = FLOAT_BYTES * shape.rows * shape.in_features
    return (
        flops / rates.flops + size / rates.bytes_read,
        flops / rates.median_flops + size / rates.median_bytes_read,
    )
