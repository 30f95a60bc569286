"""The benchmark as text: tables and targets on a terminal, and tables/benchmark.md."""

from pathlib import Path

from tabulate import tabulate

from btrnn.benchmark import tables
from btrnn.benchmark.settings import SWEEPS
from btrnn.benchmark.tables import TOLERANCE
from btrnn.figures import benchmark as figures
from btrnn.figures.file import FigureFile
from btrnn.reports.render import render

_DEVICES = ("cpu", "cuda")


def terminal_report(results_dir: Path, device: str) -> str:
    """Return the tables at the paper's setting, and the targets, as plain text."""
    sections = tables.read_all(results_dir, device)
    shown = {f"{name}, milliseconds": tables.comparison(sections[name], name) for name in _compared(sections)}
    if "memory" in sections:
        shown["memory of training"] = tables.memory(sections["memory"])
    shown["targets"] = tables.targets(sections)
    return "\n\n".join(f"{title} ({device})\n\n{_table(rows, 'simple')}" for title, rows in shown.items())


def table_texts(results_dir: Path) -> dict[Path, str]:
    """Return tables/benchmark.md: all that was measured, and on what; nothing where nothing was."""
    devices = []
    for device in _DEVICES:
        if sections := tables.read_all(results_dir, device):
            devices.append({"name": device} | _device(results_dir, device, sections))
    if not devices:
        return {}
    return {Path("tables/benchmark.md"): render("benchmark", devices=devices, percent=100 * (TOLERANCE - 1)) + "\n"}


def figure_files(results_dir: Path) -> list[FigureFile]:
    """Return the figures of all devices."""
    return [file for device in _DEVICES for file in figures.figure_files(results_dir, device)]


def _device(results_dir: Path, device: str, sections: tables.Tables) -> dict[str, object]:
    """Return what the template shows of one device."""
    swept = {factor: tables.rows_of(sections, factor) for factor in SWEEPS}
    memory = sections.get("memory")
    by_input = (
        [] if memory is None else tables.wide(memory[memory["factor"] == "input"], "inputs I, MiB", "peak_mib", ",.0f")
    )
    return {
        "figures": [file.path.name for file in figures.figure_files(results_dir, device)],
        "machines": tables.machines(results_dir, device, sections),
        "native": [row["verdict"] for row in tables.targets(sections) if row["path"] == "native"],
        "targets": _table(tables.targets(sections)),
        "slower": tables.slower_cells(sections),
        "compared": {name: _table(tables.comparison(sections[name], name)) for name in _compared(sections)},
        "memory": "" if memory is None else _table(tables.memory(memory)),
        "memory_by_input": _table(by_input),
        "sweeps": {
            tables.FACTORS[factor]: _table(tables.wide(rows, f"{tables.FACTORS[factor]}, ms", "median_ms", ".3g"))
            for factor, rows in swept.items()
            if not rows.empty
        },
        "left_out": tables.left_out(sections),
    }


def _compared(sections: tables.Tables) -> list[str]:
    return [name for name in ("product", "layer") if name in sections]


def _table(rows: tables.Rows, style: str = "github") -> str:
    return str(tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True, missingval="-")) if rows else ""
