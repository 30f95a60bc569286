"""Models compared seed by seed: differences of a metric, and how soon one reaches what another reaches at its best.

Every difference that is shown anywhere is one of `paired_difference`: the mean over paired seeds, with its 95 %
interval by Student's t. A percentile bootstrap over three seeds would be too short: it covers the truth in about .8 of
the cases where seeds vary.
"""

import numpy as np
import pandas as pd

from btrnn.results.paper import paper_model, paper_value
from btrnn.results.schema import DENSE_MODELS, model_of, schema_of
from btrnn.results.statistics import MeanInterval, mean_interval
from btrnn.results.store import Results
from btrnn.results.summary import Row, panels, rows_of
from btrnn.storage.files import ResultsError


def paired_difference(first: pd.DataFrame, second: pd.DataFrame, column: str) -> MeanInterval:
    """Compute the mean of first minus second over the seeds that both have, with its 95 % interval.

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


def settings_difference(first: Row, second: Row, results: Results, column: str) -> MeanInterval:
    """Compare two settings by `paired_difference`.

    Args:
        first: A row of `btrnn.results.summary.summarise`.
        second: Another one, of the same table.
        results: Of the same runs; where it has predictions, both must have met the same test examples.
        column: The metric.

    Raises:
        ResultsError: With one seed, the two were tested on different examples.
    """
    unit = schema_of(first["experiment"]).unit
    if not results.predictions.empty:
        seen = [rows_of(row, results.predictions).groupby("seed")[unit].agg(frozenset) for row in (first, second)]
        both = seen[0].index.intersection(seen[1].index)
        if (seen[0][both] != seen[1][both]).any():
            raise ResultsError(
                f"{first['experiment']}: {first['name']} and {second['name']} were tested on different {unit}s with "
                "the same seed, so they cannot be paired; were the data changed between them? Run both again"
            )
    return paired_difference(rows_of(first, results.runs), rows_of(second, results.runs), column)


def model_differences(
    summary: pd.DataFrame,
    results: Results,
    *,
    column: str = "",
    references: tuple[str, ...] = DENSE_MODELS,
    paper: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Compare every model of each panel with the references there: model A minus model B.

    Rows are compared where they are of one origin and used as many examples; others are another study.

    Args:
        summary: Of `btrnn.results.summary.summarise`.
        results: Of the same runs.
        column: The metric; the task's main one if "".
        references: The names of models B. A model is compared with each that stands before it in this order; a
            baseline with the first alone.
        paper: See `btrnn.results.paper.read_paper`; adds `paper_difference`.

    Returns:
        A row for each pair that has a seed in common: the panel's columns, origin, first, second (labels), first_model,
        second_model, compression and compression_total (of the first), n (seeds), mean, low, high. At n = 1 low and
        high are NaN.

    Raises:
        ResultsError: Two models were not tested on the same examples with one seed.
    """
    rows = []
    schema = schema_of(summary["experiment"].iloc[0])
    used = ("origin", "used_fewest", "used_most")
    for panel in panels(summary):
        records = panel.to_dict("records")
        for place, reference in enumerate(references):
            earlier = references[: place + 1]
            for second in [row for row in records if row["model"] == reference]:
                for first in [row for row in records if row["model"] not in earlier]:
                    if any(first[name] != second[name] for name in used) or (
                        place and model_of(first["model"]).baseline
                    ):
                        continue
                    found = settings_difference(first, second, results, column or schema.main)
                    if found.n == 0:
                        continue
                    row = {name: first[name] for name in (*schema.panel, "origin")}
                    row |= {"first": first["label"], "second": second["label"]}
                    row |= {"first_model": first["model"], "second_model": second["model"]}
                    row |= {"compression": _ratio(first, "input"), "compression_total": _ratio(first, "total")}
                    row |= {"n": found.n, "mean": found.mean, "low": found.low, "high": found.high}
                    if paper is not None:
                        said = [paper_value(paper, paper_model(which)) for which in (first, second)]
                        row["paper_difference"] = said[0] - said[1]
                    rows.append(row)
    return pd.DataFrame(rows)


def _ratio(row: Row, part: str) -> float:
    """Return by how much a model is smaller than the dense one; NaN where it has no W."""
    whole, own = row[f"parameters_dense_{part}"], row[f"parameters_{part}"]
    return float(whole / own) if row["parameters_input"] > 0 else float("nan")


def convergence(panel: pd.DataFrame, epochs: pd.DataFrame, column: str = "val/loss") -> pd.DataFrame:
    """Compute when each other model reaches the dense model's best validation loss, for each seed.

    Args:
        panel: Rows of `btrnn.results.summary.summarise` of one panel.
        epochs: The experiment's table of epochs.
        column: The loss that chooses the epoch; smaller is better.

    Returns:
        A row for each other setting with epochs and each seed that the dense model has too: the panel's columns,
        `model`, `label`, `seed`, `loss` (the dense model's best), and until it is reached `dense_epochs`,
        `dense_seconds`, `epochs`, `seconds`; the last two NaN where it never is. Seconds are of training and
        validation.
    """
    rows = []
    records = panel.to_dict("records")
    for dense in [row for row in records if model_of(row["model"]).dense]:
        for other in [row for row in records if not model_of(row["model"]).dense and row["origin"] == dense["origin"]]:
            constants = {key: other[key] for key in (*schema_of(other["experiment"]).panel, "model", "label")}
            runs = [rows_of(row, epochs).sort_values("epoch") for row in (dense, other)]
            for seed in sorted(set(runs[0]["seed"]) & set(runs[1]["seed"])):
                curves = [run[run["seed"] == seed] for run in runs]
                best = curves[0][column].min()
                times = [_reached(curve, column, best) for curve in curves]
                rows.append(
                    constants
                    | {"seed": seed, "loss": best, "dense_epochs": times[0][0], "dense_seconds": times[0][1]}
                    | {"epochs": times[1][0], "seconds": times[1][1]}
                )
    return pd.DataFrame(rows)


def _reached(curve: pd.DataFrame, column: str, target: float) -> tuple[float, float]:
    """Return how many epochs and seconds a run takes until its loss is at most `target`; NaN if it never is."""
    below = np.flatnonzero(curve[column].to_numpy() <= target)
    if below.size == 0:
        return float("nan"), float("nan")
    count = int(below[0]) + 1
    return float(count), float(curve["seconds"].iloc[:count].sum())
