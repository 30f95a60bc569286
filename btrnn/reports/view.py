"""What is shown of one experiment at one scale: its rows, averages and names, read once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from btrnn.reports import tables
from btrnn.reports.format import span
from btrnn.results.paper import read_paper
from btrnn.results.schema import Schema, schema_of
from btrnn.results.store import Results, read_results, read_with_local
from btrnn.results.summary import Row, curves, scales, summarise
from btrnn.storage.files import ResultsError


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
    def summary(self) -> pd.DataFrame:
        """A row for each setting, see `btrnn.results.summary.summarise`."""
        return summarise(self.results.runs)

    @cached_property
    def paper(self) -> pd.DataFrame:
        """The paper's numbers."""
        return read_paper(self.results_dir / "paper.csv")

    @property
    def first(self) -> Row:
        """The first row of the summary: what all rows have in common."""
        row: Row = self.summary.to_dict("records")[0]
        return row

    @property
    def data(self) -> str:
        """The name of the data."""
        return tables.data_name(self.first["source"])

    @property
    def title(self) -> str:
        """What stands above every figure."""
        return f"{self.data}, scale {self.first['scale']}, n = {span(self.summary['n'])}"

    def link(self, experiment: str) -> str:
        """Return a link from this page to the published page of another experiment."""
        return f"[{experiment}]({'../../tables/' if self.local else ''}{experiment}.md)"

    def figure(self, name: str) -> Path:
        """Return the path of one of the experiment's figures, below the output folder."""
        return Path("figures", f"{self.experiment}_{name}" if name else f"{self.experiment}.png")

    def epoch_series(self, column: str, panel: Callable[[Row], str]) -> pd.DataFrame:
        """Return a metric against the epoch as `btrnn.figures.series.draw_series` takes it."""
        columns = ["panel", "label", "model", "x", "mean", "low", "high"]
        if self.results.epochs.empty:
            return pd.DataFrame(columns=columns)
        table = curves(self.summary, self.results.epochs, column)
        names = [panel(row) for row in table.to_dict("records")]
        table = table.assign(panel=names, x=table["epoch"] + 1)
        return table[columns]


def view_of(results_dir: Path, experiment: str, scale: str = "", *, local: bool = False) -> View:
    """Read what is shown of an experiment.

    Args:
        results_dir: Where the tables are.
        experiment: Which of them.
        scale: Which of its scales; that with the most training if "".
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
    chosen = results.runs[results.runs["scale"] == (scale or there[0])]
    return View(results_dir, experiment, results._replace(runs=chosen), local)
