"""What a table cannot tell, as far as it can be computed."""

from typing import Any

import pandas as pd

from btrnn.reports import tables
from btrnn.reports.format import number
from btrnn.reports.view import View
from btrnn.results.store import LOCAL, read_results, result_paths
from btrnn.results.summary import Row, rates_at_edge

PUBLISHED = {"ucf11": "ucf11", "draw": "mnist", "captioning": "coco"}  # the data of published numbers, by task
_CEILING = 0.98  # of the highest value that a metric can have: models that reach it cannot be told apart


def caveats(view: View) -> dict[str, Any]:
    """Return what the numbers of a view cannot tell.

    Returns:
        stand_in; other_data (not those of the published numbers, whose name is `published`); ceiling (labels that reach
        nearly the highest possible value), limit, rows; study ("" if the learning rates' choice is not collected) and
        its scales; edges (rates that are the lowest or highest that was tried), trained; one_rate (models of several
        shapes with one rate for all); single (whether some setting has one seed alone); yours.
    """
    summary, schema = view.summary, view.schema
    study, runs = rates_study(view)
    trained = summary[summary["learning_rate"].notna()]
    edges = rates_at_edge(trained, runs) if study else trained.iloc[:0]
    one_rate = []
    for label, rows in trained.groupby("model_label", sort=False):
        several = len(rows[["rank", "num_blocks", "order"]].drop_duplicates()) > 1
        if several and len(rows["learning_rate"].drop_duplicates()) == 1:
            one_rate.append(f"{label} ({rows['learning_rate'].iloc[0]:g})")
    searched = [column for column in ("model_label", "scaling") if column in summary]
    edges, trained = (rows.drop_duplicates([*searched, "learning_rate"]) for rows in (edges, trained))
    top = _CEILING * schema.bounds[1]
    places = tables.varied(summary, schema)
    named = [_placed(row, places) for row in summary[summary[schema.main] >= top].to_dict("records")]
    at_edge = [
        f"{', '.join(row[column] for column in searched)} {row['learning_rate']:g}" for row in edges.to_dict("records")
    ]
    return {
        "stand_in": bool(view.first["stand_in"]),
        "other_data": view.first["source"] != PUBLISHED[schema.prefix],
        "published": tables.data_name(PUBLISHED[schema.prefix]),
        "ceiling": named,
        "rows": len(summary),
        "limit": number(top, "g"),
        "study": study,
        "study_scales": sorted(set(runs["scale"])) if study else [],
        "edges": at_edge,
        "trained": len(trained),
        "one_rate": one_rate,
        "single": bool((summary["n"] == 1).any()),
        "yours": LOCAL in set(summary["origin"]),
    }


def _placed(row: Row, columns: list[str]) -> str:
    place = ", ".join(tables.value_text(row[column]) for column in columns)
    return f"{row['label']}" + (f" ({place})" if place else "")


def rates_study(view: View) -> tuple[str, pd.DataFrame]:
    """Return the name and the runs of the experiment that chose a view's learning rates; "" where it is not here."""
    suffix = f"_{view.first['source']}" if view.first["stand_in"] else ""
    stem = view.experiment.removesuffix(suffix)
    for name in (f"{stem}_rates{suffix}", f"{stem.partition('_')[0]}_rates{suffix}"):
        if result_paths(view.results_dir, name).runs.exists():
            return name, read_results(view.results_dir, name).runs
    return "", pd.DataFrame()
