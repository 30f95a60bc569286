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
from nbformat.reader import NotJSONError

from btrnn.engine.command import exit_status
from btrnn.storage.atomic import replace_file

ROOT = Path(__file__).resolve().parent.parent


class NotebookError(Exception):
    """A notebook that cannot be executed; the message names it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Execute those that are named, or all; where one fails, its file stays as it was.

    Raises:
        FileNotFoundError: One of them is not there; none is executed.
        NotebookError: One is no notebook, or a cell of it fails, whose traceback is on stderr.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all in notebooks/")
    parser.add_argument("--in-place", action="store_true", help="write the outputs into the notebooks themselves")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "local" / "notebooks", help="else the folder")
    options = parser.parse_args(arguments)
    all_of_them = sorted((ROOT / "notebooks").glob("*.ipynb"))
    paths: list[Path] = options.notebooks or all_of_them
    if missing := [str(path) for path in paths if not path.is_file()]:
        there = ", ".join(path.name for path in all_of_them)
        raise FileNotFoundError(f"{', '.join(missing)}: no such file; notebooks/ has {there}")
    for path in paths:
        target = path if options.in_place else options.out / path.name
        print(f"{path.name} -> {target}", flush=True)
        try:
            replace_file(target, executed(path))
        except CellExecutionError as error:
            print(error, file=sys.stderr)
            raise NotebookError(f"{path}: a cell fails with {error.ename}: {error.evalue}") from error
        except NotJSONError as error:
            raise NotebookError(f"{path} is not a Jupyter notebook: {error}") from error


def executed(path: Path) -> str:
    """Return a notebook with its outputs; without times and versions, so that the same results give the same file."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, record_timing=False, resources={"metadata": {"path": path.parent}}).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    return str(nbformat.writes(notebook)) + "\n"


if __name__ == "__main__":
    sys.exit(exit_status(main, NotebookError, OSError))
