"""The index of exported weights: which run of each setting has a file, or a card alone."""

from pathlib import Path
from typing import Any

import pandas as pd

from btrnn.storage.atomic import replace_file
from btrnn.storage.files import read_csv

LARGEST_BYTES = 10_000_000  # of a file of weights that is committed
_INDEX_COLUMNS = ("experiment", "name", "seed", "file", "bytes")


def weights_dir(results_dir: Path) -> Path:
    """Return where exported weights are committed."""
    return results_dir / "weights"


def read_index(results_dir: Path) -> pd.DataFrame:
    """Read weights/index.csv: a row for each exported run, its file ("" where it was too large) and its bytes."""
    path = weights_dir(results_dir) / "index.csv"
    if not path.exists():
        return pd.DataFrame(columns=list(_INDEX_COLUMNS))
    index = read_csv(path, list(_INDEX_COLUMNS), "export the runs again")
    return index.assign(file=index["file"].astype("object").fillna(""))  # a column of no files reads as numbers


def add_to_index(results_dir: Path, row: dict[Any, Any]) -> None:
    """Write a row into the index, in the place of another run of the same experiment and name."""
    index = read_index(results_dir)
    others = index[(index["experiment"] != row["experiment"]) | (index["name"] != row["name"])]
    rows = [*others.to_dict("records"), {column: row[column] for column in _INDEX_COLUMNS}]
    table = pd.DataFrame(rows).sort_values(["experiment", "name"])
    replace_file(weights_dir(results_dir) / "index.csv", table.to_csv(index=False, lineterminator="\n"))


def stem(row: dict[Any, Any]) -> str:
    """Return the name that a run's file and card have, without its ending."""
    return f"{row['experiment']}-{row['name']}-seed{row['seed']}"
