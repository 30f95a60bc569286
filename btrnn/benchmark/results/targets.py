"""What is asked of the numbers: ratios within one run, each a target that is met or not. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Literal

import pandas as pd

PLAIN = ", plain torch"
_ALWAYS_PLAIN = "btrnn.LSTM"
TOLERANCE = 1.1


@dataclass(frozen=True)
class Target:
    """A ratio and its threshold.

    Attributes:
        name: What is asked.
        section: Of which section the numbers are.
        numerator, denominator: Implementations whose numbers are divided.
        phase: Which of their phases.
        threshold: The ratio must reach it, or with `at_most` stay below it.
        at_most: See `threshold`.
        quantity: "ms", of which the best and the median are compared, or "peak_mib".
        factor, value: The place in a sweep; by default the paper's setting.
    """

    name: str
    section: str
    numerator: str
    denominator: str
    phase: str
    threshold: float
    at_most: bool = False
    quantity: Literal["ms", "peak_mib"] = "ms"
    factor: str = "paper"
    value: int | None = None

    def without_native_path(self) -> "Target":
        """Return the same target for our implementations on torch's products alone."""
        names = (self.numerator, self.denominator)
        plain = [n + PLAIN if n.startswith("btrnn") and n != _ALWAYS_PLAIN else n for n in names]
        return replace(self, numerator=plain[0], denominator=plain[1])


def _faster(name: str, section: str, ours: str, other: str, phase: str, threshold: float) -> Target:
    return Target(name, section, other, ours, phase, threshold)


_F, _FB, _STEP = "forward", "forward+backward", "training step"
TARGETS: Sequence[Target] = (
    _faster("BT matmul, against dense nn.Linear", "product", "btrnn BT", "dense nn.Linear", _F, 4.0),
    _faster("BT matmul, against dense nn.Linear", "product", "btrnn BT", "dense nn.Linear", _FB, 3.0),
    _faster("BT matmul, against dense nn.Linear (stretch)", "product", "btrnn BT", "dense nn.Linear", _FB, 4.0),
    _faster("BT matmul, against tednet", "product", "btrnn BT", "tednet BT", _F, 20.0),
    _faster("BT matmul, against tednet", "product", "btrnn BT", "tednet BT", _FB, 20.0),
    _faster("BT matmul, against opt_einsum", "product", "btrnn BT", "opt_einsum BT", _F, 1.5),
    _faster("BT matmul, against opt_einsum", "product", "btrnn BT", "opt_einsum BT", _FB, 1.5),
    Target("BT matmul, over the roofline", "product", "btrnn BT", "roofline BT", _F, 3.0, at_most=True),
    Target("BT matmul, over the roofline", "product", "btrnn BT", "roofline BT", _FB, 3.0, at_most=True),
    Target("BT matmul, over the roofline (stretch)", "product", "btrnn BT", "roofline BT", _F, 1.5, at_most=True),
    Target("BT matmul, over the roofline (stretch)", "product", "btrnn BT", "roofline BT", _FB, 1.5, at_most=True),
    _faster("TT matmul, against tltorch", "product", "btrnn TT", "tltorch TT", _F, 1.3),
    _faster("TT matmul, against tltorch", "product", "btrnn TT", "tltorch TT", _FB, 1.3),
    _faster("BT-LSTM, against dense nn.LSTM", "layer", "btrnn.BTLSTM", "nn.LSTM", _F, 10.0),
    _faster("BT-LSTM, against dense nn.LSTM", "layer", "btrnn.BTLSTM", "nn.LSTM", _FB, 8.0),
    _faster("BT-LSTM, against dense nn.LSTM", "layer", "btrnn.BTLSTM", "nn.LSTM", _STEP, 10.0),
    _faster("BT-LSTM, against the best dense form", "layer", "btrnn.BTLSTM", "btrnn.LSTM", _STEP, 4.0),
    Target(
        *("BT-LSTM, against nn.LSTM at T = 1,000 and 1,024 inputs", "layer_sweep", "nn.LSTM", "btrnn.BTLSTM", _FB, 1.0),
        factor="time",
        value=1_000,
    ),
    Target(
        *("BT-LSTM, memory of training over the dense layer's", "memory", "btrnn.BTLSTM", "btrnn.LSTM", _STEP, 0.25),
        at_most=True,
        quantity="peak_mib",
        factor="allocator",
        value=1,
    ),
)


def judge(targets: Sequence[Target], sections: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Measure targets, each with and without the native path.

    Args:
        targets: The targets.
        sections: The tables of `records.read_section`, by name; those of other sections are left out.

    Returns:
        A row a target and path: `target`, `phase`, `path` ("native" or "plain torch"), `asked`, `best`, `median` (the
        ratios; both the same where the quantity is memory; not a number where a cell was not measured) and `verdict`.
    """
    rows = []
    for target in targets:
        if target.section not in sections:
            continue
        for path, variant in (("native", target), ("plain torch", target.without_native_path())):
            best, median = ratios(variant, sections[target.section])
            asked = f"{'at most' if target.at_most else 'at least'} {target.threshold:g}"
            rows.append(
                {"target": target.name, "phase": target.phase, "path": path, "asked": asked}
                | {"best": best, "median": median, "verdict": verdict(target, best, median)}
            )
    return pd.DataFrame(rows)


def ratios(target: Target, table: pd.DataFrame) -> tuple[float, float]:
    """Return a target's ratio by the best and by the median rounds."""
    place = table[(table["factor"] == target.factor) & (table["phase"] == target.phase)]
    if target.value is not None:
        place = place[place["value"] == target.value]
    columns = ["best_ms", "median_ms"] if target.quantity == "ms" else ["peak_mib", "peak_mib"]
    found = []
    for column in columns:
        numbers = place.set_index("implementation")[column]
        above, below = (float(numbers.get(name, nan)) for name in (target.numerator, target.denominator))
        found.append(above / below)
    return found[0], found[1]


def verdict(target: Target, best: float, median: float) -> str:
    """Say whether a target is met, by both of its ratios."""
    if isnan(best) or isnan(median):
        return "not measured"
    met = [ratio <= target.threshold if target.at_most else ratio >= target.threshold for ratio in (best, median)]
    if all(met):
        return "met"
    return "not met" if not any(met) else f"met by the {'best' if met[0] else 'median'} alone"


def compare_sweep(sweep: pd.DataFrame, family: str, *, plain: bool = False) -> pd.DataFrame:
    """Compare our product with the dense one and with opt_einsum's, at every point of the sweeps.

    Args:
        sweep: The table of the section.
        family: "BT" or "TT".
        plain: Whether ours without the native path is meant.

    Returns:
        A row a point and phase: `factor`, `value`, `phase`, `over_slower` and `over_faster`, which are our median time
        over that of the slower and of the faster of the two; where one of them was left out, it does not count.
    """
    ours, others = f"btrnn {family}{PLAIN if plain else ''}", ["dense nn.Linear", f"opt_einsum {family}"]
    wide = sweep.pivot_table(
        index=["factor", "value", "phase"], columns="implementation", values="median_ms", sort=False
    )
    if ours not in wide:
        return pd.DataFrame(columns=["factor", "value", "phase", "over_slower", "over_faster"])
    known = wide[[name for name in others if name in wide]]
    over = pd.DataFrame({"over_slower": wide[ours] / known.max(axis=1), "over_faster": wide[ours] / known.min(axis=1)})
    return over.dropna().reset_index()
