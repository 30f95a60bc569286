"""What is shown of one experiment at one scale: its rows, averages and names, read once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from btrnn.figures.file import FigureFile, Frames
from btrnn.figures.series import COLUMNS
from btrnn.reports.render import data_name, setting_text, span, split_name
from btrnn.results.schema import LATER_COLUMNS, VIDEO, Schema, schema_of
from btrnn.results.store import LOCAL, Results, collected_experiments, read_results, read_with_local, result_paths
from btrnn.results.summary import Row, beside_paper, read_paper, rows_of, scales, summarise
from btrnn.storage.files import ResultsError
from btrnn.storage.stand_ins import STAND_INS


@dataclass(frozen=True, eq=False)  # so that what is worked out of a view can be kept by it
class View:
    """What is shown of one experiment at one scale.

    `results` are its runs at this scale, and the epochs, predictions and pictures of all its runs; with `local` the
    user's own stand beside the published ones.
    """

    results_dir: Path
    experiment: str
    results: Results
    local: bool = False

    @property
    def schema(self) -> Schema:
        """The schema of the experiment's task."""
        return schema_of(self.experiment)

    @cached_property
    def paper(self) -> pd.DataFrame:
        """The paper's numbers."""
        return read_paper(self.results_dir / "paper.csv")

    @property
    def paper_rate(self) -> float:
        """The paper's learning rate, of Task 1."""
        return float(self.paper["value"]["ucf11.learning_rate"])

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row for each setting, see `btrnn.results.summary.summarise`; of videos with the paper's accuracies."""
        summary = summarise(self.results.runs)
        return beside_paper(summary, self.paper) if self.schema is VIDEO else summary

    @cached_property
    def metric(self) -> Schema:
        """The schema; where no run met the test split, with what chose as the main metric."""
        schema = self.schema
        if self.summary[schema.main].notna().any():
            return schema
        label = f"validation {schema.monitor.replace('nll_bound', 'NLL bound')}"
        return replace(schema, main=f"val/{schema.monitor}", label=label, form=".3f", times=1)

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
        known = "" if "protocol" in self.varied else split_name(self.first)
        return ", ".join(
            [*filter(None, (self.data, known)), f"scale {self.first['scale']}", f"n = {span(self.summary['n'])}"]
        )

    @cached_property
    def varied(self) -> list[str]:
        """Which settings of the data and the task differ between the rows of the summary."""
        settings = (*self.schema.data, "scaled")
        return [column for column in settings if len(self.summary[column].drop_duplicates()) > 1]

    def place(self, row: Row) -> str:
        """Return the settings of a row in which the panels differ; of the data without what every reader expects."""
        said = unusual(row, self.varied) | {name: row[name] for name in ("scaled", "start") if name in self.varied}
        return ", ".join(setting_text(*setting) for setting in said.items())

    def figure(self, name: str, function: Callable[..., Figure | Frames], data: Any, **options: Any) -> FigureFile:
        """Return one of the experiment's figures, titled with what is shown; "" names the only one."""
        path = Path("figures", f"{self.experiment}_{name}" if name else f"{self.experiment}.png")
        return FigureFile(path, function, data, {"title": self.title} | options)

    def epoch_series(self, columns: Mapping[str, str]) -> pd.DataFrame:
        """Return metrics against the epoch as `draw_series` takes it: columns by what a panel's title says of them.

        Means over the seeds; low and high are the lowest and the highest seed.
        """
        parts = [pd.DataFrame(columns=COLUMNS)]
        rows: list[Row] = self.summary.to_dict("records") if len(self.results.epochs) else []
        for (name, column), row in product(columns.items(), rows):
            runs = rows_of(row, self.results.epochs).dropna(subset=[column]).groupby("epoch")[column]
            table = runs.agg(mean="mean", low="min", high="max").reset_index()
            panel = ", ".join(filter(None, (self.place(row), name)))
            table = table.assign(panel=panel, label=row["label"], model=row["model"], x=table["epoch"] + 1)
            parts += [table[COLUMNS]] if len(table) else []
        return pd.concat(parts[1:] or parts, ignore_index=True)

    def points(self, x: str, label: Callable[[Row], str], panel: Callable[[Row], str] | None = None) -> pd.DataFrame:
        """Return the metric against a column of the summary, as `draw_series` takes it."""
        column, times = self.metric.main, self.metric.times
        told = (self.summary["n"] > 2).all()  # an interval from two seeds is wider than the picture
        rows = [
            {"panel": (panel or self.place)(row), "label": label(row), "model": row["model"]}
            | {"x": row[x] or float("nan"), "mean": times * row[column]}
            | {end: times * row[f"{column}_{end}" if told else column] for end in ("low", "high")}
            for row in self.summary.to_dict("records")
        ]
        return pd.DataFrame(rows, columns=COLUMNS)


def unusual(row: Row, names: Iterable[str]) -> Row:
    """Return the settings of a row, without those that every reader expects: what runs of older versions mean."""
    said = {name: row[name] for name in names if not pd.isna(row[name])}
    return {name: value for name, value in said.items() if value not in ("", LATER_COLUMNS.get(name, ""))}


def views_of(results_dir: Path, experiment: str, scale: str = "", *, local: bool = False) -> list[View]:
    """Read what is shown of an experiment at a scale, or at each of its scales, that with the most training first.

    Raises:
        ResultsError: There is no run; the message says which scales there are.
    """
    tables = result_paths(results_dir, experiment) + result_paths(results_dir / LOCAL, experiment)
    files = [path for path in (*tables, results_dir / "paper.csv") if path.exists()]
    stamps = tuple((path, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path in files for stat in [path.stat()])
    views = _views(results_dir, experiment, local, stamps)
    there = [str(view.results.runs["scale"].iloc[0]) for view in views]
    if (scale or not there) and scale not in there:
        raise ResultsError(
            f"no finished run of {experiment!r} at scale {scale!r} in {results_dir}; "
            f"scales there: {', '.join(sorted(there)) or 'none'}"
        )
    return [view for view, name in zip(views, there, strict=True) if scale in ("", name)]


@lru_cache(maxsize=128)
def _views(results_dir: Path, experiment: str, local: bool, _stamps: tuple[object, ...]) -> tuple[View, ...]:
    """Read all views of an experiment; they are kept, as long as the stamps of their files are the same."""
    results = (read_with_local if local else read_results)(results_dir, experiment)
    runs = [results.runs[results.runs["scale"] == name] for name in scales(results.runs)]
    return tuple(View(results_dir, experiment, results._replace(runs=rows), local) for rows in runs)


def view_of(results_dir: Path, experiment: str, scale: str = "", *, local: bool = False) -> View:
    """Return the first of `views_of`."""
    return views_of(results_dir, experiment, scale, local=local)[0]


def published_view(results_dir: Path, experiment: str) -> View | None:
    """Return the view of an experiment, or else of the same on a stand-in, `<experiment>_<source>`, finished last."""
    names = {experiment, *(f"{experiment}_{source}" for source in STAND_INS)} & set(collected_experiments(results_dir))
    views = [view_of(results_dir, name) for name in sorted(names)]
    return max(views, key=lambda one: (one.experiment == experiment, one.results.runs["finished"].max()), default=None)
