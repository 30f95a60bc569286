"""Whole recurrent layers, in all the ways that are compared, and the peak memory of training one.

Memory is measured in a new process for each: `python -m btrnn.benchmark.measure.layers '{...}'`.
"""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from btrnn import BTLSTM, LSTM, TTLSTM, BTLinear, TTLinear
from btrnn.benchmark.measure.implementations import (
    Built,
    Bytes,
    Implementation,
    Problem,
    changed,
    gradient,
    graphed,
    in_one_graph,
)
from btrnn.benchmark.measure.peers import tednet_gradients, tednet_numbers
from btrnn.benchmark.measure.products import fill, make_map, map_parameters
from btrnn.benchmark.measure.timing import best_and_median, timer_of
from btrnn.benchmark.settings import PLAIN, TF32, TINY, Family, Shape, dense_bytes, factored_bytes, mode_by_mode_bytes
from btrnn.engine.machine import peak_memory_mib, reuse_freed_memory, start_memory_anew
from btrnn.ops import native

_LARGEST_TF32_ERROR = 1e-2  # of operands rounded to 10 bits


def torch_lstm(problem: Problem) -> Built:
    """nn.LSTM; one of its two bias vectors is zero."""
    layer = nn.LSTM(problem.shape.in_features, problem.shape.hidden_size, device=problem.device)
    weights: dict[str, Tensor] = dict(layer.named_parameters())
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
    with torch.no_grad():
        weights["bias_hh_l0"].zero_()
    fill([weights[name] for name in names], [problem.dense_weight(), problem.recurrent_weight, problem.bias])
    return Built(lambda x: layer(x)[0], list(layer.parameters()), lambda: [gradient(weights[name]) for name in names])


def make_layer(shape: Shape, family: Family, device: torch.device) -> LSTM:
    """Return our layer of a shape."""
    if family == "dense":
        return LSTM(shape.in_features, shape.hidden_size, device=device)
    if family == "BT":
        ranks: dict[str, Any] = {"tucker_rank": shape.rank, "num_blocks": shape.num_blocks}
        return BTLSTM(shape.in_modes, shape.hidden_modes, device=device, **ranks)
    return TTLSTM(shape.in_modes, shape.hidden_modes, tt_rank=shape.rank, device=device)


def ours(family: Family, *, plain: bool = False) -> Callable[[Problem], Built]:
    """LSTM, BTLSTM or TTLSTM; with torch's products alone where `plain`."""

    def build(problem: Problem) -> Built:
        layer = make_layer(problem.shape, family, problem.device)
        input_map = layer.input_maps[0]
        if isinstance(input_map, BTLinear | TTLinear):
            parameters, numbers = map_parameters(input_map), problem.operands(family)
        else:
            parameters, numbers = [input_map.get_parameter("weight")], [problem.dense_weight()]
        parameters += [layer.weight_hh[0], layer.get_parameter("bias_l0")]
        fill(parameters, [*numbers, problem.recurrent_weight, problem.bias])
        built = Built(lambda x: layer(x)[0], parameters, lambda: [gradient(parameter) for parameter in parameters])
        if plain:
            built.context = native.disabled
        return built

    return build


def before_torch(problem: Problem) -> Built:
    """BTLSTM's product, and after it the recurrence of torch, on a GPU cuDNN's: an nn.LSTM whose input weight is 1.

    That costs a further product, 4 H wide, and gives one call for all steps in place of two for each.
    """
    size, input_map = problem.shape.hidden_size, make_map(problem, "BT")
    recurrence = nn.LSTM(4 * size, size, device=problem.device)
    weights: dict[str, Tensor] = dict(recurrence.named_parameters())
    with torch.no_grad():
        torch.nn.init.eye_(weights["weight_ih_l0"])
        weights["bias_hh_l0"].zero_()
    for name in ("weight_ih_l0", "bias_hh_l0"):
        weights[name].requires_grad_(False)
    of_recurrence = [weights["weight_hh_l0"], weights["bias_ih_l0"]]
    fill(of_recurrence, [problem.recurrent_weight, problem.bias])
    parameters = [*map_parameters(input_map), *of_recurrence]
    return Built(
        lambda x: recurrence(input_map(x))[0], parameters, lambda: [gradient(parameter) for parameter in parameters]
    )


def tednet(problem: Problem) -> Built:
    """BTTLSTM of tednet, without dropout."""
    shape = problem.shape
    layer = make_tednet(shape, problem.device)
    cell = layer.cell
    of_map = [parameter for name, parameter in cell.weight_ih.named_parameters() if name != "bias"]  # which is zero
    numbers = tednet_numbers(problem.operands("BT"))
    fill([*of_map, cell.weight_hh, cell.bias_hh], [*numbers, problem.recurrent_weight, problem.bias])

    def gradients() -> list[Tensor]:
        return [*tednet_gradients(of_map, shape.num_blocks), gradient(cell.weight_hh), gradient(cell.bias_hh)]

    return Built(tednet_call(layer, shape), list(layer.parameters()), gradients)


def make_tednet(shape: Shape, device: torch.device) -> Any:
    """Return tednet's layer of a shape."""
    from tednet.tnn.bt_tucker import BTTLSTM

    ranks = [shape.rank] * shape.order
    with redirect_stdout(io.StringIO()):  # it prints its compression
        return BTTLSTM(
            list(shape.in_modes), list(shape.hidden_modes), ranks, shape.num_blocks, drop_ih=0.0, drop_hh=0.0
        ).to(device)


def tednet_call(layer: Any, shape: Shape) -> Callable[[Tensor], Tensor]:
    """Return the call with a state of zeros, which it does not make by itself."""

    def call(x: Tensor) -> Tensor:
        zeros = x.new_zeros(shape.batch, shape.hidden_size)
        output: Tensor = layer(x, (zeros, zeros))[0]
        return output

    return call


@contextmanager
def _tf32() -> Iterator[None]:
    """Let cuDNN round the operands of its products, as it does where torch is left as it is."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def in_tf32(layer: Implementation) -> Implementation:
    """Return a layer with cuDNN as torch sets it."""
    return replace(changed(layer, TF32, context=_tf32), largest_error=_LARGEST_TF32_ERROR)


def _with_adam(shape: Shape, training: bool) -> int:
    """Count W, x and W x; where training also the gradient of W and its two moments in Adam."""
    return dense_bytes(shape, training) + training * 2 * dense_bytes(shape, False)


def _with_states(product_bytes: Bytes) -> Bytes:
    """Add a dozen numbers for each row and hidden feature to what the product needs."""
    return lambda shape, training: product_bytes(shape, training) + 48 * shape.rows * shape.hidden_size


_BT_BYTES, _TT_BYTES = (_with_states(partial(factored_bytes, family=family)) for family in ("BT", "TT"))
TORCH = Implementation("nn.LSTM", "dense", torch_lstm, _with_adam)
DENSE = Implementation("btrnn.LSTM", "dense", ours("dense"), _with_adam)
OURS_BT = Implementation("btrnn.BTLSTM", "BT", ours("BT"), _BT_BYTES)
PLAIN_BT = Implementation(f"btrnn.BTLSTM{PLAIN}", "BT", ours("BT", plain=True), _BT_BYTES)
BT_BEFORE_TORCH = Implementation("btrnn.BTLinear, then nn.LSTM", "BT", before_torch, _BT_BYTES)
OURS_TT = Implementation("btrnn.TTLSTM", "TT", ours("TT"), _TT_BYTES)
PLAIN_TT = Implementation(f"btrnn.TTLSTM{PLAIN}", "TT", ours("TT", plain=True), _TT_BYTES)
TEDNET = Implementation("tednet BTTLSTM", "BT", tednet, _with_states(mode_by_mode_bytes), package="tednet")

LAYERS = [TORCH, DENSE, OURS_BT, PLAIN_BT, TEDNET, OURS_TT, PLAIN_TT]
GRAPHED_LAYERS = [graphed(one) for one in (TORCH, DENSE, OURS_BT, OURS_TT)]
DEVICE_LAYERS = [TORCH, in_tf32(TORCH), OURS_BT, in_tf32(OURS_BT), BT_BEFORE_TORCH, DENSE, OURS_TT, TEDNET]
GRAPHED_DEVICE_LAYERS = [in_one_graph(one) for one in DEVICE_LAYERS[:-1]]


_FAMILIES: dict[str, Family] = {
    DENSE.name: "dense",
    OURS_BT.name: "BT",
    PLAIN_BT.name: "BT",
    OURS_TT.name: "TT",
    PLAIN_TT.name: "TT",
}


@dataclass(frozen=True)
class Job:
    """What a process is asked to measure.

    Attributes:
        model: The name of an implementation.
        shape: Its shape.
        reuse: Whether freed memory is kept, as in training (`reuse_freed_memory`).
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
    command = [sys.executable, "-m", "btrnn.benchmark.measure.layers", json.dumps(asdict(job))]
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
    plain = job.model in (PLAIN_BT.name, PLAIN_TT.name)
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
    if job.model == TEDNET.name:
        layer = make_tednet(shape, device)
        return layer, tednet_call(layer, shape)
    module: nn.Module
    if job.model == TORCH.name:
        module = nn.LSTM(shape.in_features, shape.hidden_size, device=device)
    else:
        module = make_layer(shape, _FAMILIES[job.model], device)

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
