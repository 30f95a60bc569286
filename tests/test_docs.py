"""The documentation: it builds strictly, every link and picture of it is there, and it asks nothing of the network."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup, Tag
from PIL import Image

from .conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_FETCHING = (("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"))
_LEADING = (("a", "href"), *_FETCHING)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    outcome = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, BeautifulSoup]:
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in site.glob("**/*.html")}


def places_of(page: BeautifulSoup) -> set[str]:
    """Return the places of a page that a link may name."""
    names = {str(element["id"]) for element in page.find_all(id=True)}
    return names | {str(anchor["name"]) for anchor in page.find_all("a", attrs={"name": True})}


def dead_links(pages: dict[Path, BeautifulSoup]) -> list[str]:
    """Return the links and pictures that lead to no file, or to no place of the page they name."""
    places = {path: places_of(page) for path, page in pages.items()}
    dead = []
    for path, page in pages.items():
        links = {str(link.get(attribute, "")) for tag, attribute in _LEADING for link in page.find_all(tag)}
        for link in sorted(links):
            parts = urlsplit(link)
            if parts.scheme or (path.name == "404.html" and parts.path.startswith("/")):
                continue  # the page for a missing page starts from the root of a server
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            place = unquote(parts.fragment)
            if not target.is_file() or (place and target in places and place not in places[target]):
                dead.append(f"{path.name}: {link}")
    return dead


def test_every_link_leads_somewhere(pages):
    assert len(pages) > 40
    assert dead_links(pages) == []


def test_a_dead_link_a_missing_place_and_a_missing_picture_are_found(tmp_path):
    page = tmp_path.resolve() / "page.html"
    page.write_text(
        '<h1 id="here">x</h1><a href="#here">a</a><a href="#there">b</a><a href="no.html">c</a><img src="d.png">',
        encoding="utf-8",
    )
    found = dead_links({page: BeautifulSoup(page.read_text(), "html.parser")})
    assert found == ["page.html: #there", "page.html: d.png", "page.html: no.html"]


def test_nothing_is_fetched_from_the_network(site, pages):
    for path, page in pages.items():
        for tag, attribute in _FETCHING:
            for element in page.find_all(tag):
                assert not urlsplit(str(element.get(attribute, ""))).netloc, f"{path.name}: {element}"
        for element in page.find_all(["script", "style"]):
            assert not re.search(r"(import|url)\s*\(?['\"]?(https?:)?//", element.get_text()), path.name
    for style in site.glob("**/*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text()), style.name


def test_every_picture_can_be_shown(site):
    pictures = [path for path in site.glob("results/figures/*") if path.suffix in (".png", ".gif")]
    assert len(pictures) == len(list((ROOT / "results" / "figures").iterdir()))
    for path in pictures:
        with Image.open(path) as image:
            image.verify()


def test_no_page_names_a_path_of_one_machine(pages):
    for path, page in pages.items():
        assert not re.search(r"(?<![\w.])/(?:root|home|work|tmp)/", page.get_text()), path.name


def main_of(pages: dict[Path, BeautifulSoup], site: Path, name: str) -> Tag:
    main = pages[site / name].find("article")
    assert isinstance(main, Tag)
    return main


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_s_pictures_and_tables_are_there(path, pages, site):
    import nbformat

    shown = [
        output.get("data", {})
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    body = main_of(pages, site, f"notebooks/{path.stem}.html")
    assert len(body.find_all("img")) == sum("image/png" in data for data in shown)
    assert len(body.find_all("table")) >= sum("|--" in data.get("text/markdown", "") for data in shown)


def test_the_pages_of_results_can_be_reached_and_the_plan_is_drawn(pages, site):
    links = {str(a["href"]) for a in pages[site / "index.html"].find_all("a", href=True)}
    for path in [*(ROOT / "results" / "tables").glob("*.md"), *NOTEBOOKS]:
        assert path.relative_to(ROOT).with_suffix(".html").as_posix() in links
    plan = main_of(pages, site, "how/plan.html")
    assert len(plan.find_all("rect", class_="bar")) == len(re.findall(r"stage \d", plan.svg.get_text())) + 1


def test_the_reference_has_every_public_class(pages, site):
    import btrnn

    layers = pages[site / "reference" / "layers.html"]
    names = [name for name in btrnn.__all__ if name[0].isupper()]
    assert "BTLSTM" in names
    missing = [name for name in names if not layers.find(id=re.compile(rf"^btrnn\.(.+\.)?{name}$"))]
    assert missing == []


def test_search_has_an_index_that_needs_no_server(site, pages):
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = {")
    assert "tucker_rank" in index
    scripts = {script.get("src") for script in pages[site / "index.html"].find_all("script")}
    assert "assets/iframe-worker.js" in scripts
