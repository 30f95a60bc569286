"""Time and memory against size, from the CSV files alone, with the paper's complexity laws beside. No torch."""

from typing import Any, NamedTuple, cast

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from btrnn.benchmark.results.costs import Family, Phase, law
from btrnn.benchmark.results.report import FACTORS
from btrnn.benchmark.results.settings import SWEEPS
from btrnn.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, drawing


class _Style(NamedTuple):
    color: str
    marker: str
    filled: bool = True


_STYLES = {
    "dense nn.Linear": _Style(BLUE, "s"),
    "btrnn BT": _Style(GREEN, "o"),
    "btrnn BT, plain torch": _Style(GREEN, "o", filled=False),
    "opt_einsum BT": _Style(SKY, "v"),
    "tednet BT": _Style(PURPLE, "D"),
    "btrnn TT": _Style(ORANGE, "^"),
    "opt_einsum TT": _Style(GREY, "<"),
    "tltorch TT": _Style(RED, ">"),
    "nn.LSTM": _Style(PURPLE, "D"),
    "btrnn.LSTM": _Style(BLUE, "s"),
    "btrnn.BTLSTM": _Style(GREEN, "o"),
    "btrnn.BTLSTM, plain torch": _Style(GREEN, "o", filled=False),
    "btrnn.TTLSTM": _Style(ORANGE, "^"),
    "btrnn.TTLSTM, plain torch": _Style(ORANGE, "^", filled=False),
}
_ANCHORS: dict[Family, tuple[str, str]] = {  # whose measured point the family's law goes through
    "dense": ("dense nn.Linear", "btrnn.LSTM"),
    "BT": ("btrnn BT", "btrnn.BTLSTM"),
    "TT": ("btrnn TT", "btrnn.TTLSTM"),
}
_PAPER_VALUES = {"batch": 16, "order": 4, "rank": 4, "blocks": 2, "input": 57_600, "time": 24}


def time_against(rows: pd.DataFrame, factor: str, title: str) -> Figure:
    """Draw the median time against one factor, a panel for each phase; dashed: the laws, through the paper's setting.

    Args:
        rows: The sweep's rows.
        factor: Which sweep.
        title: Above the panels.
    """
    with drawing():
        figure = Figure(figsize=(11, 5.6), layout="constrained")
        handles: dict[str, Any] = {}
        phases: tuple[Phase, Phase] = ("forward", "forward+backward")
        for axis, phase in zip(figure.subplots(1, 2, sharey=True), phases, strict=True):
            panel = rows[rows["phase"] == phase]
            handles |= _lines(axis, panel, "median_ms")
            _laws(axis, panel, "median_ms", factor, phase)
            _scale(axis, rows, "median_ms", factor)
            axis.set_title(phase)
        figure.axes[0].set_ylabel("milliseconds (median)")
        return _finish(figure, handles, title)


def memory_against_input(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the peak memory of training against the input size; dashed: the laws, through the paper's setting.

    Args:
        rows: The section "memory".
        title: Above the panel.
    """
    chosen = rows[rows["factor"] == "input"]
    with drawing():
        figure = Figure(figsize=(7.5, 5.6), layout="constrained")
        axis = figure.add_subplot()
        handles = _lines(axis, chosen, "peak_mib")
        _laws(axis, chosen, "peak_mib", "input", "memory")
        _scale(axis, chosen, "peak_mib", "input")
        axis.set_ylabel("growth of peak memory, MiB")
        return _finish(figure, handles, title)


def exponents_against_input(measured: pd.DataFrame, fits: pd.DataFrame, title: str) -> Figure:
    """Draw time forward, time backward and memory against the number of inputs, each with its fitted slope.

    Dashed: the law's own slope, through the largest measured size.

    Args:
        measured: `btrnn.benchmark.results.exponents.measurements`, of the factor "input".
        fits: `btrnn.benchmark.results.exponents.exponents` of it.
        title: Above the panels.
    """
    quantities = list(dict.fromkeys(measured["quantity"]))
    with drawing():
        figure = Figure(figsize=(5.2 * len(quantities), 5.4), layout="constrained")
        handles: dict[str, Any] = {}
        for axis, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
            panel = measured[measured["quantity"] == quantity]
            for family, points in panel.groupby("family", sort=False):
                style = _STYLES[_ANCHORS[cast("Family", family)][0]]
                fit = fits[(fits["family"] == family) & (fits["quantity"] == quantity)].iloc[0]
                look: Any = {"color": style.color, "marker": style.marker, "ms": 7, "lw": 2}
                (line,) = axis.plot(points["value"], points["measured"], label=f"{fit['slope']:.2f}", **look)
                handles[str(family)] = line
                last = points.iloc[-1]
                through = last["measured"] * points["law"] / last["law"]
                axis.plot(points["value"], through, "--", color=style.color, lw=1.2, alpha=0.7)
            _scale(axis, panel, "measured", "input")
            axis.set_title(quantity)
            axis.set_ylabel("growth of peak memory, MiB" if quantity == "memory" else "milliseconds (best)")
            axis.legend(title="slope", fontsize=11)
        return _finish(figure, handles, title)


def _lines(axis: Axes, panel: pd.DataFrame, column: str) -> dict[str, Any]:
    """Draw a line for each implementation; returns the legend's handles."""
    handles: dict[str, Any] = {}
    for name, rows in panel.dropna(subset=[column]).groupby("implementation", sort=False):
        line = rows.sort_values("value")  # the paper's setting, which all sweeps share, was measured first
        style = _STYLES[str(name)]
        face = style.color if style.filled else "white"
        look: Any = {"color": style.color, "marker": style.marker, "mfc": face, "lw": 2 if style.filled else 1.2}
        (handles[str(name)],) = axis.plot(line["value"], line[column], ms=7, **look)
    return handles


def _laws(axis: Axes, panel: pd.DataFrame, column: str, factor: str, phase: Any) -> None:
    """Draw each family's law, scaled to go through its own measured point at the paper's value."""
    shapes, anchor_value = SWEEPS[factor], _PAPER_VALUES[factor]
    for family, names in _ANCHORS.items():
        point = panel[panel["implementation"].isin(names) & (panel["value"] == anchor_value)].dropna(subset=[column])
        if point.empty:
            continue
        # the law is for one vector; over these sizes memory is measured at one number of rows
        heights = {value: law(shape, family, phase) * shape.rows for value, shape in shapes.items()}
        scale = point[column].iloc[0] / heights[anchor_value]
        color = _STYLES[point["implementation"].iloc[0]].color
        axis.plot(list(heights), [scale * height for height in heights.values()], "--", color=color, lw=1.2, alpha=0.7)


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
    handles["the paper's laws"] = Line2D([], [], ls="--", color="black", lw=1.2, alpha=0.7)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3)
    figure.suptitle(title)
    return figure
