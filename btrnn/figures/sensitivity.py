"""Task 4 (c): accuracy against core order, Tucker-rank and block terms."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from btrnn.figures.style import drawing

_METRIC = "test/accuracy"


def heat_maps(table: pd.DataFrame, title: str) -> Figure:
    """Draw the mean accuracy of every d (rows) and R (columns), a panel for each N; what was not run stays white.

    Args:
        table: order, rank, num_blocks, test/accuracy.
        title: Names the data.
    """
    shapes = table[table["num_blocks"].notna()]
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
