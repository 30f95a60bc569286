"""The shapes that the benchmark visits, one thing changed at a time, and what a product of each costs. No torch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import prod
from string import ascii_lowercase, ascii_uppercase
from typing import Literal, NamedTuple

import opt_einsum

Modes = tuple[int, ...]
# what the name of an implementation ends with: replayed as CUDA graphs, one forward and one backward; each phase as one
GRAPH, ONE_GRAPH = ", CUDA graph", ", one CUDA graph"
PLAIN = ", plain torch"  # without the native path
TF32 = ", TF32"  # what cuDNN does where torch is left as it is; else products of float32 are in float32


Family = Literal["dense", "BT", "TT"]
Phase = Literal["forward", "forward+backward", "training step"]

FLOAT_BYTES = 4
MEMORY_LIMIT = 8_000_000_000  # bytes: a cell that needs more is left out, and listed
_BLOCK, _ROW = "x", "z"  # letters of einsum's equation; modes are A.. and a.., ranks i..


@dataclass(frozen=True)
class Shape:
    """The shape of a layer and of its input.

    Attributes:
        in_modes: I_1 .. I_d.
        hidden_modes: J_1 .. J_d; the first is four times as large in the product, which serves all gates.
        rank: R of the block terms, and every inner rank of the tensor train.
        num_blocks: N.
        batch: B, clips.
        time: T, frames of a clip. The product sees T B rows.
    """

    in_modes: Modes = (8, 20, 20, 18)
    hidden_modes: Modes = (4, 4, 4, 4)
    rank: int = 4
    num_blocks: int = 2
    batch: int = 16
    time: int = 6

    @property
    def out_modes(self) -> Modes:
        """The modes of the gates together."""
        first, *rest = self.hidden_modes
        return (4 * first, *rest)

    @property
    def rows(self) -> int:
        """How many vectors the product multiplies."""
        return self.batch * self.time

    @property
    def in_features(self) -> int:
        """I."""
        return prod(self.in_modes)

    @property
    def hidden_size(self) -> int:
        """H."""
        return prod(self.hidden_modes)

    @property
    def out_features(self) -> int:
        """J, that is 4 H."""
        return prod(self.out_modes)

    @property
    def order(self) -> int:
        """The order d."""
        return len(self.in_modes)


class Point(NamedTuple):
    """A place in a sweep: what is varied, and its value there."""

    factor: str
    value: int


PAPER = Shape()
TINY = Shape((2, 4, 4, 2), (2, 2, 2, 2), rank=2, batch=4, time=3)  # for a try in a few seconds

# orders 2 to 5: the factorisations of the authors' code
_BY_ORDER: dict[int, tuple[Modes, Modes]] = {
    2: ((320, 180), (16, 16)),
    3: ((36, 40, 40), (8, 4, 8)),
    4: (PAPER.in_modes, PAPER.hidden_modes),
    5: ((8, 10, 10, 9, 8), (4, 2, 2, 4, 4)),
}
_BY_INPUT: dict[int, Modes] = {
    1_024: (4, 8, 8, 4),
    4_096: (8, 8, 8, 8),
    16_384: (8, 16, 16, 8),
    57_600: PAPER.in_modes,
    262_144: (16, 32, 32, 16),
    1_048_576: (32, 32, 32, 32),
}
INPUT_SHAPES = {size: replace(PAPER, in_modes=modes) for size, modes in _BY_INPUT.items()}

PRODUCT_SWEEPS: dict[str, dict[int, Shape]] = {
    "batch": {batch: replace(PAPER, batch=batch) for batch in (1, 4, 16, 64, 256)},
    "order": {d: replace(PAPER, in_modes=i, hidden_modes=j) for d, (i, j) in _BY_ORDER.items()},
    "rank": {rank: replace(PAPER, rank=rank) for rank in (1, 2, 4, 8)},
    "blocks": {blocks: replace(PAPER, num_blocks=blocks) for blocks in (1, 2, 4)},
    "input": INPUT_SHAPES,
}
TIME_SWEEP = {time: replace(INPUT_SHAPES[1_024], time=time) for time in (6, 24, 100, 1_000)}
DEVICE_SWEEPS = {  # of a GPU, the most wanted first
    "batch": {batch: replace(PAPER, batch=batch) for batch in (16, 256, 64, 1_024)},
    "time": TIME_SWEEP,
}
SWEEPS = PRODUCT_SWEEPS | {"time": TIME_SWEEP}


def visits(sweeps: dict[str, dict[int, Shape]]) -> Iterator[tuple[Shape, list[Point]]]:
    """Yield every shape of some sweeps once, with all the points that it stands for.

    The paper's shape belongs to every sweep of the product, and is measured once for them all.
    """
    points: dict[Shape, list[Point]] = {}
    for factor, shapes in sweeps.items():
        for value, shape in shapes.items():
            points.setdefault(shape, []).append(Point(factor, value))
    yield from points.items()


class Contraction(NamedTuple):
    """The cheapest order in which W x is contracted from its factors, two tensors at a time.

    Attributes:
        forward_flops: Additions and multiplications of W x.
        training_flops: The same, with the gradients of all factors, x having none.
        largest: Numbers in the largest intermediate.
        total: Numbers in all intermediates.
    """

    forward_flops: float
    training_flops: float
    largest: int
    total: int


def operand_terms(family: Family, order: int) -> list[str]:
    """Return the axes of W's operands as einsum writes them: core and factors, or TT-cores."""
    modes = [i + j for i, j in zip(ascii_uppercase[:order], ascii_lowercase[:order], strict=True)]
    ranks = ascii_lowercase[8 : 8 + order + 1]
    if family == "BT":
        return [_BLOCK + ranks[:order], *(_BLOCK + mode + rank for mode, rank in zip(modes, ranks, strict=False))]
    return [left + mode + right for mode, (left, right) in zip(modes, pairwise(ranks), strict=True)]


def product_equation(family: Family, order: int) -> str:
    """Write W x as one einsum: x, then the operands of W."""
    terms = ",".join([_ROW + ascii_uppercase[:order], *operand_terms(family, order)])
    return f"{terms}->{_ROW}{ascii_lowercase[:order]}"


def weight_equation(family: Family, order: int) -> str:
    """Write W as one einsum of its operands."""
    return f"{','.join(operand_terms(family, order))}->{ascii_lowercase[:order]}{ascii_uppercase[:order]}"


def operand_shapes(shape: Shape, family: Family) -> list[tuple[int, ...]]:
    """Return the shapes of W's operands, in the order of `operand_terms`."""
    modes = list(zip(shape.in_modes, shape.out_modes, strict=True))
    if family == "BT":
        blocks, rank = shape.num_blocks, shape.rank
        return [(blocks, *[rank] * shape.order), *((blocks, i, j, rank) for i, j in modes)]
    ranks = (1, *[shape.rank] * (shape.order - 1), 1)
    return [(left, i, j, right) for (i, j), (left, right) in zip(modes, pairwise(ranks), strict=True)]


@lru_cache(maxsize=256)
def cheapest_contraction(shape: Shape, family: Family) -> Contraction:
    """Search all orders of contraction for that with the fewest operations."""
    equation = product_equation(family, shape.order)
    sizes = [(shape.rows, *shape.in_modes), *operand_shapes(shape, family)]
    _, info = opt_einsum.contract_path(equation, *sizes, shapes=True, optimize="optimal")
    # A step's backward pass is one product of the same cost for each operand that has a gradient, and x has none.
    with_x = info.contraction_list[[_absorbs_x(step[2], shape.order) for step in info.contraction_list].index(True)]
    letters = info.size_dict
    first = 2.0
    for letter in set(with_x[2].split("->")[0]) - {","}:
        first *= letters[letter]
    return Contraction(float(info.opt_cost), 3 * float(info.opt_cost) - first, max(info.size_list), sum(info.size_list))


def _absorbs_x(step: str, order: int) -> bool:
    x = set(_ROW + ascii_uppercase[:order])
    return any(set(term) == x for term in step.split("->")[0].split(","))


def dense_bytes(shape: Shape, training: bool) -> int:
    """Count the bytes of W, x and W x; with the gradients of W and W x where training."""
    weight, output = shape.in_features * shape.out_features, shape.rows * shape.out_features
    return FLOAT_BYTES * ((weight + output) * (1 + training) + shape.rows * shape.in_features)


def factored_bytes(shape: Shape, training: bool, family: Family) -> int:
    """Estimate the bytes of x and of the intermediates of the cheapest contraction: all of them where training."""
    contraction = cheapest_contraction(shape, family)
    held = contraction.total + 2 * contraction.largest if training else 2 * contraction.largest
    return FLOAT_BYTES * (shape.rows * shape.in_features + held)


def mode_by_mode_bytes(shape: Shape, training: bool) -> int:
    """Estimate the bytes of contracting a block's modes from the first to the last, and its core at the end.

    Each intermediate is made twice, once more with its axes moved, and stands beside the next.
    """
    sizes, done, left = [], shape.rows, shape.in_features
    for i, j in zip(shape.in_modes, shape.out_modes, strict=True):
        done, left = done * j * shape.rank, left // i
        sizes.append(done * left)
    held = 2 * shape.num_blocks * sum(sizes) if training else 3 * max(sizes)
    return FLOAT_BYTES * (shape.rows * shape.in_features + held)


def law(shape: Shape, family: Family, phase: Phase | Literal["memory"]) -> float:
    """Evaluate the paper's complexity law of a product, for one vector, without its constant.

    Time forward and backward, and memory: dense I J; tensor train d I R^2 Jmax, d^2 I R^4 Jmax, R^3 I; block terms
    N d I R^d Jmax, N d^2 I R^d Jmax, R^d I (Ye et al., section 3). A forward and a backward pass together follow the
    law of the larger.
    """
    size, rank, order, widest = shape.in_features, shape.rank, shape.order, max(shape.out_modes)
    if family == "dense":
        return float(size * shape.out_features)
    if phase == "memory":
        return float(size * (rank**order if family == "BT" else rank**3))
    rounds = order if phase == "forward" else order**2
    if family == "BT":
        return float(shape.num_blocks * rounds * size * rank**order * widest)
    return float(rounds * size * rank ** (2 if phase == "forward" else 4) * widest)
