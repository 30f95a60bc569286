"""The pages of learning rates: what each model reaches at each rate, and which rate validation chooses."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import pandas as pd

from btrnn.figures.file import FigureFile
from btrnn.figures.series import COLUMNS, draw_series
from btrnn.reports.page import LAST_EPOCH, TESTED, WHOLE, Page, mean, not_converged, other_differences, value
from btrnn.reports.render import count, number
from btrnn.reports.view import View
from btrnn.results.schema import VIDEO
from btrnn.results.summary import Row, shape_label, with_folds


@lru_cache(maxsize=1)  # one page asks for it several times
def with_choice(view: View) -> pd.DataFrame:
    """Return the summary by model and rate, with `best`: whether a rate has its model's lowest mean in validation.

    `chosen` says so in words, and where the rate is the lowest or highest tried, or as low as the chosen one. Of a
    search by successive halving the longest runs choose, and `final` are these. A rate with fewer seeds than others of
    its model is no fair choice. Baselines, which have no rate, are rows without a choice.
    """
    rates, score = view.summary.assign(searched=_searched(view)), f"val/{view.schema.monitor}"
    rates = rates.sort_values(["epochs", "learning_rate"])
    search = [*view.varied, "searched", "origin"]
    rates["final"] = rates["epochs"] == rates.groupby(search, dropna=False)["epochs"].transform("max")
    most = rates.groupby([*search, "final"], dropna=False)["n"].transform("max")
    scores = rates[score].where(rates["final"] & (rates["n"] == most))
    tried_last = rates["learning_rate"].where(rates["final"])
    models = rates.assign(score=scores, tried=tried_last).groupby(search, dropna=False)
    lowest, tried = scores == models["score"].transform("min"), models["tried"]
    edge = (rates["learning_rate"] == tried.transform("min")) | (rates["learning_rate"] == tried.transform("max"))
    best = lowest & ~rates[lowest].duplicated(search).reindex(rates.index, fill_value=False)
    words = best.map({True: "yes", False: "as low"}) + edge.map({True: ", at the grid's edge", False: ""})
    stage = rates["epochs"].map(count) if len(_stages(view)) > 1 else ""
    rates = rates.assign(best=best, edge=edge, chosen=words.where(lowest, ""), stage=stage)
    order = list(dict.fromkeys(_searched(view)))
    return rates.sort_values("searched", key=lambda labels: labels.map(order.index), kind="stable")


def _stages(view: View) -> list[float]:
    """Return the numbers of epochs of the runs, in order: several in a search by successive halving."""
    return sorted(set(view.summary["epochs"].dropna()))


def _searched(view: View) -> list[str]:
    """Return for each row of the summary whose rate is searched: the model, with its shape where it has several."""
    rows, shapes = view.summary.to_dict("records"), ["rank", "num_blocks", "order"]
    several = view.summary.groupby("model")[shapes].apply(lambda found: len(found.drop_duplicates()) > 1)
    return [shape_label(row) if several[row["model"]] else row["model_label"] for row in rows]


def _models_by_rate(view: View) -> dict[str, Any]:
    """Return for each model and panel its chosen rate, what it reaches there and at the paper's, and how many tie."""
    column, form, times = view.metric.main, view.metric.form, view.metric.times
    models = []
    for _, rows in with_choice(view).groupby([*view.varied, "searched", "origin"], sort=False, dropna=False):
        rows = rows[rows["final"]]
        if rows.empty:  # a baseline
            continue
        (best,) = rows[rows["best"]].to_dict("records")
        reached = {"best": best[column], "lowest": rows[column].min(), "highest": rows[column].max()}
        model: Row = {name: number(times * found, form) for name, found in reached.items()}
        model |= {"label": ", ".join(filter(None, (best["searched"], view.place(best)))), "edge": best["edge"]}
        model |= {"rate": f"{best['learning_rate']:g}", "ties": int((rows["chosen"] != "").sum()) - 1}
        model |= {"stage": best["stage"], "fit": number(best.get("train/accuracy_last", float("nan")), VIDEO.form)}
        at_paper = rows[rows["learning_rate"] == view.paper_rate]
        model |= {"paper": "".join(f"{times * found:{form}}" for found in at_paper[column])}
        models.append(model | {"n": int(best["n"]), "paper_n": int(at_paper["n"].sum())})
    few = len(set(view.summary["n"][view.summary["learning_rate"].notna()])) > 1
    validated = "paper" not in set(view.summary.get("protocol", ()))
    known = {"models": models, "few": few, "validated": validated, "spread": _spread(view), "stages": _stages(view)}
    if view.metric.main == VIDEO.main:
        rates = with_choice(view)
        shown = rates["best"] | (rates["final"] & (rates["learning_rate"] == view.paper_rate))
        known |= not_converged(view, rates[shown])
        known |= other_differences(view, LAST_EPOCH, rates[rates["best"]])
    return known


def _spread(view: View) -> list[Row]:
    """Return for each panel of many models how far apart their best rates are, and what one rate for all would cost.

    That is the common rate at which the model that loses most by it loses least: `cost` is by how many times its loss
    there is above its lowest, None where no rate was tried with all. Empty where losses are not the metric.
    """
    found, column = [], view.metric.main
    for _, rows in with_choice(view).query("final").groupby([*view.varied, "origin"], sort=False, dropna=False):
        losses = rows.pivot_table(index="searched", columns="learning_rate", values=column)
        costs = losses.div(losses.min(axis=1), axis=0).max(skipna=False) - 1
        best = rows.loc[rows["best"], "learning_rate"]
        row = {"place": view.place(rows.iloc[0].to_dict()), "num_models": len(losses), "low": best.min()}
        common = {"rate": costs.idxmin(), "cost": costs.min()} if costs.notna().any() else {}
        found.append(row | {"high": best.max()} | common)
    return [row for row in found if row["num_models"] > 6 and column.startswith("val/")]


def _of_common_seeds(view: View) -> View:
    """Return a view of the seeds, or folds, that all rates of a model have: the chosen rate may have been given more.

    Seeds draw splits, so that means over different ones do not make a curve. A model without common ones keeps all.
    """
    runs = with_folds(view.results.runs)
    model = [*view.varied, "model_label", "in_modes", "rank", "num_blocks", "epochs", *({"origin"} & {*runs})]
    rates, found = (
        runs.groupby(names, dropna=False)["learning_rate"].transform("nunique")
        for names in (model, [*model, "fold", "seed"])
    )
    common = rates == found
    kept = common | ~common.groupby([runs[name] for name in model], dropna=False).transform("any")
    return replace(view, results=view.results._replace(runs=view.results.runs[kept]))


def _rates_figure(view: View) -> list[FigureFile]:
    view = _of_common_seeds(view)
    stages = len(_stages(view)) > 1

    def panel(row: Row) -> str:
        return ", ".join(filter(None, (view.place(row), f"{count(row['epochs'])} epochs" if stages else "")))

    table = view.points("learning_rate", value("model_label"), panel).assign(label=_searched(view))
    if stages:  # baselines belong to none of them
        epochs = view.summary["epochs"].to_numpy()
        table = table.assign(epochs=epochs)[table["x"].notna()].sort_values("epochs", kind="stable")[COLUMNS]
    scaling = "" if "scaling" in view.varied else str(view.first.get("scaling", ""))
    label = ", ".join(filter(None, (view.metric.label, f"{scaling} input" if scaling else "")))
    options: dict[str, Any] = {"x_label": "Adam's learning rate", "y_label": label, "log_x": True}
    if view.metric.main == VIDEO.main:
        options |= {"vertical": (view.paper_rate, f"the paper's rate, {view.paper_rate:g}"), "limits": WHOLE}
    return [view.figure("", draw_series, table, **options)]


RATES = Page(
    template="rates",
    columns={
        **{"model": value("searched"), "epochs": value("stage"), "learning rate": value("learning_rate", "g")},
        **TESTED,
        **{"test bound": mean("test/nll_bound", ".2f"), "test CIDEr": mean("test/cider", ".1f", times=100)},
        **{"validation loss": value("val/loss", ".3f"), "validation bound": value("val/nll_bound", ".3f")},
        "chosen": value("chosen"),
    },
    figures=_rates_figure,
    rows=with_choice,
    compared=lambda view: with_choice(view).query("best"),
    values=_models_by_rate,
)
