"""What the site takes from the repository as it is built: results, notebooks, notes; and the drawing of a plan.

`results/`, `notebooks/`, `data/README.md`, `CONTRIBUTING.md` and `CHANGELOG.md` keep their places, so that their links
to one another hold. Links from them to other files of the repository become plain text: those are not part of the site.
"""

import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pandas as pd
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from plan_drawing import draw_plan

import btrnn

ROOT = Path(__file__).resolve().parent.parent
TAKEN = (
    *("CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "notebooks/*.ipynb"),
    *("results/*.md", "results/*.csv", "results/tables/*.md", "results/figures/*", "results/weights/*.md"),
)
_MARKDOWN_LINK = re.compile(r"(?<![\w)\]])(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_HTML_LINK = re.compile(r'<a href="(?P<target>[^"]+)"(?P<rest>[^>]*)>(?P<text>.*?)</a>', re.DOTALL)
_LONG_CELL = re.compile(r"<td(?=[^>]*>[^<]{60})")
_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)


@event_priority(100)  # before the plugin that renders notebooks looks for them
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the repository has to the pages of docs/, and the pages of results to the navigation."""
    for path in _taken():
        files.append(File(path.as_posix(), str(ROOT), config.site_dir, config.use_directory_urls))
    files.append(File.generated(config, "results/figures/README.md", content=_gallery()))
    for entry in config.nav or []:
        if "Results" in entry:
            entry["Results"] = _navigation()
    return files


def _taken() -> list[Path]:
    return sorted(path.relative_to(ROOT) for pattern in TAKEN for path in ROOT.glob(pattern) if path.is_file())


def _navigation() -> list[dict[str, Any]]:
    """List the pages of results: claims, figures, tables, notebooks, and what they rest on."""
    paths = [path for path in _taken() if path.suffix in (".md", ".ipynb")]

    def pages(folder: str) -> list[dict[str, str]]:
        return [{_title(path): path.as_posix()} for path in paths if path.parent.as_posix() == folder]

    return [
        {"Claims": "results/README.md"},
        {"Figures": "results/figures/README.md"},
        {"Tables": pages("results/tables")},
        {"Notebooks": pages("notebooks")},
        {"Deviations from the paper": "results/deviations.md"},
        {"When something fails": "results/reliability.md"},
        {"Data": "data/README.md"},
        {"Trained models": pages("results/weights")},
    ]


def _title(path: Path) -> str:
    if path.suffix == ".ipynb":
        text = str(nbformat.read(ROOT / path, as_version=4).cells[0].source)
    else:
        text = (ROOT / path).read_text(encoding="utf-8")
    heading = next((line for line in text.splitlines() if line.startswith("# ")), path.stem)
    return heading.removeprefix("# ").replace("`", "").strip()


def _gallery() -> str:
    """Write the page of all figures, each beside the name of the file that it is."""
    lines = ["# Figures", "", "All that is drawn, from the CSV files alone. A picture opens in full size.", ""]
    lines.append('<div class="gallery" markdown>')
    for path in sorted((ROOT / "results" / "figures").iterdir()):
        name = path.stem.replace("_", " ")
        lines += ["", f"[![{name}]({path.name})]({path.name})<br>{name}"]
    return "\n".join([*lines, "", "</div>", ""])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links from places of the repository to those of the site, and fill the places for what is made."""
    made = page.file.abs_src_path is None
    of_docs = not made and str(page.file.abs_src_path).startswith(config.docs_dir)
    source = f"docs/{page.file.src_uri}" if of_docs else page.file.src_uri

    def link(match: re.Match[str]) -> str:
        place = _place(match["target"], source)
        if place is None:
            return match[0]
        if files.get_file_from_path(place) is None:
            place = f"{place}/README.md"  # of a folder, if it has one
        if files.get_file_from_path(place) is None:
            return match["text"]
        target = posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")
        fragment = urlsplit(match["target"]).fragment
        return f"{match['image']}[{match['text']}]({target}{f'#{fragment}' if fragment else ''})"

    if not made:
        markdown = _MARKDOWN_LINK.sub(link, markdown)
    if "<!-- plan -->" in markdown:
        markdown = markdown.replace("<!-- plan -->", draw_plan())
    if "<!-- formats: fit -->" in markdown:
        for name, text in _formats().items():
            markdown = markdown.replace(f"<!-- formats: {name} -->", text)
    return markdown.replace("<!-- public names -->", _public_names())


def _formats() -> dict[str, str]:
    """Write the measured comparison of formats as tables: counts and fit, times, memory."""
    table = pd.read_csv(ROOT / "results" / "formats.csv")
    errors = [name for name in map(str, table) if name.startswith("error_")]
    fit = table[["format", "parameters", "ratio", "small_parameters", *errors]]
    fit = fit.rename(columns={"ratio": "of dense, 1 :", "small_parameters": "parameters, 64 x 64"})
    fit.columns = [str(name).replace("error_", "error: ").replace("_", " ") for name in fit.columns]

    ours, dense = table[1:], table.iloc[0]  # the dense layer comes first
    others = {"opt_einsum": "opt_einsum", "tednet": "tednet", "tltorch": "tensorly-torch"}
    times = pd.DataFrame({"format": ours["format"], "ms": _pairs(ours["forward_ms"], ours["step_ms"])})
    times["x dense"] = _pairs(dense["forward_ms"] / ours["forward_ms"], dense["step_ms"] / ours["step_ms"])
    memory = pd.DataFrame({"format": ours["format"], "btrnn": ours["kept_mib"]})
    for prefix, name in others.items():
        pairs = [ours[f"{prefix}_{column}"] / ours[column] for column in ("forward_ms", "step_ms")]
        times[f"x {name}"] = _pairs(*pairs)
        memory[name] = ours[f"{prefix}_kept_mib"]
        if f"{prefix}_parameters" in ours:
            other = ours[f"{prefix}_parameters"] != ours["parameters"]
            shown = ours[f"{prefix}_parameters"].map("{:,.0f}".format)
            times.loc[other & pairs[0].notna(), f"x {name}"] += " (" + shown + ")"
    return {name: _markdown(each) for name, each in (("fit", fit), ("time", times), ("memory", memory))}


def _pairs(forward: pd.Series, step: pd.Series) -> pd.Series:
    """Write numbers of a forward pass and of one with a backward pass as one cell; empty where there are none."""
    cells = [f"{a:.3g} / {b:.3g}" if a == a else "" for a, b in zip(forward, step, strict=True)]
    return pd.Series(cells, index=forward.index)


def _markdown(table: pd.DataFrame) -> str:
    align = ["left", *["right"] * (table.shape[1] - 1)]
    text: str = table.map(_cell).to_markdown(index=False, disable_numparse=True, colalign=align)
    return text


def _cell(value: Any) -> str:
    """Write a number with three digits, and none where there is no number."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    return f"{value:.3g}" if abs(value) < 100 and value != int(value) else f"{value:,.0f}"


def _public_names() -> str:
    """Ask for the docstring of every public class, in the order of the alphabet."""
    names = sorted(name for name in btrnn.__all__ if name[0].isupper())
    return "\n\n".join(f"::: btrnn.{name}" for name in names)


def on_page_content(html: str, page: Page, files: Files, **_: object) -> str:
    """Mark cells that need width; give notebooks links within the site, and take out what they would fetch."""

    def link(match: re.Match[str]) -> str:
        target = _place(match["target"], page.file.src_uri)
        if target is None:
            return match[0]
        found = files.get_file_from_path(target)
        if found is None:
            return match["text"]
        fragment = urlsplit(match["target"]).fragment
        address = found.url_relative_to(page.file) + (f"#{fragment}" if fragment else "")
        return f'<a href="{address}"{match["rest"]}>{match["text"]}</a>'

    html = _LONG_CELL.sub('<td class="long"', html)
    return _HTML_LINK.sub(link, _SCRIPT.sub("", html)) if page.file.src_uri.endswith(".ipynb") else html


def _place(target: str, source: str) -> str | None:
    """Return where a link of the repository leads in the site; None for the network and places of its own page."""
    parts = urlsplit(target)
    if parts.scheme or not parts.path:
        return None
    place = posixpath.normpath(posixpath.join(posixpath.dirname(source), parts.path))
    return place.removeprefix("docs/")
