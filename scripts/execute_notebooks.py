"""Execute the notebooks, so that they show the results that are there, in results/local/notebooks: `make notebooks`.

python scripts/execute_notebooks.py                # copies; the published notebooks stay as they are
python scripts/execute_notebooks.py --in-place     # what `make publish` does
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from btrnn.storage.atomic import replace_file

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Execute those that are named, or all; where one fails, its file stays as it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all in notebooks/")
    parser.add_argument("--in-place", action="store_true", help="write the outputs into the notebooks themselves")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "local" / "notebooks", help="else the folder")
    options = parser.parse_args(arguments)
    for path in options.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")):
        target = path if options.in_place else options.out / path.name
        print(f"{path.name} -> {target}", flush=True)
        try:
            replace_file(target, executed(path))
        except CellExecutionError as error:
            sys.exit(f"{path}: {error}")


def executed(path: Path) -> str:
    """Return a notebook with its outputs; without times and versions, so that the same results give the same file."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, record_timing=False, resources={"metadata": {"path": path.parent}}).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    return str(nbformat.writes(notebook)) + "\n"


if __name__ == "__main__":
    main()
