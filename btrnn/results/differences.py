"""Models compared seed by seed: differences of a metric, and how soon one reaches what another reaches at its best.

Every difference that is shown anywhere is one of `paired_difference`: the mean over paired seeds, with its 95 %
interval by Student's t. A percentile bootstrap over three seeds would be too short: it covers the truth in about .8 of
the cases where seeds vary. Verdicts are of families: the comparisons of one panel are corrected for their number.
"""

from collections.abc import Callable, Sequence
from itertools import product
from math import isnan
from typing import NamedTuple

import pandas as pd

from btrnn.results.schema import BASELINES, DENSE_MODELS, LSTM, Schema, model_of, schema_of
from btrnn.results.statistics import (
    MeanInterval,
    corrected_for_overlap,
    difference_p,
    equivalence_p,
    holm,
    mean_interval,
)
from btrnn.results.store import Results
from btrnn.results.summary import Row, by_unit, panels, rows_of
from btrnn.storage.files import ResultsError

BETTER, WORSE, SAME, ONE_SEED = "better", "worse", "no significant difference", "one seed, no verdict"
ALIKE = "all alike, no verdict"  # the differences, of too few seeds to tell how others vary
NO_VERDICT = (ONE_SEED, ALIKE)
CORRECTED = "not significant after Holm's correction"  # an interval without 0, one of many
EQUIVALENT = "equivalent within"  # a margin that stands behind it
_LEVEL = 0.05
_ROUNDING = 1e-6  # of metrics, which are means in single precision: it is no difference


class Judgement(NamedTuple):
    """What is claimed of a mean difference, see `judge`, and its p-values, as Holm's rule corrects them.

    `p_different` is that of its being zero, `p_equivalent` that of its being outside the margin; NaN without a verdict.
    """

    verdict: str
    p_different: float
    p_equivalent: float


def paired_difference(first: pd.DataFrame, second: pd.DataFrame, column: str) -> MeanInterval:
    """Compute the mean of first minus second over the seeds, or the folds, that both have, with its 95 % interval.

    Each table has the runs of one setting, a row a seed and fold.

    Raises:
        ValueError: A seed stands in two rows of one fold: there is more than one setting.
    """
    unit = ["fold", "seed"]
    pair = [runs if "fold" in runs else runs.assign(fold="") for runs in (first, second)]
    if any(runs.duplicated(unit).any() for runs in pair):
        raise ValueError("a seed stands in two rows; give the runs of one setting")
    values = [runs.set_index(unit)[column] for runs in pair]
    differences = (values[0] - values[1]).dropna()
    return difference_interval(by_unit(differences.reset_index(), [column])[column])


def difference_interval(differences: "pd.Series[float]") -> MeanInterval:
    """Compute the mean of differences, one a seed or fold, with its 95 % interval; what is rounding is no difference.

    Nor does it make those vary that are all alike.
    """
    differences = differences.where(differences.abs() > _ROUNDING, 0.0)
    if differences.max() - differences.min() <= _ROUNDING:
        differences = pd.Series(differences.mean(), index=differences.index)
    return mean_interval(differences)


def outcome(mean: float, different: float, equivalent: float, schema: Schema, alone: float = 1.0) -> str:
    """Return what is claimed of a mean difference: a direction, or else equivalence, or neither.

    `different` is the p-value of its being zero, NaN at one seed, `equivalent` that of its being outside the margin;
    `alone` is the first one as it was before it was corrected for the number of comparisons.
    """
    if isnan(different):
        return ONE_SEED
    if different < _LEVEL:
        return BETTER if (mean < 0) == schema.lower_is_better else WORSE
    margin = schema.margin * schema.times
    unit = schema.unit.removesuffix("s") if margin == 1 else schema.unit
    if equivalent < _LEVEL:
        return f"{EQUIVALENT} {margin:g}{unit}"
    return CORRECTED if alone < _LEVEL else SAME


def judge(family: Sequence[MeanInterval], schema: Schema) -> list[Judgement]:
    """Judge each mean difference of a family by its `outcome`, corrected for their number by Holm's rule.

    That of few seeds whose differences are all alike is `ALIKE`.
    """
    alone = [difference_p(found) for found in family]
    equivalent = holm([equivalence_p(found, schema.margin) for found in family])
    judged = []
    for found, of_zero, of_margin, before in zip(family, holm(alone), equivalent, alone, strict=True):
        said = ALIKE if found.n > 1 and isnan(before) else outcome(found.mean, of_zero, of_margin, schema, before)
        judged.append(Judgement(said, of_zero, of_margin))
    return judged


Asked = Callable[[str, str], bool]  # whether the difference of two models, by their names, is of interest


def against_dense(first: str, second: str) -> bool:
    """Whether model B is the dense LSTM, or the dense model of A's cell, and A is another.

    So with an LSTM and a GRU a BT-GRU is compared with both, a BT-LSTM with the LSTM, and the GRU with the LSTM.
    """
    one, other = model_of(first), model_of(second)
    return other.dense and first not in (second, LSTM.name) and (other == LSTM or one.cell == other.cell)


def against(*references: str) -> Asked:
    """Return what asks for the differences of all others from some models."""
    return lambda first, second: second in references and first not in references


def model_differences(
    summary: pd.DataFrame, results: Results, *, asked: Asked = against_dense, metric: str = ""
) -> pd.DataFrame:
    """Compare models of each panel, two by two where it is `asked`, by the task's main metric: model A minus model B.

    Rows are compared where they are of one origin and used as many examples; others are another study. The p-values of
    a panel's comparisons are a family, corrected by Holm's rule; the intervals are each by itself.

    `summary` is of `btrnn.results.summary.summarise`, `metric` is compared in place of the main one. Where there are
    the paper's accuracies (`beside_paper`), the result has their difference, `paper`.

    Returns:
        A row for each pair that has a seed in common: the panel's columns, origin, first, second (labels), first_model,
        second_model, compression and compression_total (of the first), n (seeds), mean, low, high (NaN where there is
        no interval), and a `Judgement`. Of videos also `test_per_training`, n_test / n_train of a split, and with
        `overlap_` before their names what the judgement is where splits that overlap are corrected for, see
        `btrnn.results.statistics.corrected_for_overlap`: nothing but this comparison rests on it.

    Raises:
        ResultsError: Two models were not tested on the same examples with one seed.
    """
    rows: list[Row] = []
    for panel in panels(summary) if len(summary) else ():
        records = panel.to_dict("records")
        pairs = [(first, second) for second in records for first in records if asked(first["model"], second["model"])]
        alike = ("origin", "used_fewest", "used_most")
        pairs = [pair for pair in pairs if all(pair[0][name] == pair[1][name] for name in alike)]
        rows += _compared(pairs, results, metric)
    return pd.DataFrame(rows)


def control_differences(summary: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Compare each model under a control, as shuffled frames, with itself without one: control minus plain.

    The rows are as those of `model_differences`, one family, and `second` is the same model. A control is not asked of
    baselines: they stand in the tables.
    """
    if summary.empty:
        return pd.DataFrame()
    schema = schema_of(summary["experiment"].iloc[0])
    summary = summary[~summary["model"].isin([baseline.name for baseline in BASELINES])]
    alike = ["label", "origin", *(name for name in schema.panel if name not in schema.controls)]
    cut = summary.groupby(alike, dropna=False, sort=False)
    groups = [rows.to_dict("records") for _, rows in cut if not rows["plain"].all()]
    pairs = [(first, second) for rows in groups for first, second in product(rows, rows) if second["plain"]]
    return pd.DataFrame(_compared([(first, second) for first, second in pairs if not first["plain"]], results))


def _compared(pairs: list[tuple[Row, Row]], results: Results, metric: str = "") -> list[Row]:
    """Compare pairs of a summary's rows that are one family, by the main metric or another."""
    family: list[tuple[Row, MeanInterval]] = []
    for first, second in pairs:
        schema = schema_of(first["experiment"])
        _check_examples(first, second, results)
        ours, others = (rows_of(row, results.runs) for row in (first, second))
        found = paired_difference(ours, others, metric or schema.main)
        row = {name: first[name] for name in (*schema.panel, "origin", "compression", "compression_total")}
        row |= {"first": first["label"], "second": second["label"]}
        row |= {"first_model": first["model"], "second_model": second["model"], "plain": first["plain"]}
        row |= {"n": found.n, "mean": found.mean, "low": found.low, "high": found.high}
        row |= {"paper": first["paper"] - second["paper"]} if "paper" in first else {}
        row["test_per_training"] = (ours["num_test"] / ours["num_train"]).mean()
        family += [(row, found)] if found.n else []
    if not family:
        return []
    judged = judge([found for _, found in family], schema)
    rows = [row | said._asdict() for (row, _), said in zip(family, judged, strict=True)]
    if "protocol" in schema.data:  # the seed or the fold draws the split
        wider = [corrected_for_overlap(found, row["test_per_training"]) for row, found in family]
        rows = [
            row | {f"overlap_{name}": value for name, value in said._asdict().items()}
            for row, said in zip(rows, judge(wider, schema), strict=True)
        ]
    return rows


def _check_examples(first: Row, second: Row, results: Results) -> None:
    """Raise ResultsError where two settings, with one seed, were tested on different examples."""
    if results.predictions.empty:
        return
    unit = schema_of(first["experiment"]).prediction_columns[0]
    seen = [rows_of(row, results.predictions).groupby(["fold", "seed"])[unit].agg(frozenset) for row in (first, second)]
    both = seen[0].index.intersection(seen[1].index)
    if (seen[0][both] != seen[1][both]).any():
        raise ResultsError(
            f"{first['experiment']}: {first['name']} and {second['name']} were tested on different {unit}s with "
            "the same seed, so they cannot be paired; were the data changed between them? Run both again"
        )


def convergence(
    panel: pd.DataFrame, epochs: pd.DataFrame, column: str = "val/loss", share: float = 1.0
) -> pd.DataFrame:
    """Compute when each other model reaches the dense model's best validation loss, for each seed.

    Of several dense models the first in the panel is the one to reach.

    `panel` are rows of a summary, of one panel and origin; `column` is the loss that chooses the epoch, or an accuracy,
    of which a `share` is to be reached.

    Returns:
        A row for each other setting with epochs and each seed and fold that the dense model has too: `model`, `label`,
        `fold`, `seed`, `goal` (what is to be reached), and until it is `dense_epochs`, `dense_seconds`, `epochs`,
        `seconds`; the last two NaN where it never is. Seconds are of training and validation.
    """
    unit = ["fold", "seed"]
    run = ["label", *unit]
    parts = [rows_of(row, epochs).assign(model=row["model"], label=row["label"]) for row in panel.to_dict("records")]
    runs = pd.concat(parts).sort_values("epoch", kind="stable")
    runs["spent"] = runs.groupby(run)["seconds"].cumsum()
    reference = next((row["label"] for row in panel.to_dict("records") if row["model"] in DENSE_MODELS), None)
    best = runs[runs["label"] == reference].groupby(unit)[column]
    higher = "accuracy" in column
    runs = runs.join((share * (best.max() if higher else best.min())).rename("goal"), on=unit, how="inner")
    there = runs[column] >= runs["goal"] if higher else runs[column] <= runs["goal"]
    reached = runs[there].drop_duplicates(run).set_index(run)
    times = runs.drop_duplicates(run).set_index(run)[["model", "goal"]]
    times = times.assign(epochs=reached["epoch"] + 1.0, seconds=reached["spent"]).reset_index()
    dense = times["label"] == reference
    own = times[dense].rename(columns={"epochs": "dense_epochs", "seconds": "dense_seconds"})
    return times[~dense].merge(own[[*unit, "dense_epochs", "dense_seconds"]], on=unit)


def cost_of_accuracy(summary: pd.DataFrame, results: Results, share: float) -> list[Row]:
    """Compute what it takes until the validation accuracy is a share of the dense model's best on the same split.

    Returns:
        A row for each model without a control, the dense first: `label`, `origin`, `runs` and how many of them are
        `reached`, medians of `epochs` and `seconds` (infinite where most runs never get there), `memory` (MiB, the most
        that a run took, the mean over runs), and the panel's columns. Empty where no dense model is there to compare.
    """
    found: list[Row] = []
    plain = summary[summary["plain"] & summary["learning_rate"].notna()]  # baselines have no epochs
    for panel in panels(plain) if len(plain) and len(results.epochs) else ():
        for _, rows in panel.groupby("origin", sort=False):
            times = convergence(rows, results.epochs, "val/accuracy", share)
            dense = times.drop_duplicates(["fold", "seed"])[["fold", "seed", "dense_epochs", "dense_seconds"]]
            dense = dense.rename(columns=lambda name: name.removeprefix("dense_"))
            for row in rows.to_dict("records"):
                others = times[times["label"] == row["label"]]
                own = others if len(others) or row["model"] not in DENSE_MODELS else dense
                taken = own[["epochs", "seconds"]].fillna(float("inf")).median()
                counts = {"runs": len(own), "reached": int(own["epochs"].notna().sum())}
                memory = rows_of(row, results.runs)["peak_memory_mib"].mean()
                found += [row | counts | taken.to_dict() | {"memory": memory}] if len(own) else []
    return found
