"""Markdown pages from templates: `templates/<name>.md.j2` holds the words, the caller brings computed values."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from btrnn.reports.format import count, number, ratio


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
