"""Task 1 against the learning rate, in Markdown and a figure: what each model reaches at each rate."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from btrnn.figures.file import FigureFile
from btrnn.figures.style import GREY, MODEL_STYLES, drawing
from btrnn.reports import tables
from btrnn.reports.common import summary_at, terminal_text
from btrnn.reports.format import difference_text, markdown_table, number
from btrnn.results.differences import settings_difference
from btrnn.results.paper import read_paper
from btrnn.results.store import collected_experiments, read_results, run_table
from btrnn.results.summary import Row, headline_scale

EXPERIMENT = "ucf11_rates_random_split"
_METRIC = "test/accuracy"


def is_study(experiment: str) -> bool:
    """Say whether an experiment is such a study, on UCF11 or its stand-in."""
    return experiment.startswith(EXPERIMENT)


def terminal_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return the table of the runs whose folders are here as plain text.

    Raises:
        ResultsError: No run of this experiment and scale is finished.
    """
    summary = summary_at(run_table(results_dir, experiment), experiment, scale, results_dir)
    return terminal_text(tables.heading(summary), _rows(summary))


def table_texts(results_dir: Path, experiment: str) -> dict[Path, str]:
    """Return an experiment's Markdown file, all scales."""
    runs = read_results(results_dir, experiment).runs
    note = f"Made by `python experiments/report.py {experiment}` from the CSV files in results/; do not edit."
    parts = [f"# {experiment}: {tables.data_name(runs['source'].iloc[0])}", note]
    for scale in sorted(runs["scale"].unique()):
        summary = summary_at(runs, experiment, scale, results_dir)
        parts += [
            f"### {tables.heading(summary)}",
            conclusion(summary, runs, results_dir),
            markdown_table(_rows(summary)),
            _ABOUT,
        ]
        parts.append(tables.provenance(runs[runs["scale"] == scale]))
    return {results_dir / "tables" / f"{experiment}.md": "\n\n".join(parts) + "\n"}


_ABOUT = (
    "No rate is chosen here: under the random split the test clips choose the epoch too, as in the released code, so "
    "that a best rate of this table is an upper end, not an estimate. Dropouts and schedule are the released code's; "
    "the dense LSTM alone drops a quarter of its inputs. Intervals: Student's t over the n seeds, none at n = 1."
)


def _rows(summary: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {"model": row["model_label"], "learning rate": f"{row['learning_rate']:g}"}
        | {"test accuracy, best epoch": tables.mean_text(row, _METRIC)}
        | {"last epoch": tables.mean_text(row, f"{_METRIC}_last")}
        | {"training accuracy, last epoch": number(row["train/accuracy_last"], ".3f")}
        for row in summary.sort_values(["model", "learning_rate"]).to_dict("records")
    ]


def _paper_rate(results_dir: Path) -> float:
    return float(read_paper(results_dir / "paper.csv")["value"]["ucf11.learning_rate"])


def conclusion(summary: pd.DataFrame, runs: pd.DataFrame, results_dir: Path) -> str:
    """Say in Markdown what each model has at its best, its worst and the paper's rate, and how they differ at the best.

    Args:
        summary: Of `btrnn.results.summary.summarise`.
        runs: Of the same experiment.
        results_dir: Where the paper's numbers are.
    """
    best: dict[str, Row] = {}
    said = []
    for model, rows in summary.groupby("model", sort=False):
        records = sorted(rows.to_dict("records"), key=lambda row: row["learning_rate"])
        best[str(model)] = max(records, key=lambda row: row[_METRIC])
        worst = min(records, key=lambda row: row[_METRIC])
        edge = best[str(model)] in (records[0], records[-1])
        said.append(
            f"{worst['model_label']} has {_at(best[str(model)])}{' (at the edge of the grid)' if edge else ''} "
            f"and {_at(worst)}"
        )
    text = f"On {tables.data_name(summary['source'].iloc[0])} {'; '.join(said)}."
    paper = summary[summary["learning_rate"] == _paper_rate(results_dir)].to_dict("records")
    if paper:
        at_paper = ", ".join(f"{row['model_label']} {row[_METRIC]:.3f}" for row in paper)
        text += f" At the paper's rate, {paper[0]['learning_rate']:g}: {at_paper}."
    if {"lstm", "bt_lstm"} <= best.keys():
        found = settings_difference(best["bt_lstm"], best["lstm"], runs, _METRIC)
        seeds = f"n = {found.n}"
        text += f" Each at its best rate, BT-LSTM - LSTM is {difference_text(found._asdict(), '.3f')} ({seeds})."
    return text


def _at(row: Row) -> str:
    return f"{row[_METRIC]:.3f} at rate {row['learning_rate']:g}"


def figure_files(results_dir: Path, experiment: str) -> list[FigureFile]:
    """Return an experiment's figure at its largest scale."""
    runs = read_results(results_dir, experiment).runs
    scale = headline_scale(runs)
    summary = summary_at(runs, experiment, scale, results_dir).sort_values("learning_rate")
    shown = summary[["model", "model_label", "learning_rate", "n", _METRIC, f"{_METRIC}_low", f"{_METRIC}_high"]]
    first = summary.iloc[0]
    title = (
        f"{tables.data_name(first['source'])}, random split, {first['scaling']} input, {first['epochs']:.0f} epochs, "
        f"n = {summary['n'].max()}"
    )
    draw = partial(accuracy_against_rate, shown, _paper_rate(results_dir), title)
    return [FigureFile(results_dir / "figures" / f"{experiment}.png", shown, draw)]


def accuracy_against_rate(table: pd.DataFrame, paper_rate: float, title: str) -> Figure:
    """Draw test accuracy against Adam's learning rate, a line a model; band: 95 % interval.

    Args:
        table: model, model_label, learning_rate, n, test/accuracy with its _low and _high.
        paper_rate: The paper's, a vertical line.
        title: Names the data.
    """
    with drawing():
        figure = Figure(figsize=(7.5, 4.8), layout="constrained")
        axis = figure.add_subplot()
        axis.axvline(paper_rate, color=GREY, ls=":", lw=2, label=f"the paper's rate, {paper_rate:g}")
        for model, line in table.groupby("model", sort=False):
            style = MODEL_STYLES[str(model)]
            look: Any = {"color": style.color, "marker": style.marker, "ls": style.line, "lw": 2, "ms": 7}
            axis.plot(line["learning_rate"], line[_METRIC], label=line["model_label"].iloc[0], **look)
            ends = (line[f"{_METRIC}_low"], line[f"{_METRIC}_high"])
            axis.fill_between(line["learning_rate"], *ends, color=style.color, alpha=0.18, lw=0)
        axis.set_xscale("log")
        axis.set_ylim(0, 1.04)
        axis.set_xlabel("Adam's learning rate")
        axis.set_ylabel("test accuracy, best epoch")
        axis.legend()
        figure.suptitle(title)
        return figure


def readme_part(results_dir: Path, experiment: str, place: str) -> str:
    """Return what README says of the comparison of accuracies.

    Args:
        results_dir: Where the committed tables are.
        experiment: Which of them.
        place: The path of `results_dir` as README links to it.
    """
    runs = read_results(results_dir, experiment).runs
    summary = summary_at(runs, experiment, headline_scale(runs), results_dir)
    heading = tables.heading(summary).split(": ", 1)[1]
    return "\n\n".join(
        [
            f"**Task 1: the learning rate decides which model looks better.** {conclusion(summary, runs, results_dir)} "
            "A comparison of accuracies that gives every model the same search, on real video, is not made yet; none "
            "is claimed here.",
            f"![Test accuracy against the learning rate]({place}/figures/{experiment}.png)",
            f"{heading[0].upper()}{heading[1:]}: [{experiment}.md]({place}/tables/{experiment}.md).",
        ]
    )


def pointer(results_dir: Path, source: str) -> str:
    """Return a link to the study on a data source, as a page of results/tables writes it; "" where there is none."""
    name = EXPERIMENT if source == "ucf11" else f"{EXPERIMENT}_{source}"
    return f"[{name}.md]({name}.md)" if name in collected_experiments(results_dir) else ""
