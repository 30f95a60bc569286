"""Render the notebooks, and the pages of results/ that they lead to, as one folder of HTML: `make report`.

    python scripts/html_report.py                      # writes results/report/index.html and what belongs to it
    python scripts/html_report.py --check results/report   # says which links and figures are missing there

The folder can be moved or sent as it is: pages link to one another, figures lie beside them.
"""

import argparse
import html
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup, Tag
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from PIL import Image, UnidentifiedImageError
from pygments.formatters import HtmlFormatter

from btrnn.storage.atomic import replace_file

ROOT = Path(__file__).resolve().parent.parent
COPIED = {".png", ".gif", ".csv", ".npz", ".json"}  # other files are named, not linked
_INDEX = Path("results") / "README.md"
_MARK = "<!-- made by scripts/html_report.py -->"
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 60rem;
  padding: 0 1rem 3rem; overflow-wrap: break-word; }
nav { border-bottom: 1px solid #ddd; padding: .6rem 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
h1, h2, h3 { line-height: 1.2; }
img { max-width: 100%; height: auto; }
pre { overflow-x: auto; background: #f6f6f6; padding: .6rem; font-size: .85rem; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { border: 1px solid #ddd; padding: .25rem .5rem; text-align: left; vertical-align: top; }
td { min-width: 3rem; }
th { background: #f0f0f0; }
a { color: #0058a3; }
.jp-InputPrompt, .jp-OutputPrompt, .prompt, .anchor-link { display: none; }
@page { size: A4 landscape; margin: 1cm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .table { overflow: visible; }
  table { font-size: 6.5pt; width: 100%; }
  th, td { min-width: 0; padding: .1rem .2rem; }
  td code { overflow-wrap: anywhere; }
  pre { white-space: pre-wrap; }
  img, tr { break-inside: avoid; }
}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report, or check one; exits with what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "report", help="default: results/report")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="write nothing, check that folder")
    options = parser.parse_args(arguments)
    folder = options.check or options.out
    if not options.check:
        build(folder)
    problems = list(missing(folder))
    if problems:
        sys.exit("\n".join(problems))
    if not options.check:
        print(f"wrote {folder / 'index.html'}")


def build(folder: Path) -> None:
    """Write all pages, from the index and the notebooks to whatever they lead to; an earlier report is replaced."""
    if folder.exists() and any(folder.iterdir()) and _MARK not in _text(folder / "index.html"):
        sys.exit(f"error: {folder} holds something else than a report: name another folder, or empty it")
    notebooks = [path.relative_to(ROOT) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    titles = {path: _title(path) for path in notebooks}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        part = Path(name) / "report"
        waiting, written = [_INDEX, *notebooks], set()
        while waiting:
            source = waiting.pop()
            if source in written:
                continue
            written.add(source)
            body = BeautifulSoup(_body(source), "html.parser")
            waiting += _bring_along(body, source, part)
            replace_file(part / page_of(source), _page(body, source, titles))
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def page_of(source: Path) -> Path:
    """Return where a source's page lies in the report: notebooks and what is in results/ at its top."""
    if source == _INDEX:
        return Path("index.html")
    inner = source.relative_to(source.parts[0]) if source.parts[0] in ("notebooks", "results") else source
    return inner.with_suffix(".html")


def _title(notebook: Path) -> str:
    first = nbformat.read(ROOT / notebook, as_version=4).cells[0].source
    return str(first).splitlines()[0].lstrip("# ")


def _body(source: Path) -> str:
    """Render a notebook or a Markdown file as a piece of HTML."""
    if source.suffix == ".ipynb":
        exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
        return str(exporter.from_filename(str(ROOT / source))[0])
    return str(markdown2html((ROOT / source).read_text(encoding="utf-8")))


def _bring_along(body: BeautifulSoup, source: Path, folder: Path) -> list[Path]:
    """Copy what a page shows, and turn its links to those in the report; returns the Markdown files it links to."""
    pages = []
    for table in body.find_all("table"):
        table.wrap(body.new_tag("div", attrs={"class": "table"}))
    for tag, attribute, link in _links(body):
        target = (ROOT / source.parent / unquote(link.path)).resolve()
        if not link.path or not target.is_relative_to(ROOT) or not target.is_file():
            continue  # a place of this page; or nothing, which `missing` names
        inside = target.relative_to(ROOT)
        if inside.suffix in (".md", ".ipynb"):
            pages.append(inside)
            place = page_of(inside)
        elif inside.suffix in COPIED:
            place = page_of(inside).with_suffix(inside.suffix)
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, folder / place)
        else:
            tag.unwrap()
            continue
        up = Path(*[".."] * (len(page_of(source).parts) - 1))
        tag[attribute] = (up / place).as_posix() + (f"#{link.fragment}" if link.fragment else "")
    return pages


def _links(body: BeautifulSoup) -> Iterator[tuple[Tag, str, SplitResult]]:
    """Give every link and picture of a page that leads to a file, or to a place of the page."""
    for name, attribute in (("a", "href"), ("img", "src")):
        for tag in body.find_all(name):
            link = urlsplit(str(tag.get(attribute, "")))
            if link.scheme == "":
                yield tag, attribute, link


def _page(body: BeautifulSoup, source: Path, titles: dict[Path, str]) -> str:
    """Put a page around its content: title, style, and links to the notebooks."""
    up = Path(*[".."] * (len(page_of(source).parts) - 1))
    entries = {"All claims": Path("index.html")} | {title: page_of(path) for path, title in titles.items()}
    links = "\n".join(f'<a href="{(up / page).as_posix()}">{html.escape(title)}</a>' for title, page in entries.items())
    heading = body.find("h1")
    title = heading.get_text().strip("¶") if heading else page_of(source).stem
    colors = HtmlFormatter().get_style_defs(".highlight")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{_MARK}\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}{colors}</style>\n</head>\n<body>\n<nav>\n{links}\n</nav>\n<main>\n{body}\n</main>\n</body>\n"
        "</html>\n"
    )


def missing(folder: Path) -> Iterator[str]:
    """Say which links of a report lead nowhere, and which pictures cannot be shown."""
    pages = sorted(folder.glob("**/*.html"))
    if folder / "index.html" not in pages:
        yield f"{folder} has no index.html"
    for page in pages:
        body = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        for tag, _, link in _links(body):
            target = page.parent / unquote(link.path) if link.path else page
            if not target.is_file() or not target.resolve().is_relative_to(folder.resolve()):
                yield f"{page}: {link.path} is not there"
            elif target == page and link.fragment and body.find(id=unquote(link.fragment)) is None:
                yield f"{page}: it has no place #{link.fragment}"
            elif tag.name == "img":
                yield from _broken(target, page)


def _broken(picture: Path, page: Path) -> Iterator[str]:
    try:
        with Image.open(picture) as image:
            image.verify()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        yield f"{page}: {picture} cannot be shown: {error}"


if __name__ == "__main__":
    main()
