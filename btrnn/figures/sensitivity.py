"""One function per figure of Task 4 (c): accuracy against core order, Tucker-rank and block terms."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from btrnn.figures.style import MODEL_STYLES, RANK_STYLES, drawing

_METRIC = "test/accuracy"


def heat_maps(table: pd.DataFrame, title: str) -> Figure:
    """Draw the mean accuracy of every d (rows) and R (columns), a panel for each N; what was not run stays white.

    Args:
        table: model, order, rank, num_blocks, test/accuracy.
        title: Names the data.
    """
    shapes = table[table["model"] == "bt_lstm"]
    blocks = sorted(shapes["num_blocks"].unique())
    low, high = shapes[_METRIC].min(), shapes[_METRIC].max()
    with drawing({"axes.grid": False}):
        figure = Figure(figsize=(1.6 + 3.2 * len(blocks), 4.6), layout="constrained")
        axes = figure.subplots(1, len(blocks), squeeze=False, sharey=True)[0]
        for axis, number in zip(axes, blocks, strict=True):
            grid = shapes[shapes["num_blocks"] == number].pivot_table(index="order", columns="rank", values=_METRIC)
            image = axis.imshow(grid, cmap="viridis", vmin=low, vmax=high, aspect="auto")
            for (row, column), value in np.ndenumerate(grid.to_numpy()):
                if not np.isnan(value):
                    color = "white" if value < (low + high) / 2 else "black"
                    axis.text(column, row, f"{value:.3f}", ha="center", va="center", color=color)
            axis.set_xticks(range(len(grid.columns)), [f"{rank:g}" for rank in grid.columns])
            axis.set_yticks(range(len(grid.index)), [f"{order:g}" for order in grid.index])
            axis.set_xlabel("Tucker-rank R")
            axis.set_title(f"N = {number:g}")
        axes[0].set_ylabel("core order d")
        figure.colorbar(image, ax=list(axes), label="test accuracy")
        figure.suptitle(title)
        return figure


def curves(table: pd.DataFrame, title: str) -> Figure:
    """Draw the accuracy (mean, 95 % interval) against d, a line for each R and a panel for each N.

    Args:
        table: model, order, rank, num_blocks, test/accuracy with its _low and _high; a baseline is a horizontal line.
        title: Names the data.
    """
    shapes = table[table["model"] == "bt_lstm"]
    blocks, ranks = (sorted(shapes[column].unique()) for column in ("num_blocks", "rank"))
    with drawing():
        figure = Figure(figsize=(1.0 + 4.4 * len(blocks), 4.8), layout="constrained")
        axes = figure.subplots(1, len(blocks), squeeze=False, sharey=True)[0]
        for axis, number in zip(axes, blocks, strict=True):
            for place, rank in enumerate(ranks):
                line = shapes[(shapes["num_blocks"] == number) & (shapes["rank"] == rank)].sort_values("order")
                bars = [line[_METRIC] - line[f"{_METRIC}_low"], line[f"{_METRIC}_high"] - line[_METRIC]]
                style = RANK_STYLES[int(rank)]
                axis.errorbar(
                    line["order"]
                    + 0.06 * (place - (len(ranks) - 1) / 2),  # beside one another, so that bars stay apart
                    line[_METRIC],
                    np.nan_to_num(bars),
                    fmt=f"{style.marker}{style.line}",
                    color=style.color,
                    label=f"R = {rank:g}",
                    **{"lw": 2, "ms": 7, "capsize": 3},
                )
            for value in table.loc[table["model"] == "logistic_regression", _METRIC]:
                style = MODEL_STYLES["logistic_regression"]
                label = "logistic regression on mean frames"
                axis.axhline(value, color=style.color, ls=style.line, lw=2, label=label)
            axis.set_xticks(sorted(shapes["order"].unique()))
            axis.set_xlabel("core order d")
            axis.set_title(f"N = {number:g}")
            axis.set_ylim(0, 1.04)
        axes[0].set_ylabel("test accuracy")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        figure.suptitle(title)
        return figure
