"""What the paper has: its numbers (results/paper.csv), and its models beside the rows of our runs."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from btrnn.complexity import bt_parameters, tt_parameters
from btrnn.results.schema import BASELINE, BT_LSTM, LSTM, TT_LSTM, schema_of
from btrnn.results.summary import Row, in_order

_NAN = float("nan")
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
    label, paper_id = f"{BT_LSTM.label}, R = {rank}", f"ucf11.accuracy.bt_lstm_r{rank}"
    return PaperModel(BT_LSTM.name, label, rank, 2, 4, parameters, paper_id)


_TENSOR_TRAIN = tt_parameters(_IN_MODES, _OUT_MODES, 4)
PAPER_MODELS = (
    PaperModel(LSTM.name, LSTM.label, _NAN, _NAN, _NAN, _DENSE, "ucf11.accuracy.lstm"),
    PaperModel(TT_LSTM.name, TT_LSTM.label, 4, _NAN, 4, _TENSOR_TRAIN, "ucf11.accuracy.tt_lstm"),
    *(_block_term(rank) for rank in (4, 2, 1)),
    PaperModel(BASELINE.name, BASELINE.label, _NAN, _NAN, _NAN, _NAN, ""),
)
BEST = PAPER_MODELS[2]  # the paper's best: BT-LSTM with R = 4, N = 2, d = 4


def read_paper(path: Path) -> pd.DataFrame:
    """Read paper.csv as text: id (index), section, what, model, setting, value, unit, mark, source."""
    return pd.read_csv(path, dtype=str, keep_default_na=False).set_index("id")


def paper_model(row: Row) -> PaperModel | None:
    """Return the paper's model that a row is, by kind, rank, N and order; None if the paper has none."""
    for model in PAPER_MODELS:
        shape = ((model.rank, row["rank"]), (model.num_blocks, row["num_blocks"]), (model.order, row["order"]))
        if row["model"] == model.model and all(pd.isna(said) or said == ours for said, ours in shape):
            return model
    return None


def paper_value(paper: pd.DataFrame, model: PaperModel | None) -> float:
    """Return the paper's accuracy of a model, NaN where it has none."""
    return float(paper["value"][model.paper_id]) if model and model.paper_id in paper.index else _NAN


def best_model(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the paper's best model, one in each panel."""
    chosen = [paper_model(row) == BEST for row in summary.to_dict("records")]
    return summary[chosen].drop_duplicates(list(schema_of(summary["experiment"].iloc[0]).panel))


def beside_paper(panel: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Put a panel's rows beside the paper's; a model of the paper that was not run gets a row with n = 0.

    Adds `paper_accuracy` and `paper_mark` (NaN and "" where the paper has no such model), `compression` (of
    W) and `compression_total` (of the whole model).
    """
    records: list[Row] = panel.to_dict("records")
    expected = [paper_model(row) for row in records]
    missing = [model for model in PAPER_MODELS if model not in expected]
    constants = {column: panel[column].iloc[0] for column in schema_of(panel["experiment"].iloc[0]).panel}
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
    return in_order(rows)
