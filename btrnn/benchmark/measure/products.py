"""The product W x, in all the ways that are compared."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import opt_einsum
import torch
from torch import Tensor, nn

from btrnn import BTLinear, TTLinear
from btrnn.benchmark.measure.implementations import (
    Built,
    Implementation,
    Problem,
    gradient,
    graphed,
    in_one_graph,
    leaves,
)
from btrnn.benchmark.measure.peers import block_terms_of_tednet, tednet_gradients, tltorch_cores, train_of_tltorch
from btrnn.benchmark.settings import (
    PLAIN,
    Family,
    Modes,
    Shape,
    dense_bytes,
    factored_bytes,
    mode_by_mode_bytes,
    product_equation,
    weight_equation,
)
from btrnn.ops import native


def dense(problem: Problem) -> Built:
    """nn.Linear, with the W that the block terms stand for."""
    layer = nn.Linear(problem.shape.in_features, problem.shape.out_features, bias=False, device="meta")
    layer.weight = nn.Parameter(problem.dense_weight())
    return Built(layer, [layer.weight], lambda: [gradient(layer.weight)])


def make_map(problem: Problem, family: Family) -> BTLinear | TTLinear:
    """Return our layer with the problem's numbers."""
    shape = problem.shape
    modes, device = (shape.in_modes, shape.out_modes), problem.device
    layer: BTLinear | TTLinear
    if family == "BT":
        ranks: dict[str, Any] = {"tucker_rank": shape.rank, "num_blocks": shape.num_blocks}
        layer = BTLinear(*modes, bias=False, device=device, **ranks)
    else:
        layer = TTLinear(*modes, tt_rank=shape.rank, bias=False, device=device)
    fill(map_parameters(layer), problem.operands(family))
    return layer


def map_parameters(layer: BTLinear | TTLinear) -> list[Tensor]:
    """Return core and factors, or cores."""
    return [layer.core, *layer.factors] if isinstance(layer, BTLinear) else list(layer.cores)


@torch.no_grad()
def fill(parameters: Sequence[Tensor], numbers: Sequence[Tensor]) -> None:
    """Copy numbers into parameters of the same shapes."""
    for parameter, values in zip(parameters, numbers, strict=True):
        parameter.copy_(values)


def ours(family: Family, *, plain: bool = False) -> Callable[[Problem], Built]:
    """BTLinear or TTLinear; with torch's products alone where `plain`."""

    def build(problem: Problem) -> Built:
        layer = make_map(problem, family)
        parameters = map_parameters(layer)
        built = Built(layer, parameters, lambda: [gradient(parameter) for parameter in parameters])
        if plain:
            built.context = native.disabled
        return built

    return build


def optimal_path(family: Family) -> Callable[[Problem], Built]:
    """opt_einsum, with the order of contraction that has the fewest operations, planned beforehand."""

    def build(problem: Problem) -> Built:
        shape, operands = problem.shape, leaves(problem.operands(family))
        return contracted(product_equation(family, shape.order), shape.rows, shape.in_modes, operands)

    return build


def contracted(equation: str, rows: int, in_modes: Modes, operands: Sequence[Tensor]) -> Built:
    """Make opt_einsum's contraction of x, which comes first in the equation, with some operands; planned beforehand."""
    sizes = [(rows, *in_modes), *(tuple(operand.shape) for operand in operands)]
    contract = opt_einsum.contract_expression(equation, *sizes, optimize="optimal")

    def call(x: Tensor) -> Tensor:
        result: Tensor = contract(x.view(rows, *in_modes), *operands)
        return result.reshape(rows, -1)

    return Built(call, operands, lambda: [gradient(operand) for operand in operands])


@contextmanager
def _without_opt_einsum() -> Iterator[None]:
    """Let torch.einsum contract from left to right."""
    backend: Any = torch.backends.opt_einsum
    before = backend.enabled
    backend.enabled = False
    try:
        yield
    finally:
        backend.enabled = before


def one_einsum(problem: Problem) -> Built:
    """torch.einsum over x, factors and core in one call, from left to right."""
    shape = problem.shape
    operands = leaves(problem.operands("BT"))
    left, right = product_equation("BT", shape.order).split("->")
    x_term, core_term, *factor_terms = left.split(",")
    equation = f"{','.join([x_term, *factor_terms, core_term])}->{right}"

    def call(x: Tensor) -> Tensor:
        core, *factors = operands
        result = torch.einsum(equation, x.view(shape.rows, *shape.in_modes), *factors, core)
        return result.reshape(shape.rows, -1)

    return Built(call, operands, lambda: [gradient(operand) for operand in operands], _without_opt_einsum)


def authors_order(problem: Problem) -> Built:
    """The order of the authors' code, from equation 4: of each block modes 1 to d, the core last."""
    shape = problem.shape
    operands = leaves(problem.operands("BT"))
    core, *factors = operands

    def call(x: Tensor) -> Tensor:
        result = x.new_zeros(shape.rows, shape.out_features)
        tensor = x.view(shape.rows, *shape.in_modes)
        for n in range(shape.num_blocks):
            running = tensor
            for factor in factors:  # (rows, I_k, .., I_d, J_1, R, .., J_{k-1}, R): mode k goes, (J_k, R) comes
                running = torch.tensordot(running, factor[n], dims=([1], [0]))
            ranks = list(range(2, 2 * shape.order + 1, 2))
            block = torch.tensordot(running, core[n], dims=(ranks, list(range(shape.order))))
            result = result + block.reshape(shape.rows, -1)
        return result

    return Built(call, operands, lambda: [gradient(operand) for operand in operands])


def rebuilt(problem: Problem) -> Built:
    """W from its factors at every call, then the dense product."""
    shape = problem.shape
    operands = leaves(problem.operands("BT"))
    equation = weight_equation("BT", shape.order)
    contract = opt_einsum.contract_expression(equation, *(tuple(o.shape) for o in operands), optimize="optimal")

    def call(x: Tensor) -> Tensor:
        weight: Tensor = contract(*operands)
        return x @ weight.reshape(shape.out_features, -1).t()

    return Built(call, operands, lambda: [gradient(operand) for operand in operands])


def tednet(problem: Problem) -> Built:
    """BTTLinear of tednet."""
    layer = block_terms_of_tednet(problem.shape).build(make_map(problem, "BT")).to(problem.device)
    parameters = list(layer.parameters())
    return Built(layer, parameters, lambda: tednet_gradients(parameters, problem.shape.num_blocks))


def tltorch(problem: Problem) -> Built:
    """tensorly-torch's factorised linear layer as a tensor train, whose einsum is torch's with opt_einsum."""
    layer = train_of_tltorch(problem.shape).build(make_map(problem, "TT")).to(problem.device)
    parameters = list(layer.parameters())
    return Built(layer, parameters, lambda: tltorch_cores([gradient(parameter) for parameter in parameters]))


def _rebuilt_bytes(shape: Shape, training: bool) -> int:
    return 2 * dense_bytes(shape, training)


_BT_BYTES, _TT_BYTES = (partial(factored_bytes, family=family) for family in ("BT", "TT"))
DENSE = Implementation("dense nn.Linear", "dense", dense, dense_bytes)
OURS_BT = Implementation("btrnn BT", "BT", ours("BT"), _BT_BYTES)
PLAIN_BT = Implementation(f"btrnn BT{PLAIN}", "BT", ours("BT", plain=True), _BT_BYTES)
OURS_TT = Implementation("btrnn TT", "TT", ours("TT"), _TT_BYTES)
PLAIN_TT = Implementation(f"btrnn TT{PLAIN}", "TT", ours("TT", plain=True), _TT_BYTES)
OPTIMAL_BT = Implementation("opt_einsum BT", "BT", optimal_path("BT"), _BT_BYTES)
OPTIMAL_TT = Implementation("opt_einsum TT", "TT", optimal_path("TT"), _TT_BYTES)
TEDNET = Implementation("tednet BT", "BT", tednet, mode_by_mode_bytes, package="tednet")
TLTORCH = Implementation("tltorch TT", "TT", tltorch, _TT_BYTES, package="tltorch")

PRODUCTS = [
    DENSE,
    OURS_BT,
    PLAIN_BT,
    OPTIMAL_BT,
    Implementation("torch.einsum BT, without opt_einsum", "BT", one_einsum, mode_by_mode_bytes),
    Implementation("authors' order BT", "BT", authors_order, mode_by_mode_bytes),
    Implementation("rebuild W, then x W", "BT", rebuilt, _rebuilt_bytes),
    TEDNET,
    OURS_TT,
    PLAIN_TT,
    OPTIMAL_TT,
    TLTORCH,
]
GRAPHED_PRODUCTS = [graphed(one) for one in (DENSE, OURS_BT, OPTIMAL_BT, OURS_TT, OPTIMAL_TT)]
DEVICE_PRODUCTS = [DENSE, OURS_BT, OPTIMAL_BT, TEDNET, OURS_TT, TLTORCH]
GRAPHED_DEVICE_PRODUCTS = [in_one_graph(one) for one in (DENSE, OURS_BT, OPTIMAL_BT, OURS_TT)]
SWEPT_PRODUCTS = [DENSE, OURS_BT, PLAIN_BT, OPTIMAL_BT, TEDNET, OURS_TT, OPTIMAL_TT, TLTORCH]
