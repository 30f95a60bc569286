"""What is shown of one experiment at one scale: its rows, averages and names, read once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from btrnn.figures.series import COLUMNS
from btrnn.reports.format import data_name, setting_text, span
from btrnn.results.paper import beside_paper, read_paper
from btrnn.results.schema import VIDEO, Schema, schema_of
from btrnn.results.store import Results, collected_experiments, read_results, read_with_local
from btrnn.results.summary import Row, curves, scales, summarise
from btrnn.storage.files import ResultsError


class Metric(NamedTuple):
    """A column of the summary, and how it is shown: its name, its format, what it is multiplied with."""

    column: str
    label: str
    form: str
    times: int


@dataclass(frozen=True)
class View:
    """What is shown of one experiment at one scale.

    Attributes:
        results_dir: Where the rows were read, and the paper's numbers.
        experiment: Its name.
        results: Its runs at this scale, and the epochs, predictions and pictures of all.
        local: Whether the user's own runs stand beside the published ones.
    """

    results_dir: Path
    experiment: str
    results: Results
    local: bool = False

    @cached_property
    def schema(self) -> Schema:
        """The schema of the experiment's task."""
        return schema_of(self.experiment)

    @cached_property
    def paper(self) -> pd.DataFrame:
        """The paper's numbers."""
        return read_paper(self.results_dir / "paper.csv")

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row for each setting, see `btrnn.results.summary.summarise`; of videos with the paper's accuracies."""
        summary = summarise(self.results.runs)
        return beside_paper(summary, self.paper) if self.schema is VIDEO else summary

    @cached_property
    def metric(self) -> Metric:
        """What the models are judged by: the task's main metric, or what chose where no run met the test split."""
        schema = self.schema
        if self.summary[schema.main].notna().any():
            return Metric(schema.main, schema.label, schema.form, schema.times)
        return Metric(f"val/{schema.monitor}", f"validation {schema.monitor.replace('_', ' ')}", ".3f", 1)

    @cached_property
    def first(self) -> Row:
        """The first row of the summary: what all rows have in common."""
        row: Row = self.summary.iloc[0].to_dict()
        return row

    @property
    def data(self) -> str:
        """The name of the data."""
        return data_name(self.first["source"])

    @property
    def title(self) -> str:
        """What stands above every figure."""
        return f"{self.data}, scale {self.first['scale']}, n = {span(self.summary['n'])}"

    @cached_property
    def varied(self) -> list[str]:
        """Which settings of the data and the task differ between the rows of the summary."""
        settings = (*self.schema.data, "scaled")
        return [column for column in settings if len(self.summary[column].drop_duplicates()) > 1]

    def place(self, row: Row) -> str:
        """Return the settings of a row in which the panels differ."""
        return ", ".join(setting_text(column, row[column]) for column in self.varied)

    def figure(self, name: str) -> Path:
        """Return the path of one of the experiment's figures, below the output folder; "" names the only one."""
        return Path("figures", f"{self.experiment}_{name}" if name else f"{self.experiment}.png")

    def epoch_series(self, columns: Mapping[str, str]) -> pd.DataFrame:
        """Return metrics against the epoch as `btrnn.figures.series.draw_series` takes it.

        Args:
            columns: Of the table of epochs, by what stands in a panel's title beside the settings.
        """
        parts = [pd.DataFrame(columns=COLUMNS)]
        for name, column in columns.items() if len(self.results.epochs) else ():
            table = curves(self.summary, self.results.epochs, column)
            panels = [", ".join(filter(None, (self.place(row), name))) for row in table.to_dict("records")]
            parts.append(table.assign(panel=panels, x=table["epoch"] + 1)[COLUMNS])
        return pd.concat(parts[1:] or parts, ignore_index=True)

    def points(self, x: str, label: Callable[[Row], str], panel: Callable[[Row], str] | None = None) -> pd.DataFrame:
        """Return the metric against a column of the summary, as `btrnn.figures.series.draw_series` takes it."""
        column, times = self.metric.column, self.metric.times
        told = (self.summary["n"] > 2).any()  # an interval from two seeds is wider than the picture
        rows = [
            {"panel": (panel or self.place)(row), "label": label(row), "model": row["model"]}
            | {"x": row[x] or float("nan"), "mean": times * row[column]}
            | {end: times * row[f"{column}_{end}" if told else column] for end in ("low", "high")}
            for row in self.summary.to_dict("records")
        ]
        return pd.DataFrame(rows, columns=COLUMNS)


def view_of(results_dir: Path, experiment: str, scale: str = "", *, local: bool = False) -> View:
    """Return what is shown of an experiment at one scale, that with the most training if ""; see `views_of`."""
    return views_of(results_dir, experiment, scale, local=local)[0]


def views_of(results_dir: Path, experiment: str, scale: str = "", *, local: bool = False) -> list[View]:
    """Read what is shown of an experiment, at each of its scales or at one.

    Args:
        results_dir: Where the tables are.
        experiment: Which of them.
        scale: Which of its scales; all, that with the most training first, if "".
        local: Whether the user's own runs stand beside the published ones.

    Raises:
        ResultsError: There is no run; the message says which scales there are.
    """
    results = (read_with_local if local else read_results)(results_dir, experiment)
    there = scales(results.runs)
    if (scale or not there) and scale not in there:
        raise ResultsError(
            f"no finished run of {experiment!r} at scale {scale!r} in {results_dir}; "
            f"scales there: {', '.join(sorted(there)) or 'none'}"
        )
    runs = [results.runs[results.runs["scale"] == name] for name in ([scale] if scale else there)]
    return [View(results_dir, experiment, results._replace(runs=rows), local) for rows in runs]


def published_view(results_dir: Path, experiment: str) -> View | None:
    """Return the view of an experiment, or of the same on a stand-in that was finished last; None where none is there.

    On a stand-in its name is `<experiment>_<source>`.
    """
    near = [name for name in collected_experiments(results_dir) if f"{name}_".startswith(f"{experiment}_")]
    views = [view_of(results_dir, name) for name in near]
    views = [view for view in views if view.experiment in (experiment, f"{experiment}_{view.first['source']}")]
    newest = sorted(views, key=lambda view: (view.experiment == experiment, view.results.runs["finished"].max()))
    return newest[-1] if newest else None
