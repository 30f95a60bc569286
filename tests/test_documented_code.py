"""The Python code in README.md and docs/ runs: the blocks of a page one after another, as a reader types them."""

import re

import pytest
import torch

from .conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "how").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page, capsys):
    torch.manual_seed(0)
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, object] = {}
    for block in BLOCK.finditer(text):
        first_line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * first_line + block[1], str(page), "exec"), namespace)
    if page.name == "README.md":  # what its comments say is what is printed
        printed = capsys.readouterr().out
        for said in re.findall(r"print\([^\n]*\)  # ([^\n,]+?(?:\[[^\]]*\]\))?)(?:,[^\n]*)?$", text, re.MULTILINE):
            assert said in printed


def test_readme_and_the_pages_of_use_have_code():
    assert {"README.md", "index.md", "use.md", "choose.md"} <= {page.name for page in WITH_CODE}
