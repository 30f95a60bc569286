"""How all figures look, and figures as files that know what they show.

A file holds the digest of its data and of the code that draws them.
"""

import hashlib
import inspect
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from btrnn.results.schema import BLUE, ORANGE, RED, SKY, model_of
from btrnn.storage.atomic import replace_file

_DIGEST = "SHA256"
_RESOLUTION = 150  # dots an inch
_MILLISECONDS_PER_FRAME = 250
Frames = list[Image.Image]
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


class Appearance(NamedTuple):
    """Colour, marker, line and whether hollow, as in the table of models (`btrnn.results.schema.Model`)."""

    color: str
    marker: str
    line: str
    hollow: bool = False


RANK_APPEARANCES = {  # by the label, where lines differ in nothing but the rank
    "R = 1": Appearance(SKY, "o", ":"),
    "R = 2": Appearance(BLUE, "s", "--"),
    "R = 3": Appearance(ORANGE, "^", "-."),
    "R = 4": Appearance(RED, "D", "-"),
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


@dataclass(frozen=True)
class FigureFile:
    """A figure, or an animation, to be written below an output folder.

    Attributes:
        path: Below that folder.
        function: Draws it from the data, with the options as keywords.
        data: A table, arrays and texts, in lists and mappings.
        options: Texts, numbers, appearances.
    """

    path: Path
    function: Callable[..., Figure | Frames]
    data: Any
    options: Mapping[str, Any] = field(default_factory=dict)

    def draw(self) -> Figure | Frames:
        """Draw it."""
        return self.function(self.data, **self.options)

    @property
    def digest(self) -> str:
        """SHA-256 of data and options (numbers of tables as in CSV files), their models' appearances and the code."""
        names = self.data["model"].unique() if "model" in getattr(self.data, "columns", ()) else ()
        code = [inspect.getsource(module) for module in (sys.modules[self.function.__module__], sys.modules[__name__])]
        return hashlib.sha256(b"\0".join(_bytes([self.data, self.options, [*map(model_of, names)], code]))).hexdigest()

    def write(self, out_dir: Path) -> None:
        """Draw it and write it, as PNG, or as GIF where it moves."""
        drawn = self.draw()
        if isinstance(drawn, Figure):
            content = png_bytes(drawn, _RESOLUTION, {_DIGEST: self.digest})
        else:
            buffer = io.BytesIO()
            moving = {"save_all": True, "append_images": drawn[1:], "duration": _MILLISECONDS_PER_FRAME, "loop": 0}
            drawn[0].save(buffer, format="gif", comment=f"{_DIGEST} {self.digest}".encode(), **moving)
            content = buffer.getvalue()
        replace_file(out_dir / self.path, content)

    def is_current(self, out_dir: Path) -> bool:
        """Return whether the file is there and shows this data, drawn by this code."""
        if not (out_dir / self.path).exists():
            return False
        with Image.open(out_dir / self.path) as image:
            shown = image.info.get(_DIGEST) or image.info.get("comment", b"").decode().removeprefix(f"{_DIGEST} ")
        return bool(shown == self.digest)


def _bytes(value: Any) -> Iterator[bytes]:
    """Yield what a digest is made of."""
    if isinstance(value, pd.DataFrame):
        yield value.to_csv(float_format="%.10g", lineterminator="\n").encode()
    elif isinstance(value, np.ndarray):
        yield from (str(value.shape).encode(), value.tobytes())
    elif isinstance(value, (list, tuple, Mapping)):
        for item in value.items() if isinstance(value, Mapping) else value:
            yield from _bytes(item)
    else:
        yield repr(value).encode()
