"""The figures of Task 4 (b): what was recovered, and errors against parameters."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from btrnn.figures.style import BLUE, GREEN, GREY, ORANGE, drawing
from btrnn.recovery.records import RECOVERED

_FORMS = {
    "bt_n1": (GREEN, "block terms, N = 1"),
    "bt_n2": (BLUE, "block terms, N = 2"),
    "tt": (ORANGE, "tensor train"),
}
_MARKERS = {2: "o", 3: "s", 4: "^"}  # by d
_TICKS = (32, 64, 128, 256, 512, 1024)
_DARKEST = 2.5 / 64  # grey levels reach to 2.5 root mean squares of a truth, which all have norm 1


class PanelRow(NamedTuple):
    """A row of pictures: what it shows, and for each its caption and matrix; None leaves a place empty."""

    label: str
    panels: list[tuple[str, np.ndarray] | None]


def panels(rows: list[PanelRow], title: str) -> Figure:
    """Draw rows of matrices in grey, each with its caption."""
    num_columns = max(len(row.panels) for row in rows)
    with drawing({"axes.grid": False, "axes.titlesize": 10.5}):
        figure = Figure(figsize=(1.95 * num_columns, 2.2 * len(rows) + 0.5), layout="constrained")
        axes = figure.subplots(len(rows), num_columns, squeeze=False)
        for line, row in zip(axes, rows, strict=True):
            for axis, panel in zip(line, [*row.panels, *[None] * (num_columns - len(row.panels))], strict=True):
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
                if panel is not None:
                    caption, matrix = panel
                    axis.imshow(matrix.astype(np.float64), cmap="gray", vmin=-_DARKEST, vmax=_DARKEST)
                    axis.set_title(caption)
            line[0].set_ylabel(row.label)
        figure.suptitle(title)
        return figure


def errors_against_parameters(table: pd.DataFrame, truths: dict[str, str], own: str, title: str) -> Figure:
    """Draw relative error against parameters, a panel for each kind of truth.

    Filled: trained, the best restart, mean and 95 % interval over the truths. Hollow: made from the truth itself. Line:
    the best product of two thin matrices of as many numbers; dashes where every shape has truths of its own. Errors
    below 0.01 count as recovered and are drawn there.

    Args:
        table: form, order, parameters, truth, error_best with its _low and _high, error_from_dense, error_best_rank.
        truths: The name of each kind, in order.
        own: The kind whose truths differ from shape to shape.
        title: Above all.
    """
    kinds = [kind for kind in truths if kind in set(table["truth"])]
    columns = min(3, len(kinds))
    rows = -(-len(kinds) // columns)
    with drawing():
        figure = Figure(figsize=(4.1 * columns + 0.6, 3.5 * rows + 1.5), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for place, axis in enumerate(axes.flat):
            axis.set_visible(place < len(kinds))
        for axis, kind in zip(axes.flat, kinds, strict=False):
            line: Any = {"ls": "", "marker": "_", "ms": 9, "mew": 2} if kind == own else {"drawstyle": "steps-post"}
            _draw_kind(axis, table[table["truth"] == kind], line)
            axis.set_title(truths[kind])
        for axis in axes[-1]:
            axis.set_xlabel("parameters")
        for axis in axes[:, 0]:
            axis.set_ylabel("relative error")
        figure.legend(handles=_handles(), loc="outside lower center", ncols=3)
        figure.suptitle(title)
        return figure


def _draw_kind(axis: Axes, table: pd.DataFrame, line: Any) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(_TICKS, [str(tick) for tick in _TICKS])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_ylim(RECOVERED / 1.3, 1.4)
    by_rank = table.drop_duplicates("parameters").sort_values("parameters")
    best_rank = by_rank["error_best_rank"].clip(lower=RECOVERED)
    axis.plot(by_rank["parameters"], best_rank, color=GREY, lw=2, **line)
    for row in table.to_dict("records"):
        color, _ = _FORMS[row["form"]]
        marker = _MARKERS[row["order"]]
        mean, low, high = (max(row[f"error_best{end}"], RECOVERED) for end in ("", "_low", "_high"))
        look: Any = {"color": color, "ms": 7, "lw": 1.2, "capsize": 2}
        axis.errorbar(row["parameters"], mean, [[mean - min(low, mean)], [max(high, mean) - mean]], fmt=marker, **look)
        hollow: Any = {"color": color, "mfc": "none", "ms": 11, "mew": 1.0}
        axis.plot(row["parameters"], max(row["error_from_dense"], RECOVERED), marker, **hollow)


def _handles() -> list[Line2D]:
    """Make the legend: colours for forms, markers for orders, filled or hollow for the way."""
    colours = [Line2D([], [], ls="", marker="o", ms=8, color=color, label=label) for color, label in _FORMS.values()]
    orders = [
        Line2D([], [], ls="", marker=marker, ms=8, color="black", label=f"d = {order}")
        for order, marker in _MARKERS.items()
    ]
    ways = [
        Line2D([], [], ls="", marker="o", ms=7, color="black", label="trained, best restart"),
        Line2D([], [], ls="", marker="o", ms=11, mfc="none", color="black", label="from_dense"),
        Line2D([], [], color=GREY, lw=2, label="best rank (SVD)"),
    ]
    return [*colours, *orders, *ways]
