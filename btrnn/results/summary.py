"""Settings averaged over seeds, which runs stand behind them, and the paper's numbers beside them.

Input are the tables of `btrnn.results.store`; output are DataFrames of numbers, which tables and figures only draw.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from btrnn.results.schema import LATER_COLUMNS, PARAMETERS, SMALL_LSTM, model_of, model_position, schema_of
from btrnn.results.statistics import mean_interval
from btrnn.results.store import LOCAL, PUBLISHED
from btrnn.storage.files import ResultsError

Row = dict[Any, Any]  # one row of a table, by column
MAIN_MODELS = ("lstm", "tt_lstm", "bt_lstm_r4")  # those that the paper's claims are about
_IN_PAPER = pd.DataFrame(  # the models of which the paper has accuracies
    [
        ("lstm", np.nan, np.nan, np.nan, "lstm"),
        ("tt_lstm", 4, np.nan, 4, "tt_lstm"),
        *(("bt_lstm", rank, 2, 4, f"bt_lstm_r{rank}") for rank in (4, 2, 1)),
    ],
    columns=["model", "rank", "num_blocks", "order", "paper_id"],
)
_ORDER = {
    "protocol": ("paper", "paper_validated", "grouped", "group_folds"),
    "scaling": ("raw", "normalized"),
    "frame_order": ("time", "shuffled"),
    "pixel_order": ("rows", "channels", "random"),
    "start": ("", "lstm"),
    "scaled": (False, True),
}
_FOLD = re.compile(r"-fold(\d+)$")  # the end of a run's name, where its data are split into folds
_OF_UNIT = re.compile(r"\b(seed|data\.fold)=\d+(,\d+)*")  # in a command


def with_folds(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of runs, epochs or predictions with the setting's `name`, and its runs' `fold` ("" without)."""
    parts = pd.Series({name: [*_FOLD.split(name), ""] for name in table["name"].unique()}, dtype=object)
    return table.assign(name=table["name"].map(parts.str[0]), fold=table["name"].map(parts.str[1]))


def by_unit(runs: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Compute metrics of one setting's runs, with `fold`, once for each of the units over which intervals are taken.

    Units are seeds. Where there are folds it is these, and seeds of one fold are averaged: they share all its clips, so
    that counting each by itself would claim more than the data tell. The units themselves are not independent either
    where their splits overlap: folds share training clips, and splits that the seed draws share any, see
    `btrnn.results.statistics.corrected_for_overlap`.
    """
    return runs.groupby("fold" if (runs["fold"] != "").any() else "seed")[columns].mean()


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Compute means over seeds or folds: a row for each setting, i.e. each combination of `Schema.settings`.

    Columns: the settings (`name` without a fold), `label` (unique in its panel), `n` (of `by_unit`), `seeds` ("0,1,2"),
    `plain` (no control, as shuffled frames), `used_fewest` and `used_most` (of the runs, how many examples the three
    splits have together), `num_train` (the mean), what else of the data is counted (the most of the runs), `command`,
    `hidden_size`, `seconds_per_epoch`, the parameter counts, `compression` and `compression_total` (of W and of the
    whole model; NaN without W, and for a small dense one), and for each averaged metric its mean (the column's own
    name) and `<name>_sd`, `_low`, `_high`: the standard deviation and the 95 % interval by Student's t, cut at 0 and an
    accuracy's at 1.

    Raises:
        ResultsError: Two runs of one setting have the same seed and fold, or runs of one setting differ in parameters.
    """
    if runs.empty:
        return pd.DataFrame()
    rows: list[Row] = []
    schema = schema_of(runs["experiment"].iloc[0])
    runs = with_folds(runs if "origin" in runs else runs.assign(origin=PUBLISHED))
    for values, group in runs.groupby(list(schema.settings), dropna=False, sort=True):
        row: Row = dict(zip(schema.settings, values, strict=True))
        group = group.sort_values(["seed", "fold"])
        if group[["fold", "seed"]].duplicated().any() or len(group[list(PARAMETERS)].drop_duplicates()) > 1:
            raise ResultsError(
                f"runs {row['experiment']}/{row['name']} have a seed twice or unequal parameter counts: "
                "their rows cannot be averaged"
            )
        units = by_unit(group, list(schema.averaged))
        row |= {"plain": all(row[name] == LATER_COLUMNS[name] or pd.isna(row[name]) for name in schema.controls)}
        row |= {"n": len(units), "seeds": _several(group["seed"]), "command": _command(group)}
        used = group[["num_train", "num_val", "num_test"]].sum(axis=1)
        row |= {"used_fewest": used.min(), "used_most": used.max(), "num_train": group["num_train"].mean()}
        row |= group[list(schema.counted)].max().to_dict() | group[list(PARAMETERS)].iloc[0].to_dict()
        row |= {"hidden_size": group["hidden_size"].max(), "seconds_per_epoch": group["seconds_per_epoch"].mean()}
        for column in schema.averaged:
            bounds = (0.0, 1.0 if "accuracy" in column else np.inf)
            interval = mean_interval(units[column], bounds=bounds)
            row |= {column: interval.mean, f"{column}_sd": interval.sd}
            row |= {f"{column}_low": interval.low, f"{column}_high": interval.high}
        rows.append(row)
    summary = pd.DataFrame(rows)
    # a dense layer of another size stands for none but itself
    compact = (summary["parameters_input"] > 0) & (summary["model"] != SMALL_LSTM.name)
    own = summary["parameters_input"].where(compact)
    summary["compression"] = summary["parameters_dense_input"] / own
    summary["compression_total"] = (summary["parameters_dense_total"] / summary["parameters_total"]).where(own.notna())
    summary["label"] = [shape_label(row) for row in rows]
    for _, same in summary.groupby([*schema.panel, "origin", "label"], dropna=False):
        if len(same) > 1:
            summary.loc[same.index, "label"] = _distinct_labels(same)
    if {PUBLISHED, LOCAL} <= set(summary["origin"]):
        summary.loc[summary["origin"] == LOCAL, "label"] += " (yours)"
    return in_order(summary)


def _several(values: "pd.Series[Any]") -> str:
    """Write the whole numbers that there are, in order, as 0,1,2; "" where there are none."""
    return ",".join(map(str, sorted(int(value) for value in values.unique() if value != "")))


def _command(group: pd.DataFrame) -> str:
    """Return one command for all runs: the first's, with the seeds and folds of all.

    Where the runs' commands differ in nothing but these, and the first names none, it runs them all as it is. Else it
    would run a part of them, and they are added.
    """
    first = str(group["command"].iloc[0])
    if len(group) == 1:
        return first
    values = {"seed": _several(group["seed"]), "data.fold": _several(group["fold"])}
    several = _OF_UNIT.sub(lambda found: f"{found[1]}={values[found[1]]}", first)
    if len({_OF_UNIT.sub("", command) for command in group["command"]}) > 1:
        missing = {key: text for key, text in values.items() if "," in text and f" {key}=" not in first}
        several += "".join(f" {key}={text}" for key, text in missing.items())
    return several if " -m " in first or several == first else several.replace(".py ", ".py -m ", 1)


def shape_label(row: Row, without: str = "") -> str:
    """Return a model's label with what of its shape belongs there; `without` is a column of it that is left out."""
    shape = [
        f"{letter} = {row[column]:g}"
        for letter, column, usual in model_of(row["model"]).shape
        if not (column == without or pd.isna(row[column]) or row[column] == usual)
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
        clips, limit = (np.nan_to_num(row.get(name, np.nan), nan=np.inf) for name in ("num_clips", "train_limit"))
        sizes, glimpses = (-clips, row["scale"], *place, -limit), row.get("num_glimpses", 0)
        return (row["experiment"], *sizes, glimpses, model_position(row["model"]), *shape)

    return pd.DataFrame.from_records(sorted(table.to_dict("records"), key=order))


def panels(summary: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the panels of a summary (see `Schema.panel`), in the order of its rows."""
    columns = list(schema_of(summary["experiment"].iloc[0]).panel)
    return [group for _, group in summary.groupby(columns, dropna=False, sort=False)]


def scales(runs: pd.DataFrame) -> list[str]:
    """Return the scales, that with the most training first: clips, where they are counted, times epochs, then name."""
    clips = runs["num_clips"].fillna(np.inf) if "num_clips" in runs else 1.0  # where none are said, it is all
    work = (clips * runs["epochs"].fillna(0).clip(lower=1)).groupby(runs["scale"]).max()
    return sorted(map(str, work.index), key=lambda scale: (work[scale], scale), reverse=True)


def rows_of(row: Row, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of runs, epochs or predictions, with `fold`, that belong to the runs behind a summary's row."""
    seeds = [int(seed) for seed in row["seeds"].split(",")]
    names = [name for name in table["name"].unique() if _FOLD.split(name)[0] == row["name"]]
    chosen = with_folds(table[table["name"].isin(names) & table["seed"].isin(seeds)])
    return chosen[chosen["origin"] == row["origin"]] if "origin" in chosen else chosen


def read_paper(path: Path) -> pd.DataFrame:
    """Read paper.csv as text: id (index), section, what, model, setting, value, unit, mark, source.

    A user's own results have no such file of their own, so that the published one is read.
    """
    path = path if path.exists() else Path(__file__).parents[2] / "results" / path.name
    return pd.read_csv(path, dtype=str, keep_default_na=False).set_index("id")


def beside_paper(summary: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Put the rows of a summary beside the paper's accuracies on UCF11, by model, rank, N and order.

    Adds `paper_id` (the model, as the ids of paper.csv end), `paper` (the accuracy) and `paper_mark`; NaN, NaN and ""
    where the paper has no such model.
    """
    joined = summary.merge(_IN_PAPER, how="left", on=list(_IN_PAPER.columns[:-1]))
    known = paper.reindex("ucf11.accuracy." + joined["paper_id"])
    values = pd.to_numeric(known["value"]).to_numpy(dtype=float)
    return joined.assign(paper=values, paper_mark=known["mark"].fillna("").to_numpy())
