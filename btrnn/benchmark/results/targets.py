"""What is asked of the numbers: ratios within one run, each a bar that holds or does not. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Literal

import pandas as pd

PLAIN = ", plain torch"
_ALWAYS_PLAIN = "btrnn.LSTM"
TOLERANCE = 1.1


@dataclass(frozen=True)
class Bar:
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

    def without_native_path(self) -> "Bar":
        """Return the same bar for our implementations on torch's products alone."""
        names = (self.numerator, self.denominator)
        plain = [n + PLAIN if n.startswith("btrnn") and n != _ALWAYS_PLAIN else n for n in names]
        return replace(self, numerator=plain[0], denominator=plain[1])


def _faster(name: str, section: str, ours: str, other: str, phase: str, threshold: float) -> Bar:
    return Bar(name, section, other, ours, phase, threshold)


_F, _FB, _STEP = "forward", "forward+backward", "training step"
BARS: Sequence[Bar] = (
    _faster("BT product, against dense nn.Linear", "product", "btrnn BT", "dense nn.Linear", _F, 4.0),
    _faster("BT product, against dense nn.Linear", "product", "btrnn BT", "dense nn.Linear", _FB, 3.0),
    _faster("BT product, against dense nn.Linear (stretch)", "product", "btrnn BT", "dense nn.Linear", _FB, 4.0),
    _faster("BT product, against tednet", "product", "btrnn BT", "tednet BT", _F, 20.0),
    _faster("BT product, against tednet", "product", "btrnn BT", "tednet BT", _FB, 20.0),
    _faster("BT product, against opt_einsum", "product", "btrnn BT", "opt_einsum BT", _F, 1.5),
    _faster("BT product, against opt_einsum", "product", "btrnn BT", "opt_einsum BT", _FB, 1.5),
    Bar("BT product, over the floor", "product", "btrnn BT", "floor BT", _F, 3.0, at_most=True),
    Bar("BT product, over the floor", "product", "btrnn BT", "floor BT", _FB, 3.0, at_most=True),
    Bar("BT product, over the floor (stretch)", "product", "btrnn BT", "floor BT", _F, 1.5, at_most=True),
    Bar("BT product, over the floor (stretch)", "product", "btrnn BT", "floor BT", _FB, 1.5, at_most=True),
    _faster("TT product, against tltorch", "product", "btrnn TT", "tltorch TT", _F, 1.3),
    _faster("TT product, against tltorch", "product", "btrnn TT", "tltorch TT", _FB, 1.3),
    _faster("BT-LSTM, against dense nn.LSTM", "layer", "btrnn.BTLSTM", "nn.LSTM", _F, 10.0),
    _faster("BT-LSTM, against dense nn.LSTM", "layer", "btrnn.BTLSTM", "nn.LSTM", _FB, 8.0),
    _faster("BT-LSTM, against dense nn.LSTM", "layer", "btrnn.BTLSTM", "nn.LSTM", _STEP, 10.0),
    _faster("BT-LSTM, against the best dense form", "layer", "btrnn.BTLSTM", "btrnn.LSTM", _STEP, 4.0),
    Bar(
        *("BT-LSTM, against nn.LSTM at T = 1,000 and 1,024 inputs", "layer_sweep", "nn.LSTM", "btrnn.BTLSTM", _FB, 1.0),
        factor="time",
        value=1_000,
    ),
    Bar(
        *("BT-LSTM, memory of training over the dense layer's", "memory", "btrnn.BTLSTM", "btrnn.LSTM", _STEP, 0.25),
        at_most=True,
        quantity="peak_mib",
        factor="allocator",
        value=1,
    ),
)


def judge(bars: Sequence[Bar], sections: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Measure bars, each with and without the native path.

    Args:
        bars: The bars.
        sections: The tables of `records.read_section`, by name; those of other sections are left out.

    Returns:
        A row a bar and path: `bar`, `phase`, `path` ("native" or "plain torch"), `asked`, `best`, `median` (the ratios;
        both the same where the quantity is memory; not a number where a cell was not measured) and `verdict`.
    """
    rows = []
    for bar in bars:
        if bar.section not in sections:
            continue
        for path, variant in (("native", bar), ("plain torch", bar.without_native_path())):
            best, median = ratios(variant, sections[bar.section])
            asked = f"{'at most' if bar.at_most else 'at least'} {bar.threshold:g}"
            rows.append(
                {"bar": bar.name, "phase": bar.phase, "path": path, "asked": asked}
                | {"best": best, "median": median, "verdict": verdict(bar, best, median)}
            )
    return pd.DataFrame(rows)


def ratios(bar: Bar, table: pd.DataFrame) -> tuple[float, float]:
    """Return a bar's ratio by the best and by the median rounds."""
    place = table[(table["factor"] == bar.factor) & (table["phase"] == bar.phase)]
    if bar.value is not None:
        place = place[place["value"] == bar.value]
    columns = ["best_ms", "median_ms"] if bar.quantity == "ms" else ["peak_mib", "peak_mib"]
    found = []
    for column in columns:
        numbers = place.set_index("implementation")[column]
        above, below = (float(numbers.get(name, nan)) for name in (bar.numerator, bar.denominator))
        found.append(above / below)
    return found[0], found[1]


def verdict(bar: Bar, best: float, median: float) -> str:
    """Say whether a bar holds, by both of its ratios."""
    if isnan(best) or isnan(median):
        return "not measured"
    holds = [ratio <= bar.threshold if bar.at_most else ratio >= bar.threshold for ratio in (best, median)]
    if all(holds):
        return "holds"
    return "does not hold" if not any(holds) else f"holds by the {'best' if holds[0] else 'median'} alone"


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
