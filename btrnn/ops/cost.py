"""What a plan costs: arithmetic, bytes to and from memory, and calls, in the time of one multiply or add. No torch.

Of the machine at hand it knows the width of the processor's vectors, and measures nothing, so that the same shapes have
the same plan on the same kind of machine, and a resumed run the same bits.
"""

from typing import NamedTuple

from btrnn.ops.native.processor import VECTOR_BYTES
from btrnn.ops.stages import BATCH, Plan, Stage, TensorNetwork

OPERATIONS_PER_BYTE = 10  # arithmetic that takes as long as moving one byte to or from memory, on CPUs
OPERATIONS_PER_CALL = 1e6  # and as one call of torch: some 5 microseconds
OPERATIONS_PER_SCATTER = 40  # and as one number put to its place by the native backward pass
BROKEN_RUN_VECTORS = 8  # as many whole vectors take as long as the rest of a run in the native kernel
SHORTEST_GEMM_SIDE = 16  # below it, a matrix product takes as long as at it
TILES_TO_SHARE = 8  # fewer tiles leave cores without work
CACHE_BYTES = 512 * 1024  # of a core, for a tile and what comes of it


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def merge_cost(network: TensorNetwork, stage: Stage, itemsize: int) -> float:
    """Cost of multiplying a stage's operands into its matrix, for all blocks."""
    if len(stage.operands) == 1:
        return 0.0
    numbers = network.size(stage.contracted) * network.size(stage.columns) * network.num_blocks
    axes = [axis for k in stage.operands for axis in network.operands[k]]
    inner = max((network.sizes[axis] for axis in axes if axis[0] == "r"), default=1)
    return numbers * (2 * inner + 2 * itemsize * OPERATIONS_PER_BYTE) + (len(stage.operands) - 1) * OPERATIONS_PER_CALL


def torch_cost(network: TensorNetwork, stage: Stage, rows: int, itemsize: int, training: bool) -> float:
    """Cost of a stage in torch, for all blocks; the backward pass takes the gradient of M, and that of its input."""
    count, depth = network.size(stage.rows) * rows, network.size(stage.contracted)
    columns = network.size(stage.columns)
    moved = (network.size(stage.before) + network.size(stage.after)) * rows * itemsize
    if stage.form == "permuted":
        moved += 4 * network.size(stage.before) * rows * itemsize  # read and written once more, at half the speed
    sides = max(depth, SHORTEST_GEMM_SIDE) * max(columns, SHORTEST_GEMM_SIDE)
    each = 2 * count * sides + moved * OPERATIONS_PER_BYTE + 2 * OPERATIONS_PER_CALL
    cost = each * network.num_blocks + merge_cost(network, stage, itemsize)
    return cost * (1 + training + (training and stage.before != network.in_axes))


def native_cost(network: TensorNetwork, stage: Stage, itemsize: int, training: bool, first: bool) -> float:
    """Cost of a native stage for one tile and one block, without its calls."""
    lanes = VECTOR_BYTES // itemsize
    rows, depth, columns = (network.size(axes) for axes in (stage.rows, stage.contracted, stage.columns))
    if stage.form == "inner":
        outer, run = network.size(stage.outer), network.size(stage.inner)
        inner = _round_up(run, lanes) + (BROKEN_RUN_VECTORS * lanes if run % lanes else 0)
        cost = 2.0 * outer * depth * _round_up(columns, 4) * inner
        if training:
            cost += cost + 2 * outer * _round_up(depth, 4) * _round_up(columns, 4) * (inner + 2 * lanes)
            if not first:
                cost += 2 * outer * _round_up(depth, 4) * columns * inner
        return cost
    cost = 2.0 * _round_up(rows, 4) * depth * _round_up(columns, lanes)
    if training:  # the backward pass does the forward one again
        cost += cost + 2 * _round_up(depth, 4) * rows * _round_up(columns, lanes)
        if not first:
            cost += 2 * _round_up(rows, 4) * columns * _round_up(depth, lanes) + OPERATIONS_PER_SCATTER * rows * depth
    return cost


def whole_native_cost(plan: Plan, each: float, between: int, itemsize: int, training: bool) -> float:
    """Cost of native stages over all tiles and blocks, of what they read and give, and of the rest in torch.

    Args:
        plan: The plan.
        each: Cost of its native stages for a tile and a block.
        between: Numbers that they put out for a tile and a block.
        itemsize: Bytes of a number.
        training: Whether there is a backward pass.
    """
    network, chain = plan.network, plan.native_stages
    tiles = plan.batch_size * network.size(network.in_axes[: plan.tile_modes])
    repeats = tiles * network.num_blocks
    moved = tiles * network.size(network.in_axes[plan.tile_modes :]) + 3 * repeats * network.size(chain[-1].after)
    if between * itemsize > CACHE_BYTES:
        moved += 2 * repeats * between
    idle = max(1.0, TILES_TO_SHARE / tiles)
    cost = idle * repeats * each + 10 * OPERATIONS_PER_CALL
    cost += moved * itemsize * OPERATIONS_PER_BYTE * (1 + training)
    cost += sum(merge_cost(network, stage, itemsize) * (1 + training) for stage in chain)
    if len(plan.stages) > len(chain):
        cost += torch_cost(network, plan.stages[-1], plan.batch_size, itemsize, training)
    return cost


# ---- on a GPU


class Throughput(NamedTuple):
    """What a GPU does in a second.

    operations: Multiplications and additions within matrix products.
    bytes: To and from memory.
    calls: That the host begins.
    """

    operations: float
    bytes: float
    calls: float


# by the bytes of a number: of an H100 SXM, by NVIDIA's data sheet of 2023 without sparsity (float64 on tensor cores,
# float32 without TF32, float16 and bfloat16 on tensor cores), and calls of 6 microseconds
GPU = {
    8: Throughput(67e12, 3.35e12, 1 / 6e-6),
    4: Throughput(67e12, 3.35e12, 1 / 6e-6),
    2: Throughput(989e12, 3.35e12, 1 / 6e-6),
}
SHORTEST_TILE_SIDE = 64  # below it, a matrix product on a GPU takes as long as at it


def _gpu_cost(operations: float, moved: float, calls: float, itemsize: int) -> float:
    """Return what so much arithmetic, so many numbers moved and so many calls cost together on a GPU."""
    gpu = GPU[itemsize]
    return operations + moved * itemsize * gpu.operations / gpu.bytes + calls * gpu.operations / gpu.calls


def gpu_merge_cost(network: TensorNetwork, stage: Stage, itemsize: int, training: bool) -> float:
    """Cost of multiplying a stage's operands into its matrix, for all blocks, on a GPU."""
    numbers = network.size(stage.contracted) * network.size(stage.columns)
    axes = {axis for k in stage.operands for axis in network.operands[k]}.difference(stage.contracted, stage.columns)
    summed = max((network.sizes[axis] for axis in axes), default=1)  # by the last product, which is the largest
    products = len(stage.operands) - 1
    calls = 2 * products + (products != 1)  # a copy of what is multiplied next, and of the whole
    cost = _gpu_cost(2 * numbers * summed * bool(products), 4 * numbers, calls, itemsize)
    return cost * (1 + 2 * training)


def gpu_cost(network: TensorNetwork, stage: Stage, rows: int, itemsize: int, training: bool) -> float:
    """Cost of a stage for all blocks on a GPU, with its matrix, and where it is the last with the order of W x."""
    depth, columns = network.size(stage.contracted), network.size(stage.columns)
    start = stage.after.index(stage.columns[0]) if stage.columns else len(stage.after)
    count, inner = (network.size(axes) for axes in (stage.after[:start], stage.after[start + len(stage.columns) :]))
    sides = max(columns, SHORTEST_TILE_SIDE) * (max(inner, SHORTEST_TILE_SIDE) if inner > 1 else 1)
    given, made = (network.size(axes) * rows for axes in (stage.before, stage.after))
    moved, calls = given + made, 1.0
    if stage.form in ("permuted", "moved"):
        moved, calls = moved + 2 * given, calls + 1
    if set(stage.after) == {BATCH, *network.out_axes} and stage.after != (BATCH, *network.out_axes):
        moved, calls = moved + 2 * made, calls + 1
    if training and inner > 1:  # the matrix has a gradient from each of many products, and they are added
        moved, calls = moved + count * rows * depth * columns, calls + 0.5
    cost = _gpu_cost(2 * count * rows * depth * sides, moved, calls, itemsize)
    cost *= 1 + training + (training and stage.before[-len(network.in_axes) :] != network.in_axes)
    return cost + gpu_merge_cost(network, stage, itemsize, training)
