"""Execute the notebooks where they stand, so that they show the committed results: `make notebooks`."""

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
    """Execute those that are named, or all; one that fails stays as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all in notebooks/")
    for path in parser.parse_args(arguments).notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")):
        print(path.name, flush=True)
        try:
            replace_file(path, executed(path))
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
