"""The benchmark as text and figures: tables, targets, the paper's laws and measured exponents."""

import math
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from btrnn.benchmark import exponents, tables
from btrnn.benchmark.exponents import FACTORS, FAMILIES, LAYERS, PRODUCTS, QUANTITIES, WORDS, fitted, overall
from btrnn.benchmark.records import device_suffix
from btrnn.benchmark.settings import SWEEPS, law
from btrnn.benchmark.tables import PLAIN, TOLERANCE
from btrnn.figures.file import FigureFile
from btrnn.figures.series import COLUMNS, draw_series
from btrnn.figures.style import Look
from btrnn.reports.format import text_table
from btrnn.reports.render import paper_values, render
from btrnn.results.schema import BT_LSTM, GREY, LSTM, PURPLE, RED, SKY, TT_LSTM
from btrnn.results.summary import Row

_DEVICES = ("cpu", "cuda")
_LETTERS = {"input": "I", "rank": "R", "blocks": "N", "order": "d"}
_MODELS = {"dense": LSTM, "TT": TT_LSTM, "BT": BT_LSTM}
_PAPER_VALUES = {"batch": 16, "order": 4, "rank": 4, "blocks": 2, "input": 57_600, "time": 24}  # a law goes through it
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


# ---- tables


def terminal_report(results_dir: Path, device: str) -> str:
    """Return the tables at the paper's setting, and the targets, as plain text."""
    sections = tables.read_all(results_dir, device)
    shown = {f"{name}, milliseconds": tables.comparison(sections[name], name) for name in _compared(sections)}
    if "memory" in sections:
        shown["memory of training"] = tables.memory(sections["memory"])
    shown["targets"] = tables.targets(sections)
    return "\n\n".join(f"{title} ({device})\n\n{text_table(rows, 'simple')}" for title, rows in shown.items())


def table_texts(results_dir: Path) -> dict[Path, str]:
    """Return tables/benchmark.md: all that was measured, and on what; nothing where nothing was."""
    sections = {device: tables.read_all(results_dir, device) for device in _DEVICES}
    devices = [_device(results_dir, device, known) for device, known in sections.items() if known]
    text = render("benchmark", devices=devices, percent=100 * (TOLERANCE - 1)) + "\n"
    return {Path("tables/benchmark.md"): text} if devices else {}


def _compared(sections: tables.Tables) -> list[str]:
    return [name for name in ("product", "layer") if name in sections]


def _device(results_dir: Path, device: str, sections: tables.Tables) -> dict[str, object]:
    """Return what the template shows of one device."""
    swept = {factor: tables.rows_of(sections, factor) for factor in SWEEPS}
    memory = sections.get("memory", pd.DataFrame(columns=["factor", "implementation", "value", "phase"]))
    by_input = tables.wide(memory[memory["factor"] == "input"], "inputs I, MiB", "peak_mib", ",.0f")
    return {
        "name": device,
        "figures": [file.path.name for file in figure_files(results_dir)],
        "machines": tables.machines(results_dir, device, sections),
        "native": [row["verdict"] for row in tables.targets(sections) if row["path"] == "native"],
        "targets": text_table(tables.targets(sections)),
        "slower": tables.slower_cells(sections),
        "compared": {name: text_table(tables.comparison(sections[name], name)) for name in _compared(sections)},
        "memory": text_table(tables.memory(memory)),
        "memory_by_input": text_table(by_input),
        "sweeps": {
            tables.FACTORS[factor]: text_table(tables.wide(rows, f"{tables.FACTORS[factor]}, ms", "median_ms", ".3g"))
            for factor, rows in swept.items()
            if not rows.empty
        },
        "left_out": tables.left_out(sections),
    }


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
    law_ = f"{round(row['law'], 2) + 0.0:.2f}".removesuffix(".00")  # a sum with 0 has no minus zero
    hidden = row["n_all"] != row["n"] and row["slope_all"] < row["slope"] - exponents.TOLERANCE
    texts = {"letter": _LETTERS[row["factor"]], "law": law_, "measured": f"{row['slope']:.2f}{interval}"}
    return row | texts | {"hidden": hidden}


# ---- figures


def figure_files(results_dir: Path) -> list[FigureFile]:
    """Return each device's time against each factor, and memory of training against the number of inputs."""
    files = []
    for device in _DEVICES:
        sections = tables.read_all(results_dir, device)
        memory = sections.get("memory", pd.DataFrame(columns=["factor", "phase"]))
        times = {factor: tables.rows_of(sections, factor) for factor in SWEEPS}
        shown = {"time": ("median_ms", times), "memory": ("peak_mib", {"input": memory[memory["factor"] == "input"]})}
        for name, (column, swept) in shown.items():
            parts = [_with_laws(rows, factor, column) for factor, rows in swept.items() if len(rows)]
            if parts:
                label = {"time": "ms, forward and backward", "memory": "growth of peak memory, MiB"}[name]
                options: Row = {"title": f"{name.capitalize()} of training ({device})", "x_label": "", "y_label": label}
                options |= {"log_x": True, "log_y": True, "ticks": True, "shared": False, "looks": _LOOKS}
                path = Path("figures", f"benchmark_{name}{device_suffix(device)}.png")
                files.append(FigureFile(path, draw_series, pd.concat(parts, ignore_index=True)[COLUMNS], options))
    return files


def _with_laws(rows: pd.DataFrame, factor: str, column: str) -> pd.DataFrame:
    """Return a number against one factor as `draw_series` takes it, and the laws, through the paper's setting."""
    phase = "training step" if column == "peak_mib" else "forward+backward"
    known = rows[rows["phase"] == phase].dropna(subset=[column])
    parts = [pd.DataFrame({"label": known["implementation"], "x": known["value"], "mean": known[column]})]
    for family in PRODUCTS:
        ours = known[known["implementation"].isin((PRODUCTS[family], LAYERS[family]))].set_index("value")[column]
        if _PAPER_VALUES[factor] in ours:
            # the law is for one vector; over these sizes memory is measured at one number of rows
            what: Any = "memory" if column == "peak_mib" else phase
            heights = {value: law(shape, family, what) * shape.rows for value, shape in SWEEPS[factor].items()}
            scale = ours[_PAPER_VALUES[factor]] / heights[_PAPER_VALUES[factor]]
            means = [scale * height for height in heights.values()]
            parts.append(pd.DataFrame({"label": f"the law, {family}", "x": list(heights), "mean": means}))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(panel=tables.FACTORS[factor], model=table["label"], low=table["mean"], high=table["mean"])
