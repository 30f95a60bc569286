"""Task 1: which classes are taken for which."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from btrnn.figures.style import drawing


def confusion_matrix(counts: pd.DataFrame, title: str) -> Figure:
    """Draw a confusion matrix: the number of test clips in each cell, the colour its share of the true class.

    Args:
        counts: (classes, classes) `btrnn.results.summary.confusion`: rows true, columns predicted.
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
