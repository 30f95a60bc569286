"""Markdown pages from templates: `templates/<name>.md.j2` holds the words, the caller brings computed values."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from btrnn.figures.file import FigureFile
from btrnn.reports.format import count, data_name, marked, number, ratio
from btrnn.results.summary import read_paper


class Report(NamedTuple):
    """Files to be written: texts by their paths below an output folder, and figures."""

    texts: dict[Path, str]
    figures: list[FigureFile]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("btrnn.reports"),
        undefined=StrictUndefined,  # a value that nobody computed is an error, never an empty word
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown, made of our own tables
    )
    environment.filters |= {"count": count, "data_name": data_name, "number": number, "ratio": ratio}
    return environment


def render(template: str, **values: object) -> str:
    """Return the text of `templates/<template>.md.j2` with the values filled in, without blank lines at its ends.

    Raises:
        jinja2.UndefinedError: The template uses a value that is not given.
    """
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
