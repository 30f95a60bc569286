"""Notebooks: committed executed, showing what results/ holds. nbmake runs them."""

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.display import Image, Markdown

from btrnn.storage.files import ResultsError

from .conftest import ROOT
from .processes import run_script

sys.path.insert(0, str(ROOT / "scripts"))
sys.path.insert(0, str(ROOT / "notebooks"))
import execute_notebooks
import published

del sys.path[:2]
published.all_claims = cache(published.all_claims)  # of the same files for all
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OF_RESULTS = [path for path in NOTEBOOKS if path.stem != "07_compress"]  # which trains, and is nobody's claim


def cells(path: Path) -> list[Any]:
    return list(nbformat.read(path, as_version=4).cells)


def shown(path: Path) -> list[str]:
    """Return what a committed notebook shows as text, in order."""
    outputs = [output for cell in cells(path) if cell.cell_type == "code" for output in cell.outputs]
    return [output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_executed(path):
    assert [output for cell in cells(path) for output in cell.get("outputs", []) if output.output_type == "error"] == []
    code = [cell for cell in cells(path) if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.outputs for cell in code), "a cell shows nothing"
    said = [output for cell in code for output in cell.outputs if output.get("name") == "stderr"]
    assert said == [], "a warning"


@pytest.mark.parametrize("path", OF_RESULTS, ids=lambda path: path.stem)
def test_a_notebook_shows_the_numbers_of_today(path, monkeypatch):
    code = [cell for cell in cells(path) if cell.cell_type == "code"]
    displayed: list[Any] = []
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(published, "display", displayed.append)
    monkeypatch.setattr(published, "show_figure", lambda _: displayed.append(Image(b"\x89PNG\r\n\x1a\n")))
    monkeypatch.setattr("builtins.print", lambda *_: None)
    namespace: dict[str, Any] = {}
    for cell in code:
        exec(compile(cell.source, path.name, "exec"), namespace)
    texts = [item.data for item in displayed if isinstance(item, Markdown)]
    assert texts == shown(path), "out of date: run `make notebooks`"
    pictures = [o for cell in code for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == sum(isinstance(item, Image) for item in displayed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_with_its_number_and_names_no_path_of_one_machine(path):
    assert cells(path)[0].source.startswith(f"# {int(path.stem[:2])}. ")
    assert not re.search(r"(?<![\w.])/(?:root|home|work|tmp)/", path.read_text())


@pytest.mark.parametrize("path", OF_RESULTS, ids=lambda path: path.stem)
def test_a_notebook_on_a_claim_ends_with_what_became_of_it(path):
    *_, heading, last = cells(path)
    assert heading.source == "## What was and was not reproduced"
    assert re.search(
        r"\*\*(reproduced|partly|not reproduced|not testable here|not tested|not run)\*\*", str(last.outputs)
    )


def test_an_executed_notebook_has_no_times_and_is_the_same_each_time(tmp_path):
    path = tmp_path / "small.ipynb"
    cell = nbformat.v4.new_code_cell("print(1 + 1)", id="a")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    text = execute_notebooks.executed(path)
    assert '"2\\n"' in text
    assert "iopub" not in text
    path.write_text(text)
    assert execute_notebooks.executed(path) == text
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0", id="a")]), path)
    before = path.read_text()
    with pytest.raises(execute_notebooks.NotebookError, match=r"small\.ipynb: .*ZeroDivisionError"):
        execute_notebooks.main([str(path), "--in-place"])
    assert path.read_text() == before


def test_what_is_no_notebook_is_named_before_any_is_executed(tmp_path):
    text = tmp_path / "text.ipynb"
    text.write_text("no JSON")
    gone = tmp_path / "gone.ipynb"
    for paths, executed, named in (((text, gone), "", gone), ((text,), f"{text.name} -> {text}\n", text)):
        outcome = run_script(ROOT / "scripts" / "execute_notebooks.py", *paths, "--in-place")
        assert (outcome.returncode, outcome.stdout) == (1, executed)
        assert str(named) in outcome.stderr.splitlines()[-1]
        assert "Traceback" not in outcome.stderr


def test_a_page_is_shown_without_its_title_and_pictures_and_its_links_start_here(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "RESULTS", ROOT / "results")
    with pytest.raises(ResultsError, match="no claim is about sped; there are claims about accuracy, captioning"):
        published.show_claims("sped")
    texts: list[Markdown] = []
    monkeypatch.setattr(published, "display", texts.append)
    published.show_text("text [b](b.md) [u](https://u.org)\n![c](../c.png)\nmore [d](../d.csv)")
    assert texts[0].data == f"text [b]({ROOT}/results/tables/b.md) [u](https://u.org)\nmore [d]({ROOT}/results/d.csv)"
    figures: list[Any] = []
    monkeypatch.setattr(published, "show_figure", figures.append)
    published.show_page("parameters")
    assert len(figures) == 1
    assert texts[1].data.startswith("32 of 32 counts equal those of the paper's figure")
    published.show_page("draw", "no such figure")
    assert len(figures) == 1
    assert "MNIST-5k" in texts[2].data
    monkeypatch.setattr(published, "RESULTS", tmp_path)
    published.show_page("draw", command="make y")
    assert texts[3].data == "Not published yet: `make y` makes these numbers."
