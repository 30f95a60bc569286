"""One shape for the pages of all tasks: results -> differences -> tables and figures -> a template."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from btrnn.figures.file import FigureFile
from btrnn.reports import tables
from btrnn.reports.caveats import caveats
from btrnn.reports.format import difference_text, markdown_table
from btrnn.reports.render import render
from btrnn.reports.view import View, view_of
from btrnn.results.differences import model_differences
from btrnn.results.schema import DENSE_MODELS
from btrnn.results.store import has_tests, read_results, read_with_local
from btrnn.results.summary import panels, rates, scales


@dataclass(frozen=True)
class Page:
    """How one kind of experiment is shown.

    Attributes:
        template: Of the words.
        rows: Writes the wide table of one panel.
        brief: Its columns that a terminal shows.
        figures: Returns the figures of a view; the page opens with the first.
        values: Returns what the template needs beside what all pages have.
        compared: Returns the rows of the summary between which differences are shown.
        references: With which models the others are compared.
        in_paper: Whether the paper has accuracies of these models, whose differences stand beside ours.
        form: How the main metric is written.
        times: What it is multiplied with.
        lower_is_better: As for a bound in nats.
        unit: Behind a difference.
    """

    template: str
    rows: Callable[[View, pd.DataFrame], tables.Table]
    brief: tuple[str, ...]
    figures: Callable[[View], list[FigureFile]]
    values: Callable[[View], dict[str, Any]] = lambda _: {}
    compared: Callable[[View], pd.DataFrame] = lambda view: view.summary
    references: tuple[str, ...] = DENSE_MODELS
    in_paper: bool = False
    form: str = ".3f"
    times: int = 1
    lower_is_better: bool = False
    unit: str = ""

    def terminal_report(self, results_dir: Path, experiment: str, scale: str) -> str:
        """Return the tables of one scale as plain text, the user's own runs beside the published ones.

        Raises:
            ResultsError: No run of this experiment and scale is finished.
        """
        view = view_of(results_dir, experiment, scale, local=True)
        parts = []
        for panel in panels(view.summary):
            rows = [{head: row[head] for head in self.brief if head in row} for row in self.rows(view, panel)]
            parts += [tables.heading(panel).replace("`", "")]
            parts += [tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)]
        return "\n\n".join(parts)

    def table_texts(self, results_dir: Path, experiment: str, *, local: bool = False) -> dict[Path, str]:
        """Return an experiment's Markdown file by its path below the output folder.

        Args:
            results_dir: Where the tables are.
            experiment: Which of them.
            local: Whether the user's own runs stand beside the published ones.
        """
        head = view_of(results_dir, experiment, local=local)
        read = read_with_local if local else read_results
        there = scales(read(results_dir, experiment).runs)
        views = [view_of(results_dir, experiment, scale, local=local) for scale in there]
        tested = has_tests(head.results.runs)
        drawn = [file.path.as_posix() for file in self.figures(head)] if tested else []
        parts = [self._tested(view) if tested else _choice(view) for view in views]
        text = render("page", view=head, figures=drawn, parts=parts)
        return {Path("tables", f"{experiment}.md"): f"{text}\n"}

    def figure_files(self, results_dir: Path, experiment: str, *, local: bool = False) -> list[FigureFile]:
        """Return an experiment's figures at its largest scale, with paths below the output folder."""
        view = view_of(results_dir, experiment, local=local)
        return self.figures(view) if has_tests(view.results.runs) else []

    def differences(self, view: View) -> pd.DataFrame:
        """Return the differences between models that are shown."""
        paper = view.paper if self.in_paper else None
        return model_differences(self.compared(view), view.results, references=self.references, paper=paper)

    def _tested(self, view: View) -> dict[str, str]:
        """Return one scale, its sentence, and its text: notes and tables."""
        differences = self.differences(view)
        values = {"outcomes": outcomes(differences, self), "differences": "", "caveats": caveats(view)} | self.values(
            view
        )
        if not differences.empty:
            varied = tables.varied(view.summary, view.schema)
            values["differences"] = markdown_table(tables.differences_table(differences, varied, self.form, self.times))
        values["wide"] = [
            {"heading": tables.heading(panel), "table": markdown_table(self.rows(view, panel))}
            for panel in panels(view.summary)
        ]
        return _part(view, self.template, values)


def _part(view: View, template: str, values: dict[str, Any]) -> dict[str, str]:
    """Fill the templates of one scale's sentence and text."""
    values |= {"view": view, "first": view.first, "data": view.data}
    values["provenance"] = tables.provenance(view.results.runs)
    sentence = " ".join(render(f"{template}_sentence", **values).split())
    return {"scale": view.first["scale"], "sentence": sentence, "text": render(template, **values)}


def outcomes(differences: pd.DataFrame, page: Page) -> list[dict[str, Any]]:
    """Return for each pair of models in how many settings the first is better, worse, or not told apart."""
    found = []
    if differences.empty:
        return []
    for (first, second), rows in differences.groupby(["first", "second"], sort=False):
        sign = -1 if page.lower_is_better else 1
        above, below = rows["low"] > 0, rows["high"] < 0  # NaN is neither: one seed tells nothing
        row = rows.to_dict("records")[0]
        found.append(
            {"first": first, "second": second, "settings": len(rows), "n": int(row["n"]), "mean": row["mean"]}
            | {"better": int((above if sign > 0 else below).sum()), "worse": int((below if sign > 0 else above).sum())}
            | {"one_seed": int(rows["low"].isna().sum()), "compression": row["compression"]}
            | {"text": _with_unit(difference_text(row, page.form, page.times), page.unit)}
        )
        found[-1]["same"] = len(rows) - sum(found[-1][name] for name in ("better", "worse", "one_seed"))
    return found


def _with_unit(text: str, unit: str) -> str:
    mean, bracket, interval = text.partition(" [")
    return f"{mean}{unit}" + (f", 95 % CI [{interval}" if bracket else "")


def _choice(view: View) -> dict[str, str]:
    """Return the parts of a section on a choice of learning rates."""
    rows, schema = rates(view.results.runs), view.schema
    monitors = {f"validation {name}": f"val/{name}" for name in (schema.monitor, schema.main.removeprefix("test/"))}
    shown = {head.replace("_", " "): column for head, column in monitors.items() if column in rows}
    settings = [column for column in ("scaling",) if column in rows]
    table = [
        {column.replace("_", " "): tables.value_text(row[column]) for column in settings}
        | {"model": row["model_label"], "learning rate": f"{row['learning_rate']:g}"}
        | {head: f"{row[column]:.3f}" for head, column in shown.items()}
        | {"at epoch": str(int(row["epoch_chosen"]) + 1)}
        | {f"training {schema.monitor}, last epoch".replace("_", " "): f"{row[f'train/{schema.monitor}_last']:.3f}"}
        | {"chosen": "yes" * row["chosen"] + ", at the grid's edge" * row["at_edge"] + "as low" * row["tied"]}
        for row in rows.to_dict("records")
    ]
    chosen = rows[rows["chosen"]]
    values = {"seeds": sorted(set(rows["seed"])), "settings": len(chosen)}
    values |= {"edges": int(chosen["at_edge"].sum()), "ties": int(rows["tied"].sum())}
    values |= {"about": tables.settings_text(view.first, tuple(name for name in schema.data if name not in settings))}
    values |= {"monitor": schema.monitor.replace("_", " "), "table": markdown_table(table)}
    return _part(view, "rates", values)
