"""Stages of a product for all blocks at once, and the few calls that each of them takes. Needs no torch.

Where a call costs more than what it computes, as on a GPU, one product for all blocks serves better than one for each,
and a product that reads its tensors where they lie better than one that has them copied first. x is the same for all
blocks, so that the first stage brings their axis as it brings a rank's, and the last sums it as it sums a rank's. A
stage between has a matrix for each block.
"""

from collections.abc import Iterator
from dataclasses import replace

from btrnn.ops.stages import BATCH, BLOCK, Arrangement, Axes, Form, Pair, Recipe, Stage, TensorNetwork


def batched_stages(
    network: TensorNetwork, before: Axes, absorbed: frozenset[int], group: frozenset[int]
) -> Iterator[Stage]:
    """Yield the stages that absorb some operands next, one for each layout that is worth a look.

    Args:
        network: What is contracted.
        before: The axes of the running tensor, with those of the rows of x and of the blocks.
        absorbed: The operands that earlier stages have absorbed.
        group: The operands to absorb now, not all that there are.
    """
    contracted, results, others = _axes_of_stage(network, before, absorbed, group)
    rows = tuple(axis for axis in before if axis not in contracted)

    def stage(ahead: Axes, columns: Axes, behind: Axes, form: Form) -> Stage:
        return Stage(tuple(sorted(group)), before, ahead + columns + behind, contracted, columns, form)

    if BLOCK in rows:  # a matrix for each
        plain = tuple(axis for axis in rows if axis != BLOCK)
        in_place = before in ((*plain, BLOCK, *contracted), (BLOCK, *plain, *contracted))
        yield stage((BLOCK, *plain), others + results, (), "blocks" if in_place else "moved")
        return
    # What the next stages sum stands together, and where the stage is the last, the axes stand as in W x, if they can.
    first = before.index(contracted[0]) if contracted else len(before)
    inner = before[first + len(contracted) :]
    if before[first : first + len(contracted)] == contracted and before[0] == BATCH:
        if inner:
            yield stage(before[:first], results + others, inner, "middle")
        else:
            yield stage(before[:first], others + results, (), "last")
    if inner:
        start = network.out_axes.index(results[0]) if results else 0
        end = start + len(results)
        if {*results, *rows} == {BATCH, *network.out_axes} and network.out_axes[start:end] == results:
            yield stage((BATCH, *network.out_axes[:start]), results, network.out_axes[end:], "permuted")
        else:
            yield stage((BATCH, *(axis for axis in rows if axis != BATCH)), others + results, (), "permuted")


def _axes_of_stage(
    network: TensorNetwork, before: Axes, absorbed: frozenset[int], group: frozenset[int]
) -> tuple[Axes, Axes, Axes]:
    """Return the axes that a stage sums, those of the result that it brings, and those for later stages to sum."""
    rest = network.all_operands - absorbed - group
    blocks = [BLOCK] * (network.num_blocks > 1)
    own = {*blocks, *(axis for k in group for axis in network.operands[k])}
    kept = {*network.out_axes, *(axis for k in rest for axis in (*network.operands[k], *blocks))}
    new = sorted(own.intersection(kept).difference(before), key=lambda axis: (axis[0], len(axis), axis))
    return (
        tuple(axis for axis in before if axis in own and axis not in kept),
        tuple(axis for axis in new if axis[0] == "j"),
        tuple(axis for axis in new if axis[0] != "j"),
    )


def with_recipe(network: TensorNetwork, stage: Stage) -> Stage:
    """Return a stage with the calls that do it."""
    start = stage.after.index(stage.columns[0]) if stage.columns else len(stage.after)
    ahead, behind = stage.after[:start], stage.after[start + len(stage.columns) :]
    blocks = [(BLOCK,)] * (ahead[0] == BLOCK)
    inner = [behind] * bool(behind)
    running = _arrangement(network, stage.before, *blocks, ahead[len(blocks) :], stage.contracted, *inner)
    sides = (stage.columns, stage.contracted) if inner else (*blocks, stage.contracted, stage.columns)
    return replace(stage, recipe=_recipe(network, stage.operands, sides, running))


def _recipe(network: TensorNetwork, group: tuple[int, ...], sides: tuple[Axes, ...], running: Arrangement) -> Recipe:
    """Work out how operands are multiplied into a stage's matrix with these sides, in few calls."""
    blocks = (BLOCK,) * (network.num_blocks > 1)
    axes = {k: blocks + network.operands[k] for k in group}
    first, *rest = group
    names, pairs = axes[first], []
    while rest:
        k = next((k for k in rest if names[-1] in axes[k]), rest[0])  # what it sums stands last: no copy
        rest.remove(k)
        later = {axis for side in sides for axis in side}.union(*(axes[other] for other in rest))
        both = [axis for axis in names if axis in axes[k]]
        shared, summed = (tuple(axis for axis in both if (axis in later) == stays) for stays in (True, False))
        left, right = (tuple(axis for axis in of if axis not in both) for of in (names, axes[k]))
        batch = [shared] * bool(shared)
        arranged = _arrangement(network, names, *batch, left, summed)
        pairs.append(Pair(k, arranged, _arrangement(network, axes[k], *batch, summed, right)))
        names = (*shared, *left, *right)
    return Recipe(first, tuple(pairs), _arrangement(network, names, *sides), running)


def _arrangement(network: TensorNetwork, axes: Axes, *sides: Axes) -> Arrangement:
    """Work out how a tensor with these axes, in the order of memory, gets these sides."""
    wanted = tuple(axis for side in sides for axis in side)
    shape, extents = (
        tuple(-1 if BATCH in each else network.size(each) for each in groups)
        for groups in ([(axis,) for axis in axes], sides)
    )
    return Arrangement(shape, None if wanted == axes else tuple(map(axes.index, wanted)), extents)
