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
    """Return a context to make a figure in, by our settings and some changes, whatever the user's matplotlibrc says."""
    return matplotlib.style.context(["default", _SETTINGS | dict(changes or {})])


def png_bytes(figure: Figure, dpi: int, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a figure as a PNG file of `dpi` dots an inch that keeps the texts of `metadata`."""
    buffer = io.BytesIO()
    with matplotlib.style.context("default"):  # some settings are read only now, and must not be the user's
        figure.savefig(buffer, format="png", dpi=dpi, metadata=metadata)
    return buffer.getvalue()


class Look(NamedTuple):
    """Colour, marker, line and whether hollow, as in the table of models (`btrnn.results.schema.Model`)."""

    color: str
    marker: str
    line: str
    hollow: bool = False


RANK_LOOKS = {  # by the rank R, where lines differ in nothing else
    1: Look(SKY, "o", ":"),
    2: Look(BLUE, "s", "--"),
    3: Look(ORANGE, "^", "-."),
    4: Look(RED, "D", "-"),
}
