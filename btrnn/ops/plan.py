r"""Which products, and in which order: the plan of a factorised map, chosen by a model of its cost. Needs no torch.

W x is a contraction of x with one small tensor a mode (and the core tensors of a block). It is done in stages: some of
the small tensors are multiplied with one another into a matrix M, and the running tensor, at first x, with M. The order
and the grouping decide whether the layer is faster or slower than the dense one; merging all of them into one matrix is
the dense product. There are four ways to carry out a plan:

    native   all stages, or all but the last, in a kernel that keeps a tile of x in the cache (native/stages.cpp)
    torch    one matrix product of torch a stage and block
    batched  one matrix product of torch a stage, for all blocks: a GPU waits for calls more than it computes
    dense    W is built, then W x

The cheapest is taken by the model of btrnn/ops/cost.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from btrnn.ops.batched import batched_stages, with_recipe
from btrnn.ops.cost import gpu_cost, merge_cost, native_cost, torch_cost, whole_native_cost
from btrnn.ops.stages import BATCH, Axes, Form, Plan, Stage, TensorNetwork, make_stage

Maker = Callable[[TensorNetwork, int, int, bool], Plan]

WIDTH = 16  # From so many ways to absorb as many operands, the cheapest, a search goes on: of all there are 2^d.


def _is_searched(network: TensorNetwork, before: Axes, absorbed: frozenset[int], group: frozenset[int]) -> bool:
    """Return whether the search looks at absorbing a group of operands next.

    The absorbed operands of the input's modes must be neighbours, so that the axes of x that are left stand in at most
    two runs, and products with them need few transposes; those of the output's modes alone, which sum no axis of x,
    come last and must be neighbours too; a core tensor must share an axis with what it is multiplied with.
    """
    after = absorbed | group
    outputs = after & network.out_operands
    if not _are_neighbours(after & network.mode_operands) or not _are_neighbours(outputs):
        return False
    if outputs and not network.mode_operands <= after:
        return False
    cores = group - network.mode_operands - network.out_operands
    met = {*before, *(axis for k in group - cores for axis in network.operands[k])}
    return all(met.intersection(network.operands[core]) for core in cores)


def _are_neighbours(operands: frozenset[int]) -> bool:
    return not operands or len(operands) == max(operands) - min(operands) + 1


def possible_stages(
    network: TensorNetwork, before: Axes, absorbed: frozenset[int], allowed: frozenset[int], form: Form
) -> Iterator[Stage]:
    """Yield every stage that may come next: all sequences of them, until all operands are absorbed, are plans.

    Args:
        network: What is contracted.
        before: The axes of the running tensor.
        absorbed: The operands that earlier stages have absorbed.
        allowed: The operands that may be absorbed.
        form: "native" for stages of the kernel, of both its forms; "last" for a stage of torch, whose own form follows
            from its axes.
    """
    for group in network.groups:
        if group <= allowed and not group & absorbed and _is_searched(network, before, absorbed, group):
            stage = make_stage(network, before, absorbed, group, form)
            yield stage
            if form == "native" and stage.contracted and stage.contracted[-1] != before[-1]:
                yield make_stage(network, before, absorbed, group, "inner")


def operands_of_tiles(network: TensorNetwork, tile_modes: int) -> frozenset[int]:
    """Return the operands that native stages may absorb: those that sum no axis which is split into tiles.

    Those of the output's modes alone come after all of the input's, so only where nothing is split.
    """
    split = set(network.in_axes[:tile_modes])
    outputs = network.out_operands if split else frozenset()
    return frozenset(k for k, axes in enumerate(network.operands) if k not in outputs and not split.intersection(axes))


def native_plan(
    network: TensorNetwork, batch_size: int, tile_modes: int, stages: tuple[Stage, ...], cost: float
) -> Plan:
    """Complete native stages to a plan, by a stage of torch that absorbs what they have left."""
    absorbed = frozenset(k for stage in stages for k in stage.operands)
    rest = network.all_operands - absorbed
    if rest:
        before = network.in_axes[:tile_modes] + stages[-1].after
        stages = (*stages, make_stage(network, before, absorbed, rest, "permuted"))
    return Plan(network, batch_size, "native", tile_modes, stages, cost)


def dense_plan(network: TensorNetwork, batch_size: int, itemsize: int, training: bool) -> Plan:
    """Plan to build W, and multiply with it."""
    whole = make_stage(network, network.in_axes, frozenset(), network.all_operands, "last")
    one_block = replace(network, num_blocks=1)
    product = torch_cost(one_block, whole, batch_size, itemsize, training)
    merging = merge_cost(network, whole, itemsize) - merge_cost(one_block, whole, itemsize)
    return Plan(network, batch_size, "dense", 0, (whole,), product + merging * (1 + training))


def torch_plan(network: TensorNetwork, batch_size: int, itemsize: int, training: bool) -> Plan:
    """Plan in products of torch: search the cheapest way to each set of absorbed operands."""

    def possible(before: Axes, absorbed: frozenset[int]) -> Iterator[Stage]:
        return possible_stages(network, before, absorbed, network.all_operands, "last")

    def cost_of(stage: Stage) -> float:
        return torch_cost(network, stage, batch_size, itemsize, training)

    cost, stages = _cheapest_stages(network, network.in_axes, possible, cost_of, lambda _: "")
    return Plan(network, batch_size, "torch", 0, stages, cost)


def possible_batched_stages(network: TensorNetwork, before: Axes, absorbed: frozenset[int]) -> Iterator[Stage]:
    """Yield every stage for all blocks at once that may come next, as `possible_stages` does for one block."""
    for group in network.groups:
        if group == network.all_operands:  # that is the dense product
            continue
        if not group & absorbed and _is_searched(network, before, absorbed, group):
            yield from batched_stages(network, before, absorbed, group)


def batched_plan(network: TensorNetwork, batch_size: int, itemsize: int, training: bool) -> Plan:
    """Plan in products for all blocks: search the cheapest way to each set of absorbed operands and last form."""

    def possible(before: Axes, absorbed: frozenset[int]) -> Iterator[Stage]:
        return possible_batched_stages(network, before, absorbed)

    def cost_of(stage: Stage) -> float:
        return gpu_cost(network, stage, batch_size, itemsize, training)

    start = (BATCH, *network.in_axes)
    cost, stages = _cheapest_stages(network, start, possible, cost_of, lambda stage: stage.form)
    return Plan(network, batch_size, "batched", 0, tuple(with_recipe(network, stage) for stage in stages), cost)


def gpu_dense_plan(network: TensorNetwork, batch_size: int, itemsize: int, training: bool) -> Plan:
    """Plan to build W, and multiply with it, by what that costs on a GPU."""
    plan = dense_plan(network, batch_size, itemsize, training)
    return replace(plan, cost=gpu_cost(network, plan.stages[0], batch_size, itemsize, training))


def _cheapest_stages(
    network: TensorNetwork,
    start: Axes,
    possible: Callable[[Axes, frozenset[int]], Iterator[Stage]],
    cost_of: Callable[[Stage], float],
    kept: Callable[[Stage], str],
) -> tuple[float, tuple[Stage, ...]]:
    """Search the cheapest stages that absorb all operands, going on from the `WIDTH` cheapest ways to so many of them.

    Args:
        network: What is contracted.
        start: The axes of the running tensor before the first.
        possible: From the axes of the running tensor and the absorbed operands to the stages that may come next.
        cost_of: What a stage costs.
        kept: From a stage to what of it later costs depend on: the search goes on from the cheapest way to each.
    """
    ways: dict[tuple[frozenset[int], str], tuple[float, tuple[Stage, ...]]] = {(frozenset(), ""): (0.0, ())}
    for size in range(len(network.operands)):
        begun = [way for way in ways.items() if len(way[0][0]) == size]
        for (absorbed, _), (cost, stages) in sorted(begun, key=lambda way: way[1][0])[:WIDTH]:
            for stage in possible(stages[-1].after if stages else start, absorbed):
                total = cost + cost_of(stage)
                reached = (absorbed.union(stage.operands), kept(stage))
                if reached not in ways or total < ways[reached][0]:
                    ways[reached] = (total, (*stages, stage))
    return min((way for (absorbed, _), way in ways.items() if absorbed == network.all_operands), key=lambda way: way[0])


class _Way(NamedTuple):
    """Native stages that absorb a set of operands, and their cost for a tile and a block."""

    cost: float
    between: int  # numbers that the stages put out for a tile and a block
    stages: tuple[Stage, ...]


@lru_cache(maxsize=256)
def _native_ways(network: TensorNetwork, itemsize: int, training: bool) -> tuple[tuple[int, _Way], ...]:
    """Search what to split into tiles, and which stages of the kernel: a tile's costs depend on no batch size."""
    found = []
    for tile_modes in range(len(network.in_axes)):
        allowed = operands_of_tiles(network, tile_modes)
        # The cheapest by what is absorbed, and by the last form: it decides the layout for what follows.
        ways = {(frozenset[int](), ""): _Way(0.0, 0, ())}
        for size in range(len(allowed)):
            begun = [item for item in ways.items() if len(item[0][0]) == size]
            for (absorbed, _), way in sorted(begun, key=lambda item: item[1].cost)[:WIDTH]:
                before = way.stages[-1].after if way.stages else network.in_axes[tile_modes:]
                for stage in possible_stages(network, before, absorbed, allowed, "native"):
                    cost = way.cost + native_cost(network, stage, itemsize, training, first=not way.stages)
                    reached = (absorbed.union(stage.operands), stage.form)
                    if reached not in ways or cost < ways[reached].cost:
                        ways[reached] = _Way(cost, way.between + network.size(stage.after), (*way.stages, stage))
        found += [(tile_modes, way) for way in ways.values() if way.stages]
    return tuple(found)


def cheapest_native_plan(network: TensorNetwork, batch_size: int, itemsize: int, training: bool) -> Plan:
    """Plan with the native kernel: of all ways to use it the cheapest, with what they leave to torch."""
    plans = []
    for tile_modes, way in _native_ways(network, itemsize, training):
        plan = native_plan(network, batch_size, tile_modes, way.stages, 0.0)
        plans.append(replace(plan, cost=whole_native_cost(plan, way.cost, way.between, itemsize, training)))
    return min(plans, key=lambda plan: plan.cost)


def make_plan(
    network: TensorNetwork, batch_size: int, itemsize: int, *, training: bool, native: bool, device: str = "cpu"
) -> Plan:
    """Choose the cheapest plan.

    Args:
        network: What is contracted.
        batch_size: The rows of x; taken as the next power of two, so that batches of many sizes share few plans.
        itemsize: Bytes of a number.
        training: Whether gradients of the operands will be asked for.
        native: Whether the native kernel may be used.
        device: The kind of device, as torch names it; only "cuda" has plans of its own.
    """
    makers: tuple[Maker, ...] = (dense_plan, torch_plan, cheapest_native_plan)[: 3 if native else 2]
    if device == "cuda":
        makers = (gpu_dense_plan, batched_plan)[: len(network.operands)]  # one operand alone is W
    return _cheapest_plan(network, 1 << max(batch_size - 1, 0).bit_length(), itemsize, training, makers)


@lru_cache(maxsize=4096)
def _cheapest_plan(
    network: TensorNetwork, batch_size: int, itemsize: int, training: bool, makers: tuple[Maker, ...]
) -> Plan:
    return min((make(network, batch_size, itemsize, training) for make in makers), key=lambda plan: plan.cost)
