"""The page of accuracies against d, R and N (section 4.4)."""

from dataclasses import replace

import pandas as pd

from btrnn.figures.file import RANK_LOOKS, FigureFile
from btrnn.figures.pictures import draw_heat_maps
from btrnn.figures.series import draw_series
from btrnn.reports.page import RUN, SIZE, TESTED, WHOLE, Page, value
from btrnn.reports.view import View
from btrnn.results.statistics import mean_interval
from btrnn.results.summary import Row, with_folds

_SHAPE = {"order": "d", "rank": "R", "num_blocks": "N"}


def marginal_means(runs: pd.DataFrame) -> list[Row]:
    """Compute the mean accuracy over all shapes that share one value of d, R or N, by the seeds that have every shape.

    Returns:
        A row for each value: letter ("d", "R" or "N"), value, and mean, sd, n, low, high over the seeds.
    """
    chosen = _of_one_origin(runs)
    chosen = chosen[chosen["num_blocks"].notna()]
    whole = chosen.groupby("seed").filter(lambda rows: rows["name"].nunique() == chosen["name"].nunique())
    return [
        {"letter": letter, "value": level}
        | mean_interval(rows.groupby("seed")["test/accuracy"].mean(), bounds=(0.0, 1.0))._asdict()
        for factor, letter in _SHAPE.items()
        for level, rows in whole.groupby(factor)
    ]


def _of_one_origin(table: pd.DataFrame) -> pd.DataFrame:
    """Return the published rows where there are any, else the user's: the two are never averaged."""
    return table[table["origin"] == table["origin"].max()] if "origin" in table else table  # "published" > "local"


def _shape_figures(view: View) -> list[FigureFile]:
    """Return accuracy against d, a line for each R, a panel for each N, other models horizontal; and as heat maps."""
    lines = view.points(
        "order",
        lambda row: row["label"] if pd.isna(row["num_blocks"]) else f"R = {row['rank']:g}",
        lambda row: f"N = {row['num_blocks']:g}",
    )
    lines["x"] += 0.06 * (view.summary["rank"].to_numpy() - 2)  # beside one another, so that bars stay apart
    other = view.summary["num_blocks"].isna().to_numpy()
    panels = sorted(lines.loc[~other, "panel"].unique())
    parts = [lines[~other].sort_values(["panel", "label"])]
    parts += [lines[other].assign(panel=panel, x=float("nan")) for panel in panels]
    options = {"bars": True, "limits": WHOLE, "looks": RANK_LOOKS, "y_label": view.metric.label}
    maps = {
        f"N = {blocks:g}": rows.pivot_table(index="order", columns="rank", values="test/accuracy")
        for blocks, rows in _of_one_origin(view.summary).groupby("num_blocks")
    }
    labels = {"title": f"{view.title}: {view.metric.label}", "x_label": "Tucker-rank R", "y_label": "core order d"}
    curves = view.figure("curves.png", draw_series, pd.concat(parts), x_label="core order d", **options)
    return [curves, view.figure("heat_maps.png", draw_heat_maps, maps, form=".3f", **labels)] if maps else []


def _at_best_rates(view: View) -> View:
    """Return the runs of each shape at the rate with the lowest mean validation loss, where several were tried."""
    summary, score = view.summary, f"val/{view.schema.monitor}"
    shapes = summary.groupby(["model", *_SHAPE, *view.schema.panel, "origin"], dropna=False)[score]
    names = summary.loc[(summary[score] == shapes.transform("min")) | summary["learning_rate"].isna(), "name"]
    runs = view.results.runs
    return replace(view, results=view.results._replace(runs=runs[with_folds(runs)["name"].isin(set(names))]))


SENSITIVITY = Page(
    template="sensitivity",
    columns={
        **{letter: value(factor, ".0f") for factor, letter in _SHAPE.items()},
        **{"model": value("model_label"), **SIZE, **TESTED, **RUN},
    },
    figures=_shape_figures,
    rows=lambda view: view.summary.sort_values(list(_SHAPE)),
    values=lambda view: {"effects": marginal_means(view.results.runs)},
    shown=_at_best_rates,
)
