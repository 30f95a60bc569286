"""One function per figure of Task 3: images with their captions, curves, and what ranks do to CIDEr."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from btrnn.figures.curves import draw_curves
from btrnn.figures.style import MODEL_STYLES, OTHER_STYLE, drawing

_COLUMNS = 3
_LETTERS = 40  # of a line below an image
_LINE_INCHES = 0.19


def captions(images: np.ndarray, texts: dict[str, list[str]], models: dict[str, str], title: str) -> Figure:
    """Draw images in rows of three, and below each what every model says of it.

    Args:
        images: (n, height, width, 3) uint8.
        texts: The captions by the model's label, n each.
        models: The kind of each label, for its colour.
        title: Names the data.
    """
    with drawing({"axes.grid": False}):
        columns = min(_COLUMNS, len(images))
        rows = -(-len(images) // columns)
        wrapped = {label: [_wrap(f"{label}: {text}") for text in said] for label, said in texts.items()}
        lines = max(sum(said[k].count("\n") + 1 for said in wrapped.values()) for k in range(len(images)))
        below = lines * _LINE_INCHES + 0.1 * len(texts)
        figure = Figure(figsize=(4.2 * columns, rows * (3.2 + below) + 0.6), layout="constrained")
        cells = figure.subfigures(rows, columns, squeeze=False).flat
        for k, (cell, image) in enumerate(zip(cells, images, strict=False)):
            picture, words = cell.subplots(2, 1, height_ratios=[3.2, below])
            for axis in (picture, words):
                axis.set_axis_off()
            picture.imshow(image)
            top = 1.0
            for label, said in wrapped.items():
                style = MODEL_STYLES.get(models[label], OTHER_STYLE)
                words.text(0.5, top, said[k], color=style.color, ha="center", va="top", fontsize=10.5)
                top -= ((said[k].count("\n") + 1) * _LINE_INCHES + 0.1) / below
        figure.suptitle(f"{title}: the first test images")
        return figure


def _wrap(text: str) -> str:
    return textwrap.fill(text, _LETTERS)


def losses(curves: pd.DataFrame, title: str) -> Figure:
    """Draw training and validation loss against epoch, side by side; band: lowest to highest seed.

    Args:
        curves: split, label, model, epoch, and over the seeds mean, min, max, nats a word.
        title: Names the data.
    """
    with drawing():
        figure = Figure(figsize=(10.0, 4.6), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for axis, (split, name) in zip(axes, (("train", "training, with dropout"), ("val", "validation")), strict=True):
            draw_curves(axis, curves[curves["split"] == split])
            axis.set_title(name)
        axes[0].set_ylabel("loss, nats a word")
        axes[1].legend()
        figure.suptitle(title)
        return figure


def against_parameters(points: pd.DataFrame, title: str) -> Figure:
    """Draw CIDEr (mean, 95 % interval) against the parameters of W: a line for each N of BT, one for TT, one for dense.

    Args:
        points: model, rank, num_blocks, parameters_input, n, and CIDEr with its low and high.
        title: Names the data.
    """
    with drawing():
        figure = Figure(figsize=(7.6, 4.8), layout="constrained")
        axis = figure.add_subplot()
        for row in points[points["model"] == "lstm"].to_dict("records"):
            style = MODEL_STYLES["lstm"]
            label = f"LSTM, {row['parameters_input']:,.0f} parameters"
            axis.axhline(100 * row["test/cider"], color=style.color, ls=style.line, lw=2, label=label)
        compact = points[points["model"] != "lstm"].fillna({"num_blocks": 0}).sort_values("parameters_input")
        blocks = sorted(set(compact["num_blocks"]) - {0})
        for (model, number), line in compact.groupby(["model", "num_blocks"], sort=False):
            style = MODEL_STYLES.get(str(model), OTHER_STYLE)
            opacity = 1.0 if not number else (blocks.index(number) + 1) / len(blocks)
            mean = 100 * line["test/cider"]
            spread = [mean - 100 * line["test/cider_low"], 100 * line["test/cider_high"] - mean]
            name = f"BT-LSTM, N = {number:g}" if number else "TT-LSTM"
            axis.errorbar(
                line["parameters_input"],
                mean,
                np.nan_to_num(np.array(spread)),
                color=style.color,
                alpha=opacity,
                marker=style.marker,
                ls=style.line,
                capsize=3,
                label=name,
            )
            shift = (4, 5) if opacity == 1.0 else (4, -13)  # of the text, as two lines may have a point in common
            for place, height, rank in zip(line["parameters_input"], mean, line["rank"], strict=True):
                axis.annotate(f"R = {rank:g}", (place, height), shift, textcoords="offset points", fontsize=9)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.set_xlabel("parameters of W")
        axis.set_ylabel("CIDEr, times 100")
        figure.legend(loc="outside lower center", ncols=2)
        figure.suptitle(title)
        return figure
