"""What a plan is made of: a map as named axes, and the products that carry it out. Needs no torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import prod
from typing import Literal, NamedTuple

Axes = tuple[str, ...]
Form = Literal["native", "inner", "last", "middle", "permuted", "blocks", "moved"]
NATIVE_FORMS: tuple[Form, ...] = ("native", "inner")
Method = Literal["native", "torch", "batched", "dense"]

BLOCK = "block"  # the first axis of every operand
BATCH = "batch"  # the rows of x, where a layout says where they stand
SHORTEST_INNER = 64  # columns that make a batched product of the middle axis worth it


@dataclass(frozen=True)
class TensorNetwork:
    """One block of a factorised map, as names of axes.

    Attributes:
        operands: The axes of each small tensor, without the axis of blocks: "i0", "j0" for the first modes, "r0" for
            a rank. Two tensors are summed over the names that they share. Those that have an axis of x stand in the
            order of the modes, and so do those that have one of the result alone.
        axis_sizes: The size of every axis; i0, i1, .. are those of x, j0, j1, .. those of the result, in this order.
        num_blocks: How many such blocks are summed.
    """

    operands: tuple[Axes, ...]
    axis_sizes: tuple[tuple[str, int], ...]
    num_blocks: int

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The size of each axis; the rows of x, of any number, count as one."""
        return {**dict(self.axis_sizes), BLOCK: self.num_blocks, BATCH: 1}

    @cached_property
    def in_axes(self) -> Axes:
        """The axes of x."""
        return tuple(axis for axis, _ in self.axis_sizes if axis[0] == "i")

    @cached_property
    def out_axes(self) -> Axes:
        """The axes of W x."""
        return tuple(axis for axis, _ in self.axis_sizes if axis[0] == "j")

    @cached_property
    def all_operands(self) -> frozenset[int]:
        """The indices of all operands."""
        return frozenset(range(len(self.operands)))

    @cached_property
    def mode_operands(self) -> frozenset[int]:
        """The operands that sum an axis of x; they stand in the order of the modes."""
        return self._operands_with("i")

    @cached_property
    def out_operands(self) -> frozenset[int]:
        """The operands that have modes of the result alone, as half of a tensor ring's; they stand in their order."""
        return self._operands_with("j") - self.mode_operands

    def _operands_with(self, letter: str) -> frozenset[int]:
        return frozenset(k for k, axes in enumerate(self.operands) if any(axis[0] == letter for axis in axes))

    @cached_property
    def groups(self) -> list[frozenset[int]]:
        """What a stage may absorb: operands of neighbouring modes, with or without a core tensor, or one of those."""
        runs = _runs(self.mode_operands)
        cores = sorted(self.all_operands - self.mode_operands - self.out_operands)
        with_core = (frozenset([core, *run]) for core in cores for run in [frozenset[int](), *runs])
        return [*runs, *with_core, *_runs(self.out_operands)]

    def shape(self, axes: Axes) -> list[int]:
        """List the sizes of some axes."""
        return [self.sizes[axis] for axis in axes]

    def size(self, axes: Axes) -> int:
        """Count the numbers of a tensor with these axes."""
        return prod(self.shape(axes))


def _runs(operands: frozenset[int]) -> list[frozenset[int]]:
    """List all that stand beside one another."""
    ordered = sorted(operands)
    return [frozenset(ordered[a:b]) for a, b in combinations(range(len(ordered) + 1), 2)]


class Arrangement(NamedTuple):
    """How a tensor becomes a matrix, or one for each entry of its first axis, with a copy only where it needs one.

    shape: Of the tensor, an axis each.
    order: In which its axes are put; None for that in which they are.
    sides: The shape that it is given then.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...] | None
    sides: tuple[int, ...]


class Pair(NamedTuple):
    """A product of what is merged so far, on the left, with an operand."""

    operand: int
    left: Arrangement
    right: Arrangement


class Recipe(NamedTuple):
    """How a stage for all blocks at once is done.

    first: The operand that the others are multiplied with, one after the other, by `pairs`.
    matrix: How the product of all becomes (contracted, columns), (columns, contracted) for the form "middle", or with
        matrices of blocks (N, contracted, columns).
    running: How the running tensor becomes what the matrix is multiplied with: (rows, contracted), (rows before,
        contracted, rows behind) or (N, rows, contracted).
    """

    first: int
    pairs: tuple[Pair, ...]
    matrix: Arrangement
    running: Arrangement


@dataclass(frozen=True)
class Stage:
    """One product of the running tensor with the product of some operands.

    Attributes:
        operands: Which operands are absorbed.
        before, after: The axes of the running tensor of one row of x and one block, in the order of memory; for all
            blocks at once they name the rows of x and the blocks too.
        contracted: The axes that are summed, in the order of `before`: the rows of the matrix M.
        columns: The axes that are new: the columns of M.
        form: How the native kernel does it: "native" (vectors lie along the columns, which come last) or "inner" (along
            the axes behind the contracted ones, which stay last); or torch: "last" (the contracted axes are the last
            ones: one matrix product), "middle" (they stand together before others: a batched product) or "permuted"
            (they are moved together first). For all blocks at once there are also "blocks" (a product for each, with a
            matrix of its own, in one call) and "moved" (the same, after the axes were).
        recipe: How it is done for all blocks at once, once it is chosen; else None.
    """

    operands: tuple[int, ...]
    before: Axes
    after: Axes
    contracted: Axes
    columns: Axes
    form: Form
    recipe: Recipe | None = None

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
        method: "native", "torch", "batched" or "dense".
        tile_modes: For "native", how many leading axes of x are split into tiles; a tile has the others.
        stages: All stages in order. After native ones there is at most one of torch, which also sums the blocks.
        cost: In the time of one multiply or add.
    """

    network: TensorNetwork
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
        rows = self.batch_size * (network.num_blocks if self.method in ("native", "torch") else 1)
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


def _operand_name(network: TensorNetwork, operand: int) -> str:
    for letter, kind in (("i", "mode"), ("j", "output mode")):
        for axis in network.operands[operand]:
            if axis[0] == letter:
                return f"{kind} {int(axis[1:]) + 1}"
    return "core"


# ---- what a stage does


def make_stage(
    network: TensorNetwork, before: Axes, absorbed: frozenset[int], group: Iterable[int], form: Form
) -> Stage:
    """Work out a stage: which axes the operands of `group` sum and bring, and in which order they come.

    Args:
        network: What is contracted.
        before: The axes of the running tensor.
        absorbed: The operands that earlier stages have absorbed.
        group: The operands to absorb now.
        form: As in `Stage`; "last" becomes "middle" or "permuted" where the contracted axes do not stand last, and
            "permuted" becomes "last" where they do.
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
        elif together and form != "permuted" and network.size(inner) >= SHORTEST_INNER:
            form, after = "middle", before[:first] + columns + inner
        else:
            form = "permuted"
    return Stage(operands, before, after, contracted, columns, form)
