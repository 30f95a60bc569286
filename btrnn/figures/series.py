"""Lines of a metric with its uncertainty, drawn alike for every task: against epochs, parameters, ranks and rates."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from btrnn.figures.style import Look, drawing
from btrnn.results.schema import Model, model_of

_FADING = 0.35  # of a model's second and third line
_MARKED = 12  # a line of more points than these has no markers


def draw_series(
    table: pd.DataFrame,
    title: str,
    x_label: str,
    y_label: str,
    *,
    bars: bool = False,
    log_x: bool = False,
    limits: tuple[float, float] | None = None,
    looks: Mapping[str, Look] | None = None,
    published: pd.DataFrame | None = None,
    vertical: tuple[float, str] | None = None,
) -> Figure:
    """Draw a line for each label, in a panel for each value of `panel`.

    Args:
        table: panel, label, model, x, mean, low, high, in the order of panels and legend; where x is NaN, a horizontal
            line. Where it has a column `note`, this stands beside each point.
        title: Names the data.
        x_label: Of all panels.
        y_label: Of all panels.
        bars: Whether low and high are bars; a band if not.
        log_x: Whether the x axis is logarithmic.
        limits: Of the y axis.
        looks: By label, where lines of one model must differ; a model's own look if None.
        published: Others' points, drawn hollow: panel, label, model, x, mean.
        vertical: The place and the label of a vertical line in all panels.
    """
    names = table["panel"].unique().tolist()
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    with drawing():
        figure = Figure(figsize=(max(4.6 * columns, 7.2), 3.0 * rows + 1.8), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        handles: dict[str, Any] = {}
        opacities = _opacities(table) if looks is None else {}
        for axis, name in zip(grid.flat, names, strict=False):
            axis.set_title(name if len(names) > 1 or name else "")
            if vertical:
                handles[vertical[1]] = axis.axvline(vertical[0], color="#666666", ls=":", lw=2)
            for label, line in table[table["panel"] == name].groupby("label", sort=False):
                model = model_of(line["model"].iloc[0])
                look = (looks or {}).get(str(label), model)
                handles.setdefault(str(label), _draw(axis, line, look, opacities.get(str(label), 1.0), bars))
            if published is not None:
                for row in published[published["panel"] == name].to_dict("records"):
                    marks: dict[str, Any] = {"ls": "", "ms": 11, "mfc": "none", "mew": 1.6}
                    model = model_of(row["model"])
                    axis.plot(row["x"], row["mean"], marker=model.marker, color=model.color, **marks)
                    handles[row["label"]] = Line2D([], [], marker="o", color="black", **marks)
            axis.set_xscale("log" if log_x else "linear")
            if (
                not log_x and ((table["x"] - table["x"].round()).abs().dropna() < 0.2).all()
            ):  # whole numbers, side by side
                axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            axis.set_ylim(limits)
        for axis in list(grid.flat)[len(names) :]:
            axis.set_axis_off()
        for row in range(rows):
            grid[row, 0].set_ylabel(y_label)
        for axis in grid[-1]:
            axis.set_xlabel(x_label)
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3)
        figure.suptitle(title)
        return figure


def _draw(axis: Axes, line: pd.DataFrame, look: Look | Model, opacity: float, bars: bool) -> Any:
    """Draw one label's line and return what stands for it in the legend."""
    shown: dict[str, Any] = {"color": look.color, "ls": look.line, "lw": 2, "alpha": opacity}
    if line["x"].isna().all():
        return axis.axhline(line["mean"].iloc[0], **shown)
    shown |= {"marker": look.marker if len(line) <= _MARKED else "", "ms": 8}
    if isinstance(look, Model) and look.hollow and len(line) == 1:
        shown |= {"ms": 15, "mfc": "none", "mew": 2}
    if bars:
        spread = np.nan_to_num(np.array([line["mean"] - line["low"], line["high"] - line["mean"]]))
        handle: Any = axis.errorbar(line["x"], line["mean"], spread, capsize=4, **shown)
    else:
        (handle,) = axis.plot(line["x"], line["mean"], **shown)
        axis.fill_between(line["x"], line["low"], line["high"], color=look.color, alpha=0.18 * opacity, lw=0)
    if "note" in line:
        for x, y, note in zip(line["x"], line["mean"], line["note"], strict=True):
            shift = (4, 5) if opacity == 1 else (4, -13)  # two lines may have a point in common
            axis.annotate(note, (x, y), shift, textcoords="offset points", fontsize=9)
    return handle


def _opacities(table: pd.DataFrame) -> dict[str, float]:
    """Return how opaque each label is drawn: a model's labels have one colour, the first of them in full."""
    pairs = table[["label", "model"]].drop_duplicates()
    places = pairs.groupby("model").cumcount()
    return {str(label): max(1 - _FADING * place, 0.3) for label, place in zip(pairs["label"], places, strict=True)}
