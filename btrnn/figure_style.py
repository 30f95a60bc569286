"""How all figures look: settings of matplotlib, colours, and one style for each model everywhere.

Colours are Okabe and Ito's; line style and marker say the same once more, without colour.
"""

from typing import Any, NamedTuple

SETTINGS: Any = {
    "font.size": 13,
    "axes.titlesize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 150,
}
BLUE, GREEN, ORANGE, PURPLE = "#0072B2", "#009E73", "#E69F00", "#CC79A7"
RED, SKY, GREY = "#D55E00", "#56B4E9", "#666666"


class ModelStyle(NamedTuple):
    """Colour, marker and line of a model, in matplotlib's words."""

    color: str
    marker: str
    line: str


MODEL_STYLES = {
    "lstm": ModelStyle(BLUE, "s", "--"),
    "tt_lstm": ModelStyle(ORANGE, "^", "-."),
    "bt_lstm": ModelStyle(GREEN, "o", "-"),
    "logistic_regression": ModelStyle(GREY, "D", ":"),
}
OTHER_STYLE = ModelStyle(PURPLE, "v", ":")
RANK_STYLES = {
    1: ModelStyle(SKY, "o", ":"),
    2: ModelStyle(BLUE, "s", "--"),
    3: ModelStyle(ORANGE, "^", "-."),
    4: ModelStyle(RED, "D", "-"),
}  # by the rank R, where lines differ in nothing else
