"""The block-term decomposition, drawn for README: which factor meets which mode, and how the core joins the factors.

`python docs/method_drawing.py` draws it again.
"""

import sys
from math import prod
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from btrnn.complexity import bt_parameters, dense_parameters
from btrnn.engine.command import exit_status
from btrnn.figures.file import FigureFile, drawing
from btrnn.results.schema import BLUE, GREEN, GREY, ORANGE

_CENTRES = (1.05, 3.0, 8.0, 9.95)  # of the factors; the core stands between the second and the third
_CORE = 5.5


class Shape(NamedTuple):
    """Of W as block terms; by default the paper's main setting, the four gates in the first output mode."""

    in_modes: tuple[int, ...] = (8, 20, 20, 18)
    out_modes: tuple[int, ...] = (16, 4, 4, 4)
    tucker_rank: int = 4
    num_blocks: int = 2


def block_term(shape: Shape) -> Figure:
    """Draw one block of W as boxes of numbers, joined where they share an index."""
    in_modes, out_modes, rank, num_blocks = shape
    dense, blocks = dense_parameters(in_modes, out_modes), bt_parameters(*shape)
    with drawing():
        figure = Figure(figsize=(10, 5.2), layout="constrained")
        axis = figure.subplots()
        axis.set_axis_off()
        axis.set(xlim=(0, 11), ylim=(-0.9, 5.1))
        _box(axis, 5.5, 4.5, 10.6, f"x: one frame, {prod(in_modes):,} = {_times(in_modes)} values", BLUE)
        _box(axis, 5.5, 0.5, 10.6, f"W x: the four gates, {prod(out_modes):,} = {_times(out_modes)} values", BLUE)
        _box(axis, _CORE, 2.5, 1.7, f"core G\n{_times((rank,) * len(in_modes))}", ORANGE)
        for k, (centre, inputs, outputs) in enumerate(zip(_CENTRES, in_modes, out_modes, strict=True)):
            _box(axis, centre, 2.5, 1.7, f"factor A{k + 1}\n{_times((inputs, outputs, rank))}", GREEN)
            _edge(axis, (centre, 4.1), (centre, 2.95), f"$I_{k + 1}$ = {inputs}")
            _edge(axis, (centre, 2.05), (centre, 0.9), f"$J_{k + 1}$ = {outputs}")
            side, near = (1 if centre < _CORE else -1), k in (1, 2)
            start, end = (centre + side * 0.88, 2.5), (_CORE - side * 0.88, 2.5)
            if not near:  # around the factor that stands between
                start, end = (centre + side * 0.3, 2.05), (_CORE - side * 0.5, 2.05)
            _edge(axis, start, end, "R" if near else "", bend=0.0 if near else side * 0.16)
        text = f"W is the sum of N = {num_blocks} such blocks: {blocks:,} numbers stand for {dense:,}"
        axis.text(5.5, -0.55, text, ha="center", va="center")
    return figure


def _times(sizes: tuple[int, ...]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(map(str, sizes))


def _box(axis: Axes, x: float, y: float, width: float, text: str, color: str) -> None:
    corner, height = (x - width / 2, y - 0.4), 0.8
    shape = FancyBboxPatch(corner, width, height, boxstyle="round,pad=0.03", facecolor=f"{color}33", edgecolor=color)
    axis.add_patch(shape)
    axis.text(x, y, text, ha="center", va="center", fontsize=11)


def _edge(axis: Axes, start: tuple[float, float], end: tuple[float, float], text: str, bend: float = 0.0) -> None:
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-", connectionstyle=f"arc3,rad={bend}", color=GREY, lw=1.5))
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if text:
        axis.text(x, y, text, ha="center", va="center", fontsize=10, bbox={"facecolor": "white", "edgecolor": "none"})


FIGURE = FigureFile(Path("assets/block_term.png"), block_term, Shape())

if __name__ == "__main__":
    sys.exit(exit_status(lambda: FIGURE.write(Path(__file__).parent), OSError))
