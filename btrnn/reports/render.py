"""Markdown pages from templates: `templates/<name>.md.j2` holds the words, the caller brings computed values."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from btrnn.reports.format import count, marked, number, ratio
from btrnn.results.paper import read_paper


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
    return environment


def render(template: str, **values: object) -> str:
    """Return the text of `templates/<template>.md.j2` with the values filled in, without blank lines at its ends.

    Raises:
        jinja2.UndefinedError: The template uses a value that is not given.
    """
    return _environment().get_template(f"{template}.md.j2").render(values).strip()


def fill(text: str, **values: object) -> str:
    """Return a short text, itself a template, with the values filled in.

    Raises:
        jinja2.UndefinedError: The text uses a value that is not given.
    """
    return _environment().from_string(text).render(values)


def paper_values(results_dir: Path) -> dict[str, Callable[..., str]]:
    """Return what texts may ask of results/paper.csv: `value(id)`; with its mark `paper(id)`, `law(id)`, `gap`."""
    table = read_paper(results_dir / "paper.csv")

    def value(key: str) -> str:
        return str(table["value"][key])

    def paper(key: str) -> str:
        number = value(key)
        return marked(f"{int(number):,}" if number.isdigit() else number, table["mark"][key])

    def law(key: str) -> str:
        return marked(f"`{value(f'complexity.{key}')}`", table["mark"][f"complexity.{key}"])

    def gap(first: str, second: str) -> str:
        marks = sorted({table["mark"][key] for key in (first, second)}, reverse=True)
        return f"{float(value(first)) - float(value(second)):+.3f} [{', '.join(marks)}]"

    return {"value": value, "paper": paper, "law": law, "gap": gap}
