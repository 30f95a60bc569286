"""The list of exported weights, weights/index.csv among the results: a row for each run of which weights are kept."""

from pathlib import Path
from typing import Any

import pandas as pd

from btrnn.storage.atomic import replace_file
from btrnn.storage.files import read_csv

LARGEST_BYTES = 10_000_000  # of a file that is committed
COLUMNS = ("experiment", "name", "seed", "file", "bytes")


def weights_dir(results_dir: Path) -> Path:
    """Return where exported weights are committed."""
    return results_dir / "weights"


def read_index(results_dir: Path) -> pd.DataFrame:
    """Return a row for each exported run: its key, its file ("" where it was too large) and the file's bytes."""
    path = weights_dir(results_dir) / "index.csv"
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    index = read_csv(path, list(COLUMNS), "export the runs again")
    return index.assign(file=index["file"].astype("object").fillna(""))  # a column of no files reads as numbers


def add_to_index(results_dir: Path, row: dict[Any, Any]) -> None:
    """Write a row into the index, in the place of another run of the same experiment and name."""
    index = read_index(results_dir)
    others = index[(index["experiment"] != row["experiment"]) | (index["name"] != row["name"])]
    rows = [*others.to_dict("records"), {column: row[column] for column in COLUMNS}]
    table = pd.DataFrame(rows).sort_values(["experiment", "name"])
    replace_file(weights_dir(results_dir) / "index.csv", table.to_csv(index=False, lineterminator="\n"))


def stem(row: dict[Any, Any]) -> str:
    """Return the name that a run's file and card have, without its ending."""
    return f"{row['experiment']}-{row['name']}-seed{row['seed']}"
