"""Task 2: bounds on the negative log-likelihood, and pictures of what was learnt."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from btrnn.figures import generation as figures
from btrnn.figures.file import FigureFile
from btrnn.figures.series import draw_series
from btrnn.reports.format import marked, mean_text, number
from btrnn.reports.page import Page
from btrnn.reports.tables import Table, run_cells, size_cells
from btrnn.reports.view import View
from btrnn.results.schema import model_of
from btrnn.results.store import LOCAL
from btrnn.results.summary import Row, rows_of

_BOUND = "val/nll_bound"
_LAST_EPOCHS, _CONVERGED = 10, 1.0  # a bound that fell by more than a nat in the last ten epochs is no end
_PARTS = {"nll_bound": "NLL bound, nats", "reconstruction": "reconstruction", "kl": "KL"}
_PICTURES = (
    ("samples.png", ("samples",), figures.samples),
    ("reconstructions.png", ("originals", "reconstructions"), figures.reconstructions),
    ("canvases.png", ("canvases",), figures.canvases),
    ("generation.gif", ("canvases",), figures.animation),
)


def _rows(view: View, panel: pd.DataFrame) -> Table:
    return [
        {"encoder": row["label"]}
        | size_cells(row)
        | {title: mean_text(row, f"test/{part}", ".2f", interval=part == "nll_bound") for part, title in _PARTS.items()}
        | {"training bound": number(row["train/nll_bound"], ".1f")}
        | {"published, MNIST, T = 64": _published(view, row)}
        | run_cells(row)
        for row in panel.to_dict("records")
    ]


def _published(view: View, row: Row) -> str:
    """Write Gregor et al.'s bound for the dense encoder; there is none for the others."""
    if not model_of(row["model"]).dense:
        return "-"
    key = "draw.nll_bound" if row["attention"] == "none" else "draw.nll_bound_attention"
    return marked(f"<= {view.paper['value'][key]}", view.paper["mark"][key])


def _name(view: View, row: Row) -> str:
    """Return a row's label, with its number of glimpses where this varies."""
    several = len(view.summary["num_glimpses"].drop_duplicates()) > 1
    return f"{row['label']}, T = {row['num_glimpses']:g}" if several else row["label"]


def _values(view: View) -> dict[str, Any]:
    """Return by how many nats the validation bound of settings that have not converged fell in the last epochs."""
    falls = []
    rows: list[Row] = view.summary.to_dict("records")
    for row in rows if len(view.results.epochs) else []:
        runs = rows_of(row, view.results.epochs).sort_values("epoch").groupby("seed")[_BOUND]
        ends = runs.agg(lambda bounds: bounds.iloc[-min(_LAST_EPOCHS + 1, len(bounds))] - bounds.iloc[-1])
        if ends.mean() > _CONVERGED:
            falls.append(f"{_name(view, row)} {ends.mean():.1f}")
    bounds = [f"{_name(view, row)}: {number(row['test/nll_bound'], '.2f')}" for row in rows]
    return {"falls": falls, "last_epochs": _LAST_EPOCHS, "bounds": bounds}


def _figures(view: View) -> list[FigureFile]:
    shown = {}
    for row in view.summary.to_dict("records"):
        prefix = f"{LOCAL}/{row['name']}/" if row["origin"] == LOCAL else f"{row['name']}/"
        pictures = view.results.pictures.items()
        shown[_name(view, row)] = {key.removeprefix(prefix): array for key, array in pictures if key.startswith(prefix)}
    files = []
    for name, keys, draw in _PICTURES:
        known = {label: arrays for label, arrays in shown.items() if set(keys) <= arrays.keys()}
        data: list[np.ndarray] = [arrays[key] for arrays in known.values() for key in keys]
        if known:
            data.append(np.array(list(known)))
            files.append(FigureFile(view.figure(name), data, partial(draw, known, f"DRAW on {view.title}")))
    bounds = view.epoch_series(_BOUND, lambda row: f"T = {row['num_glimpses']:g}")
    if len(bounds):
        lowest = float(bounds["low"].min())
        draw_bounds = partial(draw_series, bounds, f"DRAW on {view.title}", "epoch", "validation NLL bound, nats")
        files.append(
            FigureFile(view.figure("bound.png"), bounds, partial(draw_bounds, limits=(lowest - 2, lowest + 40)))
        )
    return files


PAGE = Page(
    template="generation",
    rows=_rows,
    brief=(
        *("encoder", "parameters of W", "compression of W", "of the whole model"),
        *("NLL bound, nats", "training bound", "published, MNIST, T = 64", "learning rate", "seconds per epoch"),
    ),
    figures=_figures,
    values=_values,
    form=".2f",
    lower_is_better=True,
    unit=" nats",
)
