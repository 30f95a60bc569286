"""Whole recurrent layers, in all the ways that are compared."""

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from btrnn import BTLSTM, LSTM, TTLSTM, BTLinear, TTLinear
from btrnn.benchmark.measure.implementations import Built, Bytes, Implementation, gradient, graphed
from btrnn.benchmark.measure.products import fill, fill_tednet, map_parameters, tednet_gradients, tednet_parameters
from btrnn.benchmark.measure.reference import Problem
from btrnn.benchmark.results.costs import Family, dense_bytes, factored_bytes, mode_by_mode_bytes
from btrnn.benchmark.results.settings import Shape
from btrnn.ops import native


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


def tednet(problem: Problem) -> Built:
    """BTTLSTM of tednet, without dropout."""
    shape = problem.shape
    layer = make_tednet(shape, problem.device)
    cell = layer.cell
    blocks = tednet_parameters(cell.weight_ih, shape)
    fill_tednet(blocks, problem.operands("BT"))
    fill([cell.weight_hh, cell.bias_hh], [problem.recurrent_weight, problem.bias])

    def gradients() -> list[Tensor]:
        return [*tednet_gradients(blocks), gradient(cell.weight_hh), gradient(cell.bias_hh)]

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


def _with_adam(shape: Shape, training: bool) -> int:
    """Count W, x and W x; where training also the gradient of W and its two moments in Adam."""
    return dense_bytes(shape, training=training) + training * 2 * dense_bytes(shape, training=False)


def _with_states(product_bytes: Callable[[Shape, bool], int]) -> Bytes:
    """Add a dozen numbers for each row and hidden feature to what the product needs."""
    return lambda shape, training: product_bytes(shape, training) + 48 * shape.rows * shape.hidden_size


def _factored(family: Family) -> Bytes:
    return _with_states(lambda shape, training: factored_bytes(shape, family, training=training))


def _mode_by_mode(shape: Shape, training: bool) -> int:
    return mode_by_mode_bytes(shape, training=training)


TORCH = Implementation("nn.LSTM", "dense", torch_lstm, _with_adam)
DENSE = Implementation("btrnn.LSTM", "dense", ours("dense"), _with_adam)
OURS_BT = Implementation("btrnn.BTLSTM", "BT", ours("BT"), _factored("BT"))
PLAIN_BT = Implementation("btrnn.BTLSTM, plain torch", "BT", ours("BT", plain=True), _factored("BT"))
OURS_TT = Implementation("btrnn.TTLSTM", "TT", ours("TT"), _factored("TT"))
PLAIN_TT = Implementation("btrnn.TTLSTM, plain torch", "TT", ours("TT", plain=True), _factored("TT"))
TEDNET = Implementation("tednet BTTLSTM", "BT", tednet, _with_states(_mode_by_mode), package="tednet")

LAYERS = [TORCH, DENSE, OURS_BT, PLAIN_BT, TEDNET, OURS_TT, PLAIN_TT]
GRAPHED_LAYERS = [graphed(one) for one in (TORCH, DENSE, OURS_BT, OURS_TT)]
