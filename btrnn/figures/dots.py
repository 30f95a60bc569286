"""Numbers with their uncertainty as dots beside one another, a row for each of what they are of."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from btrnn.figures.file import Appearance, drawing
from btrnn.results.schema import GREY, model_of

_SPREAD = 0.6  # of a row's height, over which its dots stand below one another


def draw_dots(
    table: pd.DataFrame,
    *,
    title: str,
    x_label: str,
    limits: tuple[float, float] | None = None,
    appearances: Mapping[str, Appearance] | None = None,
    vertical: float | None = None,
) -> Figure:
    """Draw a dot, and a bar from low to high where they are known, for each line of a table, in the order of its rows.

    `table` has the columns row and label (texts), model (its appearance, unless `appearances` have one by the label),
    mean, low and high. `limits` are of the numbers; bars that reach further are cut. `vertical` is the place of a
    vertical line.
    """
    rows, labels = table["row"].unique().tolist(), table["label"].unique().tolist()
    with drawing():
        columns = 3
        figure = Figure(figsize=(9.6, 0.62 * len(rows) + 1.6 + 0.3 * -(-len(labels) // columns)), layout="constrained")
        axis = figure.subplots()
        for place, label in enumerate(labels):
            line = table[table["label"] == label]
            appearance = (appearances or {}).get(label) or model_of(line["model"].iloc[0])
            y = np.array([rows.index(row) for row in line["row"]]) + _SPREAD * ((place + 0.5) / len(labels) - 0.5)
            spread = np.nan_to_num(np.array([line["mean"] - line["low"], line["high"] - line["mean"]]))
            shown: dict[str, Any] = {
                "color": appearance.color,
                "marker": appearance.marker,
                "ms": 8,
                "ls": "",
                "elinewidth": 1.5,
                "capsize": 3,
            }
            axis.errorbar(line["mean"], y, xerr=spread, label=label, **shown)
        if vertical is not None:
            axis.axvline(vertical, color=GREY, lw=1.5)
        axis.set_yticks(range(len(rows)), rows)
        axis.set(ylim=(len(rows) - 0.5, -0.5), xlabel=x_label)
        if limits:
            axis.set_xlim(limits)
        figure.legend(loc="outside lower center", ncols=columns)
        figure.suptitle(title)
        return figure
