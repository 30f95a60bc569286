"""How all figures look: settings of matplotlib, and looks that say with line and marker what their colour says."""

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import matplotlib.style
from matplotlib.figure import Figure

from btrnn.results.schema import BLUE, ORANGE, RED, SKY

_SETTINGS: dict[str, Any] = {
    "font.size": 13,
    "axes.titlesize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def drawing(changes: Mapping[str, Any] | None = None) -> AbstractContextManager[None]:
    """Return a context to make a figure in, which looks alike everywhere, whatever the user's matplotlibrc says.

    Args:
        changes: Settings of matplotlib that differ from those of all figures.
    """
    return matplotlib.style.context(["default", {**_SETTINGS, **(changes or {})}])


def png_bytes(figure: Figure, dpi: int, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a figure as a PNG file; matplotlib reads some of its settings only now, so the user's must not hold.

    Args:
        figure: Made in the context of `drawing`.
        dpi: Dots an inch.
        metadata: Texts to be kept in the file.
    """
    buffer = io.BytesIO()
    with matplotlib.style.context("default"):
        figure.savefig(buffer, format="png", dpi=dpi, metadata=metadata)
    return buffer.getvalue()


class Look(NamedTuple):
    """Colour, marker and line, as matplotlib writes them; those of a model stand in `btrnn.results.schema.MODELS`.

    A hollow mark is larger than others, so that it does not hide them.
    """

    color: str
    marker: str
    line: str
    hollow: bool = False


RANK_LOOKS = {
    1: Look(SKY, "o", ":"),
    2: Look(BLUE, "s", "--"),
    3: Look(ORANGE, "^", "-."),
    4: Look(RED, "D", "-"),
}  # by the rank R, where lines differ in nothing else
