"""What the kept test predictions say: differences between models, clip by clip, and confusion matrices."""

import numpy as np
import pandas as pd

from btrnn.comparison import PANEL, Row, paper_model, paper_value, rows_of
from btrnn.files import ResultsError
from btrnn.statistics import paired_bootstrap


def differences(panel: pd.DataFrame, predictions: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Compare each of the paper's BT-LSTMs in a panel with its LSTM and TT-LSTM, on the same test clips.

    Only seeds that both have count. Units of the bootstrap are clips, under protocol `grouped` groups.

    Returns:
        A row for each pair: the panel's columns, `first`, `second`, `n` (seeds), `num_tested` (predictions),
        `num_units`, `estimate`, `low`, `high`, under protocol `paper` also `estimate_last`, `low_last`,
        `high_last` (weights of the last epoch; NaN otherwise), and `paper_difference`.

    Raises:
        ResultsError: Two models were not tested on the same clips with one seed.
    """
    rows = []
    records = panel.to_dict("records")
    firsts = [row for row in records if row["model"] == "bt_lstm" and paper_model(row)]
    for first in firsts:
        for second in [row for row in records if row["model"] in ("lstm", "tt_lstm")]:
            paired = _pair(first, second, predictions)
            if paired.empty:
                continue
            units = paired["group" if first["protocol"] == "grouped" else "clip"]
            row = {column: first[column] for column in PANEL}
            row |= {"first": first["label"], "second": second["label"]}
            for suffix in ("", "_last"):
                values = paired[f"difference{suffix}"].astype(np.float64)
                if values.isna().any():
                    row |= {f"estimate{suffix}": np.nan, f"low{suffix}": np.nan, f"high{suffix}": np.nan}
                    continue
                interval = paired_bootstrap(values, paired["seed"], units)
                row |= {f"estimate{suffix}": interval.estimate, f"low{suffix}": interval.low}
                row |= {f"high{suffix}": interval.high}
            row |= {
                "n": paired["seed"].nunique(),
                "num_tested": len(paired),
                "num_units": units.nunique(),
            }
            paper_values = [paper_value(paper, paper_model(which)) for which in (first, second)]
            rows.append(row | {"paper_difference": paper_values[0] - paper_values[1]})
    return pd.DataFrame(rows)


def _pair(first: Row, second: Row, predictions: pd.DataFrame) -> pd.DataFrame:
    """Join two settings' predictions: columns seed, clip, group, difference, difference_last."""
    sides = [rows_of(row, predictions) for row in (first, second)]
    seeds = set(sides[0]["seed"]) & set(sides[1]["seed"])
    left, right = (side[side["seed"].isin(seeds)].set_index(["seed", "clip"]).sort_index() for side in sides)
    if not left.index.equals(right.index):
        names = f"{first['experiment']}: {first['name']} and {second['name']}"
        raise ResultsError(
            f"{names} were tested on different clips with the same seed, so they cannot be paired; "
            "were the data or the splits changed between them? Run both again"
        )
    paired = left[["group"]].copy()
    for suffix, column in (("", "predicted"), ("_last", "predicted_last")):
        correct = [
            (side[column] == side["label"]).where(side[column].notna()).astype(np.float64) for side in (left, right)
        ]
        paired[f"difference{suffix}"] = correct[0] - correct[1]
    return paired.reset_index()


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
