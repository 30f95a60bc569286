"""What the models reach on real video: a row for each setting, with what is most asked of it."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from btrnn.reports.rates import with_choice
from btrnn.reports.render import difference_text, number
from btrnn.reports.view import View
from btrnn.results.differences import model_differences, paired_difference
from btrnn.results.schema import BASELINES, BT_LSTM, LSTM, NEAREST_NEIGHBOUR, TT_LSTM, VIDEO
from btrnn.results.summary import Row, rows_of

_SHOWN = (LSTM, TT_LSTM, BT_LSTM)
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
    by the models' names in `scores`, the difference of BT-LSTM and LSTM in `ours`, on the first random split that of
    BT-LSTM and the nearest neighbour in `copied`, both None where there is none, and whether every `simple` baseline is
    above all networks.
    """
    return [*_random_split(known["studies"]), *_folds(known)]


def _random_split(studies: list[Row]) -> Iterator[Row]:
    """Yield a row for each input scaling: each model at its own rate."""
    names = {model.label: model.name for model in _SHOWN}
    for study in studies:
        if not study["ours"]:  # a control of one model
            continue
        summary = study["view"].summary.set_index("model")["test/accuracy"]
        baselines = {
            name: number(summary[name], VIDEO.form) for name in (one.name for one in BASELINES) if name in summary
        }
        scores = {names[model["label"]]: model["best"] for model in study["models"]}
        yield {
            **{"name": "", "data": study["view"].data, "experiment": study["view"].experiment, "simple": False},
            **{"setting": f"random split, {study['first']['scaling']} input", "scores": scores | baselines},
            **{"ours": study["ours"]},
            "copied": _beside_neighbour(study["view"]) if study is studies[0] else None,
        }


def _beside_neighbour(view: View) -> Row | None:
    """Compare BT-LSTM, at its chosen rate, with the nearest neighbour on mean frames; None where that is not there.

    The verdict is one of a family: the comparisons with all baselines.
    """
    rates, baselines = with_choice(view), tuple(baseline.name for baseline in BASELINES)
    chosen = rates[(rates["best"] & (rates["model"] == BT_LSTM.name)) | rates["model"].isin(baselines)]
    rows = model_differences(chosen, view.results, references=baselines).to_dict("records")
    rows = [row for row in rows if row["second_model"] == NEAREST_NEIGHBOUR.name]
    return rows[0] | {"text": difference_text(rows[0], VIDEO.form)} if rows else None


def over_sizes(view: View) -> str:
    """Write BT-LSTM minus LSTM with fewer training clips: the mean over their numbers, paired by folds; "" without."""
    fewer = view.summary[view.summary["train_limit"] > 0]

    def means(label: str) -> pd.DataFrame:
        rows = fewer[fewer["label"] == label].to_dict("records")
        runs = [rows_of(row, view.results.runs).set_index(["fold", "seed"])[VIDEO.main] for row in rows]
        return pd.concat(runs, axis=1).mean(axis=1, skipna=False).rename(VIDEO.main).reset_index()

    pair = ("BT-LSTM, R = 4", LSTM.label)
    if not set(pair) <= set(fewer["label"]):
        return ""
    return difference_text(paired_difference(means(pair[0]), means(pair[1]), VIDEO.main)._asdict(), VIDEO.form)


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
        by_model = plain.drop_duplicates("model").set_index("model")["test/accuracy"]  # of several shapes the first
        shown = by_model.reindex([model.name for model in (*_SHOWN, *BASELINES)]).dropna()
        yield {
            **{"name": name, "copied": None, "data": view.data, "experiment": view.experiment, "setting": setting},
            **{"scores": shown.map(f"{{:{VIDEO.form}}}".format).to_dict(), "ours": ours[0] if ours else None},
            "simple": len(simple) > 0 and reached.max() < simple.min(),
        }
