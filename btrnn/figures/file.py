"""Figures as files that know the numbers they show: their digest stands in the file, so that a stale one is noticed."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from btrnn.figures.style import png_bytes
from btrnn.storage.atomic import replace_file

_DIGEST = "Data-SHA256"
_RESOLUTION = 150  # dots an inch
_MILLISECONDS_PER_FRAME = 250
Frames = list[Image.Image]


class FigureFile(NamedTuple):
    """A figure or animation to be written: its path, what it shows, and how to draw it."""

    path: Path
    data: pd.DataFrame | list[np.ndarray]
    draw: Callable[[], Figure | Frames]

    @property
    def digest(self) -> str:
        """SHA-256 of what is shown: numbers as they are written in the committed CSV files, arrays by their bytes."""
        if isinstance(self.data, pd.DataFrame):
            content = self.data.to_csv(float_format="%.10g", lineterminator="\n").encode()
        else:
            content = b"".join(str(array.shape).encode() + array.tobytes() for array in self.data)
        return hashlib.sha256(content).hexdigest()

    def write(self) -> None:
        """Draw it and write it as PNG, or as GIF where it moves."""
        drawn = self.draw()
        if isinstance(drawn, Figure):
            content = png_bytes(drawn, _RESOLUTION, {_DIGEST: self.digest})
        else:
            buffer = io.BytesIO()
            drawn[0].save(
                buffer,
                format="gif",
                save_all=True,
                append_images=drawn[1:],
                duration=_MILLISECONDS_PER_FRAME,
                loop=0,
                comment=f"{_DIGEST} {self.digest}".encode(),
            )
            content = buffer.getvalue()
        replace_file(self.path, content)

    def is_current(self) -> bool:
        """Say whether the file is there and shows this data."""
        if not self.path.exists():
            return False
        with Image.open(self.path) as image:
            shown = image.info.get(_DIGEST) or image.info.get("comment", b"").decode().removeprefix(f"{_DIGEST} ")
        return bool(shown == self.digest)
