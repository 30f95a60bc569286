"""The block-term decomposition, drawn: which factor meets which mode, and how the core joins the factors."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from btrnn.complexity import bt_parameters, dense_parameters
from btrnn.figures.style import drawing
from btrnn.results.schema import BLUE, GREEN, GREY, ORANGE

IN_MODES, HIDDEN_MODES, TUCKER_RANK, NUM_BLOCKS = (8, 20, 20, 18), (4, 4, 4, 4), 4, 2  # the paper's main setting
_GATES = 4
_CENTRES = (1.05, 3.0, 8.0, 9.95)  # of the factors; the core stands between the second and the third
_CORE = 5.5


def block_term() -> Figure:
    """Draw one block of W at the paper's setting as boxes of numbers, joined where they share an index."""
    out_modes = (_GATES * HIDDEN_MODES[0], *HIDDEN_MODES[1:])
    dense, blocks = dense_parameters(IN_MODES, out_modes), bt_parameters(IN_MODES, out_modes, TUCKER_RANK, NUM_BLOCKS)
    with drawing():
        figure = Figure(figsize=(10, 5.2), layout="constrained")
        axis = figure.subplots()
        axis.set_axis_off()
        axis.set(xlim=(0, 11), ylim=(-0.9, 5.1))
        _box(axis, 5.5, 4.5, 10.6, f"x: one frame, 57,600 = {_times(IN_MODES)} values", BLUE)
        _box(axis, 5.5, 0.5, 10.6, f"W x: the four gates, 1,024 = {_times(out_modes)} values", BLUE)
        _box(axis, _CORE, 2.5, 1.7, f"core G\n{_times((TUCKER_RANK,) * len(IN_MODES))}", ORANGE)
        for k, (centre, inputs, outputs) in enumerate(zip(_CENTRES, IN_MODES, out_modes, strict=True)):
            _box(axis, centre, 2.5, 1.7, f"factor A{k + 1}\n{_times((inputs, outputs, TUCKER_RANK))}", GREEN)
            _edge(axis, (centre, 4.1), (centre, 2.95), f"$I_{k + 1}$ = {inputs}")
            _edge(axis, (centre, 2.05), (centre, 0.9), f"$J_{k + 1}$ = {outputs}")
            side, near = (1 if centre < _CORE else -1), k in (1, 2)
            start, end = (centre + side * 0.88, 2.5), (_CORE - side * 0.88, 2.5)
            if not near:  # around the factor that stands between
                start, end = (centre + side * 0.3, 2.05), (_CORE - side * 0.5, 2.05)
            _edge(axis, start, end, "R" if near else "", bend=0.0 if near else side * 0.16)
        text = f"W is the sum of N = {NUM_BLOCKS} such blocks: {blocks:,} numbers stand for {dense:,}"
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
