"""Lines and points of a number with its uncertainty, drawn alike for every study: against epochs, sizes and rates."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from btrnn.figures.file import Appearance, drawing
from btrnn.results.schema import GREY, Model, model_of

_FADED = 0.7  # all lines of a model but its first, which have one colour and hollow marks
_FURTHER = ("--", ":", "-.")  # lines of these
_STROKES = ("1", "2", "3", "4", "+", "x", "|")  # markers that have no area
_MARKED = 12  # a line of more points than these has no markers
COLUMNS = ["panel", "label", "model", "x", "mean", "low", "high"]


def draw_series(
    table: pd.DataFrame,
    *,
    title: str,
    x_label: str,
    y_label: str,
    bars: bool = False,
    log_x: bool = False,
    log_y: bool = False,
    limits: tuple[float, float] | None = None,
    own_axes: bool = False,
    appearances: Mapping[str, Appearance] | None = None,
    vertical: tuple[float, str] | None = None,
) -> Figure:
    """Draw a line for each label, in a panel for each value of `panel`.

    `table` has `COLUMNS`, in the order of panels and legend; where x is NaN, a horizontal line; where it has a column
    `note`, this stands beside each point. From low to high there are bars, or else a band. With `own_axes` each panel
    has axes of its own, with a tick at each x and nowhere else. `appearances` are by label, where they are not those of
    the models; `vertical` is the place and the label of a vertical line in all panels. Among several panels that
    without a name is the one whose settings the others change.
    """
    names = table["panel"].unique().tolist()
    columns = min(3 if len(names) in (3, 5, 6) else 2, len(names))
    rows = -(-len(names) // columns)
    labels = [*table["label"].unique(), *(vertical or ())[1:]]
    width, ncols = (9.6, 2) if len(labels) > 6 or max(map(len, labels)) > 24 else (7.2, 3)  # inches; of the legend
    legend = 1.1 + 0.33 * -(-len(labels) // ncols)
    with drawing():
        figure = Figure(figsize=(max(4.6 * columns, width), 3.0 * rows + legend), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=not own_axes, sharey=not own_axes, squeeze=False)
        handles: dict[str, Any] = {}
        for axis, name in zip(grid.flat, names, strict=False):
            panel = table[table["panel"] == name]
            axis.set_title(name or ("no control" if names[1:] else ""))
            if vertical:
                axis.axvline(vertical[0], color=GREY, lw=1.5)
                handles[vertical[1]] = Line2D([], [], color=GREY, ls="", marker="|", ms=16, mew=1.5)
            for label, line in panel.groupby("label", sort=False):
                appearance = (appearances or {}).get(str(label)) or model_of(line["model"].iloc[0])
                further = 0 if appearances and label in appearances else _further(table, str(label))
                handles.setdefault(str(label), _draw(axis, line.sort_values("x"), appearance, further, bars))
            axis.set(xscale="log" if log_x else "linear", yscale="log" if log_y else "linear")
            if limits:
                axis.set_ylim(limits)
            _set_ticks(axis, sorted({float(x) for x in (panel if own_axes else table)["x"].dropna()}), every=own_axes)
        for axis in list(grid.flat)[len(names) :]:
            axis.set_axis_off()
        for axis in grid[:, 0]:
            axis.set_ylabel(y_label)
        for axis in grid[-1]:
            axis.set_xlabel(x_label)
        for axis in list(grid.flat)[len(names) - columns : (rows - 1) * columns]:  # those with nothing below
            axis.tick_params(labelbottom=True)
            axis.set_xlabel(x_label)
        figure.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=ncols)
        figure.suptitle(title)
        return figure


def _set_ticks(axis: Axes, places: list[float], *, every: bool) -> None:
    if every:
        axis.set_xticks(places, [f"{place:,.0f}" for place in places], rotation=30 if max(places) > 10_000 else 0)
        axis.xaxis.set_minor_locator(NullLocator())
    elif axis.get_xscale() == "linear" and all(place.is_integer() for place in places):
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _draw(axis: Axes, line: pd.DataFrame, appearance: Appearance | Model, further: int, bars: bool) -> Any:
    """Draw one label's line and return what stands for it in the legend."""
    opacity, dashes = (_FADED, _FURTHER[(further - 1) % len(_FURTHER)]) if further else (1.0, appearance.line)
    shown: dict[str, Any] = {"color": appearance.color, "ls": dashes, "lw": 2, "alpha": opacity}
    if line["x"].isna().all():
        return axis.axhline(line["mean"].iloc[0], **shown)
    shown |= {"marker": appearance.marker if len(line) <= _MARKED or not appearance.line else "", "ms": 8}
    if appearance.marker in _STROKES:  # between its bars such a mark is seen only where it is large and thick
        shown |= {"ms": 13, "mew": 2.5}
    if appearance.hollow and (len(line) == 1 or not appearance.line):
        shown |= {"ms": 13, "mfc": "none", "mew": 1.6}
    elif further:
        shown |= {"ms": 8 + 2 * further, "mfc": "none", "mew": 1.6}
    if bars:
        spread = np.nan_to_num(np.array([line["mean"] - line["low"], line["high"] - line["mean"]]))
        handle: Any = axis.errorbar(line["x"], line["mean"], spread, capsize=4, elinewidth=1.5, **shown)
    else:
        (handle,) = axis.plot(line["x"], line["mean"], **shown)
        axis.fill_between(line["x"], line["low"], line["high"], color=appearance.color, alpha=0.18 * opacity, lw=0)
    if "note" in line:
        for x, y, note in zip(line["x"], line["mean"], line["note"], strict=True):
            shift = (4, -13) if further else (4, 5)  # two lines may have a point in common
            axis.annotate(note, (x, y), shift, textcoords="offset points", fontsize=9)
    return handle


def _further(table: pd.DataFrame, label: str) -> int:
    """Return which of its model's labels one is, from 0: they have one colour, and other lines."""
    model = table.loc[table["label"] == label, "model"].iloc[0]
    labels: list[str] = table.loc[table["model"] == model, "label"].unique().tolist()
    return labels.index(label)
