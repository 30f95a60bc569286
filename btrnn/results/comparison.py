"""What is compared: settings averaged over seeds, beside the paper's numbers, and models with one another.

Input are the committed tables (`btrnn.results.store`) and results/paper.csv; output are plain DataFrames of
numbers, which `btrnn.reports.tables` and `btrnn.figures.video` only have to draw.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from btrnn.complexity import bt_parameters, tt_parameters
from btrnn.results.schema import schema_of
from btrnn.results.statistics import mean_interval
from btrnn.storage.files import ResultsError

Row = dict[Any, Any]  # one row of a table, by column
# One table each: runs that differ in one of these never stand in the same table or panel.
PANEL = ("experiment", "source", "stand_in", "protocol", "scaling", "scale", "num_clips")
_PROTOCOL_ORDER = ("paper", "grouped")
_SCALING_ORDER = ("raw", "normalized")
_MODEL_ORDER = ("lstm", "tt_lstm", "bt_lstm", "logistic_regression")
_IN_MODES, _OUT_MODES = (8, 20, 20, 18), (16, 4, 4, 4)  # the paper's; the 4 gates stand in the first output mode
_DENSE = 57_600 * 1_024
_NOT_FACTORISED = 256 * 1_024 + 1_024 + 256 * 11 + 11  # U, the bias and the classifier of 11 classes


class PaperModel(NamedTuple):
    """A row that stands in every main table, run or not; `paper_id` is its accuracy's place in paper.csv."""

    model: str
    label: str
    rank: float
    num_blocks: float
    order: float
    parameters: float
    paper_id: str


def _block_term(rank: int) -> PaperModel:
    parameters = bt_parameters(_IN_MODES, _OUT_MODES, rank, 2)
    return PaperModel("bt_lstm", f"BT-LSTM, R = {rank}", rank, 2, 4, parameters, f"ucf11.accuracy.bt_lstm_r{rank}")


_TENSOR_TRAIN = tt_parameters(_IN_MODES, _OUT_MODES, 4)
_NAN = float("nan")
PAPER_MODELS = (
    PaperModel("lstm", "LSTM", _NAN, _NAN, _NAN, _DENSE, "ucf11.accuracy.lstm"),
    PaperModel("tt_lstm", "TT-LSTM", 4, _NAN, 4, _TENSOR_TRAIN, "ucf11.accuracy.tt_lstm"),
    *(_block_term(rank) for rank in (4, 2, 1)),
    PaperModel("logistic_regression", "logistic regression on mean frames", _NAN, _NAN, _NAN, _NAN, ""),
)


def read_paper(path: Path) -> pd.DataFrame:
    """Read paper.csv as text: id (index), section, what, model, setting, value, unit, mark, source."""
    return pd.read_csv(path, dtype=str, keep_default_na=False).set_index("id")


# ---- over the seeds


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds: a row for each setting, i.e. each combination of `Schema.settings`.

    Columns: the settings, `label` (unique in its panel), `n`, `seeds` ("0,1,2"), `used_fewest` and `used_most` (of the
    seeds, how many examples the three splits have together), `command`, `seconds_per_epoch`, the parameter counts, and
    for each averaged metric its mean (the column's own name) and `<name>_sd`, `_low`, `_high`: the standard deviation
    and the 95 % interval by Student's t, cut to its bounds.

    Raises:
        ResultsError: Two runs of one setting have the same seed, or runs of one setting differ in parameters.
    """
    if runs.empty:
        return pd.DataFrame()
    rows = []
    schema = schema_of(runs["experiment"].iloc[0])
    for values, group in runs.groupby(list(schema.settings), dropna=False, sort=True):
        row: Row = dict(zip(schema.settings, values, strict=True))
        group = group.sort_values("seed")
        counts = ["parameters_input", "parameters_total", "parameters_dense_input", "parameters_dense_total"]
        if group["seed"].duplicated().any() or len(group[counts].drop_duplicates()) > 1:
            raise ResultsError(
                f"runs {row['experiment']}/{row['name']} have a seed twice or unequal parameter counts: "
                "their rows cannot be averaged"
            )
        row |= {"n": len(group), "seeds": ",".join(str(seed) for seed in group["seed"])}
        used = group[["num_train", "num_val", "num_test"]].sum(axis=1)
        row |= {"used_fewest": used.min(), "used_most": used.max()}
        row |= {column: group[column].iloc[0] for column in counts}
        row |= {"seconds_per_epoch": group["seconds_per_epoch"].mean(), "command": _command(group)}
        for column in schema.averaged:
            interval = mean_interval(group[column].to_numpy(dtype=np.float64), bounds=schema.bounds)
            row |= {column: interval.mean, f"{column}_sd": interval.sd}
            row |= {f"{column}_low": interval.low, f"{column}_high": interval.high}
        rows.append(row)
    summary = pd.DataFrame(rows)
    summary["label"] = [_base_label(row) for row in rows]
    together = ["experiment", "source", "stand_in", *schema.data, "scale", "label"]
    for _, panel in summary.groupby(together, dropna=False):
        if len(panel) > 1:
            summary.loc[panel.index, "label"] = _distinct_labels(panel)
    return _sorted(summary)


def _command(group: pd.DataFrame) -> str:
    """Give one command for all seeds where theirs differ in the seed alone, else the first seed's."""
    commands = group["command"].drop_duplicates().tolist()
    seeds = ",".join(str(seed) for seed in group["seed"])
    stems = {
        command.replace(f"seed={seed}", "seed=*") for command, seed in zip(group["command"], group["seed"], strict=True)
    }
    if len(commands) > 1 and len(stems) == 1 and "seed=*" in next(iter(stems)):
        script, _, rest = next(iter(stems)).partition(".py ")
        multirun = "" if rest.startswith(("-m ", "--multirun ")) else "-m "
        return f"{script}.py {multirun}{rest}".replace("seed=*", f"seed={seeds}")
    return str(commands[0])


def _base_label(row: Row) -> str:
    parts = [str(row["model_label"])]
    if row["model"] == "bt_lstm":
        parts.append(f"R = {row['rank']:g}")
        parts += [f"N = {row['num_blocks']:g}"] if row["num_blocks"] != 2 else []
    if row["model"] == "tt_lstm" and row["rank"] != 4:
        parts.append(f"R = {row['rank']:g}")
    if row["model"] in ("bt_lstm", "tt_lstm") and row["order"] != 4:
        parts.append(f"d = {row['order']:g}")
    return ", ".join(parts)


def _distinct_labels(rows: pd.DataFrame) -> list[str]:
    """Add to equal labels the settings in which their rows differ."""
    columns = [
        column
        for column in ("init", "learning_rate", "epochs", "in_modes", "hidden_modes")
        if len(rows[column].drop_duplicates()) > 1
    ]
    if not columns or rows.duplicated(columns).any():
        columns = ["name"]
    added = [", ".join(f"{column} {_plain(row[column])}" for column in columns) for _, row in rows.iterrows()]
    return [f"{label} ({text.replace('_', ' ')})" for label, text in zip(rows["label"], added, strict=True)]


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """Order scales from large to small, then protocols, scalings and models as the paper tells them."""

    def order(row: Row) -> tuple[Any, ...]:
        model = _position(_MODEL_ORDER, row["model"])
        shape = (row["num_blocks"] != 2, row["order"] != 4, -np.nan_to_num(row["rank"]), row["label"])
        protocol = _position(_PROTOCOL_ORDER, row.get("protocol", ""))
        place = (protocol, _position(_SCALING_ORDER, row.get("scaling", "")), row.get("num_glimpses", 0))
        clips = _clips(row.get("num_clips", 0.0))
        return (row["experiment"], -clips, row["scale"], *place, model, *shape)

    records: list[Row] = table.to_dict("records")
    records.sort(key=order)
    return pd.DataFrame(records)


def _clips(number: float | None) -> float:
    """Return a number of clips that can be compared: none said is all, so more than any."""
    return float("inf") if number is None or math.isnan(number) else number


def _position(order: tuple[str, ...], value: str) -> tuple[int, str]:
    return (order.index(value) if value in order else len(order), value)


def rates(runs: pd.DataFrame) -> pd.DataFrame:
    """Compare the learning rates that each model was tried with, on validation clips.

    The rate chosen for a model and scaling is the one whose run reaches the lowest validation loss: the measure by
    which a run chooses its epoch, too. (Accuracy on some hundred validation clips comes in steps of .01.)

    Returns:
        A row for each run: model, model_label, scaling, learning_rate, epoch_chosen, val/accuracy, val/loss,
        train/accuracy_last, chosen.
    """
    columns = ["model", "model_label", "scaling", "learning_rate", "epoch_chosen", "val/accuracy", "val/loss"]
    table = runs[[*columns, "train/accuracy_last"]].sort_values(["scaling", "model", "learning_rate"])
    best = table.sort_values("val/loss").drop_duplicates(["model", "scaling"]).index
    return table.assign(chosen=table.index.isin(best)).reset_index(drop=True)


def panels(summary: pd.DataFrame) -> list[pd.DataFrame]:
    """Cut a summary into its panels (see `PANEL`), in the order of its rows."""
    return [group for _, group in summary.groupby(list(PANEL), dropna=False, sort=False)]


def headline_scale(runs: pd.DataFrame) -> str:
    """Return the scale with the most training: clips, where they are counted, times epochs, then by name."""
    clips = runs["num_clips"].map(_clips) if "num_clips" in runs else 1.0
    work = (clips * runs["epochs"].fillna(0).clip(lower=1)).groupby(runs["scale"]).max()
    return str(max(work.index, key=lambda scale: (work[scale], scale)))


# ---- beside the paper


def beside_paper(panel: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Put a panel's rows beside the paper's; a model of the paper that was not run gets a row with n = 0.

    Adds `paper_accuracy` and `paper_mark` (NaN and "" where the paper has no such model), `compression` (of
    W) and `compression_total` (of the whole model).
    """
    records: list[Row] = panel.to_dict("records")
    expected = [paper_model(row) for row in records]
    missing = [model for model in PAPER_MODELS if model not in expected]
    constants = {column: panel[column].iloc[0] for column in PANEL}
    for model in missing:
        records.append(
            constants
            | {"model": model.model, "label": model.label, "n": 0}
            | {"rank": model.rank, "num_blocks": model.num_blocks, "order": model.order}
            | {"parameters_input": model.parameters, "parameters_total": model.parameters + _NOT_FACTORISED}
            | {"parameters_dense_input": _DENSE, "parameters_dense_total": _DENSE + _NOT_FACTORISED}
        )
    rows = pd.DataFrame(records)
    known = [*expected, *missing]
    rows["paper_accuracy"] = [paper_value(paper, model) for model in known]
    rows["paper_mark"] = [paper["mark"].get(model.paper_id, "") if model else "" for model in known]
    factorised = rows["parameters_input"].where(rows["parameters_input"] > 0)
    rows["compression"] = rows["parameters_dense_input"] / factorised
    rows["compression_total"] = (rows["parameters_dense_total"] / rows["parameters_total"]).where(factorised.notna())
    return _sorted(rows)


def paper_model(row: Row) -> PaperModel | None:
    """Return the paper's model that a row is, by kind, rank, N and order; None if the paper has none."""
    shape = (row["rank"], row["num_blocks"], row["order"])
    for model in PAPER_MODELS:
        if row["model"] == model.model and (
            model.model in ("lstm", "logistic_regression")
            or (shape == (model.rank, model.num_blocks, model.order))
            or (model.model == "tt_lstm" and shape[::2] == (model.rank, model.order))
        ):
            return model
    return None


def paper_value(paper: pd.DataFrame, model: PaperModel | None) -> float:
    """Return the paper's accuracy of a model, NaN where it has none."""
    return float(paper["value"][model.paper_id]) if model and model.paper_id in paper.index else _NAN


def best_model(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the paper's best model, BT-LSTM with R = 4, N = 2, d = 4; one in each panel."""
    chosen = [paper_model(row) == PAPER_MODELS[2] for row in summary.to_dict("records")]
    return summary[chosen].drop_duplicates(list(PANEL))


def curves(summary: pd.DataFrame, epochs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Give a metric against epoch for each setting.

    Columns: the panel's, `model`, `label`, `rank`, `epoch`, and over the seeds `mean`, `low`, `high`, `n`;
    `low` and `high` are the lowest and the highest seed.
    """
    keys = [*PANEL, "model", "label", "rank"]
    parts = [
        rows_of(row, epochs)[["epoch", column]].assign(**{key: row[key] for key in keys})
        for row in summary.to_dict("records")
    ]
    merged = pd.concat(parts, ignore_index=True).dropna(subset=[column])
    grouped = merged.groupby([*keys, "epoch"], dropna=False, sort=False)
    values = {
        "mean": (column, "mean"),
        "low": (column, "min"),
        "high": (column, "max"),
        "n": (column, "count"),
    }
    table: pd.DataFrame = grouped.agg(**values).reset_index()
    return table


def rows_of(row: Row, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of epochs or predictions that belong to the runs behind one row of a summary."""
    seeds = [int(seed) for seed in row["seeds"].split(",")]
    chosen: pd.DataFrame = table[(table["name"] == row["name"]) & table["seed"].isin(seeds)]
    return chosen
