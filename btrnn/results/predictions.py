"""What the kept test predictions say: which classes are taken for which."""

import numpy as np
import pandas as pd

from btrnn.results.comparison import Row, rows_of


def confusion(row: Row, predictions: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
    """Count a setting's test predictions over its seeds: rows are the true classes, columns the predicted."""
    chosen = rows_of(row, predictions)
    counts = np.zeros((len(class_names), len(class_names)), dtype=np.int64)
    np.add.at(counts, (chosen["label"].to_numpy(dtype=np.int64), chosen["predicted"].to_numpy(dtype=np.int64)), 1)
    return pd.DataFrame(counts, index=class_names, columns=class_names)


def class_names(predictions: pd.DataFrame) -> list[str]:
    """Return the class names by label, from the groups "<class>/<gg>"; a class never tested is its number."""
    known = dict(zip(predictions["label"], predictions["group"].str.split("/").str[0], strict=True))
    highest = int(predictions[["label", "predicted"]].max().max())
    return [str(known.get(label, label)) for label in range(highest + 1)]
