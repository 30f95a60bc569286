"""Task 1: accuracies beside the paper's, and how soon the dense model's best loss is reached."""

import math
from functools import partial
from typing import Any

import pandas as pd

from btrnn.figures.file import FigureFile
from btrnn.figures.series import draw_series
from btrnn.figures.video import confusion_matrix
from btrnn.reports.caveats import PUBLISHED
from btrnn.reports.format import markdown_table, marked, mean_text, number
from btrnn.reports.page import Page
from btrnn.reports.tables import Table, run_cells, size_cells
from btrnn.reports.view import View
from btrnn.results.differences import convergence
from btrnn.results.paper import beside_paper, best_model
from btrnn.results.schema import DENSE_MODELS, TT_LSTM
from btrnn.results.store import result_paths
from btrnn.results.summary import Row, class_names, confusion, panels

RATE_CURVES = "ucf11_rates_random_split"
_METRIC = "test/accuracy"
_PANELS = {
    **{"paper": "random split", "paper_validated": "random split, validated", "grouped": "grouped split"},
    **{"raw": "raw input", "normalized": "normalised input"},
}


def panel_name(row: Row) -> str:
    """Return the words for a row's protocol and scaling that stand in titles."""
    return ", ".join(_PANELS.get(str(row[column]), str(row[column])) for column in ("protocol", "scaling"))


def _evaluated(row: Row) -> str:
    """Name a panel, and the clips on which the epochs of its protocol are evaluated."""
    return f"{panel_name(row)}: {'test' if row['protocol'] == 'paper' else 'validation'}"


def _rows(view: View, panel: pd.DataFrame) -> Table:
    return [
        {"model": row["label"]}
        | size_cells(row)
        | {"paper, UCF11": _paper(row["paper_accuracy"], row["paper_mark"])}
        | {"test accuracy": mean_text(row, _METRIC, ".3f"), "last epoch": mean_text(row, f"{_METRIC}_last", ".3f")}
        | {"difference to the paper": _difference(row)}
        | {"training, last epoch": number(_training(row), ".3f")}
        | run_cells(row)
        for row in beside_paper(panel, view.paper).to_dict("records")
    ]


def _paper(value: float, mark: str) -> str:
    return "-" if math.isnan(value) else marked(f"{value:.3f}", mark)


def _difference(row: Row) -> str:
    if not row["n"] or math.isnan(row["paper_accuracy"]):
        return "-"
    if row["source"] != PUBLISHED["ucf11"]:
        return "other data"  # a number here would read as a reproduction
    return number(row[_METRIC] - row["paper_accuracy"], "+.3f")


def _training(row: Row) -> float:
    """Return the training accuracy at the last epoch; a model without epochs has only one."""
    last: float = row["train/accuracy_last"]
    return row["train/accuracy"] if math.isnan(last) else last


def _values(view: View) -> dict[str, Any]:
    times = [found for panel in panels(view.summary) if len(found := convergence(panel, view.results.epochs))]
    source = view.first["source"]
    curves = RATE_CURVES if source == PUBLISHED["ucf11"] else f"{RATE_CURVES}_{source}"
    return {
        "protocols": set(view.summary["protocol"]),
        "convergence": markdown_table(_soon(pd.concat(times, ignore_index=True))) if times else "",
        "published": markdown_table(_published(view)),
        "rate_curves": curves if result_paths(view.results_dir, curves).runs.exists() else "",
    }


def _soon(times: pd.DataFrame) -> Table:
    """Write a row for each setting: every seed's epochs and seconds, beside the dense model's."""
    rows = []
    for _, group in times.groupby(["protocol", "scaling", "label"], sort=False):
        first = group.iloc[0]
        speed = (group["dense_seconds"] / group["seconds"]).dropna()
        rows.append(
            {"protocol": first["protocol"], "scaling": first["scaling"], "model": first["label"]}
            | {"seeds": ", ".join(map(str, group["seed"]))}
            | {"its epochs": _each(group["epochs"], ".0f"), "dense epochs": _each(group["dense_epochs"], ".0f")}
            | {"its seconds": _each(group["seconds"], ".3g"), "dense seconds": _each(group["dense_seconds"], ".3g")}
            | {"times sooner": "-" if speed.empty else f"{speed.min():.3g} to {speed.max():.3g}"}
        )
    return rows


def _each(values: pd.Series, form: str) -> str:
    return ", ".join("never" if math.isnan(value) else f"{value:{form}}" for value in values)


def _published(view: View) -> Table:
    """Write the published results on UCF11 and, under them, our row of the paper's best model in each panel."""
    known = view.paper[view.paper["section"] == "UCF11 published"].to_dict("records")
    published = [
        {"result": row["what"], "model": row["model"], "accuracy": marked(row["value"], row["mark"])}
        | {"setting": row["setting"]}
        for row in known
    ]
    own = [
        {"result": f"ours, {view.data}", "model": row["label"], "accuracy": mean_text(row, _METRIC, ".3f")}
        | {"setting": panel_name(row)}
        for row in best_model(view.summary).to_dict("records")
    ]
    return published + own


def _figures(view: View) -> list[FigureFile]:
    # a scale fixes the number of clips unless a user overrides it: never draw two numbers in one panel
    asked = view.summary["num_clips"].fillna(math.inf)
    summary = view.summary[asked == asked.max()]
    accuracy = view.epoch_series("val/accuracy", _evaluated)
    loss = view.epoch_series("train/loss", panel_name)
    points, published = _points(view, summary)
    drawn = partial(draw_series, points, view.title, "parameters of W", "test accuracy", bars=True, log_x=True)
    drawn = partial(drawn, limits=(0.0, 1.04), published=published)
    files = [
        FigureFile(
            view.figure("accuracy.png"),
            accuracy,
            partial(draw_series, accuracy, view.title, "epoch", "accuracy", limits=(0.0, 1.04)),
        ),
        FigureFile(
            view.figure("training_loss.png"), loss, partial(draw_series, loss, view.title, "epoch", "training loss")
        ),
        FigureFile(view.figure("parameters.png"), pd.concat([points, published], ignore_index=True), drawn),
    ]
    classes = class_names(view.results.predictions)
    for row in best_model(summary).to_dict("records"):
        counts = confusion(row, view.results.predictions, classes)
        name = f"confusion_{row['protocol']}_{row['scaling']}.png"
        draw = partial(confusion_matrix, counts, f"{view.title}\n{row['label']}, {panel_name(row)}")
        files.append(FigureFile(view.figure(name), counts, draw))
    return files


def _points(view: View, summary: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the accuracies against the parameters of W, ours and, in the panels of its own split, the paper's."""
    ours, published = [], []
    for panel in panels(summary):
        for row in beside_paper(panel, view.paper).to_dict("records"):
            place = {"panel": panel_name(row), "label": row["label"], "model": row["model"]}
            place |= {"x": row["parameters_input"] or math.nan}
            if row["n"]:
                ends = {"low": row[f"{_METRIC}_low"], "high": row[f"{_METRIC}_high"]}
                ours.append(place | {"mean": row[_METRIC]} | ends)
            if row["protocol"] == "paper" and not math.isnan(row["paper_accuracy"]):
                published.append(place | {"label": "the paper, on UCF11", "mean": row["paper_accuracy"]})
    return pd.DataFrame(ours), pd.DataFrame(published, columns=["panel", "label", "model", "x", "mean"])


PAGE = Page(
    template="video",
    rows=_rows,
    brief=(
        *("model", "parameters of W", "compression of W", "paper, UCF11", "test accuracy", "last epoch"),
        *("training, last epoch", "learning rate", "seconds per epoch"),
    ),
    figures=_figures,
    values=_values,
    references=(*DENSE_MODELS, TT_LSTM.name),
    in_paper=True,
)
