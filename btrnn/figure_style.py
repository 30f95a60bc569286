"""How all figures look: settings of matplotlib."""

from typing import Any

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
