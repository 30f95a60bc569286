"""The benchmark as text and figures: tables, targets, the paper's laws and measured exponents."""

import math
from itertools import product
from pathlib import Path

import pandas as pd

from btrnn.benchmark import counting, exponents, tables
from btrnn.benchmark.exponents import FACTORS, FAMILIES, LAYERS, PRODUCTS, QUANTITIES, WORDS, overall
from btrnn.benchmark.records import device_suffix, read_machines
from btrnn.benchmark.tables import PLAIN
from btrnn.figures.file import Appearance, FigureFile
from btrnn.figures.series import COLUMNS, draw_series
from btrnn.reports.render import Report, paper_values, render, text_table
from btrnn.results.schema import BT_LSTM, GREY, LSTM, PURPLE, RED, SKY, TT_LSTM
from btrnn.results.summary import Row

_LETTERS = {"input": "I", "rank": "R", "blocks": "N", "order": "d"}
_MODELS = {"dense": LSTM, "TT": TT_LSTM, "BT": BT_LSTM}
_OURS = {name: _MODELS[family] for names in (PRODUCTS, LAYERS) for family, name in names.items()}
_PLAIN = {name: Appearance(model.color, model.marker, "-") for name, model in _OURS.items()} | {
    "opt_einsum BT": Appearance(SKY, "v", "-"),
    "tednet BT": Appearance(PURPLE, "D", "-"),
    "opt_einsum TT": Appearance(GREY, "<", "-"),
    "tltorch TT": Appearance(RED, ">", "-"),
    "nn.LSTM": Appearance("#000000", "*", "-"),
    "btrnn.LSTM": Appearance("#332288", "p", "-"),
}
_APPEARANCES = {f"{name}{PLAIN}": appearance._replace(line=":") for name, appearance in _PLAIN.items()} | _PLAIN
_APPEARANCES |= {f"the law, {family}": Appearance(model.color, "", "--") for family, model in _MODELS.items()}
_FIGURES = {"time": ("median_ms", "ms, forward and backward"), "memory": ("peak_mib", "growth of peak memory, MiB")}
_README_LAYERS = ("nn.LSTM", "btrnn.LSTM", "btrnn.TTLSTM", "btrnn.BTLSTM")
_README_PHASES = ("forward", "training step")


def report(results_dir: Path) -> Report:
    """Return tables/benchmark.md and its figures; nothing where nothing was measured."""
    read = {device: tables.read_all(results_dir, device) for device in ("cpu", "cuda")}
    measured = {device: sections for device, sections in read.items() if sections}
    if not measured:
        return Report({}, [])
    files = [file for device, sections in measured.items() for file in _figures(device, sections)]
    machines = {device: tables.machines(results_dir, device, sections) for device, sections in measured.items()}
    names = [file.path.name for file in files]
    text = render("benchmark", measured=measured, machines=machines, figures=names, tables=tables)
    return Report({Path("tables/benchmark.md"): text + "\n"}, files)


def report_with_laws(results_dir: Path) -> Report:
    """Return `report`, with tables/complexity.md beside it."""
    texts, figures = report(results_dir)
    return Report(texts | complexity_report(results_dir).texts, figures)


def terminal_report(results_dir: Path, device: str) -> str:
    """Return the tables at the paper's setting, and the targets, as plain text."""
    sections = tables.read_all(results_dir, device)
    known = [name for name in ("product", "layer") if name in sections]
    shown = {f"{name}, milliseconds": tables.comparison(sections[name], name) for name in known}
    if "memory" in sections:
        shown["memory of training"] = tables.memory(sections["memory"])
    shown["targets"] = tables.targets(sections, device)
    return "\n\n".join(f"{title} ({device})\n\n{text_table(rows, 'simple')}" for title, rows in shown.items())


def _figures(device: str, sections: tables.Tables) -> list[FigureFile]:
    """Return a device's time against each factor, and memory of training against the number of inputs."""
    times = {factor: tables.rows_of(sections, factor) for factor in tables.FACTORS}
    files = []
    for name, swept in (("time", times), ("memory", {"input": tables.rows_of(sections, "input", "memory")})):
        column, y_label = _FIGURES[name]
        parts = [
            exponents.beside_laws(rows, factor, column).assign(panel=tables.FACTORS[factor])
            for factor, rows in swept.items()
            if len(rows)
        ]
        if parts:
            table = pd.concat(parts, ignore_index=True)
            table = table.assign(model=table["label"], low=table["mean"], high=table["mean"])[COLUMNS]
            options: Row = {
                "title": f"{name.capitalize()} of training on random input ({device})",
                "x_label": "",
                "y_label": y_label,
            }
            options |= {"log_x": True, "log_y": True, "own_axes": True, "appearances": _APPEARANCES}
            path = Path("figures", f"benchmark_{name}{device_suffix(device)}.png")
            files.append(FigureFile(path, draw_series, table, options))
    return files


def complexity_report(results_dir: Path) -> Report:
    """Return tables/complexity.md: the paper's laws beside measured exponents; nothing where no size was measured."""
    fits, laws = exponents.fitted(results_dir), []
    if fits.empty:
        return Report({}, [])
    groups = dict(list(fits.groupby(["quantity", "family"], sort=False)))
    for quantity, family in [key for key in product(QUANTITIES, FAMILIES) if key in groups]:
        rows = groups[quantity, family]
        law: Row = {"family": family, "quantity": quantity, "factors": FACTORS[family]}
        law |= {"rows": {row["factor"]: row for row in rows.to_dict("records")}}
        law |= {"verdict": WORDS[overall(rows["verdict"])]}
        place = "memory_backward" if quantity == "memory" else quantity.replace(" ", "_")
        laws.append(law | {"place": f"{place}.{family.lower()}"})
    sections = tables.read_all(results_dir, "cpu")
    ratios = exponents.ratios(sections)
    counts = {(one.family, one.quantity): counting.over_dense(one.family, one.quantity) for one in ratios}
    timed = _authors_order(results_dir)
    known = paper_values(results_dir)
    sweeps = {name: machine for name, machine in read_machines(results_dir).items() if name.endswith("sweep")}
    dirty = sorted(name for name, machine in sweeps.items() if machine["git_dirty"])
    text = render(
        "complexity",
        **{"laws": laws, "letters": _LETTERS, "ratios": ratios, "rules": exponents, "dirty": dirty},
        disturbed=tables.disturbed(sections),
        **{"counts": counts, "timed": timed, "counted": _by_law(counting.counted_exponents())},
        paper_law=known["law"],
    )
    return Report({Path("tables/complexity.md"): text + "\n"}, [])


def _by_law(rows: pd.DataFrame) -> list[Row]:
    """Return what was counted, a row for each family and quantity, with its factors by name."""
    found = []
    for (family, quantity), group in rows.groupby(["family", "quantity"], sort=False):
        factors = {row["factor"]: row for row in group.to_dict("records")}
        found.append({"family": family, "quantity": quantity, "factors": factors})
    return found


def _authors_order(results_dir: Path) -> dict[tuple[str, str], float]:
    """Return the time of equation 4's order over the dense product's, at the paper's setting; empty if not measured."""
    times = tables.medians(results_dir, "product", "cpu")
    names, phases = ("authors' order BT", "dense nn.Linear"), ("forward", "forward+backward")
    if not {(name, phase) for name in names for phase in phases} <= times.keys():
        return {}
    forward, both = ([times[name, phase] for name in names] for phase in phases)
    backward = [all_of_it - part for all_of_it, part in zip(both, forward, strict=True)]
    return {("BT", "time forward"): forward[0] / forward[1], ("BT", "time backward"): backward[0] / backward[1]}


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
