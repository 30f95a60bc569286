"""What the notebooks show, each in one line: claims, and pages with their figures, of the published results."""

import io
import os
import re
from pathlib import Path

import PIL.Image
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

from btrnn.figures.file import Frames, png_bytes
from btrnn.reports.claims.claim_figures import claim_figures
from btrnn.reports.claims.claim_pages import all_claims, all_known, claims_table
from btrnn.reports.render import Report
from btrnn.reports.view import published_view
from btrnn.reports.writing import OTHER_PAGES, page_report
from btrnn.storage.files import ResultsError

RESULTS = Path("..") / "results"  # as seen from here, where the notebooks run
_RESOLUTION = 100  # dots an inch
_COLORS = 128  # of a picture in a notebook: enough for lines and digits, and a third of the bytes


def show_claims(*topics: str) -> None:
    """Show the claims of some topics: the paper's number, ours, and what became of it.

    Raises:
        ResultsError: No claim is about them.
    """
    claims = all_claims(RESULTS)
    chosen = [claim for claim in claims if claim["topic"] in topics]
    if not chosen:
        known = ", ".join(sorted({claim["topic"] for claim in claims}))
        raise ResultsError(f"no claim is about {', '.join(topics)}; there are claims about {known}")
    there = [path.relative_to(RESULTS) for path in RESULTS.glob("tables/*")]
    display(Markdown(claims_table(chosen, there, f"{RESULTS}/")))


def show_page(name: str, *figures: str, command: str = "") -> None:
    """Show a page of results/tables without its title, then its figures whose names end so, or all.

    Where the numbers of `name`, a page or an experiment, also on a stand-in, are not published, say what makes them.
    """
    if name not in OTHER_PAGES:
        view = published_view(RESULTS, name)
        name = view.experiment if view else ""
    report = page_report(RESULTS, name) if name else Report({}, [])
    text = "\n\n".join(page.split("\n\n", 2)[2] for page in report.texts.values())
    show_text(text or f"Not published yet: `{command}` makes these numbers.")
    for file in report.figures:
        if file.path.stem.endswith(figures or ("",)):
            show_figure(file.draw())


def show_summary(name: str, *figures: str) -> None:
    """Show what a page of results/tables says before its tables, a link to it, and its figures whose names end so.

    Raises:
        ResultsError: The experiment, or the same on a stand-in, is not published.
    """
    view = published_view(RESULTS, name)
    if view is None:
        raise ResultsError(f"{name} is not published")
    report = page_report(RESULTS, view.experiment)
    ((path, text),) = report.texts.items()
    said = [part for part in text.split("\n## ")[0].split("\n\n")[2:] if not part.startswith(("!", "Also: "))]
    show_text("\n\n".join([*said, f"[All numbers of {path.stem}]({path.name})."]))
    for file in report.figures:
        if file.path.stem.removeprefix(view.experiment).removeprefix("_") in figures:
            show_figure(file.draw())


def show_claim_figure(name: str) -> None:
    """Show one of the figures of results/README.md.

    Raises:
        ResultsError: It shows no figure of this name.
    """
    figures = {file.path.stem: file for file in claim_figures(all_known(RESULTS))}
    if name not in figures:
        raise ResultsError(f"no figure {name!r}; there are {', '.join(figures) or 'none'}")
    show_figure(figures[name].draw())


def show_text(text: str) -> None:
    """Show Markdown of a report, without its pictures, which are drawn; its links start in results/tables."""

    def from_here(link: re.Match[str]) -> str:
        return f"]({os.path.normpath(RESULTS / 'tables' / link[1])})"

    without = re.sub(r"^!\[.*\]\(.*\)$\n*", "", text, flags=re.MULTILINE)
    display(Markdown(re.sub(r"\]\((?!https?:)([^)]+)\)", from_here, without).strip()))


def show_figure(drawn: Figure | Frames) -> None:
    """Show a figure, or an animation's last frame."""
    if isinstance(drawn, Figure):
        picture = PIL.Image.open(io.BytesIO(png_bytes(drawn, _RESOLUTION))).convert("RGB")
    else:
        picture = drawn[-1].convert("RGB")
    small = io.BytesIO()
    picture.quantize(_COLORS).save(small, format="png", optimize=True)
    display(Image(small.getvalue()))
