"""Where the paper's gap comes from: what each change alone does to the accuracy on the random split of real video."""

from typing import Any, NamedTuple

import pandas as pd

from btrnn.reports.rates import with_choice
from btrnn.reports.render import difference_text
from btrnn.reports.view import View
from btrnn.results.differences import paired_difference
from btrnn.results.schema import BT_LSTM, LSTM, TT_LSTM, VIDEO
from btrnn.results.summary import Row, rows_of

NO_DROPOUT = "ucf101_rates_no_dropout"  # the dense model alone; the others drop no inputs anyway
SMALL_W = "ucf101_rates_raw_small"  # an initial W that fits raw input
CONTROLS = (NO_DROPOUT, SMALL_W)
_SCALINGS = ("raw", "normalized")


class _Setting(NamedTuple):
    """A model at its own rate or the paper's; a quarter of the dense one's input drops, and W is the usual, or not."""

    model: str = LSTM.name
    at_paper: bool = False
    dropout: bool = True
    small: bool = False


_CHANGES = {  # of the first setting minus the second, on the same input
    "LSTM: its own rate minus the paper's": (_Setting(), _Setting(at_paper=True)),
    "LSTM, the paper's rate: all inputs minus dropping a quarter": (
        *(_Setting(at_paper=True, dropout=False), _Setting(at_paper=True)),
    ),
    "LSTM, own rates: all inputs minus dropping a quarter": (_Setting(dropout=False), _Setting()),
    "LSTM, own rates: an initial W that fits minus the released": (_Setting(small=True), _Setting()),
    "BT-LSTM minus LSTM, both at the paper's rate": (_Setting(BT_LSTM.name, at_paper=True), _Setting(at_paper=True)),
    "BT-LSTM minus LSTM, own rates": (_Setting(BT_LSTM.name), _Setting()),
    "BT-LSTM minus LSTM, own rates, all inputs": (_Setting(BT_LSTM.name), _Setting(dropout=False)),
    "BT-LSTM minus LSTM, own rates, an initial W that fits": (
        *(_Setting(BT_LSTM.name, small=True), _Setting(small=True)),
    ),
}
Runs = dict[tuple[str, _Setting], pd.DataFrame]  # by the scaling of the input, too


def attribution(views: list[View]) -> dict[str, Any]:
    """Return what each change does to the accuracy: mean over paired seeds, low and high of its 95 % interval, n, text.

    `views` are the studies of rates on the random split.

    Returns:
        `changes`: for each in words such a row by the scaling of the input; n = 0 where no seed was run with and
        without. `scaled`: by the model's label, what scaling the input adds, at own rates.
    """
    runs = _runs(views)
    changes = {
        what: {scaling: _difference(runs, (scaling, first), (scaling, second)) for scaling in _SCALINGS}
        for what, (first, second) in _CHANGES.items()
    }
    scaled = {
        model.label: _difference(runs, *((scaling, _Setting(model.name)) for scaling in reversed(_SCALINGS)))
        for model in (LSTM, TT_LSTM, BT_LSTM)
    }
    return {"changes": changes, "scaled": scaled}


def _runs(views: list[View]) -> Runs:
    """Return the runs at each model's own rate and at the paper's, as long as the longest."""
    runs: Runs = {}
    for view in views:
        rates = with_choice(view)
        for row in rates[rates["final"] & rates["learning_rate"].notna()].to_dict("records"):
            for at_paper, there in ((False, row["best"]), (True, row["learning_rate"] == view.paper_rate)):
                if there:
                    dropout, small = view.experiment != NO_DROPOUT, view.experiment == SMALL_W
                    runs[row["scaling"], _Setting(row["model"], at_paper, dropout, small)] = rows_of(
                        row, view.results.runs
                    )
    return runs


def _difference(runs: Runs, first: tuple[str, _Setting], second: tuple[str, _Setting]) -> Row:
    none = pd.DataFrame(columns=["fold", "seed", VIDEO.main], dtype=float)
    found = paired_difference(runs.get(first, none), runs.get(second, none), VIDEO.main)
    row = found._asdict()
    return row | {"text": f"{difference_text(row, VIDEO.form)}, n = {found.n}" if found.n else "-"}
