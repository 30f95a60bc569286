"""Every format side by side: counts, time and memory at one size, and how near it comes to given matrices."""

from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

import btrnn
from btrnn.nn.factorised import FactorisedLinear
from btrnn.recovery.truths import KINDS, SIZE, make_truth

ROWS = 96  # vectors: six frames of each of 16 clips
_MODES = ((8, 20, 20, 18), (16, 4, 4, 4))  # a frame, and the gates of 256 units
_CUBE = ((4, 4, 4), (4, 4, 4))  # of the matrices of `btrnn.recovery.truths`


class Format(NamedTuple):
    """One format: its layer with about 3,400 parameters for a frame, and with about 512 for a matrix of 64 x 64.

    label: As it is shown.
    name: Of the class in `btrnn`.
    sizes, ranks: The arguments by place and by name of the first.
    small_sizes, small_ranks: Those of the second.
    """

    label: str
    name: str
    sizes: tuple[Any, ...]
    ranks: dict[str, Any]
    small_sizes: tuple[Any, ...]
    small_ranks: dict[str, Any]

    @property
    def kind(self) -> Any:
        """The class."""
        return getattr(btrnn, self.name)


def _formats() -> Iterator[Format]:
    blocks = {"tucker_rank": 4, "num_blocks": 2}
    yield Format("block terms", "BTLinear", _MODES, blocks, _CUBE, blocks)
    yield Format("tensor train", "TTLinear", _MODES, {"tt_rank": 4}, _CUBE, {"tt_rank": (4, 5)})
    ring = (4, 5, 4, 5, 4, 5)
    yield Format("tensor ring", "TRLinear", _MODES, {"tr_rank": 6}, _CUBE, {"tr_rank": ring})
    yield Format("canonical polyadic", "CPLinear", _MODES, {"cp_rank": 9}, _CUBE, {"cp_rank": 10})
    yield Format("Tucker", "TuckerLinear", _MODES, {"tucker_rank": 6}, _CUBE, {"tucker_rank": 6})
    yield Format("hierarchical Tucker", "HTLinear", _MODES, {"ht_rank": 7}, _CUBE, {"ht_rank": 6})
    two, small = ((240, 240), (16, 64)), ((8, 8), (8, 8))  # of two matrices, the least that there are for a frame
    yield Format("Kronecker, two matrices", "KroneckerLinear", two, {"num_terms": 1}, small, {"num_terms": 4})
    yield Format("low rank", "LowRankLinear", (57_600, 1024), {"rank": 1}, (SIZE, SIZE), {"rank": 4})


FORMATS = tuple(_formats())


def fit_error(one: Format, weight: Tensor) -> float:
    """Compute the relative error of the format's fit to a matrix of 64 x 64."""
    sizes = () if one.name == "LowRankLinear" else one.small_sizes
    layer: FactorisedLinear = one.kind.from_dense(weight, *sizes, **one.small_ranks)
    return layer.relative_error(weight)


def kept_bytes(layer: FactorisedLinear, x: Tensor) -> int:
    """Count the bytes that a product keeps for its backward pass, beside its input and its parameters."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (x, *layer.parameters())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = layer(x)  # held until the count is done, so that no address is used twice
    del output
    return sum(kept.values())


def compare(num_seeds: int = 3, rounds: int = 15) -> pd.DataFrame:
    """Measure every format on one thread, interleaved: a row each, and one of the dense layer.

    Args:
        num_seeds: How many matrices of each kind are fitted.
        rounds: How often each product is timed; the median counts.

    Returns:
        Columns `format`, `parameters`, `ratio`, `forward_ms`, `step_ms` (forward and backward), `kept_mib`,
        `small_parameters`, and the mean relative error for each kind of matrix, `error_photograph` and so on.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _compare(num_seeds, rounds)
    finally:
        torch.set_num_threads(threads)


def _compare(num_seeds: int, rounds: int) -> pd.DataFrame:
    torch.manual_seed(0)
    x = torch.randn(ROWS, 57_600)
    d_output = torch.randn(ROWS, 1024)
    layers: dict[str, Any] = {"dense": torch.nn.Linear(57_600, 1024, bias=False)}
    layers |= {one.label: one.kind(*one.sizes, **one.ranks, bias=False) for one in FORMATS}
    times: dict[str, list[tuple[float, float]]] = {label: [] for label in layers}
    for number in range(rounds + 1):
        for label, layer in layers.items():
            pair = _milliseconds(layer, x, d_output)
            if number > 0:  # the first one warms up
                times[label].append(pair)
    rows = []
    for label, layer in layers.items():
        parameters = sum(parameter.numel() for parameter in layer.parameters())
        forward, step = (median(pair[k] for pair in times[label]) for k in (0, 1))
        row: dict[str, Any] = {"format": label, "parameters": parameters, "ratio": 57_600 * 1024 // parameters}
        row |= {"forward_ms": forward, "step_ms": step, "kept_mib": kept_bytes(layer, x) / 2**20}
        rows.append(row)
    for row, one in zip(rows[1:], FORMATS, strict=True):
        row["small_parameters"] = one.kind(*one.small_sizes, **one.small_ranks, bias=False, device="meta").num_weights
        for kind in KINDS:
            errors = [fit_error(one, torch.from_numpy(make_truth(kind, seed))) for seed in range(num_seeds)]
            row[f"error_{kind}"] = sum(errors) / num_seeds
    return pd.DataFrame(rows).astype({"small_parameters": "Int64"})


def _milliseconds(layer: Callable[[Tensor], Tensor], x: Tensor, d_output: Tensor) -> tuple[float, float]:
    """Time one product without gradients, and one with the gradients of its parameters."""
    parameters: list[Tensor] = list(layer.parameters())  # type: ignore[attr-defined]
    begin = perf_counter()
    with torch.no_grad():
        layer(x)
    middle = perf_counter()
    torch.autograd.grad(layer(x), parameters, d_output)
    return 1e3 * (middle - begin), 1e3 * (perf_counter() - middle)
