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
_SHARED = "BT-LSTM minus LSTM, both at BT-LSTM's own rate"
_SCALINGS = ("raw", "normalized")


_OWN, _PAPERS, _BLOCK_TERMS = "its own", "the paper's", "BT-LSTM's own"  # rates


class _Setting(NamedTuple):
    """A model at one of these rates; a quarter of the dense one's input drops, and W is the usual, or not."""

    model: str = LSTM.name
    rate: str = _OWN
    dropout: bool = True
    small: bool = False


_CHANGES = {  # of the first setting minus the second, on the same input
    "LSTM: its own rate minus the paper's": (_Setting(), _Setting(rate=_PAPERS)),
    "LSTM, the paper's rate: all inputs minus dropping a quarter": (
        *(_Setting(rate=_PAPERS, dropout=False), _Setting(rate=_PAPERS)),
    ),
    "LSTM, own rates: all inputs minus dropping a quarter": (_Setting(dropout=False), _Setting()),
    "LSTM, own rates: an initial W that fits minus the released": (_Setting(small=True), _Setting()),
    "BT-LSTM minus LSTM, both at the paper's rate": (_Setting(BT_LSTM.name, _PAPERS), _Setting(rate=_PAPERS)),
    _SHARED: (_Setting(BT_LSTM.name), _Setting(rate=_BLOCK_TERMS)),
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
        without. `shared`: the one of them at one rate for both, BT-LSTM's. `scaled`: by the model's label, what scaling
        the input adds, at own rates.
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
    return {"changes": changes, "shared": changes[_SHARED], "scaled": scaled}


def _runs(views: list[View]) -> Runs:
    """Return the runs at each model's own rate, the paper's and BT-LSTM's own, as long as the longest."""
    runs: Runs = {}
    for view in views:
        rates = with_choice(view)
        dropout, small = view.experiment != NO_DROPOUT, view.experiment == SMALL_W
        ours = rates[rates["best"] & (rates["model"] == BT_LSTM.name)]
        shared = dict(zip(ours["scaling"], ours["learning_rate"], strict=True))
        for row in rates[rates["final"] & rates["learning_rate"].notna()].to_dict("records"):
            scaling, rate = row["scaling"], row["learning_rate"]
            known = {_OWN: row["best"], _PAPERS: rate == view.paper_rate, _BLOCK_TERMS: rate == shared.get(scaling)}
            for name, there in known.items():
                if there:
                    setting = _Setting(row["model"], name, dropout, small)
                    runs[scaling, setting] = rows_of(row, view.results.runs)
    return runs


def _difference(runs: Runs, first: tuple[str, _Setting], second: tuple[str, _Setting]) -> Row:
    none = pd.DataFrame(columns=["fold", "seed", VIDEO.main], dtype=float)
    found = paired_difference(runs.get(first, none), runs.get(second, none), VIDEO.main)
    row = found._asdict()
    return row | {"text": f"{difference_text(row, VIDEO.form)}, n = {found.n}" if found.n else "-"}
