"""One function per figure: a DataFrame of `btrnn.results.comparison` to a matplotlib Figure.

Figures are built without pyplot, so nothing global changes and no display is needed.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from btrnn.figures.style import MODEL_STYLES, OTHER_STYLE, ModelStyle, drawing

_RANK_OPACITY: dict[float, float] = {
    2: 0.65,
    1: 0.4,
}  # the paper's smaller BT-LSTMs share the colour of R = 4
_SIZES: dict[str, float] = {"tt_lstm": 15}  # TT-LSTM's 3,360 parameters nearly hide BT-LSTM's 3,392: hollow, and larger
_PROTOCOLS = {"paper": "random split", "grouped": "grouped split"}
_SCALINGS = {"raw": "raw input", "normalized": "normalised input"}


def training_loss(curves: pd.DataFrame, title: str) -> Figure:
    """Draw training loss against epoch, a panel per protocol and scaling; band: lowest to highest seed.

    Args:
        curves: `btrnn.results.summary.curves(..., "train/loss")`.
        title: Names the data, above the panels.
    """
    return _curves(curves, title, {}, "training loss")


def accuracy(curves: pd.DataFrame, title: str) -> Figure:
    """Draw accuracy against epoch: of the test split under protocol `paper`, else of the validation split.

    Args:
        curves: `btrnn.results.summary.curves(..., "val/accuracy")`.
        title: Names the data, above the panels.
    """
    figure = _curves(curves, title, {"paper": "test accuracy"}, "validation accuracy")
    for axis in figure.axes:
        axis.set_ylim(0, 1.04)
    return figure


def _curves(curves: pd.DataFrame, title: str, y_labels: dict[str, str], y_label: str) -> Figure:
    with drawing():
        figure, axes = _panels(curves, title, "epoch", y_labels, y_label)
        handles: dict[str, Any] = {}
        for (protocol, scaling), axis in axes.items():
            panel = curves[(curves["protocol"] == protocol) & (curves["scaling"] == scaling)]
            axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            for label, line in panel.groupby("label", sort=False):
                style, opacity = _style(line["model"].iloc[0], line["rank"].iloc[0])
                look: Any = {"color": style.color, "alpha": opacity, "lw": 2}
                (handles[str(label)],) = axis.plot(line["epoch"], line["mean"], style.line, **look)
                look = {"color": style.color, "alpha": 0.18 * opacity, "lw": 0}
                axis.fill_between(line["epoch"], line["low"], line["high"], **look)
        _legend(figure, handles)
        return figure


def accuracy_against_parameters(rows: pd.DataFrame, title: str) -> Figure:
    """Draw test accuracy (mean, 95 % interval) against the parameters of W, with the paper's points on UCF11.

    The paper's points stand in the panels of its own split alone; a model without W is a horizontal line.
    TT-LSTM is a larger, hollow mark around BT-LSTM's, whose count is nearly the same.

    Args:
        rows: `btrnn.results.summary.beside_paper`, of all panels.
        title: Names the data, above the panels.
    """
    with drawing():
        figure, axes = _panels(rows, title, "parameters of W", {}, "test accuracy")
        handles: dict[str, Any] = {}
        for row in rows.to_dict("records"):
            axis = axes[row["protocol"], row["scaling"]]
            style, opacity = _style(row["model"], row["rank"])
            place, label = row["parameters_input"], row["label"]
            measured = row["n"] > 0 and not pd.isna(row["test/accuracy"])
            if not row["parameters_input"] > 0:
                if measured:
                    handles[label] = axis.axhline(row["test/accuracy"], color=style.color, ls=style.line, lw=2)
                continue
            if measured:
                mean = row["test/accuracy"]
                bars = [[mean - row["test/accuracy_low"]], [row["test/accuracy_high"] - mean]]
                size = _SIZES.get(row["model"], 9)
                look: Any = {"color": style.color, "alpha": opacity, "ms": size, "capsize": 4, "lw": 2}
                look |= {"mfc": "none", "mew": 2} if row["model"] in _SIZES else {}
                handles[label] = axis.errorbar(place, mean, np.nan_to_num(bars), fmt=style.marker, **look)
            if row["protocol"] == "paper" and not pd.isna(row["paper_accuracy"]):
                width = 1.2 if "M" in row["paper_mark"] else 2.4
                hollow: Any = {"color": style.color, "mfc": "none", "ms": _SIZES.get(row["model"], 9), "mew": width}
                axis.plot(place, row["paper_accuracy"], style.marker, **hollow)
        for mark, text, width in (("S", "paper, on UCF11", 2.4), ("M", "paper, reported", 1.2)):
            if ((rows["protocol"] == "paper") & rows["paper_mark"].str.contains(mark)).any():
                handles[text] = Line2D([], [], ls="", marker="o", color="black", mfc="none", ms=9, mew=width)
        for axis in axes.values():
            axis.set_xscale("log")
            axis.set_xlim(300, 3e8)
            axis.set_ylim(0, 1.04)
        _legend(figure, handles)
        return figure


def confusion_matrix(counts: pd.DataFrame, title: str) -> Figure:
    """Draw a confusion matrix: the number of test clips in each cell, the colour its share of the true class.

    Args:
        counts: (classes, classes) `btrnn.results.predictions.confusion`: rows true, columns predicted.
        title: Names the data and the model.
    """
    names = [str(name).replace("_", " ") for name in counts.columns]
    values = counts.to_numpy(dtype=np.float64)
    shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1)
    with drawing({"axes.grid": False}):
        figure = Figure(figsize=(7.5, 7.2), layout="constrained")
        axis = figure.add_subplot()
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(values):
            if count:
                color = "white" if shares[row, column] > 0.5 else "black"
                axis.text(column, row, f"{count:.0f}", ha="center", va="center", color=color, fontsize=12)
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(names)), names)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        figure.suptitle(title)
        return figure


def _panels(
    table: pd.DataFrame, title: str, x_label: str, y_labels: dict[str, str], y_label: str
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """Lay out a panel for each protocol (rows) and scaling (columns) of a table.

    `y_label` stands at every row but those of the protocols in `y_labels`.
    """
    protocols, scalings = table["protocol"].unique().tolist(), table["scaling"].unique().tolist()
    size = (4.2 * max(len(scalings), 1.6), 2.9 * len(protocols) + 1.4)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(protocols), len(scalings), sharex=True, sharey=True, squeeze=False)
    axes = {}
    for row, protocol in enumerate(protocols):
        grid[row, 0].set_ylabel(y_labels.get(protocol, y_label))
        for column, scaling in enumerate(scalings):
            grid[-1, column].set_xlabel(x_label)
            grid[row, column].set_title(panel_name(protocol, scaling))
            axes[protocol, scaling] = grid[row, column]
    figure.suptitle(title)
    return figure, axes


def _legend(figure: Figure, handles: dict[str, Any]) -> None:
    columns = 4 if len(handles) <= 4 else 2
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)


def _style(model: str, rank: float) -> tuple[ModelStyle, float]:
    """Return a model's style, and how opaque it is drawn."""
    return MODEL_STYLES.get(model, OTHER_STYLE), _RANK_OPACITY.get(rank, 1.0) if model == "bt_lstm" else 1.0


def panel_name(protocol: str, scaling: str) -> str:
    """Return the words for a protocol and a scaling that stand in titles."""
    return f"{_PROTOCOLS.get(protocol, protocol)}, {_SCALINGS.get(scaling, scaling)}"
