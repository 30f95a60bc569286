"""What the notebooks show, each in one line: claims, tables and figures of the committed results.

The notebooks compute nothing: what they show comes from here, from `btrnn.reports` and from `btrnn.figures`.
"""

import io
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import PIL.Image
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

from btrnn.figures.file import FigureFile, Frames
from btrnn.figures.style import png_bytes
from btrnn.reports.claims.exact import own_counts
from btrnn.reports.claims.page import all_claims, by_verdict, claims_table
from btrnn.reports.claims.rules import Claim
from btrnn.reports.format import markdown_table
from btrnn.storage.files import ResultsError

RESULTS = Path("..") / "results"  # as seen from notebooks/
_RESOLUTION = 100  # dots an inch
_COLORS = 128  # of a picture in a notebook: enough for lines and digits, and a third of the bytes


def show_claims(*topics: str) -> None:
    """Show the claims of some topics: the paper's number, ours, and what became of it."""
    display(Markdown(claims_table(_chosen(topics), RESULTS, f"{RESULTS}/")))


def show_outcome(*topics: str) -> None:
    """Show of some topics what was and what was not reproduced."""
    parts = []
    for verdict, claims in by_verdict(_chosen(topics)).items():
        parts.append("\n".join([f"**{verdict.capitalize()}**\n", *(f"- {c.topic}: {c.claim}" for c in claims)]))
    display(Markdown("\n\n".join(parts)))


def show_counts() -> None:
    """Show what is counted here and stands in no source."""
    display(Markdown(markdown_table(own_counts(RESULTS))))


def _chosen(topics: Iterable[str]) -> list[Claim]:
    claims = _claims(RESULTS)
    chosen = [claim for claim in claims if claim.topic in topics]
    if not chosen:
        known = ", ".join(sorted({claim.topic for claim in claims}))
        raise ResultsError(f"no claim is about {', '.join(topics)}; there are claims about {known}")
    return chosen


@cache  # a notebook asks twice
def _claims(results_dir: Path) -> list[Claim]:
    return all_claims(results_dir)


def show_text(text: str) -> None:
    """Show Markdown of a report, without its pictures, which are drawn; its links start in results/tables."""

    def from_here(link: re.Match[str]) -> str:
        return f"]({os.path.normpath(RESULTS / 'tables' / link[1])})"

    without = re.sub(r"^!\[.*\]\(.*\)$\n*", "", text, flags=re.MULTILINE)
    display(Markdown(re.sub(r"\]\((?!https?:)([^)]+)\)", from_here, without).strip()))


def show_pages(pages: Mapping[Path, str]) -> None:
    """Show what `table_texts` gives, each page without its title and the note of how it is made."""
    for text in pages.values():
        show_text(text.split("\n\n", 2)[2])


def show_section(text: str, heading: str) -> None:
    """Show one section of a Markdown page, from its heading, without that, to the next of its level or above.

    Raises:
        ResultsError: There is no such heading.
    """
    lines = text.splitlines()
    if heading not in lines:
        raise ResultsError(f"there is no heading {heading!r} among {[line for line in lines if line.startswith('#')]}")
    begin = lines.index(heading) + 1
    level = len(heading) - len(heading.lstrip("#"))
    ends = [k for k in range(begin, len(lines)) if re.match(rf"#{{1,{level}}} ", lines[k])]
    show_text("\n".join(lines[begin : min(ends, default=len(lines))]))


def show_figures(files: Iterable[FigureFile], *names: str) -> None:
    """Show the figures whose file name ends in one of `names`, in the order of these.

    Raises:
        ResultsError: None ends in one of them.
    """
    known = {file.path.stem: file for file in files}
    for name in names:
        chosen = [file for stem, file in known.items() if stem.endswith(name)]
        if not chosen:
            raise ResultsError(f"no figure's name ends in {name!r}; there are {', '.join(known) or 'none'}")
        for file in chosen:
            show_figure(file.draw())


def show_figure(drawn: Figure | Frames) -> None:
    """Show a figure, or an animation's last frame."""
    if isinstance(drawn, Figure):
        picture = PIL.Image.open(io.BytesIO(png_bytes(drawn, _RESOLUTION))).convert("RGB")
    else:
        picture = drawn[-1].convert("RGB")
    small = io.BytesIO()
    picture.quantize(_COLORS).save(small, format="png", optimize=True)
    display(Image(small.getvalue()))
