r"""W x from the small tensors that W is made of: the definition first, then the plan that `btrnn.ops.plan` chooses.

`reference_product` is what every factorised map computes; `apply_map` gives the same numbers by way
of smaller products, in an order that costs less, and is tested against it.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import prod
from string import ascii_letters
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.ops import native
from btrnn.ops.dispatch import is_autocasting, is_eager
from btrnn.ops.matmul import matmul
from btrnn.ops.native.stages import Chain, run_stages
from btrnn.ops.plan import make_plan
from btrnn.ops.stages import BATCH, BLOCK, Arrangement, Plan, Stage, TensorNetwork

LARGEST_ORDER = 25  # einsum has 52 letters: W has 2 d axes, and beside them stand a block and a rank


def reference_product(
    network: TensorNetwork, x: Float[Tensor, "batch in_features"], operands: Sequence[Tensor]
) -> Float[Tensor, "batch out_features"]:
    """Compute W x by its definition: one sum over all input modes, ranks and blocks.

    At order 2 it is einsum("bij, nrs, niur, njvs -> buv", x, core, *factors) for block terms, and
    einsum("bij, niur, nrjv -> buv", x, *cores) for a tensor train, with one block n.

    Args:
        network: Names the axes of the operands.
        x: (B, I), read as (B, I_1, .., I_d).
        operands: The core tensor and the factors of all blocks, or the TT-cores; each with a first axis of blocks.

    Returns:
        (B, J).
    """
    tensor = x.reshape(-1, *network.shape(network.in_axes))
    axes = [("batch", *network.in_axes), *((BLOCK, *names) for names in network.operands)]
    equation = _equation(axes, ("batch", *network.out_axes))
    return torch.einsum(equation, tensor, *operands).flatten(1)


def contract(operands: Sequence[Tensor], axes: Sequence[Sequence[str]], output: Sequence[str]) -> Tensor:
    """Multiply tensors, one after the other, and sum over every axis that `output` does not name.

    Args:
        operands: The tensors, in an order in which the products stay small.
        axes: For each operand the names of its axes; axes of one name are matched.
        output: The names of the result's axes, in order.

    Returns:
        The contracted tensor, with one axis for each name in `output`.
    """
    result, names = operands[0], tuple(axes[0])
    for k in range(1, len(operands)):
        later = {*output, *[name for others in axes[k + 1 :] for name in others]}
        kept = tuple([name for name in dict.fromkeys((*names, *axes[k])) if name in later])
        result = torch.einsum(_equation((names, axes[k]), kept), result, operands[k])
        names = kept
    return torch.einsum(_equation((names,), output), result)


def contract_to_number(factors: Sequence[tuple[Tensor, Sequence[str]]]) -> Tensor:
    """Multiply tensors, and sum over all axes: always next the two whose product is the smallest.

    Args:
        factors: The tensors, each with the names of its axes; axes of one name are matched.

    Returns:
        The number, of shape ().
    """
    left = [(tensor, tuple(axes)) for tensor, axes in factors]
    sizes = {name: size for tensor, axes in left for name, size in zip(axes, tensor.shape, strict=True)}
    while len(left) > 1:
        uses = Counter(name for _, axes in left for name in axes)
        candidates = []
        for first, second in combinations(range(len(left)), 2):
            both = Counter((*left[first][1], *left[second][1]))
            kept = [name for name, count in both.items() if count < uses[name]]
            candidates.append((prod(sizes[name] for name in kept), first, second, kept))
        _, first, second, kept = min(candidates)
        (b, b_axes), (a, a_axes) = left.pop(second), left.pop(first)
        left.append((torch.einsum(_equation((a_axes, b_axes), kept), a, b), tuple(kept)))
    return contract((left[0][0],), (left[0][1],), ())


def dense_weight(network: TensorNetwork, operands: Sequence[Tensor], output: Sequence[str]) -> Tensor:
    """Multiply all operands into W, with one axis for each name in `output`: all modes of input and output."""
    axes = [(BLOCK, *names) for names in network.operands]
    last = sorted(network.out_operands)
    if not last:
        return contract(operands, axes, output)
    parts, names = [], []  # of the input and of the output: between the two are no more than two ranks
    for group in (sorted(network.all_operands - network.out_operands), last):
        own = dict.fromkeys(axis for k in group for axis in axes[k])
        shared = {*output, *(axis for k in range(len(axes)) if k not in group for axis in axes[k])}
        names.append(tuple(axis for axis in own if axis in shared))
        parts.append(contract([operands[k] for k in group], [axes[k] for k in group], names[-1]))
    return contract(parts, names, output)


def _equation(inputs: Sequence[Sequence[str]], output: Sequence[str]) -> str:
    """Write einsum's equation for axes with names."""
    names = dict.fromkeys([name for axes in inputs for name in axes])
    letters = dict(zip(names, ascii_letters[: len(names)], strict=True))
    terms = ["".join([letters[name] for name in axes]) for axes in (*inputs, output)]
    return f"{','.join(terms[:-1])}->{terms[-1]}"


def plan_for(network: TensorNetwork, batch_size: int, x: Tensor, operands: Sequence[Tensor]) -> Plan:
    """Choose the plan for this many rows of the kind of `x`; native where `native.serves` them."""
    training = torch.is_grad_enabled() and any(operand.requires_grad for operand in operands)
    served, kind = native.serves(x, operands), x.device.type
    itemsize = torch.get_autocast_dtype(kind).itemsize if is_autocasting(kind) else x.element_size()
    return make_plan(network, batch_size, itemsize, training=training, native=served, device=kind)


def apply_map(plan: Plan, x: Tensor, operands: Sequence[Tensor]) -> Tensor:
    """Compute W x for every row of x.

    Args:
        plan: How; any plan of the operands' network gives the same numbers, up to rounding.
        x: (B, I).
        operands: The network's operands, each with a leading axis of blocks.

    Returns:
        (B, J).
    """
    network = plan.network
    if plan.method == "dense":
        (stage,) = plan.stages
        whole = dense_weight(network, operands, (*stage.contracted, *stage.columns))
        return matmul(x, whole.reshape(network.size(stage.contracted), -1))
    run = {"native": _run_native, "torch": _run_torch, "batched": _run_batched}[plan.method]
    result = run(plan, x, operands)
    after = tuple(axis for axis in plan.stages[-1].after if axis != BATCH)
    order = [1 + after.index(axis) for axis in network.out_axes]
    return result.reshape(-1, *network.shape(after)).permute(0, *order).flatten(1)


def _matrices(network: TensorNetwork, stage: Stage, operands: Sequence[Tensor]) -> Tensor:
    """Multiply a stage's operands into its matrix of each block: (N, contracted, columns)."""
    axes = [(BLOCK, *network.operands[k]) for k in stage.operands]
    merged = contract([operands[k] for k in stage.operands], axes, (BLOCK, *stage.contracted, *stage.columns))
    return merged.reshape(network.num_blocks, network.size(stage.contracted), network.size(stage.columns))


def _run_torch(plan: Plan, x: Tensor, operands: Sequence[Tensor]) -> Tensor:
    """Run every stage as a matrix product, block after block: one block's tensors are small and well laid out."""
    matrices = [_matrices(plan.network, stage, operands).unbind() for stage in plan.stages]
    total = None
    for of_block in zip(*matrices, strict=True):
        running = x
        for stage, matrix in zip(plan.stages, of_block, strict=True):
            running = _stage(plan.network, stage, running, matrix)
        total = running if total is None else total + running
    assert total is not None
    return total


def _stage(network: TensorNetwork, stage: Stage, running: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the running tensor with a stage's matrix (contracted, columns)."""
    depth = matrix.shape[0]
    if stage.form == "last":
        return matmul(running.reshape(-1, depth), matrix)
    if stage.form == "middle":
        first = stage.before.index(stage.contracted[0]) if stage.contracted else len(stage.before)
        inner = network.size(stage.before[first + len(stage.contracted) :])
        return _middle_product(running.reshape(-1, depth, inner), matrix)
    axes = [*stage.rows, *stage.contracted]
    order = [1 + stage.before.index(axis) for axis in axes]
    tensor = running.reshape(-1, *network.shape(stage.before)).permute(0, *order)
    return matmul(tensor.reshape(-1, depth), matrix)


def _run_batched(plan: Plan, x: Tensor, operands: Sequence[Tensor]) -> Tensor:
    """Run every stage as one product for all blocks."""
    running = x
    for stage in plan.stages:
        assert stage.recipe is not None
        first, pairs, sides, rows = stage.recipe
        matrix = operands[first]
        for operand, left, right in pairs:
            matrix = _product(_arranged(matrix, left), _arranged(operands[operand], right))
        matrix, running = _arranged(matrix, sides), _arranged(running, rows)
        if matrix.dim() < running.dim():
            matrix = matrix.expand(running.shape[0], -1, -1)
            running = torch.bmm(matrix, running)
        else:
            running = _product(running, matrix)
    return running


def _arranged(tensor: Tensor, arrangement: Arrangement) -> Tensor:
    shape, order, sides = arrangement
    return (tensor if order is None else tensor.reshape(shape).permute(order)).reshape(sides)


def _product(left: Tensor, right: Tensor) -> Tensor:
    return torch.mm(left, right) if left.dim() == 2 else torch.bmm(left, right)


def _run_native(plan: Plan, x: Tensor, operands: Sequence[Tensor]) -> Tensor:
    """Run the native stages in the kernel, and what is left as one matrix product that sums over the blocks too."""
    network, chain = plan.network, plan.native_stages
    matrices = [_matrices(network, stage, operands) for stage in chain]
    whole = len(chain) == len(plan.stages)
    result = run_stages(Chain(network, plan.tile_modes, chain, sum_blocks=whole), x, matrices)
    if whole:
        return result
    last = plan.stages[-1]
    tiles = network.in_axes[: plan.tile_modes]
    axes = [*tiles, BLOCK, *chain[-1].after]
    shape = [*network.shape(tiles), network.num_blocks, *network.shape(chain[-1].after)]
    order = [1 + axes.index(axis) for axis in (*last.rows, BLOCK, *last.contracted)]
    matrix = _matrices(network, last, operands).flatten(0, 1)
    tensor = result.reshape(-1, *shape).permute(0, *order)
    return matmul(tensor.reshape(-1, matrix.shape[0]), matrix)


class _MiddleProduct(torch.autograd.Function):
    """(O, K, inner) and (K, C) to (O, C, inner), with the gradient of the matrix in the fast orientation.

    Autograd would take it as d_out x^T; x d_out^T, transposed, is the same and faster on CPUs.
    """

    @staticmethod
    def forward(tensor: Tensor, matrix: Tensor) -> Tensor:
        return torch.bmm(matrix.t().expand(tensor.shape[0], -1, -1), tensor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, Tensor | None]:
        tensor, matrix = ctx.saved_tensors
        d_tensor = d_matrix = None
        if ctx.needs_input_grad[0]:
            d_tensor = torch.bmm(matrix.expand(tensor.shape[0], -1, -1), d_out)
        if ctx.needs_input_grad[1]:
            d_matrix = torch.bmm(tensor, d_out.transpose(1, 2)).sum(dim=0)
        return d_tensor, d_matrix


def _middle_product(tensor: Tensor, matrix: Tensor) -> Tensor:
    if is_eager(tensor, matrix):
        result: Tensor = _MiddleProduct.apply(tensor, matrix)
        return result
    return torch.bmm(matrix.t().expand(tensor.shape[0], -1, -1), tensor)
