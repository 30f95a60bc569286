"""Curves of a metric against the epoch, drawn alike for every task."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from btrnn.figures.style import MODEL_STYLES, OTHER_STYLE


def draw_curves(axis: Axes, curves: pd.DataFrame) -> None:
    """Draw what `reports.common.curves` returns, a line a label with a band from the lowest to the highest seed."""
    labels = curves["label"].unique()
    for position, (label, line) in enumerate(curves.groupby("label", sort=False)):
        style = MODEL_STYLES.get(line["model"].iloc[0], OTHER_STYLE)
        same = sum(str(other).split(",")[0] == str(label).split(",")[0] for other in labels)
        opacity = 1.0 if same == 1 else (position + 1) / len(labels)
        look: Any = {"color": style.color, "alpha": opacity, "lw": 2}
        axis.plot(line["epoch"] + 1, line["mean"], style.line, label=label, **look)
        axis.fill_between(line["epoch"] + 1, line["min"], line["max"], color=style.color, alpha=0.18, lw=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("epoch")
