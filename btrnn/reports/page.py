"""One shape for the pages of all experiments: rows -> view -> differences -> tables and figures -> a template."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from btrnn.figures.file import FigureFile
from btrnn.reports.claims.rules import CEILING
from btrnn.reports.render import (
    Report,
    Table,
    count,
    data_name,
    difference_text,
    interval_text,
    number,
    paper_values,
    ratio,
    render,
    setting_text,
    span,
    text_table,
)
from btrnn.reports.view import View, unusual, view_of, views_of
from btrnn.results.differences import against, against_dense, control_differences, model_differences
from btrnn.results.schema import BASELINES, BT_LSTM, GENERATION, LSTM, TT_LSTM, VIDEO, schema_of
from btrnn.results.store import collected_experiments
from btrnn.results.summary import Row, panels, rows_of

Cell = Callable[[Row], str]  # writes one cell of a row of a summary
_FOR_PAGES = ("of the whole model", "command")  # these need more room than a terminal has


def value(column: str, form: str = "") -> Cell:
    """Write a number in a format, a dash where the row has none; a text as it is, without a format."""
    return lambda row: number(row.get(column, float("nan")), form) if form else str(row[column])


def mean(column: str, form: str, *, times: int = 1, interval: bool = True) -> Cell:
    """Write mean ± sd (n) [95 % interval], where there is one, of a row of a summary; at n = 1 the number alone."""

    def write(row: Row) -> str:
        if math.isnan(row.get(column, math.nan)):
            return "-"
        mean, sd, low, high = (times * row[f"{column}{part}"] for part in ("", "_sd", "_low", "_high"))
        if math.isnan(sd):
            return f"{mean:{form}} (n = 1)"
        return f"{mean:{form}} ± {sd:{form}} ({row['n']})" + (interval_text(low, high, form) if interval else "")

    return write


SIZE: dict[str, Cell] = {  # what the map of a row costs and saves
    "parameters of W": lambda row: count(row["parameters_input"] or float("nan")),
    "compression of W": lambda row: ratio(row["compression"]),
    "of the whole model": lambda row: ratio(row["compression_total"]),
}
RUN: dict[str, Cell] = {  # how a setting's runs were made
    "learning rate": value("learning_rate", "g"),
    "seconds per epoch": value("seconds_per_epoch", ".3g"),
    "command": lambda row: f"`{row['command']}`",
}
TESTED: dict[str, Cell] = {
    "test accuracy": mean("test/accuracy", ".3f"),
    "last epoch": mean("test/accuracy_last", ".3f"),
    "training, last epoch": value("train/accuracy_last", ".3f"),
}
LAST_EPOCH = {"at the last epoch": ("test/accuracy_last", ".3f", 1)}  # of other differences
_ENDS = {VIDEO.prefixes: (5, 0.02), GENERATION.prefixes: (10, 1.0)}  # more nats in so many last epochs are no end
WHOLE = (0.0, 1.04)  # of an axis of accuracies


@dataclass(frozen=True)
class Page:
    """How one kind of experiment is shown.

    Attributes:
        template: Of the words: the macros `sentence` and `notes`.
        columns: What writes the cells of the wide tables, by heading.
        figures: Returns the figures of a view; the page opens with the first.
        rows: Returns the rows of the wide tables: those of the summary, in order, with columns of their own.
        compared: Returns the rows between which differences are shown.
        values: Returns what the template needs beside what all pages have.
        shown: Returns what is shown of a view: the whole of it, or some of its runs.
    """

    template: str
    columns: Mapping[str, Cell]
    figures: Callable[[View], list[FigureFile]]
    rows: Callable[[View], pd.DataFrame] = lambda view: view.summary
    compared: Callable[[View], pd.DataFrame] = lambda view: view.summary
    values: Callable[[View], dict[str, Any]] = lambda _: {}
    shown: Callable[[View], View] = lambda view: view

    def report(self, results_dir: Path, experiment: str, *, local: bool = False) -> Report:
        """Return an experiment's page, and its figures at its largest scale; if `local`, with the user's own runs."""
        views = [self.shown(view) for view in views_of(results_dir, experiment, local=local)]
        figures, parts = self.figures(views[0]), [self._part(view) for view in views]
        drawn = [file.path.as_posix() for file in figures]
        known = paper_values(results_dir)
        text = render("page", kind=self.template, view=views[0], figures=drawn, parts=parts, **known)
        return Report({Path("tables", f"{experiment}.md"): f"{text}\n"}, figures)

    def terminal_report(self, results_dir: Path, experiment: str, scale: str) -> str:
        """Return the tables of one scale as plain text, the user's own runs beside the published ones."""
        rows = self.rows(self.shown(view_of(results_dir, experiment, scale, local=True)))
        shown = [(_heading(panel), text_table(self.table(panel, brief=True), "simple")) for panel in panels(rows)]
        return "\n\n".join(f"{heading.replace('`', '')}\n\n{table}" for heading, table in shown)

    def differences(self, view: View) -> list[Row]:
        """Return the differences between models, each as `_written`; none where no run met the test split."""
        return _written(view, _model_differences(view, self.compared(view)))

    def controls(self, view: View) -> list[Row]:
        """Return what each control changes of each model, see `control_differences`, as `_written`."""
        return _written(view, control_differences(self.compared(view), view.results))

    def table(self, rows: pd.DataFrame, *, brief: bool = False) -> Table:
        """Return the cells of a panel; a column without any value is left out, and what a terminal has no room for."""
        table = [{head: write(row) for head, write in self.columns.items()} for row in rows.to_dict("records")]
        empty = [head for head in self.columns if all(row[head] in ("", "-") for row in table)]
        left_out = {*empty, *(_FOR_PAGES if brief else ())}
        return [{head: cell for head, cell in row.items() if head not in left_out} for row in table]

    def _part(self, view: View) -> dict[str, Any]:
        """Return what the template says of one scale."""
        wide = {_heading(panel): text_table(self.table(panel)) for panel in panels(self.rows(view))}
        known = {"view": view, "first": view.first, "differences": self.differences(view), "wide": wide}
        known["controls"] = self.controls(view)
        return known | {"caveats": caveats(view), "provenance": _provenance(view.results.runs)} | self.values(view)


def other_differences(
    view: View, columns: Mapping[str, tuple[str, str, int]], rows: pd.DataFrame | None = None
) -> dict[str, Any]:
    """Return the differences of further metrics between the rows that a page compares, of the whole summary if None.

    `columns` has for each heading a column, the form of its numbers, and what multiplies them.
    """
    compared, known = view.summary if rows is None else rows, dict[tuple[str, ...], Row]()
    for head, (column, form, times) in columns.items():
        for row in _model_differences(view, compared, column).to_dict("records"):
            key = (view.place(row), row["origin"], row["first"], row["second"])
            shown = known.setdefault(key, {"place": key[0], "first": row["first"], "second": row["second"], "by": {}})
            shown["by"][head] = difference_text(row, form, times)
    heads = [head for head in columns if any(head in row["by"] for row in known.values())]
    return {"others": list(known.values()), "heads": heads}


def not_converged(view: View, rows: pd.DataFrame) -> dict[str, Any]:
    """Return, as `falls`, by how much what validation minimises still fell in the `last_epochs`, where it has no end.

    A run that has no more epochs is taken from its first on.

    It is the mean over the runs of a row; the model and its setting stand before it.
    """
    column, (most, least) = f"val/{view.schema.monitor}", _ENDS[view.schema.prefixes]
    falls, lasts = [], []
    for row in rows.to_dict("records") if len(view.results.epochs) else ():
        losses = rows_of(row, view.results.epochs).sort_values("epoch").groupby(["fold", "seed"])[column]
        fall = losses.agg(lambda loss: loss.iloc[-min(most + 1, len(loss))] - loss.iloc[-1]).mean()
        if fall > least:
            lasts.append(min(most, losses.size().min() - 1))
            falls.append(f"{', '.join(filter(None, (row['label'], view.place(row))))}: {fall:.2g}")
    return {"falls": falls, "last_epochs": span(pd.Series(lasts)) if lasts else ""}


_PLANNED = (LSTM.name, TT_LSTM.name, BT_LSTM.name, *(baseline.name for baseline in BASELINES))  # others are rivals


def _planned(first: str, second: str) -> bool:
    return first in _PLANNED and against_dense(first, second)


def _of_rivals(first: str, second: str) -> bool:
    return first not in _PLANNED and (second == BT_LSTM.name or against_dense(first, second))


def _model_differences(view: View, compared: pd.DataFrame, metric: str = "") -> pd.DataFrame:
    """Compare the paper's models with the dense one; rivals with it and with block terms, as a family of their own.

    So it does not change what is claimed of the paper's models how many rivals are tried later. Experiments that are of
    rivals compare all models with block terms, and these alone.
    """
    asked = (against(BT_LSTM.name),) if "rivals" in view.experiment.split("_") else (_planned, _of_rivals)
    found = [model_differences(compared, view.results, asked=one, metric=metric) for one in asked]
    families = [family.assign(family=number) for number, family in enumerate(found)]
    return pd.concat([family for family in families if len(family)] or families[:1], ignore_index=True)


def _written(view: View, differences: pd.DataFrame) -> list[Row]:
    """Return differences with `text`, `place`, the settings of their panel where several are, and `control`."""
    rows: list[Row] = differences.to_dict("records")
    for row in rows:
        row["text"] = difference_text(row, view.metric.form, view.metric.times, view.metric.unit)
        row["place"] = view.place(row)
        row["control"] = ", ".join(setting_text(*said) for said in unusual(row, view.schema.controls).items())
    return rows


def _heading(rows: pd.DataFrame) -> str:
    """Write what the rows of a panel have in common: data, scale, settings, examples used, epochs and n."""
    first: Row = rows.iloc[0].to_dict()
    used = span(pd.concat([rows["used_fewest"], rows["used_most"]]))
    schema = schema_of(first["experiment"])
    names = [*schema.data, *(["scaled"] if first["scaled"] else []), *schema.counted]
    known = unusual(first, names).items()
    settings = [setting_text(name, f"`{said}`" if isinstance(said, str) else said) for name, said in known]
    return (
        f"{data_name(first['source'])}: scale `{first['scale']}`, {', '.join(settings)}; {used} examples, "
        f"{span(rows['epochs'])} epochs, n = {span(rows['n'])}"
    )


def _provenance(runs: pd.DataFrame) -> dict[str, str]:
    """Write on what runs were made: devices, versions of torch, commits, and how many runs."""
    dirty = runs["git_dirty"].map({"True": " (uncommitted changes)"}).fillna("")
    said = {
        "devices": [f"{row['device']} ({count(row['threads'])} threads)" for row in runs.to_dict("records")],
        "torch": [json.loads(versions).get("torch", "?") for versions in runs["versions"] if versions],
        "commits": list(runs["git_commit"].str[:10] + dirty),
    }
    known = {name: sorted({text for text in texts if text[:1].strip()}) for name, texts in said.items()}
    fits = int(runs["model"].isin([baseline.name for baseline in BASELINES]).sum())
    number_of = f"{len(runs) - fits} runs" + (f" and {fits} fits of simple baselines" if fits else "")
    return {"runs": number_of} | {name: ", ".join(texts) or "unknown" for name, texts in known.items()}


def _tried(study: View) -> dict[str, list[str]]:
    """Return the models, or where it matters their shapes and starts, by the learning rates tried with them."""
    found: dict[str, list[str]] = {}
    began = ["start"] if "start" in study.varied else []
    for model, rows in study.summary.dropna(subset="learning_rate").groupby("model_label", sort=False):
        places = [
            ", ".join([row["label"].partition(" (")[0], *(setting_text(name, row[name]) for name in began)])
            for row in rows.to_dict("records")
        ]
        tried = {
            str(place): f"{rates.min():g} to {rates.max():g} ({rates.nunique()} rates)"
            for place, rates in rows["learning_rate"].groupby(places, sort=False)
        }
        if len(set(tried.values())) == 1:
            tried = {str(model): next(iter(tried.values()))}
        for place, rates in tried.items():
            found.setdefault(rates, []).append(place)
    return found


def caveats(view: View) -> dict[str, Any]:
    """Find what the numbers of a view cannot tell.

    Returns:
        ceiling (labels that reach nearly the highest possible accuracy) and limit; study (the experiment that chose the
        learning rates, "" where it is not here, or where no rate was chosen), tried (models by the rates that it tried
        with them) and fixed_rate (the paper's, in words, where all models of Task 1 have it); one_rate (models of
        several shapes with one rate for all).
    """
    summary, main = view.summary, view.schema.main
    suffix = f"_{view.first['source']}" if view.first["stand_in"] else ""
    stem, kind = view.experiment.removesuffix(suffix), "_scaled" if view.first.get("scaled") else ""
    studies = [f"{name}_rates{kind}{suffix}" for name in (stem, stem.partition("_")[0])]
    there = [name for name in collected_experiments(view.results_dir) if name != view.experiment]
    one_rate = [
        f"{label} ({rows['learning_rate'].iloc[0]:g})"
        for label, rows in summary[summary["learning_rate"].notna()].groupby("model_label", sort=False)
        if len(rows[["rank", "num_blocks", "order"]].drop_duplicates()) > 1 and len(set(rows["learning_rate"])) == 1
    ]
    study = next((name for name in studies if name in there), "")
    fixed = view.schema is VIDEO and set(summary["learning_rate"].dropna()) == {view.paper_rate}
    top = summary[summary[main] >= CEILING] if "accuracy" in main else summary.iloc[:0]
    return {
        "ceiling": [f"{row['label']} ({view.place(row)})".removesuffix(" ()") for row in top.to_dict("records")],
        "limit": number(CEILING, "g"),
        "study": "" if fixed else study,
        "tried": _tried(view_of(view.results_dir, study)) if study else {},
        "fixed_rate": number(view.paper_rate, "g") if fixed else "",
        "one_rate": one_rate,
    }
