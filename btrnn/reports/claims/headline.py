"""What the models reach on real video: a row for each setting, with what is most asked of it."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from btrnn.reports.rates import with_choice
from btrnn.reports.render import difference_text, number
from btrnn.reports.view import View
from btrnn.results.differences import against, model_differences, paired_difference
from btrnn.results.schema import BASELINES, BT_LSTM, LSTM, NEAREST_NEIGHBOUR, TT_LSTM, VIDEO
from btrnn.results.statistics import corrected_for_overlap, difference_p
from btrnn.results.summary import Row, rows_of

_SHOWN = (LSTM, TT_LSTM, BT_LSTM)
_BLOCK_TERMS = "BT-LSTM, R = 4"  # where other ranks stand beside it
_LAST = "test/accuracy_last"
_FOLDS = {  # in words, by the name that `claim_pages.all_known` gives a study
    "apart": "unseen groups, normalized input",
    "rivals": "unseen groups, rates scaled by layer",
    "features": "unseen groups, 320 numbers a frame",
    "maps": "unseen groups, 15,680 numbers a frame",
    "people": "silhouettes, unseen people",
}


def headline_rows(known: dict[str, Any]) -> list[Row]:
    """Return a row for each setting whose numbers are `known`, see `claim_pages.all_known`.

    Each has `name` (as in `known`, "" on a random split), `data` and `setting` in words, `experiment`, the accuracies
    by the models' names in `scores`, the ends of their intervals in `ends`, the difference of BT-LSTM and LSTM in
    `ours`, on the first random split that of BT-LSTM and the nearest neighbour in `copied`, both None where there is
    none, and whether every `simple` baseline is above all networks.
    """
    return [*_random_split(known["studies"]), *_folds(known)]


def _random_split(studies: list[Row]) -> Iterator[Row]:
    """Yield a row for each input scaling: each model at its own rate."""
    for study in studies:
        if not study["ours"] or study["small"]:  # controls
            continue
        rates = with_choice(study["view"])
        yield {
            **{"name": "", "data": study["view"].data, "experiment": study["view"].experiment, "simple": False},
            **{"setting": f"random split, {study['first']['scaling']} input", "ours": study["ours"]},
            **_reached(rates[rates["best"] | rates["learning_rate"].isna()]),
            "copied": _beside_neighbour(study["view"]) if study is studies[0] else None,
        }


def _beside_neighbour(view: View) -> Row | None:
    """Compare BT-LSTM, at its chosen rate, with the nearest neighbour on mean frames; None where that is not there.

    The verdict is one of a family: the comparisons with all baselines.
    """
    rates, baselines = with_choice(view), tuple(baseline.name for baseline in BASELINES)
    chosen = rates[(rates["best"] & (rates["model"] == BT_LSTM.name)) | rates["model"].isin(baselines)]
    rows = model_differences(chosen, view.results, asked=against(*baselines)).to_dict("records")
    rows = [row for row in rows if row["second_model"] == NEAREST_NEIGHBOUR.name]
    return rows[0] | {"text": difference_text(rows[0], VIDEO.form)} if rows else None


def over_sizes(view: View, column: str = VIDEO.main) -> Row:
    """Compute BT-LSTM minus LSTM with fewer training clips: the mean over their numbers, paired by folds.

    Returns:
        `text`, and with a correction for folds that overlap, by the smallest n_test / n_train of all sizes, the p-value
        of its being zero, `overlap_p`; empty without such runs.
    """
    fewer = view.summary[view.summary["train_limit"] > 0]
    runs = {
        label: [rows_of(row, view.results.runs) for row in fewer[fewer["label"] == label].to_dict("records")]
        for label in (_BLOCK_TERMS, LSTM.label)
    }
    if not all(runs.values()):
        return {}

    def means(parts: list[pd.DataFrame]) -> pd.DataFrame:
        values = [part.set_index(["fold", "seed"])[column] for part in parts]
        return pd.concat(values, axis=1).mean(axis=1, skipna=False).rename(column).reset_index()

    found = paired_difference(means(runs[_BLOCK_TERMS]), means(runs[LSTM.label]), column)
    fewest = min((part["num_test"] / part["num_train"]).mean() for part in runs[LSTM.label])
    overlap_p = difference_p(corrected_for_overlap(found, fewest))
    return {"text": difference_text(found._asdict(), VIDEO.form), "overlap_p": overlap_p}


def at_last_epoch(view: View) -> Row:
    """Return BT-LSTM minus LSTM at the last epoch, in all sizes and with all clips, and when epochs were chosen.

    Returns:
        `text` and `fewer`, as text, the latter "" without runs on fewer clips; `epochs`, of a run; `chosen`, the median
        epoch by the model's label, from 1. Empty where no dense model is there.
    """
    plain = view.summary[view.summary["plain"]].set_index("label")
    if not {_BLOCK_TERMS, LSTM.label} <= set(plain.index):
        return {}
    ours, dense = (rows_of(plain.loc[label].to_dict(), view.results.runs) for label in (_BLOCK_TERMS, LSTM.label))
    chosen = {BT_LSTM.label: ours, LSTM.label: dense}
    return {
        "text": difference_text(paired_difference(ours, dense, _LAST)._asdict(), VIDEO.form),
        "fewer": over_sizes(view, _LAST).get("text", ""),
        "epochs": view.first["epochs"],
        "chosen": {label: runs["epoch_chosen"].median() + 1 for label, runs in chosen.items()},
    }


def _folds(known: dict[str, Any]) -> Iterator[Row]:
    """Yield a row for each study in which the clips of one group are never both trained on and tested."""
    for name, setting in _FOLDS.items():
        view, rows = known[name]["view"], known[name]["rows"]
        if view is None:
            continue
        plain = view.summary[view.summary["plain"]]
        networks = plain["parameters_input"].notna()
        reached, simple = plain.loc[networks, "test/accuracy"], plain.loc[~networks, "test/accuracy"]
        ours = known["turned"] if name == "rivals" else [row for row in rows if row["first_model"] == BT_LSTM.name]
        yield {
            **{"name": name, "copied": None, "data": view.data, "experiment": view.experiment, "setting": setting},
            **_reached(plain.drop_duplicates("model")),  # of several shapes the first
            "ours": ours[0] if ours else None,
            "simple": len(simple) > 0 and reached.max() < simple.min(),
        }


def _reached(rows: pd.DataFrame) -> Row:
    """Return `scores` and `ends` of the models that are shown, from a row for each."""
    by_model = {row["model"]: row for row in rows.to_dict("records")}
    there = {model.name: by_model[model.name] for model in (*_SHOWN, *BASELINES) if model.name in by_model}
    return {
        "scores": {name: number(row[VIDEO.main], VIDEO.form) for name, row in there.items()},
        "ends": {name: (row[f"{VIDEO.main}_low"], row[f"{VIDEO.main}_high"]) for name, row in there.items()},
    }
