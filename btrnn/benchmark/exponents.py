"""The paper's complexity laws beside measured exponents: slopes of log time and log memory, from CSV files. No torch.

A law such as O(N d I R^d Jmax) says how a number grows with each factor. What is measured is the slope of its logarithm
over the logarithm of the factor; what the law says is the slope of the law's own logarithm at the same sizes (for I, N
and R an exponent that can be read in it; d stands in an exponent itself).

A law is about large sizes. So where there are enough, the slope that is judged is that of the larger sizes, and where
all sizes together give a smaller one, constants hide the law below them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t

from btrnn.benchmark.records import measured_sections
from btrnn.benchmark.settings import PAPER, SWEEPS, Family, Phase, Shape, cheapest_contraction, law
from btrnn.benchmark.tables import read_all

Quantity = Literal["time forward", "time backward", "memory"]
QUANTITIES: tuple[Quantity, ...] = ("time forward", "time backward", "memory")
FAMILIES: tuple[Family, ...] = ("dense", "TT", "BT")
FACTORS: dict[Family, tuple[str, ...]] = {  # what each family's law depends on
    "dense": ("input",),
    "TT": ("input", "rank", "order"),
    "BT": ("input", "rank", "blocks", "order"),
}
TOLERANCE = 0.15  # of an exponent: nearer than this is equal
WIDEST = 0.3  # half of an exponent's interval: one that is wider tells nothing
MANY = 5  # sizes: from here on the larger ones are judged alone
HOLDS, SLOWER, FASTER, UNCLEAR = "holds", "slower", "faster", "cannot be told"
WORDS = {
    HOLDS: "holds",
    SLOWER: "consistent with a bound, not tested",
    FASTER: "does not hold",
    UNCLEAR: "not tested, interval too wide",
}
# the sections of the benchmark that the laws are compared with
SECTIONS = ("sweep", "memory", "memory_sweep")
PRODUCTS: dict[Family, str] = {"dense": "dense nn.Linear", "TT": "btrnn TT", "BT": "btrnn BT"}
LAYERS: dict[Family, str] = {"dense": "btrnn.LSTM", "TT": "btrnn.TTLSTM", "BT": "btrnn.BTLSTM"}
LAW_OF: dict[Quantity, Phase | Literal["memory"]] = {
    "time forward": "forward",
    "time backward": "forward+backward",
    "memory": "memory",
}
_PAPER_VALUES = {"batch": 16, "order": 4, "rank": 4, "blocks": 2, "input": 57_600, "time": 24}  # a law goes through it
# Where the sections say how much memory a factor needs.
_MEMORY_SECTIONS = {"input": "memory", "rank": "memory_sweep", "blocks": "memory_sweep", "order": "memory_sweep"}


class SlopeInterval(NamedTuple):
    """Slope of a straight line by least squares, with its 95 % interval; NaN where there are too few points."""

    slope: float
    low: float
    high: float
    n: int


class Ratio(NamedTuple):
    """A family's cost over the dense one's, at the paper's setting.

    Attributes:
        family: Which.
        quantity: Of what.
        law: As the laws say it, without their constants.
        operations: Of the fewest operations of any order of contraction; NaN for memory.
        measured: As it was measured; NaN where it was not.
    """

    family: Family
    quantity: Quantity
    law: float
    operations: float
    measured: float


def measurements(sections: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Gather what the laws speak of.

    Time backward is that of both passes without that of the forward pass, each the best of its rounds, which other work
    on the machine disturbs least. Memory is the growth of the peak while a layer is trained, of which the law is that
    of the backward pass.

    Args:
        sections: The tables of `btrnn.benchmark.records.read_section`, by name.

    Returns:
        A row for each size: `family`, `quantity`, `factor`, `value`, `measured` (ms or MiB) and `law`.
    """
    rows = []
    for family, factors in FACTORS.items():
        for factor in factors:
            for quantity in QUANTITIES:
                numbers = _numbers(sections, family, quantity, factor)
                for value, shape in SWEEPS[factor].items():
                    measured = numbers.get(value, np.nan)
                    if measured > 0:  # NaN is not
                        rows.append(
                            {"family": family, "quantity": quantity, "factor": factor, "value": value}
                            | {"measured": measured, "law": law(shape, family, LAW_OF[quantity]) * shape.rows}
                        )
    return pd.DataFrame(rows, columns=["family", "quantity", "factor", "value", "measured", "law"])


def _numbers(sections: Mapping[str, pd.DataFrame], family: Family, quantity: Quantity, factor: str) -> dict[int, float]:
    """Return a quantity by the value of a factor; empty where it was not measured."""
    name = _MEMORY_SECTIONS[factor] if quantity == "memory" else "sweep"
    if name not in sections:
        return {}
    table = sections[name][sections[name]["factor"] == factor]
    if quantity == "memory":
        return dict(table[table["implementation"] == LAYERS[family]].set_index("value")["peak_mib"])
    best = table[table["implementation"] == PRODUCTS[family]].pivot_table(
        index="value", columns="phase", values="best_ms"
    )
    if quantity == "time forward":
        return dict(best["forward"]) if "forward" in best else {}
    known = {"forward", "forward+backward"} <= set(best)
    return dict(best["forward+backward"] - best["forward"]) if known else {}


def exponents(measured: pd.DataFrame) -> pd.DataFrame:
    """Fit a slope for each family, quantity and factor, and judge it.

    Args:
        measured: Of `measurements`.

    Returns:
        A row for each: `family`, `quantity`, `factor`, `n`, `smallest`, `largest` (of the sizes that are judged),
        `law`, `slope`, `low`, `high` over these, `slope_all` over all sizes, `all_smallest`, `n_all`, `verdict`.
    """
    rows = []
    for (family, quantity, factor), group in measured.groupby(["family", "quantity", "factor"], sort=False):
        group = group.sort_values("value")
        large = group.tail(len(group) // 2 + 1) if len(group) >= MANY else group
        expected = _slope(large, large["law"]).slope
        fit = _above(expected, _slope(large, large["measured"] / large["law"]))
        rows.append(
            {"family": family, "quantity": quantity, "factor": factor, "n": fit.n, "n_all": len(group)}
            | {"smallest": large["value"].iloc[0], "largest": large["value"].iloc[-1]}
            | {"all_smallest": group["value"].iloc[0], "slope_all": _slope(group, group["measured"]).slope}
            | {"law": expected, "slope": fit.slope, "low": fit.low, "high": fit.high}
            | {"verdict": judge(fit, expected)}
        )
    columns = ["family", "quantity", "factor", "n", "n_all", "smallest", "largest", "all_smallest", "slope_all"]
    return pd.DataFrame(rows, columns=[*columns, "law", "slope", "low", "high", "verdict"])


def fitted(results_dir: Path) -> pd.DataFrame:
    """Return the exponents that the committed CSV files give; see `exponents`."""
    return exponents(measurements(read_all(results_dir, "cpu")))


def missing_sections(results_dir: Path) -> list[str]:
    """List the sections that the laws are compared with and that were not measured yet."""
    return [name for name in SECTIONS if name not in measured_sections(results_dir)]


def overall(verdicts: "pd.Series[str]") -> str:
    """Judge a law by all of its factors: it holds as far as it does in the worst of them."""
    return next(verdict for verdict in (FASTER, UNCLEAR, SLOWER, HOLDS) if verdict in set(verdicts))


def _slope(group: pd.DataFrame, quantity: "pd.Series[float]") -> SlopeInterval:
    return slope_interval(np.log(group["value"].to_numpy(dtype=float)), np.log(quantity.to_numpy(dtype=float)))


def slope_interval(x: np.ndarray, y: np.ndarray) -> SlopeInterval:
    """Fit a straight line, and compute its slope with a two-sided 95 % interval by Student's t (n - 2 degrees).

    Args:
        x: (n,) numbers.
        y: (n,) numbers; a point with NaN is left out.

    Returns:
        The slope; NaN unless two values of x differ. The interval, which takes the distances from the line for
        independent and equally large; NaN under three points.
    """
    known = ~(np.isnan(x) | np.isnan(y))
    count, nan = int(known.sum()), float("nan")
    if np.unique(x[known]).size < 2:
        return SlopeInterval(nan, nan, nan, count)
    across, up = x[known] - x[known].mean(), y[known] - y[known].mean()
    slope = float(across @ up / (across @ across))
    rest = up - slope * across
    half = float(t.ppf(0.975, count - 2) * np.sqrt(rest @ rest / (count - 2) / (across @ across))) if count > 2 else nan
    return SlopeInterval(slope, slope - half, slope + half, count)


def _above(expected: float, excess: SlopeInterval) -> SlopeInterval:
    """Return a number's exponent from the law's, and the exponent of the number over its law.

    The law is a straight line in I, N and R, not in d: distances from such a line would say nothing of the number.
    """
    return SlopeInterval(expected + excess.slope, expected + excess.low, expected + excess.high, excess.n)


def judge(fit: SlopeInterval, expected: float) -> str:
    """Return whether a number grows as its law says.

    Args:
        fit: Of the number.
        expected: The law's slope.

    Returns:
        `HOLDS` where the exponents differ by no more than `TOLERANCE` and the interval is no wider than `WIDEST` to
        either side. `SLOWER` where the interval ends below the law's exponent: O() is a bound from above, which that
        does not break, nor does it test it. `FASTER` where it begins above. `UNCLEAR` in all other cases.
    """
    if abs(fit.slope - expected) <= TOLERANCE and fit.high - fit.slope <= WIDEST:
        return HOLDS
    if fit.high < expected:
        return SLOWER
    return FASTER if fit.low > expected else UNCLEAR


def beside_laws(rows: pd.DataFrame, factor: str, column: str) -> pd.DataFrame:
    """Return what was measured against one factor, and the laws through the measured value at the paper's setting.

    Args:
        rows: Of one sweep.
        factor: What is varied.
        column: "median_ms", of both passes, or "peak_mib", of a training step.

    Returns:
        A row for each point: `label` (the implementation, or "the law, " and its family), `x` and `mean`.
    """
    phase: Phase = "training step" if column == "peak_mib" else "forward+backward"
    known = rows[rows["phase"] == phase].dropna(subset=[column])
    parts = [pd.DataFrame({"label": known["implementation"], "x": known["value"], "mean": known[column]})]
    for family in FAMILIES:
        ours = known[known["implementation"].isin((PRODUCTS[family], LAYERS[family]))].set_index("value")[column]
        if (place := _PAPER_VALUES[factor]) in ours:
            # the law is for one vector; over these sizes memory is measured at one number of rows
            what: Phase | Literal["memory"] = "memory" if column == "peak_mib" else phase
            heights = {value: law(shape, family, what) * shape.rows for value, shape in SWEEPS[factor].items()}
            means = [ours[place] / heights[place] * height for height in heights.values()]
            parts.append(pd.DataFrame({"label": f"the law, {family}", "x": list(heights), "mean": means}))
    return pd.concat(parts, ignore_index=True)


def ratios(sections: Mapping[str, pd.DataFrame]) -> list[Ratio]:
    """Compare both factorised products with the dense one at the paper's setting: where constants decide."""
    place = PAPER.in_features
    rows = []
    for family in ("TT", "BT"):
        for quantity in QUANTITIES:
            ours, dense = (_numbers(sections, name, quantity, "input").get(place, np.nan) for name in (family, "dense"))
            laws = [law(PAPER, name, LAW_OF[quantity]) for name in (family, "dense")]
            operations = _operations(PAPER, family, quantity)
            rows.append(Ratio(family, quantity, laws[0] / laws[1], operations, ours / dense))
    return rows


def _operations(shape: Shape, family: Family, quantity: Quantity) -> float:
    """Return the fewest operations over the dense product's, which has no gradient of x either."""
    if quantity == "memory":
        return float("nan")
    contraction = cheapest_contraction(shape, family)
    backward = contraction.training_flops - contraction.forward_flops
    chosen = contraction.forward_flops if quantity == "time forward" else backward
    return chosen / (2 * shape.rows * shape.in_features * shape.out_features)
