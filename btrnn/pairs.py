"""Models compared seed by seed: differences of a metric, and how soon one reaches what another reaches at its best."""

import numpy as np
import pandas as pd

from btrnn.comparison import PANEL, Row, rows_of
from btrnn.statistics import MeanInterval, mean_interval


def paired_difference(first: pd.DataFrame, second: pd.DataFrame, column: str) -> MeanInterval:
    """Give the mean of first minus second over the seeds that both have, with its 95 % interval.

    Args:
        first: Runs of one setting, a row a seed.
        second: Runs of another.
        column: The metric.

    Raises:
        ValueError: A seed stands in two rows: there is more than one setting.
    """
    if first["seed"].duplicated().any() or second["seed"].duplicated().any():
        raise ValueError("a seed stands in two rows; give the runs of one setting")
    values = [runs.set_index("seed")[column] for runs in (first, second)]
    return mean_interval((values[0] - values[1]).dropna().to_numpy())


def convergence(panel: pd.DataFrame, epochs: pd.DataFrame, column: str = "val/loss") -> pd.DataFrame:
    """Say when each factorised model reaches the dense model's best validation loss, for each seed.

    Args:
        panel: Rows of `btrnn.comparison.summarise` of one panel.
        epochs: The experiment's table of epochs.
        column: The loss that chooses the epoch; smaller is better.

    Returns:
        A row for each factorised setting and seed that the dense model has too: the panel's columns, `model`, `label`,
        `seed`, `loss` (the dense model's best), and until it is reached `dense_epochs`, `dense_seconds`, `epochs`,
        `seconds`; the last two NaN where it never is. Seconds are of training and validation.
    """
    rows = []
    records = panel.to_dict("records")
    for dense in [row for row in records if row["model"] == "lstm"]:
        for other in [row for row in records if row["model"] in ("tt_lstm", "bt_lstm")]:
            constants = {key: other[key] for key in (*PANEL, "model", "label")}
            for seed in sorted(_seeds(dense) & _seeds(other)):
                curves = [_curve(row, seed, epochs) for row in (dense, other)]
                best = curves[0][column].min()
                times = [_reached(curve, column, best) for curve in curves]
                rows.append(
                    constants
                    | {"seed": seed, "loss": best, "dense_epochs": times[0][0], "dense_seconds": times[0][1]}
                    | {"epochs": times[1][0], "seconds": times[1][1]}
                )
    return pd.DataFrame(rows)


def _seeds(row: Row) -> set[int]:
    return {int(seed) for seed in row["seeds"].split(",")}


def _curve(row: Row, seed: int, epochs: pd.DataFrame) -> pd.DataFrame:
    """Return one run's rows in the order of epochs."""
    chosen = rows_of(row, epochs)
    return chosen[chosen["seed"] == seed].sort_values("epoch")


def _reached(curve: pd.DataFrame, column: str, target: float) -> tuple[float, float]:
    """Return how many epochs and seconds a run takes until its loss is at most `target`; NaN if it never is."""
    below = np.flatnonzero(curve[column].to_numpy() <= target)
    if below.size == 0:
        return float("nan"), float("nan")
    count = int(below[0]) + 1
    return float(count), float(curve["seconds"].iloc[:count].sum())
