"""What a number of parameters buys and costs, and how many there are: Task 4 (a), and the choice of a rank."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from btrnn.figures.style import RANK_STYLES, drawing
from btrnn.results.schema import BT_LSTM, GREY, LSTM, PURPLE, SKY, TT_LSTM

_SERIES = {
    "BT": (BT_LSTM.color, BT_LSTM.marker),
    "TT": (TT_LSTM.color, TT_LSTM.marker),
    "dense": (LSTM.color, LSTM.marker),
    "best rank (SVD)": (SKY, "x"),
}


def parameters_against_order(table: pd.DataFrame, dense: int, title: str) -> Figure:
    """Draw parameters against order on a log scale, a line for each rank.

    Args:
        table: order, rank, parameters.
        dense: The parameters of the dense matrix, dashed.
        title: Above all.
    """
    with drawing():
        figure = Figure(figsize=(7.2, 4.8), layout="constrained")
        axis = figure.add_subplot()
        axis.axhline(dense, color=GREY, ls="--", lw=2, label=f"dense, {dense:,}")
        for rank, line in table.groupby("rank"):
            style = RANK_STYLES[int(str(rank))]
            look: Any = {"color": style.color, "marker": style.marker, "ls": style.line, "lw": 2, "ms": 7}
            axis.plot(line["order"], line["parameters"], label=f"R = {rank}", **look)
        axis.set_yscale("log")
        axis.set_xlabel("core order d")
        axis.set_ylabel("parameters of W")
        axis.legend()
        figure.suptitle(title)
        return figure


def against_parameters(table: pd.DataFrame) -> Figure:
    """Draw errors and times against the parameters of W, a panel for each study, with 95 % intervals over seeds.

    Args:
        table: panel, data, measure, series, parameters, mean, low, high.
    """
    panels = list(table.groupby("panel", sort=False))
    with drawing():
        figure = Figure(figsize=(5.0 * len(panels), 4.8), layout="constrained")
        handles: dict[str, Any] = {}
        for axis, (panel, rows) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for series, points in rows.sort_values("parameters").groupby("series", sort=False):
                color, marker = _SERIES.get(str(series), (PURPLE, "v"))
                ends = [(points["mean"] - points["low"]).fillna(0), (points["high"] - points["mean"]).fillna(0)]
                look: Any = {"fmt": marker, "color": color, "ms": 7, "capsize": 3, "lw": 1.5}
                handles[str(series)] = axis.errorbar(points["parameters"], points["mean"], ends, **look)
            axis.set_xscale("log")
            axis.set_title(f"{panel}\n{rows['data'].iloc[0]}")
            axis.set_xlabel("parameters of W")
            axis.set_ylabel(rows["measure"].iloc[0])
            axis.set_ylim(bottom=0)
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles))
        return figure
