"""How texts are written: numbers, settings and tables, and pages of Markdown from templates.

`templates/<name>.md.j2` holds the words of a page, the caller brings computed values.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from tabulate import tabulate

from btrnn.figures.file import FigureFile
from btrnn.results.differences import NO_VERDICT
from btrnn.results.summary import read_paper

_DATA = {
    "ucf11": "UCF11",
    "ucf101": "UCF101-11",  # eleven of its classes
    "ucf101_efficientnet_lite0": "UCF101-11 as features",  # of EfficientNet-Lite0, the mean over each frame
    "ucf101_efficientnet_lite0_7x7": "UCF101-11 as maps of features",
    "weizmann": "Weizmann",
    "motions": "Motions (stand-in)",
    "mnist": "MNIST",
    "mnist_5k": "MNIST-5k",
    "fashion_mnist": "Fashion-MNIST",
    "coco": "MSCOCO",
    "flickr8k": "Flickr8k",
    "scenes": "Scenes (stand-in)",
}
_SETTINGS = {  # in words of their own
    ("scaled", True): "scaled rates",
    ("scaled", False): "unscaled rates",
    ("frame_order", "shuffled"): "shuffled frames",
    ("pixel_order", "channels"): "channel-first pixels",
    ("pixel_order", "random"): "permuted pixels",
    ("precision", "bf16-mixed"): "products in bfloat16",
    ("start", "lstm"): "begun with the trained LSTM",
    ("start", ""): "begun at random",
}
_COUNTED = {"train_limit": "training examples", "passes": "passes an epoch"}
Table = list[dict[str, str]]


class Report(NamedTuple):
    """Files to be written: texts by their paths below an output folder, and figures."""

    texts: dict[Path, str]
    figures: list[FigureFile]


def text_table(table: Table, style: str = "github") -> str:
    """Write rows of texts as a Markdown table, or in another style of tabulate; "" where there are none."""
    return str(tabulate(table, headers="keys", tablefmt=style, disable_numparse=True, missingval="-")) if table else ""


def data_name(source: str) -> str:
    """Return the name that a data source has in headings and titles; a stand-in is always called so."""
    return _DATA.get(source, source)


def split_name(row: Mapping[Any, Any]) -> str:
    """Return how the clips of a row of Task 1 are split, in words; "" of other tasks."""
    apart = f"unseen {'people' if row['source'] == 'weizmann' else 'groups'}"
    return {"paper": "random split", "paper_validated": "random split", "grouped": apart, "group_folds": apart}.get(
        str(row.get("protocol", "")), ""
    )


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


def setting_text(column: str, value: Any) -> str:
    """Write a setting of the data, the task or the optimiser with its name."""
    if column in _COUNTED:
        return f"{count(value)} {_COUNTED[column]}"
    plain = f"{column.replace('_', ' ').removeprefix('num ')} {value if isinstance(value, str) else count(value)}"
    return _SETTINGS.get((column, value), plain)


def difference_text(row: Mapping[Any, Any], form: str, times: int = 1, unit: str = "") -> str:
    """Write `mean`, its unit, and the 95 % interval from `low` to `high`, each multiplied.

    In place of an interval that there is not, it says of several differences, `n`, that they are all alike.
    """
    mean, low, high = (times * float(row[name]) for name in ("mean", "low", "high"))
    alike = {1: "", 2: " (the same in both)"}.get(row["n"], f" (the same in all {row['n']})")
    return f"{mean:+{form}}{unit}" + (interval_text(low, high, f"+{form}") or alike)


def interval_text(low: float, high: float, form: str) -> str:
    """Write an interval as it stands behind a number, with a space before it; "" where there is none."""
    return "" if math.isnan(low) else f" [{low:{form}}, {high:{form}}]"


def probability(value: float) -> str:
    """Write a p-value, NaN as a dash; below .001 it is only said that it is."""
    return "< 0.001" if value < 0.001 else number(value, ".3f")


def marked(value: str, mark: str) -> str:
    """Write a number of the paper with its mark; what is known from memory alone is only "reported"."""
    return f"reported {value} [{mark}]" if "M" in mark else f"{value} [{mark}]"


def span(values: "pd.Series[Any]") -> str:
    """Write the lowest and the highest of some whole numbers, or the one that they all are; 0 where there is none."""
    known = values.dropna()
    return " to ".join(dict.fromkeys(count(int(end)) for end in (known.min(), known.max()))) if len(known) else "0"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("btrnn.reports"),
        undefined=StrictUndefined,  # a value that nobody computed is an error, never an empty word
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown, made of our own tables
    )
    environment.filters |= {"count": count, "number": number, "ratio": ratio}
    environment.filters |= {"data_name": data_name, "table": text_table, "probability": probability}
    environment.globals |= {"interval": interval_text, "no_verdict": NO_VERDICT}
    return environment


def render(template: str, **values: object) -> str:
    """Return the text of `templates/<template>.md.j2` with all values filled in, without blank lines at its ends."""
    return _environment().get_template(f"{template}.md.j2").render(values).strip()


def fill(text: str, **values: object) -> str:
    """Return a short text, itself a template, with the values filled in; see `render`."""
    return _environment().from_string(text).render(values)


def paper_values(results_dir: Path) -> dict[str, Callable[..., str]]:
    """Return what texts may ask of results/paper.csv: `value(id)`; with its mark `paper(id)`, `law(id)`, `gap`."""
    table = read_paper(results_dir / "paper.csv")
    values, marks = table["value"].to_dict(), table["mark"].to_dict()

    def paper(key: str) -> str:
        return marked(f"{int(values[key]):,}" if values[key].isdigit() else values[key], marks[key])

    def law(key: str) -> str:
        return marked(f"`{values[f'complexity.{key}']}`", marks[f"complexity.{key}"])

    def gap(first: str, second: str) -> str:
        both = sorted({marks[first], marks[second]}, reverse=True)
        return f"{float(values[first]) - float(values[second]):+.3f} [{', '.join(both)}]"

    return {"value": values.__getitem__, "paper": paper, "law": law, "gap": gap}
