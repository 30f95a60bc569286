r"""Which products, and in which order: the plan of a factorised map, chosen by a model of its cost. Needs no torch.

W x is a contraction of x with one small tensor a mode (and the core tensor of a block). It is done in stages: some of
the small tensors are multiplied with one another into a matrix M, and the running tensor, at first x, with M. The order
and the grouping decide whether the layer is faster or slower than the dense one; merging all of them into one matrix is
the dense product. There are three ways to carry out a plan:

    native   the first stages in a kernel that keeps a tile of x in the cache (btrnn/native.cpp), the last in torch
    torch    one matrix product of torch a stage
    dense    W is built, then W x

The cost counts arithmetic, bytes to and from memory, and calls, in the time of one multiply or add. It knows nothing of
the machine at hand, so that the same shapes give the same plan everywhere, and a resumed run the same bits.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import combinations
from math import prod
from typing import Literal, NamedTuple

Axes = tuple[str, ...]
Form = Literal["native", "inner", "last", "middle", "permuted"]
NATIVE_FORMS: tuple[Form, ...] = ("native", "inner")
Method = Literal["native", "torch", "dense"]

OPERATIONS_PER_BYTE = 10  # arithmetic that takes as long as moving one byte to or from memory, on CPUs and GPUs alike
OPERATIONS_PER_CALL = 1e6  # and as one call of torch: some 5 microseconds
OPERATIONS_PER_SCATTER = 40  # and as one number put to its place by the native backward pass
SHORTEST_GEMM_SIDE = 16  # below it, a matrix product takes as long as at it
SHORTEST_INNER = 64  # columns that make a batched product of the middle axis worth it
TILES_TO_SHARE = 8  # fewer tiles leave cores without work
CACHE_BYTES = 512 * 1024  # of a core, for a tile and what comes of it
VECTOR_BYTES = 64


@dataclass(frozen=True)
class Network:
    """One block of a factorised map, as names of axes.

    Attributes:
        operands: The axes of each small tensor, without the axis of blocks: "i0", "j0" for the first modes, "r0" for
            a rank. Two tensors are summed over the names that they share.
        axis_sizes: The size of every axis.
        order: d; the axes of x are i0 .. i{d-1}, those of the result j0 .. j{d-1}.
        num_blocks: How many such blocks are summed.
    """

    operands: tuple[Axes, ...]
    axis_sizes: tuple[tuple[str, int], ...]
    order: int
    num_blocks: int

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The size of each axis."""
        return dict(self.axis_sizes)

    @cached_property
    def in_axes(self) -> Axes:
        """The axes of x."""
        return tuple(f"i{k}" for k in range(self.order))

    @cached_property
    def out_axes(self) -> Axes:
        """The axes of W x."""
        return tuple(f"j{k}" for k in range(self.order))

    @cached_property
    def all_operands(self) -> frozenset[int]:
        """The indices of all operands."""
        return frozenset(range(len(self.operands)))

    @cached_property
    def mode_operands(self) -> frozenset[int]:
        """The operands that sum an axis of x, all but the core tensor; they stand in the order of the modes."""
        return frozenset(k for k, axes in enumerate(self.operands) if any(axis[0] == "i" for axis in axes))

    @cached_property
    def groups(self) -> list[frozenset[int]]:
        """What a stage may absorb: operands of neighbouring modes, with or without the core tensor, or that alone."""
        modes, cores = sorted(self.mode_operands), sorted(self.all_operands - self.mode_operands)
        runs = [frozenset(modes[a:b]) for a, b in combinations(range(len(modes) + 1), 2)]
        return [*runs, *(frozenset([core, *run]) for core in cores for run in [frozenset[int](), *runs])]

    def shape(self, axes: Axes) -> list[int]:
        """List the sizes of some axes."""
        return [self.sizes[axis] for axis in axes]

    def size(self, axes: Axes) -> int:
        """Count the numbers of a tensor with these axes."""
        return prod(self.shape(axes))


@dataclass(frozen=True)
class Stage:
    """One product of the running tensor with the product of some operands.

    Attributes:
        operands: Which operands are absorbed.
        before, after: The axes of the running tensor of one row of x and one block, in the order of memory.
        contracted: The axes that are summed, in the order of `before`: the rows of the matrix M.
        columns: The axes that are new: the columns of M.
        form: How the native kernel does it: "native" (vectors lie along the columns, which come last) or "inner" (along
            the axes behind the contracted ones, which stay last); or torch: "last" (the contracted axes are the last
            ones: one matrix product), "middle" (they stand together before others: a batched product) or "permuted"
            (they are moved to the end first).
    """

    operands: tuple[int, ...]
    before: Axes
    after: Axes
    contracted: Axes
    columns: Axes
    form: Form

    @property
    def rows(self) -> Axes:
        """The axes of the running tensor that stay."""
        return tuple(axis for axis in self.before if axis not in self.contracted)

    @property
    def is_native(self) -> bool:
        """Whether the stage runs in the native kernel."""
        return self.form in NATIVE_FORMS

    @property
    def inner(self) -> Axes:
        """Of the form "inner", the rows that stand behind all contracted axes; else none."""
        if self.form != "inner":
            return ()
        return self.before[1 + max(self.before.index(axis) for axis in self.contracted) :]

    @property
    def outer(self) -> Axes:
        """The other rows."""
        return self.rows[: len(self.rows) - len(self.inner)]


@dataclass(frozen=True)
class Plan:
    """How W x is computed for one batch size.

    Attributes:
        network: What is contracted.
        batch_size: The rows of x that the plan is for.
        method: "native", "torch" or "dense".
        tile_modes: For "native", how many leading axes of x are split into tiles; a tile has the others.
        stages: All stages in order. After native ones there is at most one of torch, which also sums the blocks.
        cost: In the time of one multiply or add.
    """

    network: Network
    batch_size: int
    method: Method
    tile_modes: int
    stages: tuple[Stage, ...]
    cost: float

    @property
    def native_stages(self) -> tuple[Stage, ...]:
        """The stages that run in the native kernel."""
        return tuple(stage for stage in self.stages if stage.is_native)

    def __str__(self) -> str:
        """Write a line for each stage: what is multiplied, its arithmetic, and the size of what comes out."""
        network = self.network
        rows = self.batch_size * (1 if self.method == "dense" else network.num_blocks)
        lines = [f"{self.method}: {len(self.stages)} stages for {self.batch_size} rows and {network.num_blocks} blocks"]
        total = 0
        for number, stage in enumerate(self.stages, start=1):
            names = " ".join(_operand_name(network, k) for k in stage.operands)
            tiles = network.size(network.in_axes[: self.tile_modes]) if stage.is_native else 1
            given, made = (network.size(axes) * tiles * rows for axes in (stage.before, stage.after))
            operations = 2 * given * network.size(stage.columns)
            total += operations
            lines.append(
                f"  {number}. {stage.form:8} ({' '.join(stage.before)}) x [{names}] -> ({' '.join(stage.after)}): "
                f"sums {network.size(stage.contracted)}, {operations / 1e6:,.1f} MFLOP, "
                f"reads {4 * given / 2**20:,.1f} MiB, gives {4 * made / 2**20:,.1f} MiB in float32"
            )
        dense = 2 * self.batch_size * network.size(network.in_axes) * network.size(network.out_axes)
        lines.append(f"  in all {total / 1e6:,.1f} MFLOP; the dense product has {dense / 1e6:,.1f}")
        return "\n".join(lines)


def _operand_name(network: Network, operand: int) -> str:
    modes = [axis[1:] for axis in network.operands[operand] if axis[0] == "i"]
    return f"mode {int(modes[0]) + 1}" if modes else "core"


# ---- what a stage does


def make_stage(network: Network, before: Axes, absorbed: frozenset[int], group: Iterable[int], form: Form) -> Stage:
    """Work out a stage: which axes the operands of `group` sum and bring, and in which order they come.

    Args:
        network: What is contracted.
        before: The axes of the running tensor.
        absorbed: The operands that earlier stages have absorbed.
        group: The operands to absorb now.
        form: As in `Stage`; "last" becomes "middle" or "permuted" where the contracted axes do not stand last.
    """
    operands = tuple(sorted(group))
    own = {axis for k in operands for axis in network.operands[k]}
    kept = set(network.out_axes)
    for k, axes in enumerate(network.operands):
        if k not in absorbed and k not in operands:
            kept.update(axes)
    contracted = tuple(axis for axis in before if axis in own)
    new = (axis for axis in own.difference(before) if axis in kept)
    columns = tuple(sorted(new, key=lambda axis: (axis[0], int(axis[1:]))))  # j before r
    rows = tuple(axis for axis in before if axis not in own)
    after = rows + columns
    if form == "inner":
        behind = 1 + max(before.index(axis) for axis in contracted)
        after = rows[: len(rows) - len(before[behind:])] + columns + before[behind:]
    elif form != "native":
        first = before.index(contracted[0]) if contracted else len(before)
        together = before[first : first + len(contracted)] == contracted
        inner = before[first + len(contracted) :]
        if together and not inner:
            form = "last"
        elif together and network.size(inner) >= SHORTEST_INNER:
            form, after = "middle", before[:first] + columns + inner
        else:
            form = "permuted"
    return Stage(operands, before, after, contracted, columns, form)


def _is_searched(network: Network, absorbed: frozenset[int]) -> bool:
    """Say whether the search looks at this set of absorbed operands: those of neighbouring modes, and the core tensor.

    The axes of x that are left then stand in at most two runs, so that products with them need few transposes.
    """
    modes = absorbed & network.mode_operands
    return not modes or len(modes) == max(modes) - min(modes) + 1


# ---- what it costs


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _merge_cost(network: Network, stage: Stage, itemsize: int) -> float:
    """Cost of multiplying a stage's operands into its matrix, for all blocks."""
    if len(stage.operands) == 1:
        return 0.0
    numbers = network.size(stage.contracted) * network.size(stage.columns) * network.num_blocks
    axes = [axis for k in stage.operands for axis in network.operands[k]]
    inner = max((network.sizes[axis] for axis in axes if axis[0] == "r"), default=1)
    return numbers * (2 * inner + 2 * itemsize * OPERATIONS_PER_BYTE) + (len(stage.operands) - 1) * OPERATIONS_PER_CALL


def _torch_cost(network: Network, stage: Stage, rows: int, itemsize: int, training: bool) -> float:
    """Cost of a stage in torch, for all blocks; the backward pass takes the gradient of M, and that of its input."""
    count, depth = network.size(stage.rows) * rows, network.size(stage.contracted)
    columns = network.size(stage.columns)
    moved = (network.size(stage.before) + network.size(stage.after)) * rows * itemsize
    if stage.form == "permuted":
        moved += 4 * network.size(stage.before) * rows * itemsize  # read and written once more, at half the speed
    sides = max(depth, SHORTEST_GEMM_SIDE) * max(columns, SHORTEST_GEMM_SIDE)
    each = 2 * count * sides + moved * OPERATIONS_PER_BYTE + 2 * OPERATIONS_PER_CALL
    cost = each * network.num_blocks + _merge_cost(network, stage, itemsize)
    return cost * (1 + training + (training and stage.before != network.in_axes))


def _native_cost(network: Network, stage: Stage, itemsize: int, training: bool, first: bool) -> float:
    """Cost of a native stage for one tile and one block, without its calls."""
    lanes = VECTOR_BYTES // itemsize
    rows, depth, columns = (network.size(axes) for axes in (stage.rows, stage.contracted, stage.columns))
    if stage.form == "inner":
        outer, inner = network.size(stage.outer), _round_up(network.size(stage.inner), lanes)
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


# ---- the search


def possible_stages(
    network: Network, before: Axes, absorbed: frozenset[int], allowed: frozenset[int], form: Form
) -> Iterator[Stage]:
    """Give every stage that may come next: all sequences of them, until all operands are absorbed, are plans.

    Args:
        network: What is contracted.
        before: The axes of the running tensor.
        absorbed: The operands that earlier stages have absorbed.
        allowed: The operands that may be absorbed.
        form: "native" for stages of the kernel, of both its forms; "last" for a stage of torch, whose own form follows
            from its axes.
    """
    for group in network.groups:
        if group <= allowed and not group & absorbed and _is_searched(network, absorbed | group):
            stage = make_stage(network, before, absorbed, group, form)
            yield stage
            if form == "native" and stage.contracted and stage.contracted[-1] != before[-1]:
                yield make_stage(network, before, absorbed, group, "inner")


def operands_of_tiles(network: Network, tile_modes: int) -> frozenset[int]:
    """Return the operands that native stages may absorb: those that sum no axis which is split into tiles."""
    split = set(network.in_axes[:tile_modes])
    return frozenset(k for k, axes in enumerate(network.operands) if not split.intersection(axes))


def native_plan(network: Network, batch_size: int, tile_modes: int, stages: tuple[Stage, ...], cost: float) -> Plan:
    """Complete native stages to a plan, by a stage of torch that absorbs what they have left."""
    absorbed = frozenset(k for stage in stages for k in stage.operands)
    rest = network.all_operands - absorbed
    if rest:
        before = network.in_axes[:tile_modes] + stages[-1].after
        stages = (*stages, make_stage(network, before, absorbed, rest, "permuted"))
    return Plan(network, batch_size, "native", tile_modes, stages, cost)


def dense_plan(network: Network, batch_size: int, itemsize: int, training: bool) -> Plan:
    """Plan to build W, and multiply with it."""
    whole = make_stage(network, network.in_axes, frozenset(), network.all_operands, "last")
    one_block = replace(network, num_blocks=1)
    product = _torch_cost(one_block, whole, batch_size, itemsize, training)
    merging = _merge_cost(network, whole, itemsize) - _merge_cost(one_block, whole, itemsize)
    return Plan(network, batch_size, "dense", 0, (whole,), product + merging * (1 + training))


def torch_plan(network: Network, batch_size: int, itemsize: int, training: bool) -> Plan:
    """Plan in products of torch: search the cheapest way to each set of absorbed operands."""
    ways: dict[frozenset[int], tuple[float, tuple[Stage, ...]]] = {frozenset(): (0.0, ())}
    for size in range(len(network.operands)):
        for absorbed, (cost, stages) in [way for way in ways.items() if len(way[0]) == size]:
            before = stages[-1].after if stages else network.in_axes
            for stage in possible_stages(network, before, absorbed, network.all_operands, "last"):
                total = cost + _torch_cost(network, stage, batch_size, itemsize, training)
                reached = absorbed.union(stage.operands)
                if reached not in ways or total < ways[reached][0]:
                    ways[reached] = (total, (*stages, stage))
    cost, stages = ways[network.all_operands]
    return Plan(network, batch_size, "torch", 0, stages, cost)


class _Way(NamedTuple):
    """Native stages that absorb a set of operands, and their cost for a tile and a block."""

    cost: float
    between: int  # numbers that the stages put out for a tile and a block
    stages: tuple[Stage, ...]


def cheapest_native_plan(network: Network, batch_size: int, itemsize: int, training: bool) -> Plan:
    """Plan with the native kernel: search what is split into tiles, which stages, and what is left to torch."""
    plans = []
    for tile_modes in range(network.order):
        allowed = operands_of_tiles(network, tile_modes)
        ways = {(frozenset[int](), ""): _Way(0.0, 0, ())}  # by what is absorbed, and the last form: it decides the layout
        for size in range(len(allowed)):
            for (absorbed, _), way in [way for way in ways.items() if len(way[0][0]) == size]:
                before = way.stages[-1].after if way.stages else network.in_axes[tile_modes:]
                for stage in possible_stages(network, before, absorbed, allowed, "native"):
                    cost = way.cost + _native_cost(network, stage, itemsize, training, first=not way.stages)
                    reached = (absorbed.union(stage.operands), stage.form)
                    if reached not in ways or cost < ways[reached].cost:
                        ways[reached] = _Way(cost, way.between + network.size(stage.after), (*way.stages, stage))
        for way in ways.values():
            if way.stages:
                plan = native_plan(network, batch_size, tile_modes, way.stages, 0.0)
                plans.append(replace(plan, cost=_whole_native_cost(plan, way, itemsize, training)))
    return min(plans, key=lambda plan: plan.cost)


def _whole_native_cost(plan: Plan, way: _Way, itemsize: int, training: bool) -> float:
    """Cost of native stages over all tiles and blocks, of what they read and give, and of the rest in torch."""
    network = plan.network
    tiles = plan.batch_size * network.size(network.in_axes[: plan.tile_modes])
    repeats = tiles * network.num_blocks
    moved = tiles * network.size(network.in_axes[plan.tile_modes :]) + 3 * repeats * network.size(way.stages[-1].after)
    if way.between * itemsize > CACHE_BYTES:
        moved += 2 * repeats * way.between
    idle = max(1.0, TILES_TO_SHARE / tiles)
    cost = idle * repeats * way.cost + 10 * OPERATIONS_PER_CALL
    cost += moved * itemsize * OPERATIONS_PER_BYTE * (1 + training)
    cost += sum(_merge_cost(network, stage, itemsize) * (1 + training) for stage in way.stages)
    if len(plan.stages) > len(way.stages):
        cost += _torch_cost(network, plan.stages[-1], plan.batch_size, itemsize, training)
    return cost


def make_plan(network: Network, batch_size: int, itemsize: int, *, training: bool, native: bool) -> Plan:
    """Choose the cheapest plan.

    Args:
        network: What is contracted.
        batch_size: The rows of x; taken as the next power of two, so that batches of many sizes share few plans.
        itemsize: Bytes of a number.
        training: Whether gradients of the operands will be asked for.
        native: Whether the native kernel may be used.
    """
    return _cheapest_plan(network, 1 << max(batch_size - 1, 0).bit_length(), itemsize, training, native)


@lru_cache(maxsize=4096)
def _cheapest_plan(network: Network, batch_size: int, itemsize: int, training: bool, native: bool) -> Plan:
    makers = [dense_plan, torch_plan, *([cheapest_native_plan] if native else [])]
    return min((make(network, batch_size, itemsize, training) for make in makers), key=lambda plan: plan.cost)
