"""Task 3: images with what each model says of them."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from btrnn.figures.style import drawing
from btrnn.results.schema import model_of

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
                look = {"color": model_of(models[label]).color, "fontsize": 10.5}
                words.text(0.5, top, said[k], ha="center", va="top", **look)
                top -= ((said[k].count("\n") + 1) * _LINE_INCHES + 0.1) / below
        figure.suptitle(f"{title}: the first test images")
        return figure


def _wrap(text: str) -> str:
    return textwrap.fill(text, _LETTERS)
