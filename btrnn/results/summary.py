"""Settings averaged over seeds, their curves, their learning rates, and which runs stand behind them.

Input are the tables of `btrnn.results.store`; output are DataFrames of numbers, which tables and figures only draw.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from btrnn.results.schema import model_of, model_position, schema_of
from btrnn.results.statistics import mean_interval
from btrnn.results.store import LOCAL, PUBLISHED
from btrnn.storage.files import ResultsError

Row = dict[Any, Any]  # one row of a table, by column
_ORDER = {"protocol": ("paper", "paper_validated", "grouped"), "scaling": ("raw", "normalized")}
_COUNTS = ("parameters_input", "parameters_total", "parameters_dense_input", "parameters_dense_total")


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Compute means over seeds: a row for each setting, i.e. each combination of `Schema.settings`.

    Columns: the settings, `label` (unique in its panel), `n`, `seeds` ("0,1,2"), `used_fewest` and `used_most` (of the
    seeds, how many examples the three splits have together), `command`, `seconds_per_epoch`, the parameter counts, and
    for each averaged metric its mean (the column's own name) and `<name>_sd`, `_low`, `_high`: the standard deviation
    and the 95 % interval by Student's t, cut to its bounds.

    Raises:
        ResultsError: Two runs of one setting have the same seed, or runs of one setting differ in parameters.
    """
    if runs.empty:
        return pd.DataFrame()
    rows: list[Row] = []
    schema = schema_of(runs["experiment"].iloc[0])
    runs = runs if "origin" in runs else runs.assign(origin=PUBLISHED)
    for values, group in runs.groupby(list(schema.settings), dropna=False, sort=True):
        row: Row = dict(zip(schema.settings, values, strict=True))
        group = group.sort_values("seed")
        if group["seed"].duplicated().any() or len(group[list(_COUNTS)].drop_duplicates()) > 1:
            raise ResultsError(
                f"runs {row['experiment']}/{row['name']} have a seed twice or unequal parameter counts: "
                "their rows cannot be averaged"
            )
        row |= {"n": len(group), "seeds": ",".join(str(seed) for seed in group["seed"])}
        used = group[["num_train", "num_val", "num_test"]].sum(axis=1)
        row |= {"used_fewest": used.min(), "used_most": used.max()}
        row |= {column: group[column].iloc[0] for column in _COUNTS}
        row |= {"seconds_per_epoch": group["seconds_per_epoch"].mean(), "command": _command(group)}
        for column in schema.averaged:
            interval = mean_interval(group[column].to_numpy(dtype=np.float64), bounds=schema.bounds)
            row |= {column: interval.mean, f"{column}_sd": interval.sd}
            row |= {f"{column}_low": interval.low, f"{column}_high": interval.high}
        rows.append(row)
    summary = pd.DataFrame(rows)
    summary["label"] = [_label(row) for row in rows]
    for _, same in summary.groupby([*schema.panel, "origin", "label"], dropna=False):
        if len(same) > 1:
            summary.loc[same.index, "label"] = _distinct_labels(same)
    if {PUBLISHED, LOCAL} <= set(summary["origin"]):
        summary.loc[summary["origin"] == LOCAL, "label"] += " (yours)"
    return in_order(summary)


def _command(group: pd.DataFrame) -> str:
    """Return one command for all seeds where theirs differ in the seed alone, else the first seed's."""
    stems = {
        command.replace(f"seed={seed}", "seed=*") for command, seed in zip(group["command"], group["seed"], strict=True)
    }
    if len(set(group["command"])) > 1 and len(stems) == 1 and "seed=*" in next(iter(stems)):
        script, _, rest = next(iter(stems)).partition(".py ")
        multirun = "" if rest.startswith(("-m ", "--multirun ")) else "-m "
        seeds = ",".join(str(seed) for seed in group["seed"])
        return f"{script}.py {multirun}{rest}".replace("seed=*", f"seed={seeds}")
    return str(group["command"].iloc[0])


def _label(row: Row) -> str:
    shape = [
        f"{letter} = {row[column]:g}"
        for letter, column, usual in model_of(row["model"]).shape
        if not (pd.isna(row[column]) or row[column] == usual)
    ]
    return ", ".join([str(row["model_label"]), *shape])


def _distinct_labels(rows: pd.DataFrame) -> list[str]:
    """Add to equal labels the settings in which their rows differ."""
    known = ("init", "learning_rate", "epochs", "in_modes", "hidden_modes")
    columns = [column for column in known if len(rows[column].drop_duplicates()) > 1]
    if not columns or rows.duplicated(columns).any():
        columns = ["name"]
    added = [
        ", ".join(f"{name} {value if isinstance(value, str) else f'{value:g}'}" for name, value in row.items())
        for row in rows[columns].to_dict("records")
    ]
    return [f"{label} ({text.replace('_', ' ')})" for label, text in zip(rows["label"], added, strict=True)]


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a summary in the order of tables: scales from large to small, then panels, then models."""

    def order(row: Row) -> tuple[Any, ...]:
        place = [
            (choices.index(value) if value in choices else len(choices), value)
            for column, choices in _ORDER.items()
            for value in [row.get(column, "")]
        ]
        shape = (row["num_blocks"] != 2, row["order"] != 4, -np.nan_to_num(row["rank"]), row["label"])
        clips, glimpses = _clips(row.get("num_clips", 0.0)), row.get("num_glimpses", 0)
        return (row["experiment"], -clips, row["scale"], *place, glimpses, model_position(row["model"]), *shape)

    records: list[Row] = table.to_dict("records")
    records.sort(key=order)
    return pd.DataFrame(records)


def _clips(number: float | None) -> float:
    """Return a number of clips that can be compared: none said is all, so more than any."""
    return float("inf") if number is None or math.isnan(number) else number


def panels(summary: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the panels of a summary (see `Schema.panel`), in the order of its rows."""
    columns = list(schema_of(summary["experiment"].iloc[0]).panel)
    return [group for _, group in summary.groupby(columns, dropna=False, sort=False)]


def scales(runs: pd.DataFrame) -> list[str]:
    """Return the scales, that with the most training first: clips, where they are counted, times epochs, then name."""
    clips = runs["num_clips"].map(_clips) if "num_clips" in runs else 1.0
    work = (clips * runs["epochs"].fillna(0).clip(lower=1)).groupby(runs["scale"]).max()
    return sorted(map(str, work.index), key=lambda scale: (work[scale], scale), reverse=True)


def headline_scale(runs: pd.DataFrame) -> str:
    """Return the scale with the most training."""
    return scales(runs)[0]


def rows_of(row: Row, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of runs, epochs or predictions that belong to the runs behind one row of a summary."""
    seeds = [int(seed) for seed in row["seeds"].split(",")]
    chosen: pd.DataFrame = table[(table["name"] == row["name"]) & table["seed"].isin(seeds)]
    return chosen[chosen["origin"] == row["origin"]] if "origin" in chosen else chosen


def curves(summary: pd.DataFrame, epochs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a metric against the epoch for each setting that has epochs.

    Columns: those of `Schema.panel`, `model`, `label`, `rank`, `epoch`, and over the seeds `mean`, `low`, `high`, `n`;
    `low` and `high` are the lowest and the highest seed.
    """
    keys = [*schema_of(summary["experiment"].iloc[0]).panel, "model", "label", "rank"]
    parts = [
        rows_of(row, epochs)[["epoch", column]].assign(**{key: row[key] for key in keys})
        for row in summary.to_dict("records")
    ]
    merged = pd.concat(parts, ignore_index=True).dropna(subset=[column])
    grouped = merged.groupby([*keys, "epoch"], dropna=False, sort=False)[column]
    return grouped.agg(mean="mean", low="min", high="max", n="count").reset_index()


# ---- learning rates


def rates(runs: pd.DataFrame) -> pd.DataFrame:
    """Compare the learning rates that each model was tried with, by the task's `Schema.monitor` on validation data.

    A run chooses its epoch by the same measure. (Accuracy on some hundred validation clips comes in steps of .01.)

    Returns:
        The runs in the order of models and rates, with `chosen` (the lowest of its model and scaling), `tied` (as low
        as the chosen one) and `at_edge` (the chosen rate is the lowest or the highest that was tried).
    """
    schema = schema_of(runs["experiment"].iloc[0])
    best = f"val/{schema.monitor}"
    by = [column for column in ("scaling", "model") if column in runs]
    table = runs.sort_values([*by, "learning_rate"], ignore_index=True)
    groups = table.groupby(by, dropna=False)
    rate, lowest = groups["learning_rate"], groups[best].transform("min")
    first = table[table[best] == lowest].drop_duplicates(by).index
    chosen = table.index.isin(first)
    edge = (table["learning_rate"] == rate.transform("min")) | (table["learning_rate"] == rate.transform("max"))
    tied = (table[best] == lowest) & ~chosen
    return table.assign(chosen=chosen, tied=tied, at_edge=chosen & edge)


def rates_at_edge(summary: pd.DataFrame, study: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a summary whose learning rate is the lowest or the highest that a study of rates tried.

    Args:
        summary: Of `summarise`.
        study: The runs of the study, with the same models.
    """
    shared = [column for column in ("model", "scaling") if column in study and column in summary]
    tried = study.groupby(shared)["learning_rate"].agg(["min", "max", "nunique"]).reset_index()
    merged = summary.merge(tried, on=shared, how="left")
    rate = merged["learning_rate"]
    edge = (merged["nunique"] > 1) & ((rate <= merged["min"]) | (rate >= merged["max"]))
    return summary[edge.to_numpy()]


# ---- predictions


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
