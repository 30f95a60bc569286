"""The benchmark as text and figures: tables, targets, the paper's laws and measured exponents."""

import math
from itertools import product
from pathlib import Path

import pandas as pd

from btrnn.benchmark import exponents, tables
from btrnn.benchmark.exponents import FACTORS, FAMILIES, LAYERS, PRODUCTS, QUANTITIES, WORDS, fitted, overall
from btrnn.benchmark.records import device_suffix
from btrnn.benchmark.settings import SWEEPS
from btrnn.benchmark.tables import PLAIN, TOLERANCE
from btrnn.figures.file import FigureFile
from btrnn.figures.series import COLUMNS, draw_series
from btrnn.figures.style import Look
from btrnn.reports.format import text_table
from btrnn.reports.render import Report, paper_values, render
from btrnn.results.schema import BT_LSTM, GREY, LSTM, PURPLE, RED, SKY, TT_LSTM
from btrnn.results.summary import Row

_LETTERS = {"input": "I", "rank": "R", "blocks": "N", "order": "d"}
_MODELS = {"dense": LSTM, "TT": TT_LSTM, "BT": BT_LSTM}
_OURS = {name: _MODELS[family] for names in (PRODUCTS, LAYERS) for family, name in names.items()}
_PLAIN = {name: Look(model.color, model.marker, "-") for name, model in _OURS.items()} | {
    "opt_einsum BT": Look(SKY, "v", "-"),
    "tednet BT": Look(PURPLE, "D", "-"),
    "opt_einsum TT": Look(GREY, "<", "-"),
    "tltorch TT": Look(RED, ">", "-"),
    "nn.LSTM": Look(PURPLE, "D", "-"),
}
_LOOKS = {f"{name}{PLAIN}": look._replace(line=":") for name, look in _PLAIN.items()} | _PLAIN
_LOOKS |= {f"the law, {family}": Look(model.color, "", "--") for family, model in _MODELS.items()}
_FIGURES = {"time": ("median_ms", "ms, forward and backward"), "memory": ("peak_mib", "growth of peak memory, MiB")}
_README_LAYERS = ("nn.LSTM", "btrnn.LSTM", "btrnn.TTLSTM", "btrnn.BTLSTM")
_README_PHASES = ("forward", "training step")
_NO_MEMORY = pd.DataFrame(columns=["factor", "implementation", "value", "phase"])


def report(results_dir: Path) -> Report:
    """Return tables/benchmark.md, complexity.md and their figures; nothing of what was not measured."""
    read = {device: tables.read_all(results_dir, device) for device in ("cpu", "cuda")}
    measured = {device: sections for device, sections in read.items() if sections}
    files = [file for device, sections in measured.items() for file in _figures(device, sections)]
    devices = [_device(results_dir, device, sections) for device, sections in measured.items()]
    names = [file.path.name for file in files]
    text = render("benchmark", devices=devices, figures=names, percent=100 * (TOLERANCE - 1)) + "\n"
    return Report(({Path("tables/benchmark.md"): text} if devices else {}) | complexity_texts(results_dir), files)


def terminal_report(results_dir: Path, device: str) -> str:
    """Return the tables at the paper's setting, and the targets, as plain text."""
    sections = tables.read_all(results_dir, device)
    shown = {f"{name}, milliseconds": tables.comparison(sections[name], name) for name in _compared(sections)}
    if "memory" in sections:
        shown["memory of training"] = tables.memory(sections["memory"])
    shown["targets"] = tables.targets(sections)
    return "\n\n".join(f"{title} ({device})\n\n{text_table(rows, 'simple')}" for title, rows in shown.items())


def _compared(sections: tables.Tables) -> list[str]:
    return [name for name in ("product", "layer") if name in sections]


def _device(results_dir: Path, device: str, sections: tables.Tables) -> dict[str, object]:
    """Return what the template shows of one device."""
    swept = {tables.FACTORS[factor]: tables.rows_of(sections, factor) for factor in SWEEPS}
    memory = sections.get("memory", _NO_MEMORY)
    by_input = tables.wide(memory[memory["factor"] == "input"], "inputs I, MiB", "peak_mib", ",.0f")
    targets = tables.targets(sections)
    return {
        "name": device,
        "machines": tables.machines(results_dir, device, sections),
        "native": [row["verdict"] for row in targets if row["path"] == "native"],
        "targets": text_table(targets),
        "slower": tables.slower_cells(sections),
        "compared": {name: text_table(tables.comparison(sections[name], name)) for name in _compared(sections)},
        "memory": text_table(tables.memory(memory)),
        "memory_by_input": text_table(by_input),
        "sweeps": {
            name: text_table(tables.wide(rows, f"{name}, ms", "median_ms", ".3g"))
            for name, rows in swept.items()
            if len(rows)
        },
        "left_out": tables.left_out(sections),
    }


def _figures(device: str, sections: tables.Tables) -> list[FigureFile]:
    """Return a device's time against each factor, and memory of training against the number of inputs."""
    memory = sections.get("memory", _NO_MEMORY)
    times = {factor: tables.rows_of(sections, factor) for factor in SWEEPS}
    files = []
    for name, swept in (("time", times), ("memory", {"input": memory[memory["factor"] == "input"]})):
        column, y_label = _FIGURES[name]
        parts = [
            exponents.beside_laws(rows, factor, column).assign(panel=tables.FACTORS[factor])
            for factor, rows in swept.items()
            if len(rows)
        ]
        if parts:
            table = pd.concat(parts, ignore_index=True)
            table = table.assign(model=table["label"], low=table["mean"], high=table["mean"])[COLUMNS]
            options: Row = {"title": f"{name.capitalize()} of training ({device})", "x_label": "", "y_label": y_label}
            options |= {"log_x": True, "log_y": True, "own_axes": True, "looks": _LOOKS}
            path = Path("figures", f"benchmark_{name}{device_suffix(device)}.png")
            files.append(FigureFile(path, draw_series, table, options))
    return files


def complexity_texts(results_dir: Path) -> dict[Path, str]:
    """Return tables/complexity.md: the paper's laws beside measured exponents; nothing where no size was measured."""
    fits = fitted(results_dir)
    if fits.empty:
        return {}
    law_text, laws = paper_values(results_dir)["law"], []
    groups = dict(list(fits.groupby(["quantity", "family"], sort=False)))
    for quantity, family in [key for key in product(QUANTITIES, FAMILIES) if key in groups]:
        rows = {row["factor"]: _written(row) for row in groups[quantity, family].to_dict("records")}
        known: Row = {"family": family, "quantity": quantity, "rows": rows, "factors": FACTORS[family]}
        known |= {"verdict": WORDS[overall(groups[quantity, family]["verdict"])]}
        place = "memory_backward" if quantity == "memory" else quantity.replace(" ", "_")
        laws.append(known | {"law": law_text(f"{place}.{family.lower()}")})
    ratios = exponents.ratios(tables.read_all(results_dir, "cpu"))
    text = render("complexity", laws=laws, letters=_LETTERS, ratios=ratios, rules=exponents)
    return {Path("tables/complexity.md"): text + "\n"}


def _written(row: Row) -> Row:
    """Write a fit's numbers; `hidden` where all sizes give a smaller exponent than the larger ones, by constants."""
    interval = "" if math.isnan(row["low"]) else f" [{row['low']:.2f}, {row['high']:.2f}]"
    law = f"{round(row['law'], 2) + 0.0:.2f}".removesuffix(".00")  # a sum with 0 has no minus zero
    hidden = row["n_all"] != row["n"] and row["slope_all"] < row["slope"] - exponents.TOLERANCE
    texts = {"letter": _LETTERS[row["factor"]], "law": law, "measured": f"{row['slope']:.2f}{interval}"}
    return row | texts | {"hidden": hidden}


def speed_block(results_dir: Path) -> str:
    """Return README's table of the times and the memory of four layers at the paper's setting (CPU), if measured."""
    times, memory = tables.medians(results_dir, "layer", "cpu"), tables.read_all(results_dir, "cpu").get("memory")
    kept = {}
    if memory is not None:
        chosen = memory[(memory["factor"] == "allocator") & (memory["value"] == 1)]
        kept = dict(zip(chosen["implementation"], chosen["peak_mib"], strict=True))
    rows = [
        {"name": name, "peak": kept.get(name, math.nan)} | {phase: times[name, phase] for phase in _README_PHASES}
        for name in _README_LAYERS
        if {(name, phase) for phase in _README_PHASES} <= times.keys()
    ]
    return render("speed_block", rows=rows)
