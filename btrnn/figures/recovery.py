"""The figures of Task 4 (b): what was recovered, and errors against parameters."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from btrnn.figures.style import drawing
from btrnn.recovery.records import RECOVERED
from btrnn.results.schema import BLUE, GREEN, GREY, ORANGE

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
        for line, row in zip(figure.subplots(len(rows), num_columns, squeeze=False), rows, strict=True):
            line[0].set_ylabel(row.label)
            for place, axis in enumerate(line):
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if place < len(row.panels) and (panel := row.panels[place]) is not None:
                    axis.imshow(panel[1].astype(np.float64), cmap="gray", vmin=-_DARKEST, vmax=_DARKEST)
                    axis.set_title(panel[0])
        figure.suptitle(title)
        return figure


def errors_against_parameters(table: pd.DataFrame, truths: dict[str, str], own: str, title: str) -> Figure:
    """Draw relative error against parameters, a panel for each kind of truth.

    Filled: trained, the best restart, mean and 95 % interval over the truths. Hollow: made from the truth itself. Line:
    the best product of two thin matrices of as many numbers; dashes where every shape has truths of its own. Errors
    below `RECOVERED` are drawn there.

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
        for axis in axes.flat[len(kinds) :]:
            axis.set_visible(False)
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
    axis.set(xscale="log", yscale="log", ylim=(RECOVERED / 1.3, 1.4))
    axis.set_xticks(_TICKS, [str(tick) for tick in _TICKS])
    axis.xaxis.set_minor_locator(NullLocator())
    by_rank = table.drop_duplicates("parameters").sort_values("parameters")
    best_rank = by_rank["error_best_rank"].clip(lower=RECOVERED)
    axis.plot(by_rank["parameters"], best_rank, color=GREY, lw=2, **line)
    for row in table.to_dict("records"):
        color, marker = _FORMS[row["form"]][0], _MARKERS[row["order"]]
        mean, low, high = (max(row[f"error_best{end}"], RECOVERED) for end in ("", "_low", "_high"))
        ends = [[mean - min(low, mean)], [max(high, mean) - mean]]
        axis.errorbar(row["parameters"], mean, ends, fmt=marker, color=color, ms=7, lw=1.2, capsize=2)
        hollow = max(row["error_from_dense"], RECOVERED)
        axis.plot(row["parameters"], hollow, marker, color=color, mfc="none", ms=11, mew=1.0)


def _handles() -> list[Line2D]:
    """Make the legend: colours for forms, markers for orders, filled or hollow for the way."""
    point: Any = {"ls": "", "color": "black", "marker": "o", "ms": 8}
    looks: list[dict[str, Any]] = [
        *({"color": color, "label": label} for color, label in _FORMS.values()),
        *({"marker": marker, "label": f"d = {order}"} for order, marker in _MARKERS.items()),
        {"label": "trained, best restart"},
        {"ms": 11, "mfc": "none", "label": "from_dense"},
        {"ls": "-", "marker": "", "color": GREY, "lw": 2, "label": "best rank (SVD)"},
    ]
    return [Line2D([], [], **(point | look)) for look in looks]
