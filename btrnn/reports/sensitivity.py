"""Task 4 (c): BT-LSTM's accuracy against core order d, Tucker-rank R and block terms N."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from btrnn.figures.file import FigureFile
from btrnn.figures.sensitivity import heat_maps
from btrnn.figures.series import draw_series
from btrnn.figures.style import RANK_STYLES
from btrnn.reports.format import count, markdown_table, mean_text, number
from btrnn.reports.page import Page
from btrnn.reports.tables import Table, run_cells, size_cells
from btrnn.reports.view import View
from btrnn.results.statistics import MeanInterval, mean_interval
from btrnn.results.summary import Row

FACTORS = {"order": "d", "rank": "R", "num_blocks": "N"}
_METRIC = "test/accuracy"


def _rows(_: View, panel: pd.DataFrame) -> Table:
    return [
        {letter: number(row[factor], ".0f") for factor, letter in FACTORS.items()}
        | {"model": row["label"] if pd.isna(row["rank"]) else row["model_label"]}
        | size_cells(row)
        | {"test accuracy": mean_text(row, _METRIC, ".3f"), "last epoch": mean_text(row, f"{_METRIC}_last", ".3f")}
        | {"training, last epoch": number(row["train/accuracy_last"], ".3f")}
        | run_cells(row)
        for row in panel.sort_values(list(FACTORS)).to_dict("records")
    ]


def marginal_means(runs: pd.DataFrame) -> pd.DataFrame:
    """Compute the mean accuracy over all shapes that share one value of d, R or N.

    Only seeds count that have every shape, so that no average is over other shapes than the next. The interval is over
    the seeds.

    Returns:
        A row for each value: factor ("order", "rank" or "num_blocks"), value, and mean, sd, n, low, high.
    """
    chosen = runs[runs["num_blocks"].notna()]
    shapes = chosen.groupby("seed")["name"].nunique()
    whole = chosen[chosen["seed"].isin(shapes.index[shapes == chosen["name"].nunique()])]
    rows: list[Row] = []
    for factor in FACTORS:
        for value, group in whole.groupby(factor):
            interval = mean_interval(group.groupby("seed")[_METRIC].mean().to_numpy(), bounds=(0.0, 1.0))
            rows.append({"factor": factor, "value": value} | interval._asdict())
    return pd.DataFrame(rows, columns=["factor", "value", *MeanInterval._fields])


def _values(view: View) -> dict[str, Any]:
    """Return the best and the worst shape, and the averages by factor, also without the worst order."""
    shapes = view.summary[view.summary["num_blocks"].notna()].to_dict("records")
    ordered = sorted(shapes, key=lambda row: (row[_METRIC], -row["parameters_input"]))
    effects = marginal_means(view.results.runs)
    orders = effects[effects["factor"] == "order"].sort_values("mean")
    worst = orders["value"].iloc[0] if len(orders) > 1 else np.nan
    others = marginal_means(view.results.runs[view.results.runs["order"] != worst])
    table = [
        {"averaged over all shapes with": f"{FACTORS[row['factor']]} = {row['value']:g}"}
        | {"accuracy": number(row["mean"], ".3f"), "n": str(row["n"])}
        | {"95 % CI": f"{number(row['low'], '.3f')} to {number(row['high'], '.3f')}"}
        for row in effects.to_dict("records")
    ]
    return {
        "shapes": len(ordered),
        "worst": _shape(ordered[0]),
        "best": _shape(ordered[-1]),
        "equal": sum(row[_METRIC] == ordered[-1][_METRIC] for row in ordered) - 1,
        "effects": markdown_table(table),
        "averages": _averages(effects, tuple(FACTORS)),
        "worst_order": "" if np.isnan(worst) else f"{worst:g}",
        "without_worst": _averages(others, ("rank", "num_blocks")) if not np.isnan(worst) else [],
    }


def _averages(effects: pd.DataFrame, factors: tuple[str, ...]) -> list[str]:
    """Write the averages of each factor that has several values."""
    tables = {factor: effects[effects["factor"] == factor] for factor in factors}
    return [
        f"{' / '.join(f'{mean:.3f}' for mean in rows['mean'])} at {FACTORS[factor]} = "
        f"{' / '.join(f'{value:g}' for value in rows['value'])}"
        for factor, rows in tables.items()
        if len(rows) > 1
    ]


def _shape(row: Row) -> dict[str, str]:
    shape = ", ".join(f"{letter} = {row[factor]:g}" for factor, letter in FACTORS.items())
    return {"shape": shape, "accuracy": f"{row[_METRIC]:.3f}", "parameters": count(row["parameters_input"])}


def _figures(view: View) -> list[FigureFile]:
    shown = view.summary[[*FACTORS, "model", "label", "n", _METRIC, f"{_METRIC}_low", f"{_METRIC}_high"]]
    lines = _lines(shown)
    looks = {f"R = {rank:g}": RANK_STYLES[int(rank)] for rank in shown["rank"].dropna().unique() if rank in RANK_STYLES}
    title = f"BT-LSTM on {view.title}"
    draw = partial(
        draw_series, lines, title, "core order d", "test accuracy", bars=True, looks=looks, limits=(0.0, 1.04)
    )
    return [
        FigureFile(view.figure("curves.png"), lines, draw),
        FigureFile(view.figure("heat_maps.png"), shown, partial(heat_maps, shown, title)),
    ]


def _lines(shown: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy against d, a line for each R and a panel for each N; other models are horizontal lines."""
    shapes = shown[shown["num_blocks"].notna()].sort_values(["num_blocks", "rank", "order"])
    rows = []
    for blocks in shapes["num_blocks"].unique():
        for row in (*shapes[shapes["num_blocks"] == blocks].to_dict("records"), *_others(shown)):
            rank = row["rank"]
            shift = 0.06 * (int(np.nan_to_num(rank)) - 2)  # beside one another, so that bars stay apart
            rows.append(
                {"panel": f"N = {blocks:g}", "model": row["model"], "x": row["order"] + shift}
                | {"label": row["label"] if pd.isna(rank) else f"R = {rank:g}", "mean": row[_METRIC]}
                | {end: row[f"{_METRIC}_{end}"] for end in ("low", "high")}
            )
    return pd.DataFrame(rows)


def _others(shown: pd.DataFrame) -> list[Row]:
    rows: list[Row] = shown[shown["num_blocks"].isna()].to_dict("records")
    return rows


PAGE = Page(
    template="sensitivity",
    rows=_rows,
    brief=("d", "R", "N", "model", "parameters of W", "compression of W", "test accuracy", "last epoch"),
    figures=_figures,
    values=_values,
)
