"""Figures as files that know what they show: the digest of their data and of the code that draws them."""

import hashlib
import inspect
import io
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from btrnn.figures.style import png_bytes
from btrnn.results.schema import MODELS
from btrnn.storage.atomic import replace_file

_DIGEST = "SHA256"
_RESOLUTION = 150  # dots an inch
_MILLISECONDS_PER_FRAME = 250
Frames = list[Image.Image]


class FigureFile(NamedTuple):
    """A figure or animation to be written: its path below an output folder, what it shows, and how to draw it."""

    path: Path
    data: pd.DataFrame | list[np.ndarray]
    draw: Callable[[], Figure | Frames]

    @property
    def digest(self) -> str:
        """SHA-256 of the data (numbers as in CSV files, arrays by their bytes), the texts and the drawing code."""
        if isinstance(self.data, pd.DataFrame):
            content = [self.data.to_csv(float_format="%.10g", lineterminator="\n").encode()]
        else:
            content = [part for array in self.data for part in (str(array.shape).encode(), array.tobytes())]
        given = (*self.draw.args, *self.draw.keywords.values()) if isinstance(self.draw, partial) else ()
        content += [repr(value).encode() for value in (*given, MODELS) if isinstance(value, (str, float, tuple))]
        function = self.draw.func if isinstance(self.draw, partial) else self.draw
        modules = dict.fromkeys(_used(sys.modules[function.__module__]))
        content += [inspect.getsource(module).encode() for module in sorted(modules, key=lambda used: used.__name__)]
        return hashlib.sha256(b"\0".join(content)).hexdigest()

    def write(self, out_dir: Path) -> None:
        """Draw it and write it below `out_dir`, as PNG, or as GIF where it moves."""
        drawn = self.draw()
        if isinstance(drawn, Figure):
            content = png_bytes(drawn, _RESOLUTION, {_DIGEST: self.digest})
        else:
            buffer = io.BytesIO()
            comment = f"{_DIGEST} {self.digest}".encode()
            moving = {"save_all": True, "append_images": drawn[1:], "duration": _MILLISECONDS_PER_FRAME, "loop": 0}
            drawn[0].save(buffer, format="gif", comment=comment, **moving)
            content = buffer.getvalue()
        replace_file(out_dir / self.path, content)

    def is_current(self, out_dir: Path) -> bool:
        """Return whether the file is there and shows this data, drawn by this code."""
        if not (out_dir / self.path).exists():
            return False
        with Image.open(out_dir / self.path) as image:
            shown = image.info.get(_DIGEST) or image.info.get("comment", b"").decode().removeprefix(f"{_DIGEST} ")
        return bool(shown == self.digest)


def _used(module: ModuleType, found: frozenset[str] = frozenset()) -> Iterator[ModuleType]:
    """Yield a module and those of `btrnn.figures` that it takes names from, and so on; one may come twice."""
    yield module
    for value in vars(module).values():
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(name, str) and name.startswith(__package__ or "") and name not in {*found, module.__name__}:
            yield from _used(sys.modules[name], found | {module.__name__})
