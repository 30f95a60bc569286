"""Task 1 against the learning rate: what each model reaches at each rate."""

from functools import partial
from typing import Any

import pandas as pd

from btrnn.figures.file import FigureFile
from btrnn.figures.series import draw_series
from btrnn.reports.format import mean_text, number
from btrnn.reports.page import Page
from btrnn.reports.tables import Table
from btrnn.reports.view import View

_METRIC = "test/accuracy"


def _rows(_: View, panel: pd.DataFrame) -> Table:
    return [
        {"model": row["model_label"], "learning rate": f"{row['learning_rate']:g}"}
        | {"test accuracy, best epoch": mean_text(row, _METRIC, ".3f")}
        | {"last epoch": mean_text(row, f"{_METRIC}_last", ".3f")}
        | {"training, last epoch": number(row["train/accuracy_last"], ".3f")}
        for _, rows in panel.groupby("model", sort=False)
        for row in rows.sort_values("learning_rate").to_dict("records")
    ]


def _best(view: View) -> pd.DataFrame:
    """Return the row of each model's best rate; of several that are equal the lowest rate."""
    ordered = view.summary.sort_values([_METRIC, "learning_rate"], ascending=[False, True])
    return ordered.drop_duplicates(["model", "origin"]).sort_index()


def _paper_rate(view: View) -> float:
    return float(view.paper["value"]["ucf11.learning_rate"])


def _values(view: View) -> dict[str, Any]:
    models = []
    for _, rows in view.summary.groupby(["model", "origin"], sort=False):
        ordered = rows.sort_values("learning_rate")
        rates, reached = ordered["learning_rate"].tolist(), ordered[_METRIC]
        top, bottom = reached.max(), reached.min()
        best = [rate for rate, value in zip(rates, reached, strict=True) if value == top]
        worst = [rate for rate, value in zip(rates, reached, strict=True) if value == bottom]
        at_paper = ordered.loc[ordered["learning_rate"] == _paper_rate(view), _METRIC]
        models.append(
            {"label": ordered["model_label"].iloc[0], "best": f"{top:.3f}", "worst": f"{bottom:.3f}"}
            | {"best_rates": [f"{rate:g}" for rate in best], "worst_rates": [f"{rate:g}" for rate in worst]}
            | {"edge": bool({best[0], best[-1]} & {rates[0], rates[-1]})}
            | {"paper": "".join(f"{value:.3f}" for value in at_paper[:1])}
        )
    return {"models": models, "paper_rate": f"{_paper_rate(view):g}"}


def _figures(view: View) -> list[FigureFile]:
    summary = view.summary.sort_values("learning_rate")
    columns = {"model_label": "label", "learning_rate": "x", _METRIC: "mean"}
    columns |= {f"{_METRIC}_{end}": end for end in ("low", "high")}
    shown = summary.rename(columns=columns | {"label": "row"})[["model", *columns.values()]].assign(panel="")
    draw = partial(draw_series, shown, view.title, "Adam's learning rate", "test accuracy, best epoch", log_x=True)
    rate = _paper_rate(view)
    draw = partial(draw, limits=(0.0, 1.04), vertical=(rate, f"the paper's rate, {rate:g}"))
    return [FigureFile(view.figure(""), shown, draw)]


PAGE = Page(
    template="rate_curves",
    rows=_rows,
    brief=("model", "learning rate", "test accuracy, best epoch", "last epoch", "training, last epoch"),
    figures=_figures,
    values=_values,
    compared=_best,
)
