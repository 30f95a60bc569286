"""Models compared seed by seed: differences of a metric, and how soon one reaches what another reaches at its best.

Every difference that is shown anywhere is one of `paired_difference`: the mean over paired seeds, with its 95 %
interval by Student's t. A percentile bootstrap over three seeds would be too short: it covers the truth in about .8 of
the cases where seeds vary.
"""

import numpy as np
import pandas as pd

from btrnn.results.comparison import PANEL, Row, paper_model, paper_value, rows_of
from btrnn.results.statistics import MeanInterval, mean_interval
from btrnn.storage.files import ResultsError


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


def settings_difference(
    first: Row, second: Row, runs: pd.DataFrame, column: str, tests: pd.DataFrame | None = None, unit: str = ""
) -> MeanInterval:
    """Compare two settings by `paired_difference`.

    Args:
        first: A row of `btrnn.results.comparison.summarise`.
        second: Another one, of the same table.
        runs: The experiment's runs.
        column: The metric.
        tests: What the runs said of each test example; where there is such a table, both must have met the same.
        unit: Its column that names an example.

    Raises:
        ResultsError: With one seed, the two were tested on different examples.
    """
    if tests is not None and not tests.empty:
        seen = [rows_of(row, tests).groupby("seed")[unit].agg(frozenset) for row in (first, second)]
        both = seen[0].index.intersection(seen[1].index)
        if (seen[0][both] != seen[1][both]).any():
            raise ResultsError(
                f"{first['experiment']}: {first['name']} and {second['name']} were tested on different {unit}s with "
                "the same seed, so they cannot be paired; were the data changed between them? Run both again"
            )
    return paired_difference(rows_of(first, runs), rows_of(second, runs), column)


def accuracy_differences(
    panel: pd.DataFrame, runs: pd.DataFrame, predictions: pd.DataFrame, paper: pd.DataFrame
) -> pd.DataFrame:
    """Compare each of the paper's BT-LSTMs in a panel with its LSTM and TT-LSTM.

    Returns:
        A row for each pair: the panel's columns, `first`, `second`, `n` (seeds), `mean`, `low`, `high`, under protocol
        `paper` also `mean_last`, `low_last`, `high_last` (weights of the last epoch; NaN otherwise), and
        `paper_difference`. At n = 1 there is no interval.

    Raises:
        ResultsError: Two models were not tested on the same clips with one seed.
    """
    rows = []
    records = panel.to_dict("records")
    for first in [row for row in records if row["model"] == "bt_lstm" and paper_model(row)]:
        for second in [row for row in records if row["model"] in ("lstm", "tt_lstm")]:
            chosen, last = (
                settings_difference(first, second, runs, f"test/accuracy{suffix}", predictions, "clip")
                for suffix in ("", "_last")
            )
            if chosen.n == 0:
                continue
            row = {column: first[column] for column in PANEL}
            row |= {"first": first["label"], "second": second["label"], "n": chosen.n}
            row |= {"mean": chosen.mean, "low": chosen.low, "high": chosen.high}
            row |= {"mean_last": last.mean, "low_last": last.low, "high_last": last.high}
            published = [paper_value(paper, paper_model(which)) for which in (first, second)]
            rows.append(row | {"paper_difference": published[0] - published[1]})
    return pd.DataFrame(rows)


def convergence(panel: pd.DataFrame, epochs: pd.DataFrame, column: str = "val/loss") -> pd.DataFrame:
    """Say when each factorised model reaches the dense model's best validation loss, for each seed.

    Args:
        panel: Rows of `btrnn.results.comparison.summarise` of one panel.
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
