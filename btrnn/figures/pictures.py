"""Pictures beside and below one another, pictures that a model draws step by step, and counts as a picture."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from btrnn.figures.file import drawing

_GAP = 2  # pixels between two images of a sheet
_ENLARGED = 3  # pixels of the animation for one of an image
_TEXT_HEIGHT = 16  # of its lines
_LETTERS = 40  # of a line below a picture
_LINE_INCHES = 0.21


class Tile(NamedTuple):
    """One picture: (height, width) grey or (height, width, 3), what stands above it, and the texts below it."""

    image: np.ndarray
    above: str = ""
    below: tuple[str, ...] = ()


def draw_tiles(
    rows: Sequence[tuple[str, Sequence[Tile | None]]],
    *,
    title: str,
    inches: float = 3.6,
    grey: tuple[float, float] = (0, 255),
) -> Figure:
    """Draw rows of pictures, each row with its name on the left; None leaves a place empty.

    A picture is so many inches wide; `grey` are the values of black and white.
    """
    columns = max(len(row) for _, row in rows)
    heights = []
    for tiles in ([tile for tile in row if tile] for _, row in rows):
        lines = max(len("\n".join(map(_wrap, tile.below)).splitlines()) for tile in tiles)
        shape = max(tile.image.shape[0] / tile.image.shape[1] for tile in tiles)
        heights.append(inches * shape + _LINE_INCHES * lines + 0.45)
    with drawing({"axes.grid": False, "axes.titlesize": 10.5 if inches < 3 else 13}):
        size = (inches * columns + 0.3, sum(heights) + 0.4 + 0.25 * title.count("\n"))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
        for axes, (name, row) in zip(grid, rows, strict=True):
            axes[0].set_ylabel(name)
            for axis, tile in zip(axes, [*row, *[None] * (columns - len(row))], strict=True):
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if tile is not None:
                    axis.imshow(tile.image, cmap="gray", vmin=grey[0], vmax=grey[1])
                    axis.set_title(tile.above)
                    axis.set_xlabel("\n".join(map(_wrap, tile.below)), fontsize=10.5)
        figure.suptitle(title)
        return figure


def _wrap(text: str) -> str:
    return textwrap.fill(text, _LETTERS)


def sheet(images: np.ndarray) -> np.ndarray:
    """Lay (rows, columns, height, width) images out as one, with gaps of mid grey."""
    padded = np.pad(images, ((0, 0), (0, 0), (0, _GAP), (0, _GAP)), constant_values=128)
    rows, columns, height, width = padded.shape
    return padded.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)[:-_GAP, :-_GAP]


def draw_animation(canvases: Mapping[str, np.ndarray], *, title: str) -> list[Image.Image]:
    """Draw a frame for each step: the canvases of every model, one row a model; the last stands for a while.

    `canvases` are (steps, images, height, width) uint8, by the model's label.
    """
    longest, frames = max(map(len, canvases.values())), []
    for step in [*range(longest), *[longest - 1] * 5]:
        rows = []
        for label, images in canvases.items():
            place = min(step, len(images) - 1)
            pixels = np.kron(sheet(images[place][None]), np.ones((_ENLARGED, _ENLARGED), dtype=np.uint8))
            rows.append((f"{label}: glimpse {place + 1}", pixels))
        white = np.full((_TEXT_HEIGHT, rows[0][1].shape[1]), 255, dtype=np.uint8)
        frame = Image.fromarray(np.vstack([white, *(part for _, pixels in rows for part in (white, pixels))]))
        pen, top = ImageDraw.Draw(frame), 0
        for text, pixels in [(title, white[:0]), *rows]:
            pen.text((2, top + 2), text, fill=0)
            top += _TEXT_HEIGHT + len(pixels)
        frames.append(frame)
    return frames


def draw_heat_maps(
    panels: Mapping[str, pd.DataFrame], *, title: str, x_label: str, y_label: str, form: str = "g"
) -> Figure:
    """Draw tables of numbers as pictures with the number in each cell, in one scale of colours; NaN stays white.

    The labels say what the columns and the rows are, `form` how a number is written.
    """
    numbers = np.concatenate([table.to_numpy(dtype=np.float64).ravel() for table in panels.values()])
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    columns, rows = max(len(table.columns) for table in panels.values()), max(map(len, panels.values()))
    turned: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if columns > 6 else {}
    with drawing({"axes.grid": False}):
        size = ((1.6 + max(3.2, 0.55 * columns)) * len(panels), 1.6 + max(3.0, 0.55 * rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axis, (name, table) in zip(axes, panels.items(), strict=True):
            axis.imshow(table, cmap="Blues", vmin=low, vmax=high, aspect="auto")
            for (row, column), value in np.ndenumerate(table.to_numpy(dtype=np.float64)):
                color = "white" if value > (low + high) / 2 else "black"
                text = "" if np.isnan(value) else f"{value:{form}}"
                axis.text(column, row, text, ha="center", va="center", color=color, fontsize=12)
            axis.set_xticks(range(len(table.columns)), [_name(column) for column in table.columns], **turned)
            axis.set_yticks(range(len(table.index)), [_name(row) for row in table.index])
            axis.set(title=name, xlabel=x_label)
        axes[0].set_ylabel(y_label)
        figure.suptitle(title)
        return figure


def _name(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"
