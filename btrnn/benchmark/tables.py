"""The benchmark's CSV files as rows of text, for a terminal and for Markdown, and what is asked of them. No torch.

A target is a ratio of two numbers within one run, and is met or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from btrnn.benchmark.records import COLUMNS, measured_sections, read_machines, read_section, section_path
from btrnn.benchmark.settings import GRAPH

PLAIN = ", plain torch"
SLOWER_BY = 1.1
FACTORS = {  # in the order of tables and figures
    "batch": "batch (clips of 6 frames)",
    "order": "order d",
    "rank": "rank R",
    "blocks": "blocks N",
    "input": "inputs I",
    "time": "frames T, at 1,024 inputs",
}
_OUR = {"BT": "btrnn BT", "TT": "btrnn TT"}
_SHORT = {"forward": "fwd", "forward+backward": "fwd+bwd", "training step": "step"}
_DENSE = {"product": "dense nn.Linear", "layer": "nn.LSTM"}
Tables = Mapping[str, pd.DataFrame]
Rows = list[dict[str, str]]


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
        plain = [n + PLAIN if n.startswith("btrnn") and n != "btrnn.LSTM" else n for n in names]
        return replace(self, numerator=plain[0], denominator=plain[1])


def _faster(name: str, section: str, ours: str, other: str, phase: str, threshold: float) -> Target:
    return Target(name, section, other, ours, phase, threshold)


_F, _FB, _STEP = _SHORT
_BOTH, _BT, _TT = (_F, _FB), ("product", "btrnn BT"), ("product", "btrnn TT")
TARGETS: Sequence[Target] = (
    _faster("BT matmul, against dense nn.Linear", *_BT, "dense nn.Linear", _F, 4.0),
    _faster("BT matmul, against dense nn.Linear", *_BT, "dense nn.Linear", _FB, 3.0),
    _faster("BT matmul, against dense nn.Linear (stretch)", *_BT, "dense nn.Linear", _FB, 4.0),
    *(_faster("BT matmul, against tednet", *_BT, "tednet BT", phase, 20.0) for phase in _BOTH),
    *(_faster("BT matmul, against opt_einsum", *_BT, "opt_einsum BT", phase, 1.5) for phase in _BOTH),
    *(Target("BT matmul, over the roofline", *_BT, "roofline BT", phase, 3.0, at_most=True) for phase in _BOTH),
    *(Target("BT matmul, over the roofline (stretch)", *_BT, "roofline BT", each, 1.5, at_most=True) for each in _BOTH),
    *(_faster("TT matmul, against tltorch", *_TT, "tltorch TT", phase, 1.3) for phase in _BOTH),
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
        targets: Those of sections that were not measured are left out.
        sections: The tables of `read_all`.

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
    """Return whether a target is met, by both of its ratios."""
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


def read_all(results_dir: Path, device: str) -> dict[str, pd.DataFrame]:
    """Read every section that was measured on a device."""
    return {name: read_section(results_dir, name, device) for name in measured_sections(results_dir, device)}


def medians(results_dir: Path, section: str, device: str) -> dict[tuple[str, str], float]:
    """Return a section's median milliseconds at the paper's setting by implementation and phase, if measured."""
    table = read_all(results_dir, device).get(section, pd.DataFrame(columns=COLUMNS))
    known = table[(table["factor"] == "paper") & table["median_ms"].notna()]
    return {(row["implementation"], row["phase"]): float(row["median_ms"]) for row in _records(known)}


def comparison(table: pd.DataFrame, section: str) -> Rows:
    """Return a row for each implementation: times by phase, and how they compare with the dense and with our own."""
    found = table.set_index(["implementation", "phase"])["median_ms"].to_dict()
    rows = []
    for name in table["implementation"].unique():
        row = {"implementation": name}
        ours = _ours_beside(name, section)
        for cell in _records(table[table["implementation"] == name]):
            phase, short = cell["phase"], _SHORT[cell["phase"]]
            row[f"{short}, ms"] = _time(cell)
            dense = found.get((_DENSE[section], phase), float("nan"))
            row[f"{short}, dense÷it"] = _number(dense / cell["median_ms"], ".3g")
            row[f"{short}, it÷ours"] = _number(cell["median_ms"] / found.get((ours, phase), float("nan")), ".3g")
        row["largest error"] = _number(table.loc[table["implementation"] == name, "max_error"].max(), ".0e")
        rows.append(row)
    return rows


def _ours_beside(name: str, section: str) -> str:
    """Return which of our implementations stands beside another: that of its family, as a graph beside a graph."""
    family = "TT" if "TT" in name.replace("BTT", "BT") else "BT"
    ours = _OUR[family] if section == "product" else f"btrnn.{family}LSTM"
    return ours + GRAPH if name.endswith(GRAPH) else ours


def memory(table: pd.DataFrame) -> Rows:
    """Return peak memory and the time of a training step, in a fresh process, with and without keeping freed memory."""
    rows = []
    chosen = table[table["factor"] == "allocator"]
    for name in chosen["implementation"].unique():
        row = {"model": name}
        for cell in _records(chosen[chosen["implementation"] == name]):
            way = "freed memory kept" if cell["value"] == 1 else "allocator's default"
            row[f"MiB, {way}"] = cell["note"] or f"{cell['peak_mib']:,.0f}"
            row[f"step, best / median ms, {way}"] = _time(cell)
        rows.append(row)
    return rows


def rows_of(sections: Tables, factor: str, section: str = "") -> pd.DataFrame:
    """Return the rows of one sweep, of times where no section is named; none where it was not measured."""
    table = sections.get(section or ("layer_sweep" if factor == "time" else "sweep"))
    return pd.DataFrame() if table is None else table[table["factor"] == factor]


def wide(table: pd.DataFrame, title: str, column: str, form: str) -> Rows:
    """Return a row for each value and phase, with a column for each implementation."""
    rows = []
    for (value, phase), cells in table.groupby(["value", "phase"], sort=False):
        row = {title: f"{value:,}", "phase": str(phase)}
        rows.append(row | {cell["implementation"]: _number(cell[column], form) for cell in _records(cells)})
    return rows


def targets(sections: Tables) -> Rows:
    """Return the targets: asked, measured by best and by median, with and without the native path."""
    return [
        {"target": row["target"], "phase": row["phase"], "path": row["path"], "asked": row["asked"]}
        | {"best": _number(row["best"], ".3g"), "median": _number(row["median"], ".3g"), "verdict": row["verdict"]}
        for row in _records(judge(TARGETS, sections))
    ]


def slower_cells(sections: Tables) -> list[dict[str, Any]]:
    """Find the points of the sweeps where our products are slower than two others by more than `SLOWER_BY`.

    Returns:
        An entry for each product and for "both" and "faster" of dense and opt_einsum: `name`, `than`, `total` (cells
        that were compared) and `cells` (factor, value, phase and `over`, our time over the other).
    """
    found = []
    for family, plain in (("BT", False), ("BT", True), ("TT", False)) if "sweep" in sections else ():
        over = compare_sweep(sections["sweep"], family, plain=plain)
        for than, column in (("both", "over_slower"), ("faster", "over_faster")):
            cells = _records(over[over[column] > SLOWER_BY].rename(columns={column: "over"}))
            name = _OUR[family] + (PLAIN if plain else "")
            found.append({"name": name, "than": than, "total": len(over), "cells": cells})
    return found


def left_out(sections: Tables) -> list[dict[str, Any]]:
    """Return the cells without numbers, each with its reason in `note`."""
    return [
        row for table in sections.values() for row in _records(table[table["note"].ne("") & table["median_ms"].isna()])
    ]


def machines(results_dir: Path, device: str, sections: Tables) -> list[tuple[list[str], dict[str, Any]]]:
    """Return what each group of sections was measured on; an empty description where that was not noted."""
    noted = read_machines(results_dir)
    groups: list[tuple[list[str], dict[str, Any]]] = []
    for name in sections:
        machine = noted.get(section_path(results_dir, name, device).stem, {})
        for names, known in groups:
            if known == machine:
                names.append(name)
                break
        else:
            groups.append(([name], machine))
    return groups


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _time(cell: Mapping[str, Any]) -> str:
    """Write best and median; where there is none, why."""
    if isnan(cell["median_ms"]):
        return cell["note"] or "-"
    return f"{cell['best_ms']:.3g} / {cell['median_ms']:.3g}"


def _number(value: float, form: str) -> str:
    return "-" if isnan(value) else f"{value:{form}}"
