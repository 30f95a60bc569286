"""The benchmark's CSV files as rows of text, for a terminal and for Markdown. No torch."""

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from btrnn.benchmark.records import COLUMNS, measured_sections, read_machines, read_section, section_path
from btrnn.benchmark.settings import GRAPH, PAPER
from btrnn.benchmark.settings import PLAIN as PLAIN  # which reports take from here
from btrnn.benchmark.targets import TARGETS, judge

SLOWER_BY, _DISTURBED_BY = 1.1, 1.25
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


def medians_alone(results_dir: Path, device: str) -> list[dict[tuple[str, str], float]]:
    """Return the same of layers measured one by one, each in a fresh process.

    With freed memory kept, without, and with it kept again as a point of the sweep over inputs.
    """
    table = read_all(results_dir, device).get("memory", pd.DataFrame(columns=COLUMNS))
    is_papers = (table["factor"] == "allocator") | (table["factor"].eq("input") & table["value"].eq(PAPER.in_features))
    known = table[is_papers & table["median_ms"].notna()]
    return [
        {(row["implementation"], row["phase"]): float(row["median_ms"]) for row in _records(rows)}
        for _, rows in known.groupby(["factor", "value"], sort=False)
    ]


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


def targets(sections: Tables, device: str) -> Rows:
    """Return the targets: asked, measured by best and by median; on a CPU also without the native path."""
    rows = []
    for row in _records(judge(TARGETS, sections)):
        shown = {"target": row["target"], "phase": row["phase"], "path": row["path"], "asked": row["asked"]}
        shown |= {"best": _number(row["best"], ".3g"), "median": _number(row["median"], ".3g")}
        if device == "cpu" or shown.pop("path") == "native":
            rows.append(shown | {"verdict": row["verdict"]})
    return rows


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


def disturbed(sections: Tables) -> list[dict[str, Any]]:
    """Find the points of the sweeps over d, R and N where the dense product, which has none of them, took much longer.

    Something else was then at work on the machine, and the other times there tell little.

    Returns:
        A row for each point and phase: factor, value, phase, and `over`, the dense median over that of all such points.
    """
    if "sweep" not in sections:
        return []
    sweep = sections["sweep"]
    dense = sweep[(sweep["implementation"] == _DENSE["product"]) & sweep["factor"].isin(["order", "rank", "blocks"])]
    usual = dense.groupby("phase")["median_ms"].transform("median")
    over = dense.assign(over=dense["median_ms"] / usual)
    return _records(over.loc[over["over"] > _DISTURBED_BY, ["factor", "value", "phase", "over"]])


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
