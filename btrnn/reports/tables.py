"""One function per table: DataFrames of numbers (`btrnn.results.comparison`) to Markdown or terminal text.

Nothing is computed here but the rounding: what a table shows is what the committed CSV gives.
"""

import json
import math

import pandas as pd
from tabulate import tabulate

from btrnn.reports.format import count, difference_text, markdown_table, number, ratio, span
from btrnn.results.summary import Row

_DATA = {
    "ucf11": "UCF11",
    "actions": "Actions (stand-in)",
    "mnist": "MNIST",
    "mnist_5k": "MNIST-5k",
    "fashion_mnist": "Fashion-MNIST",
    "coco": "MSCOCO",
    "scenes": "Scenes (stand-in)",
}
_OURS = "ours: mean ± sd (n), 95 % interval"


def data_name(source: str) -> str:
    """Return the name that a data source has in headings and titles; a stand-in is always called so."""
    return _DATA.get(source, source)


def heading(rows: pd.DataFrame) -> str:
    """Say what a panel's rows have in common: data, protocol, scaling, scale, clips, epochs and n."""
    first: Row = rows.to_dict("records")[0]
    return (
        f"{data_name(first['source'])}: protocol `{first['protocol']}`, scaling `{first['scaling']}`; "
        f"scale `{first['scale']}` ({clips_used(rows)}, {span(rows['epochs'])} epochs), "
        f"n = {span(rows['n'].where(rows['n'] > 0))}"
    )


def clips_used(rows: pd.DataFrame) -> str:
    """Say how many clips the runs had, and how many were asked for where that is another number (NaN: all)."""
    used = span(pd.concat([rows["used_fewest"], rows["used_most"]]))
    asked = count(rows["num_clips"].iloc[0])
    return f"{used} clips" + ("" if asked in (used, "-") else f" of {asked} asked for")


def main_table(rows: pd.DataFrame) -> str:
    """Draw one panel beside the paper as Markdown; `rows` come from `btrnn.results.summary.beside_paper`."""
    last = rows["protocol"].iloc[0] == "paper"
    table = [
        {"model": row["label"]}
        | {"parameters of W": count(row["parameters_input"] or math.nan)}
        | {"compression of W": ratio(row["compression"])}
        | {"of the whole model": ratio(row["compression_total"])}
        | {"paper's accuracy, UCF11": _paper(row)}
        | {f"{_OURS}" + (", best epoch" if last else ""): mean_text(row, "test/accuracy")}
        | ({f"{_OURS}, last epoch": mean_text(row, "test/accuracy_last")} if last else {})
        | {"difference to the paper": _paperdifference_text(row)}
        | {"training accuracy, last epoch": _training(row)}
        | {"learning rate": number(row["learning_rate"], "g")}
        | {"seconds per epoch": number(row["seconds_per_epoch"], ".3g")}
        | {"command": f"`{row['command']}`" if row["n"] else ""}
        for row in rows.to_dict("records")
    ]
    return markdown_table(table)


def overview_table(panels: list[pd.DataFrame], differences: pd.DataFrame) -> str:
    """Draw all panels in one Markdown table: a row for each model that was run, a column for each panel.

    Args:
        panels: Of `btrnn.results.summary.beside_paper`, all at one scale.
        differences: Of `differences.accuracy_differences`: a row each under the models; may be empty.
    """
    titles = {
        (first["protocol"], first["scaling"]): f"split `{first['protocol']}`, input `{first['scaling']}`, n = "
        f"{span(panel['n'].where(panel['n'] > 0))}"
        for panel in panels
        for first in panel.to_dict("records")[:1]
    }
    table: dict[str, dict[str, str]] = {}
    for row in pd.concat(panels, ignore_index=True).to_dict("records"):
        if row["n"]:
            size = {"parameters of W": count(row["parameters_input"] or math.nan)}
            size |= {"compression": ratio(row["compression"]), "paper, UCF11": _paper(row)}
            cells = table.setdefault(row["label"], {"model": row["label"]} | size)
            cells[titles[row["protocol"], row["scaling"]]] = _short_mean(row)
    for row in differences.to_dict("records"):
        label = f"{row['first']} - {row['second']}"
        cells = table.setdefault(label, {"model": label})
        cells[titles[row["protocol"], row["scaling"]]] = difference_text(row, ".3f")
    columns = ["model", "parameters of W", "compression", "paper, UCF11", *titles.values()]
    return markdown_table([{column: cells.get(column, "") for column in columns} for cells in table.values()])


def terminal_table(rows: pd.DataFrame) -> str:
    """Draw one panel for a terminal: the columns of `main_table` that fit."""
    last = rows["protocol"].iloc[0] == "paper"
    table = [
        {"model": row["label"]}
        | {
            "parameters of W": count(row["parameters_input"] or math.nan),
            "compression": ratio(row["compression"]),
        }
        | {
            "paper, UCF11": _paper(row),
            "ours" + (", best epoch" if last else ""): mean_text(row, "test/accuracy"),
        }
        | ({"ours, last epoch": mean_text(row, "test/accuracy_last")} if last else {})
        | {"training": _training(row), "rate": number(row["learning_rate"], "g")}
        | {"s/epoch": number(row["seconds_per_epoch"], ".3g")}
        for row in rows.to_dict("records")
    ]
    title = heading(rows).replace("`", "")
    return f"{title}\n\n{tabulate(table, headers='keys', tablefmt='simple', disable_numparse=True)}"


def differences_table(rows: pd.DataFrame) -> str:
    """Draw the differences between models as Markdown; `rows` come from `differences.accuracy_differences`."""
    table = [
        {
            "protocol": row["protocol"],
            "scaling": row["scaling"],
            "difference": f"{row['first']} - {row['second']}",
        }
        | {"chosen epoch": difference_text(row, ".3f")}
        | {
            "last epoch": difference_text(row, ".3f", "_last"),
            "n": str(row["n"]),
        }
        | {"the paper's": number(row["paper_difference"], "+.3f")}
        for row in rows.to_dict("records")
    ]
    return markdown_table(table)


def published_table(paper: pd.DataFrame, own: pd.DataFrame) -> str:
    """Draw the published UCF11 results as Markdown, with the rows of our own BT-LSTM under them.

    Args:
        paper: results/paper.csv, see `btrnn.results.summary.read_paper`.
        own: Rows of `btrnn.results.summary.summarise`.
    """
    published = paper[paper["section"] == "UCF11 published"]
    table = [
        {"result": row["what"], "model": row["model"]}
        | {"accuracy": marked(row["value"], row["mark"]), "remark": row["setting"]}
        for row in published.to_dict("records")
    ]
    for row in own.to_dict("records"):
        remark = f"protocol {row['protocol']}, scaling {row['scaling']}, scale {row['scale']}"
        table.append(
            {"result": f"**ours, on {data_name(row['source'])}**", "model": row["label"]}
            | {"accuracy": mean_text(row, "test/accuracy")}
            | {"remark": remark + (": other data, not comparable" if row["stand_in"] else "")}
        )
    return markdown_table(table)


def rates_table(rows: pd.DataFrame) -> str:
    """Draw the choice of learning rates as Markdown; `rows` come from `btrnn.results.summary.rates`."""
    table = [
        {"scaling": row["scaling"], "model": row["model_label"]}
        | {"learning rate": f"{row['learning_rate']:g}"}
        | {"validation accuracy": f"{row['val/accuracy']:.3f}", "validation loss": f"{row['val/loss']:.3f}"}
        | {"at epoch": str(int(row["epoch_chosen"]) + 1)}
        | {"training accuracy, last epoch": f"{row['train/accuracy_last']:.3f}"}
        | {"chosen": "yes" if row["chosen"] else ""}
        for row in rows.to_dict("records")
    ]
    return markdown_table(table)


def provenance(runs: pd.DataFrame) -> str:
    """Say in one line on what the runs were made: devices, threads, torch versions and commits."""
    known = runs[runs["device"] != ""].to_dict("records")
    devices = sorted({f"{row['device']} ({count(row['threads'])} threads)" for row in known})
    torch = sorted({str(json.loads(text).get("torch", "?")) if text else "?" for text in runs["versions"]})
    commits = sorted(
        {
            row["git_commit"][:10] + (" (uncommitted changes)" if row["git_dirty"] == "True" else "")
            for row in runs.to_dict("records")
            if row["git_commit"]
        }
    )
    return (
        f"- {len(runs)} runs on {', '.join(devices) or 'an unknown device'}; torch {', '.join(torch)}; "
        f"commit {', '.join(commits) or 'unknown'}."
    )


def mean_text(row: Row, column: str) -> str:
    """Write mean ± sd (n) [interval]; at n = 1 the number alone, and "not run" where there is none at all."""
    if not row["n"]:
        return "not run"
    mean: float = row[column]
    if math.isnan(mean):
        return "-"
    if math.isnan(row[f"{column}_sd"]):
        return f"{mean:.3f} (n = 1)"
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return f"{mean:.3f} ± {row[f'{column}_sd']:.3f} ({row['n']}) [{low:.3f}, {high:.3f}]"


def _short_mean(row: Row) -> str:
    """Write mean ± sd; at n = 1 the mean."""
    mean, sd = row["test/accuracy"], row["test/accuracy_sd"]
    return f"{mean:.3f}" if math.isnan(sd) else f"{mean:.3f} ± {sd:.3f}"


def _training(row: Row) -> str:
    """Write the training accuracy at the last epoch; a model without epochs has only one."""
    last: float = row["train/accuracy_last"]
    return number(row["train/accuracy"] if math.isnan(last) else last, ".3f")


def _paper(row: Row) -> str:
    return "-" if math.isnan(row["paper_accuracy"]) else marked(f"{row['paper_accuracy']:.3f}", row["paper_mark"])


def marked(value: str, mark: str) -> str:
    """Write a number of the paper with its mark; what is known from memory alone is only "reported"."""
    return f"reported {value} [{mark}]" if "M" in mark else f"{value} [{mark}]"


def _paperdifference_text(row: Row) -> str:
    if not row["n"] or math.isnan(row["paper_accuracy"]):
        return "-"
    if row["stand_in"]:
        return "other data"  # a number here would read as a reproduction
    return number(row["test/accuracy"] - row["paper_accuracy"], "+.3f")
