"""The page of accuracies against d, R and N (section 4.4)."""

from dataclasses import replace
from typing import Any

import pandas as pd
from scipy.stats import friedmanchisquare

from btrnn.figures.file import RANK_APPEARANCES, FigureFile
from btrnn.figures.pictures import draw_heat_maps
from btrnn.figures.series import draw_series
from btrnn.reports.page import RUN, SIZE, TESTED, WHOLE, Page, value
from btrnn.reports.rates import with_choice
from btrnn.reports.render import difference_text
from btrnn.reports.view import View, view_of
from btrnn.results.differences import difference_interval, judge
from btrnn.results.schema import VIDEO
from btrnn.results.statistics import corrected_for_overlap, mean_interval
from btrnn.results.summary import Row, with_folds

_SHAPE = {"order": "d", "rank": "R", "num_blocks": "N"}


def effects(runs: pd.DataFrame) -> list[Row]:
    """Compute what d, R and N do to the accuracy: the mean at each value, and its difference from that at the lowest.

    The values of one letter are compared over shapes that differ in it alone: those combinations of the two others that
    were run with every value. The mean over them is one number a seed, of the seeds that have all shapes.

    `runs` has each shape at one rate, a row a seed.

    Returns:
        A row for each value: letter ("d", "R" or "N"), value, shapes (how many it rests on), mean, sd, n, low, high,
        and, None at the lowest value, difference (a `MeanInterval` over the seeds), verdict (see
        `btrnn.results.differences.judge`), and overlap_verdict, as it is where splits that overlap are corrected for.
        The differences of all letters are one family.
    """
    chosen = _of_one_origin(runs)
    chosen = chosen[chosen["num_blocks"].notna()]
    whole = chosen.groupby("seed").filter(lambda rows: rows["name"].nunique() == chosen["name"].nunique())
    found: list[Row] = []
    for factor, letter in _SHAPE.items():
        others = [name for name in _SHAPE if name != factor]
        table = whole.pivot_table(index=[*others, "seed"], columns=factor, values=VIDEO.main).dropna()
        shapes, levels = table.groupby(others).ngroups, table.groupby("seed").mean()
        for level in levels if len(table) else ():
            interval = mean_interval(levels[level], bounds=(0.0, 1.0))
            row = {"letter": letter, "value": level, "shapes": shapes} | interval._asdict()
            higher = level != (lowest := levels.columns[0])
            found.append(row | {"difference": difference_interval(levels[level] - levels[lowest]) if higher else None})
    compared = [row["difference"] for row in found if row["difference"]]
    share = (whole["num_test"] / whole["num_train"]).mean()
    overlapping = [corrected_for_overlap(difference, share) for difference in compared]
    for name, family in (("verdict", compared), ("overlap_verdict", overlapping)):
        judged = iter(judge(family, VIDEO))
        found = [row | {name: next(judged).verdict if row["difference"] else None} for row in found]
    return found


def _chance(runs: pd.DataFrame) -> float:
    """Compute how probable differences like those of the shapes are if all are alike: Friedman's test over the seeds.

    NaN where fewer than three shapes have all seeds, or there is one seed.
    """
    chosen = _of_one_origin(runs)
    table = chosen[chosen["num_blocks"].notna()].pivot_table(index="seed", columns="name", values=VIDEO.main).dropna()
    enough = min(table.shape) > 1 and table.shape[1] > 2
    return float(friedmanchisquare(*table.to_numpy().T).pvalue) if enough else float("nan")


def _of_one_origin(table: pd.DataFrame) -> pd.DataFrame:
    """Return the published rows where there are any, else the user's: the two are never averaged."""
    return table[table["origin"] == table["origin"].max()] if "origin" in table else table  # "published" > "local"


def _shape_figures(view: View) -> list[FigureFile]:
    """Return accuracy against d, a panel for each R and N, other models horizontal; and as heat maps."""
    lines = view.points(
        "order",
        lambda row: row["label"] if pd.isna(row["num_blocks"]) else f"R = {row['rank']:g}",
        lambda row: f"R = {row['rank']:g}, N = {row['num_blocks']:g}",
    )
    other = view.summary["num_blocks"].isna().to_numpy()
    parts = [
        lines[~other].sort_values(["panel", "label"], key=lambda texts: texts.str.split(", ").str[::-1].str.join(" "))
    ]
    panels = parts[0]["panel"].unique()
    parts += [lines[other].assign(panel=panel, x=float("nan")) for panel in panels]
    options = {"bars": True, "limits": WHOLE, "appearances": RANK_APPEARANCES, "y_label": view.metric.label}
    maps = {
        f"N = {blocks:g}": rows.pivot_table(index="order", columns="rank", values="test/accuracy")
        for blocks, rows in _of_one_origin(view.summary).groupby("num_blocks")
    }
    labels = {"title": f"{view.title}: {view.metric.label}", "x_label": "Tucker-rank R", "y_label": "core order d"}
    curves = view.figure("curves.png", draw_series, pd.concat(parts), x_label="core order d", **options)
    return [curves, view.figure("heat_maps.png", draw_heat_maps, maps, form=".3f", **labels)] if maps else []


def _at_best_rates(view: View) -> View:
    """Return the runs of each shape at the rate that validation chooses, and those of baselines, which have none."""
    rates = with_choice(view)
    names = set(rates.loc[rates["best"] | rates["learning_rate"].isna(), "name"])
    runs = view.results.runs
    return replace(view, results=view.results._replace(runs=runs[with_folds(runs)["name"].isin(names)]))


def _values(view: View) -> dict[str, Any]:
    """Return the effects, with their differences as texts; of the search its rates, runs, and choices at an edge."""
    rows = effects(view.results.runs)
    for row in rows:
        row["text"] = difference_text(row["difference"]._asdict(), view.metric.form) if row["difference"] else "-"
    whole = view_of(view.results_dir, view.experiment, view.first["scale"], local=view.local)
    rates, tried = with_choice(whole), sorted(set(whole.summary["learning_rate"].dropna()))
    edge = rates.loc[rates["best"] & rates["edge"], "searched"].to_list() if tried[1:] else []
    return {
        "effects": rows,
        "chance": _chance(view.results.runs),
        "tried": tried,
        "edge": edge,
        "num_runs": len(whole.results.runs),
    }


SENSITIVITY = Page(
    template="sensitivity",
    columns={
        **{letter: value(factor, ".0f") for factor, letter in _SHAPE.items()},
        **{"model": value("model_label"), **SIZE, **TESTED, **RUN},
    },
    figures=_shape_figures,
    rows=lambda view: view.summary.sort_values(list(_SHAPE)),
    values=_values,
    shown=_at_best_rates,
)
