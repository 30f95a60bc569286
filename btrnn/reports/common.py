"""What the reports of Tasks 2 and 3 share: which runs they show, and how a number with its uncertainty is written."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from btrnn.reports import tables
from btrnn.reports.format import count, markdown_table, number, ratio
from btrnn.results.store import has_tests, read_results
from btrnn.results.summary import Row, rows_of, summarise
from btrnn.storage.files import ResultsError


def summary_at(runs: pd.DataFrame, experiment: str, scale: str, results_dir: Path) -> pd.DataFrame:
    """Average one scale's runs over their seeds.

    Raises:
        ResultsError: There are none; the message says which scales there are.
    """
    chosen = runs[runs["scale"] == scale]
    if chosen.empty:
        there = ", ".join(sorted(runs["scale"].unique())) or "none"
        raise ResultsError(
            f"no finished run of {experiment!r} at scale {scale!r} in {results_dir}; scales there: {there}"
        )
    return summarise(chosen)


def scales(runs: pd.DataFrame) -> list[str]:
    """Return the scales, the one with the most epochs first."""
    return list(runs.groupby("scale")["epochs"].max().sort_values(ascending=False).index)


def terminal_text(heading: str, rows: list[dict[str, str]]) -> str:
    """Write a table for a terminal, without the commands."""
    rows = [{key: text for key, text in row.items() if key != "command"} for row in rows]
    table = tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)
    return f"{heading.replace('`', '')}\n\n{table}"


def brief_table(rows: list[dict[str, str]], columns: tuple[str, ...]) -> str:
    """Write some columns of a table as Markdown, those that it has."""
    return markdown_table([{column: row[column] for column in columns if column in row} for row in rows])


def page(
    results_dir: Path,
    experiment: str,
    at_scale: Callable[[Path, str, str], str],
    choice: Callable[[pd.DataFrame], str],
) -> dict[Path, str]:
    """Return an experiment's Markdown file.

    Args:
        results_dir: Where the committed tables are.
        experiment: Which of them.
        at_scale: Writes what is shown of one scale, given the first two arguments and the scale.
        choice: Writes a choice of learning rates, given the runs of one scale; used where nothing was tested.
    """
    runs = read_results(results_dir, experiment).runs
    note = f"Made by `python experiments/report.py {experiment}` from the CSV files in results/; do not edit."
    title = f"# {experiment}: {tables.data_name(runs['source'].iloc[0])}"
    if has_tests(runs):
        body = "\n\n".join(at_scale(results_dir, experiment, scale) for scale in scales(runs))
    else:
        body = "\n\n".join(choice(rows) for _, rows in runs.groupby("scale"))
    return {results_dir / "tables" / f"{experiment}.md": f"{title}\n\n{note}\n\n{body}\n"}


def rates_text(runs: pd.DataFrame, setting: str, monitor: str, heads: tuple[str, str, str], form: str) -> str:
    """Write a choice of learning rates, how it was made, and where it comes from.

    Args:
        runs: Of one scale, not tested.
        setting: What the runs have in common beside the scale, the epochs and the seed.
        monitor: What chooses, without its split, such as "loss"; the lowest is best.
        heads: Of the columns with the model, the best validation value and the last training value.
        form: How these values are written.
    """
    first, (model, validation, training) = runs.iloc[0], heads
    about = (
        f"Scale `{first['scale']}`, {int(first['epochs'])} epochs, {setting}, seed {first['seed']} (n = 1). Of each "
        f"{model}'s rates the one with the lowest {validation} is chosen; the test split was not touched."
    )
    best = runs.sort_values(f"val/{monitor}").drop_duplicates("model").index
    table = [
        {model: row["model_label"], "learning rate": f"{row['learning_rate']:g}"}
        | {validation: f"{row[f'val/{monitor}']:{form}}", "at epoch": count(row["epoch_chosen"] + 1)}
        | {training: f"{row[f'train/{monitor}_last']:{form}}"}
        | {"chosen": "yes" if index in best else ""}
        for index, row in runs.sort_values(["model", "learning_rate"]).iterrows()
    ]
    return f"{about}\n\n{markdown_table(table)}\n\n{tables.provenance(runs)}"


def size_cells(row: Row) -> dict[str, str]:
    """Write what the factorised map saves."""
    return {
        "parameters of W": count(row["parameters_input"]),
        "compression of W": ratio(row["parameters_dense_input"] / row["parameters_input"]),
        "of the whole model": ratio(row["parameters_dense_total"] / row["parameters_total"]),
    }


def run_cells(row: Row) -> dict[str, str]:
    """Write how a setting's runs were made."""
    return {
        "learning rate": f"{row['learning_rate']:g}",
        "seconds per epoch": number(row["seconds_per_epoch"], ".3g"),
        "command": f"`{row['command']}`",
    }


def mean_text(row: Row, column: str, form: str, *, times: int = 1, with_interval: bool = True) -> str:
    """Write mean ± sd (n), and the 95 % interval where asked for; at n = 1 the number alone."""
    mean, sd, low, high = (times * row[f"{column}{part}"] for part in ("", "_sd", "_low", "_high"))
    if math.isnan(mean):
        return "-"
    if math.isnan(sd):
        return f"{mean:{form}} (n = 1)"
    return f"{mean:{form}} ± {sd:{form}} ({row['n']})" + (f" [{low:{form}}, {high:{form}}]" if with_interval else "")


def curves(summary: pd.DataFrame, epochs: pd.DataFrame, column: str, label: Callable[[Row], str]) -> pd.DataFrame:
    """Give a metric against epoch for each setting: label, model, epoch, and over the seeds mean, min, max."""
    parts = [
        rows_of(row, epochs)
        .groupby("epoch")[column]
        .agg(["mean", "min", "max"])
        .reset_index()
        .assign(label=label(row), model=row["model"])
        for row in summary.to_dict("records")
    ]
    return pd.concat(parts, ignore_index=True)
