"""One shape for the pages of all experiments: rows -> view -> differences -> tables and figures -> a template."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from btrnn.figures.file import FigureFile
from btrnn.reports.format import Table, count, data_name, difference_text, mean_text, number, ratio, span, text_table
from btrnn.reports.render import paper_values, render
from btrnn.reports.view import View, view_of, views_of
from btrnn.results.differences import model_differences
from btrnn.results.schema import LATER, schema_of
from btrnn.results.store import LOCAL, collected_experiments
from btrnn.results.summary import Row, panels

Cell = Callable[[Row], str]  # writes one cell of a row of a summary
_CEILING = 0.98  # of an accuracy: models that reach it cannot be told apart
_FOR_PAGES = ("of the whole model", "command")  # these need more room than a terminal has


def value(column: str, form: str = "") -> Cell:
    """Write a number in a format, a dash where the row has none; a text as it is, without a format."""
    return lambda row: number(row.get(column, float("nan")), form) if form else str(row[column])


def mean(column: str, form: str, *, times: int = 1, interval: bool = True) -> Cell:
    """Write a mean over seeds, see `btrnn.reports.format.mean_text`."""
    return lambda row: mean_text(row, column, form, times=times, interval=interval)


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
    """

    template: str
    columns: Mapping[str, Cell]
    figures: Callable[[View], list[FigureFile]]
    rows: Callable[[View], pd.DataFrame] = lambda view: view.summary
    compared: Callable[[View], pd.DataFrame] = lambda view: view.summary
    values: Callable[[View], dict[str, Any]] = lambda _: {}

    def terminal_report(self, results_dir: Path, experiment: str, scale: str) -> str:
        """Return the tables of one scale as plain text, the user's own runs beside the published ones.

        Raises:
            ResultsError: No run of this experiment and scale is finished.
        """
        rows = self.rows(view_of(results_dir, experiment, scale, local=True))
        shown = [(_heading(panel), text_table(self.table(panel, brief=True), "simple")) for panel in panels(rows)]
        return "\n\n".join(f"{heading.replace('`', '')}\n\n{table}" for heading, table in shown)

    def table_texts(self, results_dir: Path, experiment: str, *, local: bool = False) -> dict[Path, str]:
        """Return an experiment's Markdown file by its path below the output folder.

        Args:
            results_dir: Where the tables are.
            experiment: Which of them.
            local: Whether the user's own runs stand beside the published ones.
        """
        views = views_of(results_dir, experiment, local=local)
        drawn = [file.path.as_posix() for file in self.figures(views[0])]
        parts = [self._part(view) for view in views]
        known = paper_values(results_dir)
        text = render("page", kind=self.template, view=views[0], figures=drawn, parts=parts, **known)
        return {Path("tables", f"{experiment}.md"): f"{text}\n"}

    def figure_files(self, results_dir: Path, experiment: str, *, local: bool = False) -> list[FigureFile]:
        """Return an experiment's figures at its largest scale, with paths below the output folder."""
        return self.figures(view_of(results_dir, experiment, local=local))

    def differences(self, view: View) -> list[Row]:
        """Return the differences between models that are shown: none where no run met the test split.

        Returns:
            Rows of `model_differences`, with `place`, the settings of their panel where several are, and `text`.
        """
        tested = view.metric.column.startswith("test/")
        rows: list[Row] = (model_differences(self.compared(view), view.results) if tested else pd.DataFrame()).to_dict(
            "records"
        )
        texts = [difference_text(row, view.metric.form, view.metric.times, view.schema.unit) for row in rows]
        return [row | {"place": view.place(row), "text": text} for row, text in zip(rows, texts, strict=True)]

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
        return known | {"caveats": caveats(view), "provenance": _provenance(view.results.runs)} | self.values(view)


def _heading(rows: pd.DataFrame) -> str:
    """Write what the rows of a panel have in common: data, scale, settings, examples used, epochs and n."""
    first: Row = rows.iloc[0].to_dict()
    used = span(pd.concat([rows["used_fewest"], rows["used_most"]]))
    schema = schema_of(first["experiment"])  # what older runs do not say is what every reader expects
    said = (name for name in schema.data if not pd.isna(first[name]) and first[name] not in ("", LATER.get(name)))
    known = [*said, *(name for name in schema.counted if not pd.isna(first[name]))]
    settings = ", ".join(
        f"{name.replace('_', ' ').removeprefix('num ')} "
        + (f"`{first[name]}`" if isinstance(first[name], str) else count(first[name]))
        for name in known
    )
    settings += ", scaled rates" if first["scaled"] else ""
    return (
        f"{data_name(first['source'])}: scale `{first['scale']}`, {settings}; {used} examples, "
        f"{span(rows['epochs'])} epochs, n = {span(rows['n'])}"
    )


def _provenance(runs: pd.DataFrame) -> dict[str, str]:
    """Write on what runs were made: devices, versions of torch, commits, and how many runs."""
    dirty = runs["git_dirty"].map({"True": " (uncommitted changes)"}).fillna("")
    said: dict[str, Iterable[str]] = {
        "devices": [f"{row['device']} ({count(row['threads'])} threads)" for row in runs.to_dict("records")],
        "torch": [json.loads(versions).get("torch", "?") for versions in runs["versions"] if versions],
        "commits": runs["git_commit"].str[:10] + dirty,
    }
    texts = {
        name: ", ".join(sorted({text for text in found if text[:1] not in ("", " ")})) for name, found in said.items()
    }
    return {"runs": str(len(runs))} | {name: text or "unknown" for name, text in texts.items()}


def caveats(view: View) -> dict[str, Any]:
    """Return what the numbers of a view cannot tell.

    Returns:
        stand_in; other_data (the name of the published numbers' data where these are others, else ""); ceiling (labels
        that reach nearly the highest possible accuracy) and limit; study (the experiment that chose the learning rates,
        "" where it is not here); one_rate (models of several shapes with one rate for all); single (whether some
        setting has one seed alone); yours.
    """
    summary, schema = view.summary, view.schema
    suffix = f"_{view.first['source']}" if view.first["stand_in"] else ""
    stem = view.experiment.removesuffix(suffix)
    studies = [f"{name}_rates{suffix}" for name in (stem, stem.partition("_")[0])]
    there = [name for name in collected_experiments(view.results_dir) if name != view.experiment]
    one_rate = [
        f"{label} ({rows['learning_rate'].iloc[0]:g})"
        for label, rows in summary[summary["learning_rate"].notna()].groupby("model_label", sort=False)
        if len(rows[["rank", "num_blocks", "order"]].drop_duplicates()) > 1 and len(set(rows["learning_rate"])) == 1
    ]
    top = summary[summary[schema.main] >= _CEILING] if "accuracy" in schema.main else summary.iloc[:0]
    return {
        "stand_in": bool(view.first["stand_in"]),
        "other_data": "" if view.first["source"] == schema.published else data_name(schema.published),
        "ceiling": [f"{row['label']} ({view.place(row)})".removesuffix(" ()") for row in top.to_dict("records")],
        "limit": number(_CEILING, "g"),
        "study": next((name for name in studies if name in there), ""),
        "one_rate": one_rate,
        "single": bool((summary["n"] == 1).any()),
        "yours": LOCAL in set(summary["origin"]),
    }
