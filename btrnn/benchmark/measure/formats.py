"""Every format's product at one size: beside the dense one, opt_einsum's, and those of other libraries."""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from time import perf_counter
from typing import NamedTuple

import opt_einsum
import pandas as pd
import torch
from torch import Tensor, nn

from btrnn.benchmark.measure.implementations import LARGEST_ERROR, Built, Problem, leaves, relative_error, step
from btrnn.benchmark.measure.peers import (
    Peer,
    block_terms_of_tednet,
    of_tednet,
    of_tltorch,
    train_of_tednet,
    train_of_tltorch,
)
from btrnn.benchmark.measure.products import contracted
from btrnn.benchmark.measure.timing import Effort, time_interleaved, timer_of
from btrnn.benchmark.settings import PAPER, Phase, Shape
from btrnn.nn.factorised import FactorisedLinear
from btrnn.nn.hierarchical_tucker import HierarchicalTucker
from btrnn.nn.input_map import BlockTerm, FactorisedMap, Factory, MapPlace, TensorTrain
from btrnn.nn.kronecker import CanonicalPolyadic, Kronecker
from btrnn.nn.low_rank import LowRank
from btrnn.nn.tensor_ring import TensorRing
from btrnn.nn.tucker import Tucker
from btrnn.ops.stages import TensorNetwork

LIBRARIES = ("tednet", "tltorch")
_PHASES: dict[Phase, str] = {"forward": "forward_ms", "forward+backward": "step_ms"}
_MODES, _HIDDEN = (PAPER.in_modes, PAPER.out_modes), (PAPER.in_modes, PAPER.hidden_modes)
_SLOW_ROUNDS = 3  # of a call that takes more than a second


class Format(NamedTuple):
    """One format: its layer for a frame, and what other libraries have of it.

    label: As it is shown.
    map: Ours.
    peers: By library.
    """

    label: str
    map: FactorisedMap | LowRank
    peers: dict[str, Peer]

    def build(self, shape: Shape = PAPER, device: str = "cpu") -> FactorisedLinear:
        """Make our layer, which serves four gates, without a bias."""
        factory: Factory = {"device": device, "dtype": None}
        return self.map.build(MapPlace(0, 1, 4, shape.in_features, shape.hidden_size, factory))


def _formats() -> Iterator[Format]:
    """Yield all formats with about 3,400 parameters where they go so low, and their peers with as many."""
    yield block_terms(PAPER)
    yield tensor_train(PAPER)
    ring = of_tednet("tensor_ring", "TRLinear", *_MODES, (6,) * 8, numbers=lambda ours: ours.weights())
    yield Format("tensor ring", TensorRing(*_HIDDEN, rank=6), {"tednet": ring})
    # their vectors for input and output modes apart need four times the rank for as many numbers
    single = {"tednet": of_tednet("cp", "CPLinear", *_MODES, 36), "tltorch": of_tltorch("cp", _MODES, 36)}
    yield Format("canonical polyadic", CanonicalPolyadic(*_HIDDEN, rank=9), single)
    # tednet's Tucker-2 leaves all outputs in one mode, and takes three of the input; tensorly-torch's core has 2 d axes
    tucker = {
        "tednet": of_tednet("tucker2", "TK2Linear", (240, 15, 16), 1024, (2, 2)),
        "tltorch": of_tltorch("tucker", _MODES, (2, 2, 2, 2, 4, 4, 4, 3)),
    }
    yield Format("Tucker", Tucker(*_HIDDEN, rank=6), tucker)
    yield Format("hierarchical Tucker", HierarchicalTucker(*_HIDDEN, rank=7), {})
    two = ((240, 240), (16, 64))  # two matrices have the least numbers that there are for a frame
    train_of_rank_1 = {
        "tednet": of_tednet("tensor_train", "TTLinear", *two, (1,), numbers=lambda ours: ours.weights()),
        "tltorch": of_tltorch("blocktt", two, 1, lambda ours: [factor.mT for factor in ours.weights()]),
    }
    yield Format("Kronecker, two matrices", Kronecker((240, 240), (4, 64), num_terms=1), train_of_rank_1)
    flat = ((57_600,), (1024,))
    of_one_mode = {
        "tednet": of_tednet("tucker2", "TK2Linear", (57_600,), 1024, (1,), numbers=lambda o: [o.right.mT, o.left.mT]),
        "tltorch": of_tltorch("cp", flat, 1, lambda ours: [torch.ones(ours.rank), ours.left, ours.right.mT]),
    }
    yield Format("low rank", LowRank(rank=1), of_one_mode)


def block_terms(shape: Shape) -> Format:
    """Return the block terms of a shape."""
    terms = BlockTerm(shape.in_modes, shape.hidden_modes, shape.rank, shape.num_blocks)
    return Format("block terms", terms, {"tednet": block_terms_of_tednet(shape)})


def tensor_train(shape: Shape) -> Format:
    """Return the tensor train of a shape."""
    peers = {"tednet": train_of_tednet(shape), "tltorch": train_of_tltorch(shape)}
    return Format("tensor train", TensorTrain(shape.in_modes, shape.hidden_modes, shape.rank), peers)


FORMATS = tuple(_formats())


def missing_libraries() -> list[str]:
    """List the other libraries that are not installed."""
    return [name for name in LIBRARIES if find_spec(name) is None]


def equation(network: TensorNetwork) -> str:
    """Write W x as one einsum: x with its modes, then the operands of W, with an axis of several blocks."""
    letters = {axis: opt_einsum.get_symbol(k) for k, axis in enumerate(["rows", "blocks", *network.sizes])}
    block = ("blocks",) if network.num_blocks > 1 else ()
    axes = [("rows", *network.in_axes), *((*block, *operand) for operand in network.operands)]
    terms = ["".join(letters[axis] for axis in each) for each in [*axes, ("rows", *network.out_axes)]]
    return f"{','.join(terms[:-1])}->{terms[-1]}"


def optimal_path(layer: FactorisedLinear, rows: int) -> Built:
    """Make opt_einsum's product of a layer's numbers, planned beforehand."""
    tensors = [operand.detach().clone() for operand in layer.operands()]
    if layer.network.num_blocks == 1:
        tensors = [tensor[0] for tensor in tensors]
    return contracted(equation(layer.network), rows, layer.in_modes, leaves(tensors))


def kept_bytes(call: Callable[[Tensor], Tensor], parameters: Sequence[Tensor], x: Tensor) -> int:
    """Count the bytes that a product keeps for its backward pass, beside its input and its parameters."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (x, *parameters)}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = call(x)  # held until the count is done, so that no address is used twice
    del output
    return sum(kept.values())


def compare(formats: Sequence[Format] = FORMATS, shape: Shape = PAPER, rounds: int = 9) -> pd.DataFrame:
    """Measure every format on one thread, interleaved with the dense product and with those of the others.

    Args:
        formats: Which.
        shape: The size of x and of W x.
        rounds: How often each product is timed, a slow one three times; the median counts.

    Returns:
        A row for the dense layer, and one for each format. Columns `format`, `parameters`, `ratio`, `forward_ms`,
        `step_ms` (forward and backward) and `kept_mib`; the last three also with `opt_einsum_`, `tednet_` and
        `tltorch_` before their names, and `tednet_parameters` and `tltorch_parameters`. Empty where a library has no
        such layer, or is not installed.

    Raises:
        RuntimeError: A product of the same numbers gives another result.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _compare(formats, Problem(shape, torch.device("cpu")), rounds)
    finally:
        torch.set_num_threads(threads)


def _compare(formats: Sequence[Format], problem: Problem, rounds: int) -> pd.DataFrame:
    dense = nn.Linear(problem.shape.in_features, problem.shape.out_features, bias=False)
    rows = {"dense": {"": _built(dense)}} | {one.label: _products(one, problem) for one in formats}
    places = [(label, prefix, phase) for label, row in rows.items() for prefix in row for phase in _PHASES]
    calls = {str(place): step(rows[place[0]][place[1]], problem, place[2]) for place in places}
    effort = Effort(least_rounds=rounds, slow_rounds=_SLOW_ROUNDS, most_rounds=rounds, warm_ups=1)
    seconds = time_interleaved(calls, perf_counter(), timer_of(problem.device), effort)
    names = [f"{library}_" for library in LIBRARIES]
    columns = [f"{prefix}{name}" for prefix in ("opt_einsum_", *names) for name in (*_PHASES.values(), "kept_mib")]
    columns += [f"{prefix}parameters" for prefix in names]
    table = pd.DataFrame({"format": list(rows)}, index=list(rows))
    for name in ("parameters", "ratio", *_PHASES.values(), "kept_mib", *columns):
        table[name] = float("nan")
    for label, row in rows.items():
        for prefix, built in row.items():
            if prefix != "opt_einsum_":
                table.loc[label, f"{prefix}parameters"] = sum(parameter.numel() for parameter in built.parameters)
            table.loc[label, f"{prefix}kept_mib"] = kept_bytes(built.call, built.parameters, problem.x) / 2**20
    for label, prefix, phase in places:
        table.loc[label, f"{prefix}{_PHASES[phase]}"] = 1e3 * pd.Series(seconds[str((label, prefix, phase))]).median()
    table["ratio"] = dense.weight.numel() // table["parameters"]
    counts = ["parameters", "ratio", *(f"{prefix}parameters" for prefix in names)]
    return table.astype(dict.fromkeys(counts, "Int64")).reset_index(drop=True)


def _built(layer: nn.Module) -> Built:
    return Built(layer, list(layer.parameters()), list)


def _products(one: Format, problem: Problem) -> dict[str, Built]:
    """Make a format's products, by the prefix of their columns, and check those that have the same numbers."""
    layer = one.build(problem.shape)
    row = {"": _built(layer), "opt_einsum_": optimal_path(layer, problem.shape.rows)}
    same = ["opt_einsum_"]
    for library in one.peers.keys() - missing_libraries():
        row[f"{library}_"] = _built(one.peers[library].build(layer))
        if one.peers[library].numbers is not None:
            same.append(f"{library}_")
    with torch.no_grad():
        right = layer(problem.x).double()
        for prefix in same:
            if (error := relative_error(row[prefix].call(problem.x), right)) > LARGEST_ERROR:
                raise RuntimeError(f"{one.label}: the result of {prefix.rstrip('_')} is {error:.1e} away from ours")
    return row
