"""How implementations are timed, and the least time, the roofline, that a product can take on this machine.

Timing is interleaved: every implementation is called once a round, so that a slow minute of the machine hits all. The
roofline is a product's fewest operations at the machine's best rate, and x read once.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from btrnn.benchmark.measure.implementations import Built, Implementation, Problem, check, step
from btrnn.benchmark.settings import FLOAT_BYTES, Family, Phase, Shape, cheapest_contraction

Call = Callable[[], None]
Timer = Callable[[Call], float]
Cells = dict[tuple[str, str], dict[str, object]]  # the columns of a record, by implementation and phase


@dataclass(frozen=True)
class Effort:
    """How often calls are timed.

    Attributes:
        least_rounds: Rounds that are done even when the time is over.
        slow_rounds: After so many rounds a slow call is left alone.
        most_rounds: More say nothing new.
        warm_ups: Calls before the first round.
        slow_seconds: A call is slow from here.
        longest_seconds: A call of another library that takes longer is left out of sweeps.
    """

    least_rounds: int = 5
    slow_rounds: int = 3
    most_rounds: int = 100
    warm_ups: int = 2
    slow_seconds: float = 1.0
    longest_seconds: float = 5.0


QUICK = Effort(least_rounds=2, slow_rounds=1, most_rounds=3, warm_ups=1)


def time_on_cpu(call: Call) -> float:
    """Return the seconds that one call takes."""
    before = perf_counter()
    call()
    return perf_counter() - before


def time_on_cuda(call: Call) -> float:
    """Return the seconds between two events in the GPU's stream."""
    events: Any = torch.cuda.Event  # whose constructor has no annotations
    before, after = events(enable_timing=True), events(enable_timing=True)
    before.record()
    call()
    after.record()
    after.synchronize()
    milliseconds: float = before.elapsed_time(after)
    return milliseconds / 1000


def timer_of(device: torch.device) -> Timer:
    """Return the timer of a device."""
    return time_on_cuda if device.type == "cuda" else time_on_cpu


def time_interleaved(
    calls: Mapping[str, Call],
    end: float,
    timer: Timer,
    effort: Effort,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, list[float]]:
    """Time some calls in rounds, each round in an order that is rotated by one.

    Args:
        calls: What is timed, by name.
        end: When to stop, in the clock's seconds; the least rounds are done in any case.
        timer: Does a call and says how long it took.
        effort: How often.
        clock: Tells the time.

    Returns:
        The seconds of each round, by name. The garbage collector is off meanwhile.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for call in calls.values():
            for _ in range(effort.warm_ups):
                call()
        for number in range(effort.most_rounds):
            if number >= effort.least_rounds and clock() >= end:
                break
            for name in rotated(list(calls), number):
                if len(seconds[name]) < effort.slow_rounds or min(seconds[name]) < effort.slow_seconds:
                    seconds[name].append(timer(calls[name]))
    finally:
        if collects:
            gc.enable()
    return seconds


def rotated(names: Sequence[str], number: int) -> list[str]:
    """Return the names in the order of a round."""
    first = number % max(len(names), 1)
    return [*names[first:], *names[:first]]


def best_and_median(seconds: Sequence[float]) -> dict[str, float | int]:
    """Summarise rounds as the columns of a record."""
    return {"best_ms": 1000 * min(seconds), "median_ms": 1000 * float(median(seconds)), "rounds": len(seconds)}


_GEMMS = ((2048, 2048, 2048), (1024, 4096, 1024), (96, 57_600, 1024), (4096, 512, 512))
_SMALL_GEMMS = ((128, 128, 128), (256, 256, 256))
_READ_FLOATS = 2**26


@dataclass(frozen=True)
class Visitor:
    """Checks and times all implementations at one shape."""

    device: torch.device
    effort: Effort

    def visit(
        self, problem: Problem, implementations: Sequence[Implementation], phases: Sequence[Phase], end: float
    ) -> Cells:
        """Check and time all implementations in all phases.

        Returns:
            The columns of a record, by implementation and phase, in the order of the implementations.
        """
        cells: Cells = {(implementation.name, phase): {} for implementation in implementations for phase in phases}
        built: dict[str, Built] = {}
        for implementation in implementations:
            for phase in phases:
                cell = cells[implementation.name, phase]
                cell |= self._prepare(problem, implementation, phase, built)
        problem.forget_answers()
        for number, phase in enumerate(phases):
            now = perf_counter()
            share = max(end - now, 0.0) / (len(phases) - number)
            calls = {}
            for name, made in built.items():
                if "note" not in cells[name, phase]:
                    try:
                        calls[name] = step(made, problem, phase)  # which may capture a graph
                    except Exception as failure:
                        cells[name, phase] |= self._failed(failure, ours=True)
            for name, seconds in time_interleaved(calls, now + share, timer_of(self.device), self.effort).items():
                cells[name, phase] |= best_and_median(seconds)
        return cells

    def _prepare(
        self, problem: Problem, implementation: Implementation, phase: Phase, built: dict[str, Built]
    ) -> dict[str, object]:
        """Build an implementation if it is not built, and check it; returns the error, or a note why not to time it."""
        name = implementation.name
        if reason := implementation.left_out(problem.shape, training=phase != "forward"):
            return {"note": reason}
        try:
            if name not in built:
                built[name] = implementation.build(problem)
            error = check(built[name], problem, implementation.family, phase)
            seconds = timer_of(self.device)(step(built[name], problem, phase)) if implementation.package else 0.0
        except Exception as failure:
            return self._failed(failure, ours=not implementation.package)
        if error > implementation.largest_error:
            return {"max_error": error, "note": f"wrong: error {error:.1e}"}
        if seconds > self.effort.longest_seconds:
            return {"max_error": error, "note": f"left out: a call takes {seconds:.1f} s"}
        return {"max_error": error}

    def _failed(self, failure: Exception, *, ours: bool) -> dict[str, object]:
        """Note a failure; one of our own code is no result, but on a GPU the others are to have theirs."""
        if ours and self.device.type == "cpu":
            raise failure
        causes = [error for error in (failure, failure.__context__) if error is not None]  # a capture's end fails too
        texts = [f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}" for error in causes]
        return {"note": f"failed: {'; in handling '.join(texts)}"}


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
