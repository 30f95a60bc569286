"""The operations of equation 4's own order, counted, beside the paper's laws. No torch.

The laws are of this order: mode after mode, each factor's ranks kept until the core comes last, as in the authors'
code; of a tensor train core after core. What is counted has no noise: an exponent is a slope between sizes, without
an interval.
"""

from dataclasses import replace
from itertools import product
from math import log, nan
from typing import NamedTuple

import pandas as pd

from btrnn.benchmark.exponents import FACTORS, FASTER, HOLDS, LAW_OF, QUANTITIES, SLOWER, TOLERANCE, Quantity
from btrnn.benchmark.settings import PAPER, PRODUCT_SWEEPS, Family, Shape, law

_FAMILIES: tuple[Family, ...] = ("TT", "BT")
FAR = 1024  # times the paper's size, where one term of a count is all that is left of it


class Count(NamedTuple):
    """What the order of equation 4 costs.

    forward, backward: Multiplications and additions of W x, and of the gradients of all factors, x having none.
    held: Numbers in all intermediates, which the backward pass needs.
    """

    forward: float
    backward: float
    held: float

    def of(self, quantity: Quantity) -> float:
        """Return the number that a law is about."""
        return {"time forward": self.forward, "time backward": self.backward, "memory": self.held}[quantity]


def count(shape: Shape, family: Family) -> Count:
    """Count the operations of W x for all of a shape's vectors."""
    kept, left, steps, held = float(shape.rows), float(shape.in_features), list[float](), 0.0
    for k, (i, j) in enumerate(zip(shape.in_modes, shape.out_modes, strict=True)):
        last = family == "TT" and k == shape.order - 1
        steps.append(2 * kept * left * j * (1 if last else shape.rank))  # sums over I_k, and over a train's rank before
        kept *= j * (1 if last else shape.rank) / (shape.rank if family == "TT" and k > 0 else 1)
        left /= i
        held += kept * left
    if family == "BT":
        steps.append(2.0 * shape.rows * shape.out_features * shape.rank**shape.order)  # the core
    blocks = shape.num_blocks if family == "BT" else 1
    # a step has two gradients, each at its own cost; the first has none of x
    return Count(blocks * sum(steps), blocks * (2 * sum(steps) - steps[0]), blocks * held)


def over_dense(family: Family, quantity: Quantity) -> float:
    """Return a count over the dense product's at the paper's shape: operations, or the numbers of W."""
    entries = PAPER.in_features * PAPER.out_features
    return count(PAPER, family).of(quantity) / (entries if quantity == "memory" else 2 * PAPER.rows * entries)


def counted_exponents() -> pd.DataFrame:
    """Compare how the counts and the laws grow, one factor at a time.

    Returns:
        A row for each family, quantity and factor: the slopes of the logarithms between the smallest and the largest
        size of the benchmark's sweep, `law` and `counted`; those far beyond, `far_law` and `far`, NaN for the order,
        which has no such sizes; and `verdict`, of the slopes far beyond where there are some: `HOLDS`, `SLOWER` (as a
        bound from above allows) or `FASTER`.
    """
    rows = []
    for family, quantity in product(_FAMILIES, QUANTITIES):
        for factor in FACTORS[family]:
            near = [*PRODUCT_SWEEPS[factor].items()]
            expected, counted = _slopes(near[0], near[-1], family, quantity)
            far_law, far = nan, nan
            if factor != "order":
                far_law, far = _slopes(_scaled(factor, FAR), _scaled(factor, 2 * FAR), family, quantity)
            excess = counted - expected if factor == "order" else far - far_law
            verdict = HOLDS if abs(excess) <= TOLERANCE else FASTER if excess > 0 else SLOWER
            rows.append(
                {"family": family, "quantity": quantity, "factor": factor, "law": expected, "counted": counted}
                | {"far_law": far_law, "far": far, "verdict": verdict}
            )
    return pd.DataFrame(rows)


def _scaled(factor: str, scale: int) -> tuple[int, Shape]:
    """Return the paper's shape with one factor as many times as large, and its size; of the input every mode grows."""
    if factor == "input":
        shape = replace(PAPER, in_modes=tuple(mode * scale for mode in PAPER.in_modes))
        return shape.in_features, shape
    name = {"rank": "rank", "blocks": "num_blocks"}[factor]
    size = scale * getattr(PAPER, name)
    return size, replace(PAPER, **{name: size})


def _slopes(
    first: tuple[int, Shape], last: tuple[int, Shape], family: Family, quantity: Quantity
) -> tuple[float, float]:
    """Return the slopes of a law and of the counts between two sizes."""
    across = log(last[0] / first[0])
    laws = [law(shape, family, LAW_OF[quantity]) * shape.rows for _, shape in (first, last)]
    counts = [count(shape, family).of(quantity) for _, shape in (first, last)]
    return log(laws[1] / laws[0]) / across, log(counts[1] / counts[0]) / across
