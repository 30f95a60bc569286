"""Time and memory against size, from the benchmark's CSV files alone, with the paper's complexity laws beside."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from btrnn.benchmark.exponents import LAYERS, PRODUCTS, exponents, measurements
from btrnn.benchmark.records import device_suffix
from btrnn.benchmark.settings import SWEEPS, law
from btrnn.benchmark.tables import FACTORS, PLAIN, read_all, rows_of
from btrnn.figures.file import FigureFile
from btrnn.figures.style import drawing
from btrnn.results.schema import BT_LSTM, GREY, LSTM, PURPLE, RED, SKY, TT_LSTM

_STYLES = {  # colour and marker of an implementation; hollow without the native path
    "dense nn.Linear": (LSTM.color, LSTM.marker),
    "btrnn BT": (BT_LSTM.color, BT_LSTM.marker),
    "opt_einsum BT": (SKY, "v"),
    "tednet BT": (PURPLE, "D"),
    "btrnn TT": (TT_LSTM.color, TT_LSTM.marker),
    "opt_einsum TT": (GREY, "<"),
    "tltorch TT": (RED, ">"),
    "nn.LSTM": (PURPLE, "D"),
    "btrnn.LSTM": (LSTM.color, LSTM.marker),
    "btrnn.BTLSTM": (BT_LSTM.color, BT_LSTM.marker),
    "btrnn.TTLSTM": (TT_LSTM.color, TT_LSTM.marker),
}
_PAPER_VALUES = {"batch": 16, "order": 4, "rank": 4, "blocks": 2, "input": 57_600, "time": 24}  # a law goes through it
_LAW: Any = {"ls": "--", "lw": 1.2, "alpha": 0.7}
_Y_LABELS = {"median_ms": "milliseconds (median)", "peak_mib": "growth of peak memory, MiB"}


def figure_files(results_dir: Path, device: str) -> list[FigureFile]:
    """Return a device's figures: time against each factor, and memory of training against the number of inputs."""
    sections = read_all(results_dir, device)
    memory = sections.get("memory", pd.DataFrame(columns=["factor"]))
    shown = {factor: ("median_ms", rows_of(sections, factor)) for factor in SWEEPS}
    shown["memory"] = ("peak_mib", memory[memory["factor"] == "input"])
    files = []
    for name, (column, rows) in shown.items():
        if rows.empty or rows[column].isna().all():
            continue
        factor = "input" if name == "memory" else name
        what = {"memory": "Memory of training", "time": "The layer: time"}.get(name, "The matmul: time")
        title = f"{what} against {FACTORS[factor]} ({device})"
        data = rows[["value", "implementation", "phase", column]]
        path = Path("figures") / f"benchmark_{name}{device_suffix(device)}.png"
        files.append(FigureFile(path, data, partial(against_factor, data, factor, title)))
    return files


def complexity_files(results_dir: Path) -> list[FigureFile]:
    """Return the figure of the numbers that the paper's laws are about against the number of inputs, if measured."""
    measured = measurements(read_all(results_dir, "cpu"))
    shown = measured[measured["factor"] == "input"]
    draw = partial(exponents_against_input, shown, exponents(shown))
    return [] if shown.empty else [FigureFile(Path("figures/complexity.png"), shown, draw)]


def against_factor(rows: pd.DataFrame, factor: str, title: str) -> Figure:
    """Draw a number against one factor, a panel for each phase; dashed: the laws, through the paper's setting.

    Args:
        rows: Of one sweep: `value`, `implementation`, `phase`, and `median_ms` or `peak_mib`.
        factor: Which sweep.
        title: Above the panels.
    """
    column = "peak_mib" if "peak_mib" in rows else "median_ms"
    phases = ["training step"] if column == "peak_mib" else ["forward", "forward+backward"]
    with drawing():
        figure = Figure(figsize=(3.5 * len(phases) + 4, 5.6), layout="constrained")
        handles: dict[str, Any] = {}
        for axis, phase in zip(figure.subplots(1, len(phases), sharey=True, squeeze=False)[0], phases, strict=True):
            panel = rows[rows["phase"] == phase]
            handles |= _lines(axis, panel, column)
            _laws(axis, panel, column, factor, "memory" if column == "peak_mib" else phase)
            _scale(axis, rows, column, factor)
            axis.set_title(phase)
        figure.axes[0].set_ylabel(_Y_LABELS[column])
        return _finish(figure, handles, title)


def exponents_against_input(measured: pd.DataFrame, fits: pd.DataFrame) -> Figure:
    """Draw what the laws speak of against the number of inputs, with each slope; dashed: the law at the largest size.

    Args:
        measured: `btrnn.benchmark.exponents.measurements`, of the factor "input".
        fits: `btrnn.benchmark.exponents.exponents` of it.
    """
    slopes = fits.set_index(["family", "quantity"])["slope"]
    quantities = list(dict.fromkeys(measured["quantity"]))
    with drawing():
        figure = Figure(figsize=(5.2 * len(quantities), 5.4), layout="constrained")
        handles: dict[str, Any] = {}
        for axis, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
            panel = measured[measured["quantity"] == quantity]
            for family, points in panel.groupby("family", sort=False):
                look = _look(PRODUCTS[points["family"].iloc[0]])
                slope = f"{slopes[family, quantity]:.2f}"
                (handles[str(family)],) = axis.plot(points["value"], points["measured"], label=slope, **look)
                through = points["measured"].iloc[-1] * points["law"] / points["law"].iloc[-1]
                axis.plot(points["value"], through, color=look["color"], **_LAW)
            _scale(axis, panel, "measured", "input")
            axis.set_title(quantity)
            axis.set_ylabel(_Y_LABELS["peak_mib"] if quantity == "memory" else "milliseconds (best)")
            axis.legend(title="slope", fontsize=11)
        return _finish(figure, handles, "A matmul's time and a layer's memory (CPU): measured, and the paper's laws")


def _lines(axis: Axes, panel: pd.DataFrame, column: str) -> dict[str, Any]:
    """Draw a line for each implementation; returns the legend's handles."""
    handles: dict[str, Any] = {}
    for name, rows in panel.dropna(subset=[column]).groupby("implementation", sort=False):
        line = rows.sort_values("value")  # the paper's setting, which all sweeps share, was measured first
        (handles[str(name)],) = axis.plot(line["value"], line[column], **_look(str(name)))
    return handles


def _look(name: str) -> dict[str, Any]:
    color, marker = _STYLES.get(name.removesuffix(PLAIN), (GREY, "x"))
    hollow = {"mfc": "white", "lw": 1.2} if name.endswith(PLAIN) else {"lw": 2}
    return {"color": color, "marker": marker, "ms": 7, **hollow}


def _laws(axis: Axes, panel: pd.DataFrame, column: str, factor: str, phase: Any) -> None:
    """Draw each family's law, scaled to go through its own measured point at the paper's value."""
    shapes, anchor_value = SWEEPS[factor], _PAPER_VALUES[factor]
    for family in PRODUCTS:
        names = (PRODUCTS[family], LAYERS[family])
        point = panel[panel["implementation"].isin(names) & (panel["value"] == anchor_value)].dropna(subset=[column])
        if point.empty:
            continue
        # the law is for one vector; over these sizes memory is measured at one number of rows
        heights = {value: law(shape, family, phase) * shape.rows for value, shape in shapes.items()}
        scale = point[column].iloc[0] / heights[anchor_value]
        color = _look(point["implementation"].iloc[0])["color"]
        axis.plot(list(heights), [scale * height for height in heights.values()], color=color, **_LAW)


def _scale(axis: Axes, rows: pd.DataFrame, column: str, factor: str) -> None:
    """Make both axes logarithmic, with a tick at each value that was visited."""
    axis.set_xscale("log")
    axis.set_yscale("log")
    values = sorted(rows["value"].unique())
    axis.set_xticks(values, [f"{value:,}" for value in values], rotation=30 if max(values) > 10_000 else 0)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(FACTORS[factor])
    numbers = rows[column].dropna()
    axis.set_ylim(numbers.min() / 2, numbers.max() * 2)  # the laws leave the panel where they are far off


def _finish(figure: Figure, handles: dict[str, Any], title: str) -> Figure:
    handles["the paper's laws"] = Line2D([], [], color="black", **_LAW)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3)
    figure.suptitle(title)
    return figure
