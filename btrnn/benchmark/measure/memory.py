"""Peak memory of training a layer, each in a new process: `python -m btrnn.benchmark.measure.memory '{...}'`."""

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from btrnn.benchmark.measure import layers
from btrnn.benchmark.measure.timing import best_and_median, timer_of
from btrnn.benchmark.results.costs import Family
from btrnn.benchmark.results.settings import TINY, Shape
from btrnn.engine.memory import peak_memory_mib, reuse_freed_memory, start_memory_anew
from btrnn.ops import native

_FAMILIES: dict[str, Family] = {
    layers.DENSE.name: "dense",
    layers.OURS_BT.name: "BT",
    layers.PLAIN_BT.name: "BT",
    layers.OURS_TT.name: "TT",
    layers.PLAIN_TT.name: "TT",
}


@dataclass(frozen=True)
class Job:
    """What a process is asked to measure.

    Attributes:
        model: The name of an implementation of `btrnn.benchmark.measure.layers`.
        shape: Its shape.
        reuse: Whether freed memory is kept, as in training (`btrnn.engine.memory.reuse_freed_memory`).
        steps: How many training steps are timed, after two others.
        device: "cpu" or "cuda".
        threads: Of torch.
    """

    model: str
    shape: Shape
    reuse: bool
    steps: int
    device: str
    threads: int


def measure_apart(job: Job) -> dict[str, Any]:
    """Measure in a fresh process.

    Returns:
        The columns `peak_mib`, `best_ms`, `median_ms` and `rounds` of a record, or a `note` where the process failed.
    """
    command = [sys.executable, "-m", "btrnn.benchmark.measure.memory", json.dumps(asdict(job))]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode:
        last = outcome.stderr.strip().splitlines()[-1:] or [f"exit status {outcome.returncode}"]
        return {"note": f"failed: {last[0]}"}
    columns: dict[str, Any] = json.loads(outcome.stdout.splitlines()[-1])
    return columns


def measure(job: Job) -> dict[str, float | int]:
    """Train a layer on noise in this process.

    A tiny layer of the same kind is trained before: what torch loads at a first step counts as import, not as memory.
    """
    device = torch.device(job.device)
    torch.set_num_threads(job.threads)
    if job.reuse:
        reuse_freed_memory()
    plain = job.model in (layers.PLAIN_BT.name, layers.PLAIN_TT.name)
    with native.disabled() if plain else nullcontext():
        _train(replace(job, shape=TINY, steps=1), device)
        start_memory_anew()
        before = peak_memory_mib(device)
        seconds = _train(job, device)
    return {"peak_mib": peak_memory_mib(device) - before, **best_and_median(seconds)}


def _train(job: Job, device: torch.device) -> list[float]:
    """Return the seconds of each training step."""
    module, call = _make(job, device)
    shape, adam = job.shape, torch.optim.Adam(module.parameters(), lr=1e-7, fused=True)
    x = torch.randn(shape.time, shape.batch, shape.in_features, device=device)
    d_output = torch.randn(shape.time, shape.batch, shape.hidden_size, device=device)

    def step() -> None:
        adam.zero_grad()
        torch.autograd.backward(call(x), d_output)
        adam.step()

    timer = timer_of(device)
    return [timer(step) for _ in range(2 + job.steps)][2:]


def _make(job: Job, device: torch.device) -> tuple[nn.Module, Any]:
    """Return a layer as its library initialises it, and its call."""
    shape = job.shape
    if job.model == layers.TEDNET.name:
        layer = layers.make_tednet(shape, device)
        return layer, layers.tednet_call(layer, shape)
    module: nn.Module
    if job.model == layers.TORCH.name:
        module = nn.LSTM(shape.in_features, shape.hidden_size, device=device)
    else:
        module = layers.make_layer(shape, _FAMILIES[job.model], device)

    def call(x: Tensor) -> Tensor:
        output: Tensor = module(x)[0]
        return output

    return module, call


def _job(text: str) -> Job:
    fields = json.loads(text)
    shape: dict[str, Any] = fields["shape"]
    shape |= {name: tuple(shape[name]) for name in ("in_modes", "hidden_modes")}
    return Job(**{**fields, "shape": Shape(**shape)})


if __name__ == "__main__":
    print(json.dumps(measure(_job(sys.argv[1]))))
