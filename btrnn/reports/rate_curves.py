"""Task 1 against the learning rate: what each model reaches at each rate."""

from functools import partial
from typing import Any

import pandas as pd

from btrnn.figures.file import FigureFile
from btrnn.figures.series import draw_series
from btrnn.reports import tables
from btrnn.reports.format import mean_text, number
from btrnn.reports.page import Page
from btrnn.reports.tables import Table
from btrnn.reports.video import panel_name
from btrnn.reports.view import View
from btrnn.results.summary import rows_of

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


def _validated(view: View) -> bool:
    """Return whether validation clips, and not the test clips, choose the epoch."""
    return "paper" not in set(view.summary["protocol"])


def _scored(view: View) -> pd.DataFrame:
    """Return the summary in the order of rates, with `score`: what chooses a rate; the highest is best."""
    summary = view.summary.sort_values("learning_rate")
    rows = summary.to_dict("records")
    losses = [-rows_of(row, view.results.runs)[f"val/{view.schema.monitor}"].mean() for row in rows]
    scored = summary.assign(score=losses if _validated(view) else summary[_METRIC])
    seeds = scored.groupby([*view.schema.data, "model", "origin"], dropna=False)["n"].transform("max")
    return scored.assign(score=scored["score"].where(scored["n"] == seeds))  # fewer seeds are no fair comparison


def _best(view: View) -> pd.DataFrame:
    """Return the row of each model's best rate; of several that are equal the lowest rate."""
    ordered = _scored(view).sort_values("score", ascending=False, kind="stable")
    return ordered.drop_duplicates([*view.schema.data, "model", "origin"]).sort_index()


def _paper_rate(view: View) -> float:
    return float(view.paper["value"]["ucf11.learning_rate"])


def _values(view: View) -> dict[str, Any]:
    """Return for each model and panel its best and its worst rates, and the paper's rate."""
    models = []
    varied = tables.varied(view.summary, view.schema)
    for _, rows in _scored(view).groupby([*varied, "model", "origin"], sort=False):
        best, worst = rows[rows["score"] == rows["score"].max()], rows[rows[_METRIC] == rows[_METRIC].min()]
        ends = {rows["learning_rate"].min(), rows["learning_rate"].max()}
        at_paper = rows.loc[rows["learning_rate"] == _paper_rate(view), _METRIC]
        place = "".join(f", {tables.value_text(rows[column].iloc[0])}" for column in varied)
        models.append(
            {"label": f"{rows['model_label'].iloc[0]}{place}"}
            | {"best": f"{best[_METRIC].iloc[0]:.3f}", "worst": f"{worst[_METRIC].iloc[0]:.3f}"}
            | {"best_rates": [f"{rate:g}" for rate in best["learning_rate"]]}
            | {"worst_rates": [f"{rate:g}" for rate in worst["learning_rate"]]}
            | {"edge": bool(ends & set(best["learning_rate"]))}
            | {"paper": "".join(f"{value:.3f}" for value in at_paper[:1])}
        )
    few = len(set(view.summary["n"])) > 1
    return {"models": models, "few": few, "paper_rate": f"{_paper_rate(view):g}", "validated": _validated(view)}


def _figures(view: View) -> list[FigureFile]:
    summary = view.summary.sort_values("learning_rate")
    columns = {"model_label": "label", "learning_rate": "x", _METRIC: "mean"}
    columns |= {f"{_METRIC}_{end}": end for end in ("low", "high")}
    shown = summary.rename(columns=columns | {"label": "row"})[["model", *columns.values()]]
    if (summary["n"] < 3).all():  # an interval from two seeds is wider than the picture
        shown = shown.assign(low=shown["mean"], high=shown["mean"])
    several = tables.varied(summary, view.schema)
    shown["panel"] = [panel_name(row) if several else "" for row in summary.to_dict("records")]
    title = view.title if several else f"{view.title}; {view.first['scaling']} input"
    draw = partial(draw_series, shown, title, "Adam's learning rate", "test accuracy, best epoch", log_x=True)
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
