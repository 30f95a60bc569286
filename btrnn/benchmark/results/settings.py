"""The shapes that the benchmark visits: the paper's, and sweeps that change one thing of it at a time. No torch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

Modes = tuple[int, ...]
GRAPH = ", CUDA graph"  # what the name of an implementation ends with that is replayed as one


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
