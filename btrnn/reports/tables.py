"""Tables that all pages share: what rows have in common, what a factorised map saves, differences, provenance."""

import json
import math
from typing import Any

import pandas as pd

from btrnn.reports.format import count, difference_text, number, ratio, span
from btrnn.results.schema import Schema, schema_of
from btrnn.results.summary import Row

_DATA = {
    "ucf11": "UCF11",
    "ucf101": "UCF101-11",  # eleven of its classes
    "actions": "Actions (stand-in)",  # of earlier runs
    "motions": "Motions (stand-in)",
    "mnist": "MNIST",
    "mnist_5k": "MNIST-5k",
    "fashion_mnist": "Fashion-MNIST",
    "coco": "MSCOCO",
    "scenes": "Scenes (stand-in)",
}
Table = list[dict[str, str]]


def data_name(source: str) -> str:
    """Return the name that a data source has in headings and titles; a stand-in is always called so."""
    return _DATA.get(source, source)


def value_text(value: Any) -> str:
    """Write the value of a setting."""
    return value if isinstance(value, str) else count(value)


def settings_text(row: Row, columns: tuple[str, ...]) -> str:
    """Write some settings of a row, each with its name; one that is missing is left out."""
    known = [column for column in columns if not pd.isna(row[column]) and row[column] != ""]
    return ", ".join(
        f"{column.replace('_', ' ').removeprefix('num ')} "
        + (f"`{row[column]}`" if isinstance(row[column], str) else count(row[column]))
        for column in known
    )


def heading(rows: pd.DataFrame) -> str:
    """Write what the rows of a panel have in common: data, scale, settings, examples used, epochs and n."""
    first: Row = rows.to_dict("records")[0]
    used = span(pd.concat([rows["used_fewest"], rows["used_most"]]))
    return (
        f"{data_name(first['source'])}: scale `{first['scale']}`, "
        f"{settings_text(first, schema_of(first['experiment']).data)}; {used} examples, {span(rows['epochs'])} epochs, "
        f"n = {span(rows['n'].where(rows['n'] > 0))}"
    )


def varied(summary: pd.DataFrame, schema: Schema) -> list[str]:
    """Return which settings of the data and the task differ between the rows of a summary."""
    return [column for column in schema.data if len(summary[column].drop_duplicates()) > 1]


def size_cells(row: Row) -> dict[str, str]:
    """Write what the map of a row costs and saves."""
    own = row["parameters_input"] or math.nan
    whole = row["parameters_dense_total"] / row["parameters_total"] if own > 0 else math.nan
    return {
        "parameters of W": count(own),
        "compression of W": ratio(row["parameters_dense_input"] / own),
        "of the whole model": ratio(whole),
    }


def run_cells(row: Row) -> dict[str, str]:
    """Write how a setting's runs were made."""
    return {
        "learning rate": number(row["learning_rate"], "g"),
        "seconds per epoch": number(row["seconds_per_epoch"], ".3g"),
        "command": f"`{row['command']}`" if row["n"] else "",
    }


def differences_table(rows: pd.DataFrame, settings: list[str], form: str, times: int) -> Table:
    """Write the rows of `btrnn.results.differences.model_differences`.

    Args:
        rows: At least one.
        settings: Columns in which the rows' panels differ.
        form: Of the metric.
        times: What the metric is multiplied with.
    """
    return [
        {column.replace("_", " "): value_text(row[column]) for column in settings}
        | {"difference": f"{row['first']} - {row['second']}"}
        | {"mean, 95 % CI": difference_text(row, form, times), "n": str(row["n"])}
        | {"compression of W": ratio(row["compression"]), "of the whole model": ratio(row["compression_total"])}
        | ({"the paper's": number(row["paper_difference"], f"+{form}")} if "paper_difference" in row else {})
        for row in rows.to_dict("records")
    ]


def provenance(runs: pd.DataFrame) -> dict[str, str]:
    """Write on what runs were made: devices, versions of torch, commits, and how many runs."""
    known = runs[runs["device"] != ""].to_dict("records")
    devices = sorted({f"{row['device']} ({count(row['threads'])} threads)" for row in known})
    torch = sorted({str(json.loads(text).get("torch", "?")) for text in runs["versions"] if text})
    commits = sorted(
        {
            row["git_commit"][:10] + (" (uncommitted changes)" if row["git_dirty"] == "True" else "")
            for row in runs.to_dict("records")
            if row["git_commit"]
        }
    )
    said = {"devices": devices, "torch": torch, "commits": commits}
    return {"runs": str(len(runs))} | {name: ", ".join(texts) or "unknown" for name, texts in said.items()}
