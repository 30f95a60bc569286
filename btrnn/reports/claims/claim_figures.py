"""What the pages of claims show as pictures: accuracies by setting, and where the paper's gap comes from."""

from pathlib import Path
from typing import Any

import pandas as pd

from btrnn.figures.dots import draw_dots
from btrnn.figures.file import Appearance, FigureFile
from btrnn.reports.render import span
from btrnn.results.schema import BT_LSTM, LOGISTIC_REGRESSION, LSTM, NEAREST_NEIGHBOUR, RED, SKY, TT_LSTM

_MODELS = (LSTM, TT_LSTM, BT_LSTM, LOGISTIC_REGRESSION, NEAREST_NEIGHBOUR)
_INPUTS = {"raw": Appearance(RED, "s", ""), "normalized": Appearance(SKY, "o", "")}
_SHOWN = (-0.3, 0.5)  # of differences; two seeds have intervals that reach further


def claim_figures(known: dict[str, Any]) -> list[FigureFile]:
    """Return the figures of what is `known`, see `claim_pages.all_known`; none where real video was not run."""
    if not known["studies"]:
        return []
    scores = pd.DataFrame(
        {"row": f"{row['data']},\n{row['setting']}", "label": model.label, "model": model.name}
        | {"mean": float(row["scores"][model.name])}
        | dict(zip(("low", "high"), row["ends"][model.name], strict=True))
        for model in _MODELS
        for row in known["settings"]
        if model.name in row["scores"]
    )
    changes = pd.DataFrame(
        {"row": what.replace(", ", ",\n").replace(": ", ":\n"), "label": f"{scaling} input", "model": ""}
        | {name: found[name] for name in ("mean", "low", "high", "n")}
        for what, by in known["changes"]["changes"].items()
        for scaling, found in by.items()
    ).dropna(subset="mean")
    view = known["studies"][0]["view"]
    appearances = {f"{scaling} input": appearance for scaling, appearance in _INPUTS.items()}
    options: dict[str, Any] = {"title": "Each model at the rate that validation chose", "x_label": "test accuracy"}
    options |= {"limits": (0.0, 1.0)}
    gap = {"title": f"{view.data}, random split: what each change does"}
    gap |= {"x_label": f"difference of test accuracies, n = {span(changes['n'])}"}
    return [
        FigureFile(Path("figures", "accuracy_by_setting.png"), draw_dots, scores, options),
        FigureFile(
            Path("figures", "gap.png"),
            draw_dots,
            changes,
            gap | {"limits": _SHOWN, "appearances": appearances, "vertical": 0.0},
        ),
    ]
