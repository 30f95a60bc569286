"""How numbers, settings and tables are written."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from tabulate import tabulate

_DATA = {
    "ucf11": "UCF11",
    "ucf101": "UCF101-11",  # eleven of its classes
    "motions": "Motions (stand-in)",
    "mnist": "MNIST",
    "mnist_5k": "MNIST-5k",
    "fashion_mnist": "Fashion-MNIST",
    "coco": "MSCOCO",
    "flickr8k": "Flickr8k",
    "scenes": "Scenes (stand-in)",
}
Table = list[dict[str, str]]


def text_table(table: Table, style: str = "github") -> str:
    """Write rows of texts as a Markdown table, or in another style of tabulate; "" where there are none."""
    return str(tabulate(table, headers="keys", tablefmt=style, disable_numparse=True, missingval="-")) if table else ""


def data_name(source: str) -> str:
    """Return the name that a data source has in headings and titles; a stand-in is always called so."""
    return _DATA.get(source, source)


def ratio(value: float | int) -> str:
    """Write a ratio as the paper does, rounded down, where it is large; with a decimal where it is small."""
    if math.isnan(value):
        return "-"
    return f"{math.floor(value):,}" if value >= 1_000 else f"{value:.1f}".removesuffix(".0")


def count(value: float | int) -> str:
    """Write a whole number with commas, NaN as a dash."""
    return "-" if math.isnan(value) else f"{int(value):,}"


def number(value: float | int, form: str) -> str:
    """Write a number in a format, NaN as a dash."""
    return "-" if math.isnan(value) else f"{value:{form}}"


def value_text(value: Any) -> str:
    """Write the value of a setting."""
    return value if isinstance(value, str) else count(value)


def setting_text(column: str, value: Any) -> str:
    """Write a setting of the data, the task or the optimiser with its name."""
    if column == "scaled":
        return "scaled rates" if value else "unscaled rates"
    return f"{column.replace('_', ' ').removeprefix('num ')} {value_text(value)}"


def mean_text(row: Mapping[Any, Any], column: str, form: str, *, times: int = 1, interval: bool = True) -> str:
    """Write mean ± sd (n) [95 % interval] of a row of a summary; at n = 1 the number alone."""
    if math.isnan(row.get(column, math.nan)):
        return "-"
    mean, sd, low, high = (times * row[f"{column}{part}"] for part in ("", "_sd", "_low", "_high"))
    if math.isnan(sd):
        return f"{mean:{form}} (n = 1)"
    return f"{mean:{form}} ± {sd:{form}} ({row['n']})" + (f" [{low:{form}}, {high:{form}}]" if interval else "")


def difference_text(row: Mapping[Any, Any], form: str, times: int = 1, unit: str = "") -> str:
    """Write a difference with its 95 % interval, where there is one.

    Args:
        row: Has `mean`, `low` and `high`; the last two are NaN at one seed, which tells nothing of others.
        form: A format without sign, such as ".3f".
        times: What all three are multiplied with.
        unit: Behind the mean.
    """
    mean, low, high = (times * float(row[name]) for name in ("mean", "low", "high"))
    return f"{mean:+{form}}{unit}" + ("" if math.isnan(low) else f" [{low:+{form}}, {high:+{form}}]")


def marked(value: str, mark: str) -> str:
    """Write a number of the paper with its mark; what is known from memory alone is only "reported"."""
    return f"reported {value} [{mark}]" if "M" in mark else f"{value} [{mark}]"


def span(values: "pd.Series[Any]") -> str:
    """Write the lowest and the highest of some whole numbers, or the one that they all are."""
    known = [int(value) for value in values.dropna()]
    if not known:
        return "0"
    low, high = count(min(known)), count(max(known))
    return low if low == high else f"{low} to {high}"
