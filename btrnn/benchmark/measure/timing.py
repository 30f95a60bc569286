"""Interleaved timing: every implementation is called once a round, so that a slow minute of the machine hits all."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch

Call = Callable[[], None]
Timer = Callable[[Call], float]


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
