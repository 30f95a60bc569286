"""The benchmark's CSV files as text: for the terminal, and results/tables/benchmark.md. No torch."""

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from tabulate import tabulate

from btrnn.benchmark.results.records import measured_sections, read_machines, read_section, section_path
from btrnn.benchmark.results.settings import GRAPH, SWEEPS
from btrnn.benchmark.results.targets import BARS, PLAIN, TOLERANCE, compare_sweep, judge

Format = Literal["simple", "github"]
FACTORS = {
    "batch": "batch (clips of 6 frames)",
    "order": "order d",
    "rank": "rank R",
    "blocks": "blocks N",
    "time": "frames T, at 1,024 inputs",
    "input": "inputs I",
}
MADE_BY = "Made by `python experiments/benchmark.py --report` from results/benchmark_*.csv; do not edit."
_OUR = {"BT": "btrnn BT", "TT": "btrnn TT"}
_SHORT = {"forward": "fwd", "forward+backward": "fwd+bwd", "training step": "step"}
_DENSE = {"product": "dense nn.Linear", "layer": "nn.LSTM"}
Tables = Mapping[str, pd.DataFrame]


def read_all(results_dir: Path, device: str) -> dict[str, pd.DataFrame]:
    """Read every section that was measured on a device."""
    return {name: read_section(results_dir, name, device) for name in measured_sections(results_dir, device)}


def medians(results_dir: Path, section: str, device: str) -> dict[tuple[str, str], float]:
    """Return a section's median milliseconds at the paper's setting by implementation and phase, if measured."""
    table = read_all(results_dir, device).get(section)
    if table is None:
        return {}
    known = table[(table["factor"] == "paper") & table["median_ms"].notna()]
    return {(row["implementation"], row["phase"]): float(row["median_ms"]) for row in _records(known)}


def terminal_report(results_dir: Path, device: str) -> str:
    """Return the tables at the paper's setting, and the bars, as plain text."""
    sections = read_all(results_dir, device)
    parts = []
    for name in ("product", "layer"):
        if name in sections:
            parts += [f"{name}, milliseconds ({device})", comparison(sections[name], name, "simple")]
    if "memory" in sections:
        parts += [f"memory of training ({device})", memory_table(sections["memory"], "simple")]
    parts += ["bars", bars_table(sections, "simple")]
    return "\n\n".join(parts)


def markdown_report(results_dir: Path) -> str:
    """Return results/tables/benchmark.md: everything that the CSV files hold, and on what it was measured."""
    parts = ["# Benchmark", MADE_BY]
    for device in ("cpu", "cuda"):
        sections = read_all(results_dir, device)
        if not sections:
            continue
        parts += [f"## On the {device.upper() if device == 'cpu' else 'GPU'}", _about(results_dir, device, sections)]
        bars = "The bars" if device == "cpu" else "The bars, which are asked of a CPU"
        parts += [f"### {bars}", bars_table(sections, "github"), sweep_verdict(sections)]
        for name, title in (("product", "The product at the paper's setting"), ("layer", "The layer there")):
            if name in sections:
                parts += [f"### {title}", comparison(sections[name], name, "github")]
        if "memory" in sections:
            parts += ["### Memory of training", memory_table(sections["memory"], "github")]
            parts += [input_memory_table(sections["memory"])]
        for factor in SWEEPS:
            rows = rows_of(sections, factor)
            if not rows.empty:
                parts += [f"### Varied: {FACTORS[factor]}", _wide(rows, f"{FACTORS[factor]}, ms", "median_ms", ".3g")]
        parts += ["### Left out", left_out(sections)]
    return "\n\n".join(part for part in parts if part) + "\n"


def comparison(table: pd.DataFrame, section: str, style: Format) -> str:
    """Draw a row for each implementation: times by phase, and how they compare with the dense and with our own."""
    medians = table.set_index(["implementation", "phase"])["median_ms"].to_dict()
    rows = []
    for name in table["implementation"].unique():
        row = {"implementation": name}
        ours = _ours_beside(name, section)
        for cell in _records(table[table["implementation"] == name]):
            phase, short = cell["phase"], _SHORT[cell["phase"]]
            row[f"{short}, ms"] = _time(cell)
            dense = medians.get((_DENSE[section], phase), float("nan"))
            row[f"{short}, dense÷it"] = _ratio(dense / cell["median_ms"])
            row[f"{short}, it÷ours"] = _ratio(cell["median_ms"] / medians.get((ours, phase), float("nan")))
        row["largest error"] = _error(table.loc[table["implementation"] == name, "max_error"].max())
        rows.append(row)
    return _table(rows, style)


def _ours_beside(name: str, section: str) -> str:
    """Return which of our implementations stands beside another: that of its family, as a graph beside a graph."""
    family = "TT" if "TT" in name.replace("BTT", "BT") else "BT"
    ours = _OUR[family] if section == "product" else f"btrnn.{family}LSTM"
    return ours + GRAPH if name.endswith(GRAPH) else ours


def memory_table(table: pd.DataFrame, style: Format) -> str:
    """Draw peak memory and the time of a training step, in a fresh process, with and without keeping freed memory."""
    rows = []
    chosen = table[table["factor"] == "allocator"]
    for name in chosen["implementation"].unique():
        row = {"model": name}
        for cell in _records(chosen[chosen["implementation"] == name]):
            way = "freed memory kept" if cell["value"] == 1 else "allocator's default"
            row[f"MiB, {way}"] = cell["note"] or f"{cell['peak_mib']:,.0f}"
            row[f"step, best / median ms, {way}"] = _time(cell)
        rows.append(row)
    return _table(rows, style)


def input_memory_table(table: pd.DataFrame) -> str:
    """Draw peak memory of training against the input size."""
    return _wide(table[table["factor"] == "input"], "inputs I, MiB", "peak_mib", ",.0f")


def rows_of(sections: Tables, factor: str) -> pd.DataFrame:
    """Return the rows of one sweep of times; none where it was not measured."""
    table = sections.get("layer_sweep" if factor == "time" else "sweep")
    return pd.DataFrame() if table is None else table[table["factor"] == factor]


def _wide(table: pd.DataFrame, title: str, column: str, form: str) -> str:
    rows = []
    for (value, phase), cells in table.groupby(["value", "phase"], sort=False):
        row = {title: f"{value:,}", "phase": str(phase)}
        for cell in _records(cells):
            row[cell["implementation"]] = "-" if isnan(cell[column]) else f"{cell[column]:{form}}"
        rows.append(row)
    return _table(rows, "github") if rows else ""


def bars_table(sections: Tables, style: Format) -> str:
    """Draw the bars: asked, measured by best and by median, with and without the native path."""
    judged = judge(BARS, sections)
    rows = [
        {"bar": row["bar"], "phase": row["phase"], "path": row["path"], "asked": row["asked"]}
        | {"best": _ratio(row["best"]), "median": _ratio(row["median"]), "verdict": row["verdict"]}
        for row in _records(judged)
    ]
    return _table(rows, style) if rows else "none was measured"


def sweep_verdict(sections: Tables) -> str:
    """Say at how many points our products are slower than both others, or than the faster of them, and where."""
    if "sweep" not in sections:
        return ""
    lines = []
    for family, plain in (("BT", False), ("BT", True), ("TT", False)):
        over = compare_sweep(sections["sweep"], family, plain=plain)
        name = _OUR[family] + (PLAIN if plain else "")
        for column, words in (("over_slower", "both dense and opt_einsum"), ("over_faster", "the faster of the two")):
            slower = over[over[column] > TOLERANCE]
            places = "; ".join(
                f"{row['factor']} {row['value']:,} {row['phase']}: {row[column]:.2f}" for row in _records(slower)
            )
            lines.append(
                f"- `{name}` is more than 10 % slower than {words} in {len(slower)} of {len(over)} cells of the sweeps"
                + (f" ({places})." if places else ".")
            )
    return "\n".join(lines)


def left_out(sections: Tables) -> str:
    """List the cells without numbers, each with its reason."""
    lines = []
    for name, table in sections.items():
        notes = table[table["note"].ne("") & table["median_ms"].isna()]
        for row in _records(notes):
            place = f"{name}, {row['factor']} {row['value']:,}, {row['phase']}"
            lines.append(f"- {place}: {row['implementation']}: {row['note']}")
    return "\n".join(lines) or "Nothing."


def _about(results_dir: Path, device: str, sections: Tables) -> str:
    """Say on what, with what, and how it was measured."""
    machines = read_machines(results_dir)
    described: dict[str, list[str]] = {}
    for name in sections:
        machine = machines.get(section_path(results_dir, name, device).stem)
        described.setdefault(_machine(machine) if machine else "a machine that was not noted", []).append(name)
    lines = [f"- {', '.join(names)}: {machine}" for machine, names in described.items()]
    lines += [
        "- Each implementation was checked against the float64 reconstruction before it was timed: the largest error "
        "of results and gradients is given. All of a setting are timed in interleaved rounds, one call each a round; "
        "milliseconds, best / median over the rounds.",
        "- dense÷it: how many times faster than the dense one it is. it÷ours: how many times faster than it ours of "
        "its family is. Both of medians.",
        "- Gradients are of the weights; x has none. Memory is the growth of the process's peak after all imports.",
        "- For all alike, freed memory is kept by the process (`provenance.reuse_freed_memory`), as in training.",
        "- Floor: the fewest operations of any order of contraction, at the best rate that a matrix product reached, "
        "and x read once at the best rate of reading.",
    ]
    return "\n".join(lines)


def _machine(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    native = f"native path compiled by {machine['compiler']}" if machine["native"] else "no native path"
    waiting = f"OMP_WAIT_POLICY={machine['omp_wait_policy']}; " if machine["omp_wait_policy"] else ""
    changed = " (uncommitted changes)" if machine["git_dirty"] else ""
    where = machine["processor"] if machine["device"] == "cpu" else f"{machine['device']}, {machine['processor']}"
    return (
        f"{where}, {machine['cores']} cores, {machine['threads']} threads, {machine['memory_gib']} GiB; {versions}; "
        f"{native}; {waiting}{machine['date']}; commit {(machine['git_commit'] or 'unknown')[:10]}{changed}."
    )


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _time(cell: Mapping[str, Any]) -> str:
    """Write best and median; where there is none, why."""
    if isnan(cell["median_ms"]):
        return cell["note"] or "-"
    return f"{cell['best_ms']:.3g} / {cell['median_ms']:.3g}"


def _ratio(value: float) -> str:
    return "-" if isnan(value) else f"{value:.3g}"


def _error(value: float) -> str:
    return "-" if isnan(value) else f"{value:.0e}"


def _table(rows: list[dict[str, str]], style: Format) -> str:
    return str(tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True, missingval="-"))
