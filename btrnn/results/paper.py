"""What the paper has: its numbers (results/paper.csv), and its accuracies beside the rows of our runs."""

from pathlib import Path

import pandas as pd

_NAN = float("nan")
_SHAPES = pd.DataFrame(  # the models of which the paper has accuracies
    [
        ("lstm", _NAN, _NAN, _NAN, "lstm"),
        ("tt_lstm", 4, _NAN, 4, "tt_lstm"),
        *(("bt_lstm", rank, 2, 4, f"bt_lstm_r{rank}") for rank in (4, 2, 1)),
    ],
    columns=["model", "rank", "num_blocks", "order", "paper_id"],
)
MAIN_MODELS = ("lstm", "tt_lstm", "bt_lstm_r4")  # those that its claims are about


def read_paper(path: Path) -> pd.DataFrame:
    """Read paper.csv as text: id (index), section, what, model, setting, value, unit, mark, source.

    A user's own results, in a folder of the published ones, have no such file of their own.
    """
    path = path if path.exists() else path.parent.parent / path.name
    return pd.read_csv(path, dtype=str, keep_default_na=False).set_index("id")


def beside_paper(summary: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Put the rows of a summary beside the paper's accuracies on UCF11, by model, rank, N and order.

    Adds `paper_id` (the model, as the ids of paper.csv end), `paper` (the accuracy) and `paper_mark`; NaN, NaN and ""
    where the paper has no such model.
    """
    joined = summary.merge(_SHAPES, how="left", on=list(_SHAPES.columns[:-1]))
    known = paper.reindex("ucf11.accuracy." + joined["paper_id"])
    values = pd.to_numeric(known["value"]).to_numpy(dtype=float)
    return joined.assign(paper=values, paper_mark=known["mark"].fillna("").to_numpy())
