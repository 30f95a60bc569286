"""Which page shows which experiment: those of the tasks, and of the studies of rates and of shapes."""

from typing import Any

import numpy as np
import pandas as pd

from btrnn.figures.file import FigureFile
from btrnn.figures.pictures import draw_heat_maps
from btrnn.figures.series import draw_series
from btrnn.reports.page import LAST_EPOCH, RUN, SIZE, TESTED, WHOLE, Page, mean, not_converged, other_differences, value
from btrnn.reports.pictures import captions_file, drawn_files
from btrnn.reports.rates import RATES
from btrnn.reports.render import marked
from btrnn.reports.sensitivity import SENSITIVITY
from btrnn.reports.view import View, unusual
from btrnn.results.differences import cost_of_accuracy
from btrnn.results.schema import BASELINES, CAPTIONING, GENERATION, VIDEO, model_of, schema_of
from btrnn.results.summary import Row, rows_of, shape_label


def page_of(experiment: str) -> Page:
    """Return the page of an experiment.

    Raises:
        ResultsError: Its name does not begin with that of a task.
    """
    schema, words = schema_of(experiment), experiment.split("_")
    return RATES if "rates" in words else SENSITIVITY if "sensitivity" in words else _TASKS[schema.prefixes]


def _epochs(view: View, name: str, columns: dict[str, str], y_label: str, **options: Any) -> list[FigureFile]:
    """Return the figure of metrics against the epoch; none where no run has epochs."""
    table = view.epoch_series(columns)
    drawn = view.figure(f"{name}.png", draw_series, table, x_label="epoch", y_label=y_label, **options)
    return [drawn] if len(table) else []


def _sizes(view: View) -> list[FigureFile]:
    """Return the figure of the main metric against the parameters of W, and of all.

    Ranks stand in the legend; where a model has several of them, each beside its point as well.
    """
    plain = view.summary[view.summary["plain"]]
    ranks: dict[tuple[str, str, str], set[float]] = {}
    for row in plain[plain["rank"].notna()].to_dict("records"):
        ranks.setdefault(_line(view, row), set()).add(row["rank"])
    several = {line: sorted(found) for line, found in ranks.items() if len(found) > 1}

    def label(row: Row) -> str:
        if (line := _line(view, row)) not in several:
            return str(row["label"])
        known = ", ".join(f"{rank:g}" for rank in several[line])
        return (
            f"{line[-1]}, {model_of(row['model']).shape[0][0]} = {known}{row['label'].removeprefix(shape_label(row))}"
        )

    own, whole = (view.points(f"parameters_{of}", label) for of in ("input", "total"))
    baselines = view.summary["model"].isin([baseline.name for baseline in BASELINES]).to_numpy()
    whole.loc[baselines, "x"] = float("nan")  # horizontal, as beside W, of which they have none
    rows = view.summary.to_dict("records")
    own["note"] = [f"{row['rank']:g}" if _line(view, row) in several else "" for row in rows]
    parts = {"W": own, "the whole model": whole.assign(note="")}
    named = [table.assign(panel=_joined(table["panel"], name)) for name, table in parts.items()]
    shown = [unusual(row, view.schema.controls).keys() <= {"start"} for row in rows]  # no controls
    table = pd.concat([table[shown] for table in named])
    options = {"bars": True, "log_x": True, "x_label": "parameters", "y_label": view.metric.label}
    limits = WHOLE if view.schema is VIDEO else None
    return [view.figure("parameters.png", draw_series, table, limits=limits, **options)] if len(table) else []


def _line(view: View, row: Row) -> tuple[str, str, str]:
    """Return what rows have in common that stand on one line: all but the rank."""
    return view.place(row), row["origin"], shape_label(row, without="rank")


def _joined(places: "pd.Series[str]", name: str) -> list[str]:
    """Return panels in a place each, such as "raw input", with what they show behind it."""
    return [f"{place}, {name}" if place else name for place in places]


def _examples(view: View) -> list[FigureFile]:
    """Return the figure of the main metric against training examples, of models that were trained on fewer as well."""
    fewer = {"train_limit", "passes"}
    alone = [unusual(row, view.schema.controls).keys() <= fewer for row in view.summary.to_dict("records")]
    limited = view.summary["train_limit"].notna()
    table = view.points("num_train", value("label"), lambda _: "")[alone]
    table = table[table["label"].isin(table.loc[limited, "label"])]
    options = {"bars": True, "log_x": True, "own_axes": True, "x_label": "training examples"}
    options |= {"y_label": view.metric.label}
    return [view.figure("examples.png", draw_series, table, **options)] if len(table) else []


# ---- task 1


def _paper(row: Row) -> str:
    return "-" if pd.isna(row["paper"]) else marked(f"{row['paper']:.3f}", row["paper_mark"])


def _video_figures(view: View) -> list[FigureFile]:
    chosen_on_test = "paper" in set(view.summary["protocol"])
    label = "accuracy on the clips\nthat choose the epoch" if chosen_on_test else "validation accuracy"
    files = _epochs(view, "accuracy", {"": "val/accuracy"}, label, limits=WHOLE)
    files += [*_epochs(view, "training_loss", {"": "train/loss"}, "training loss"), *_sizes(view), *_examples(view)]
    best = view.summary[view.summary["plain"] & (view.summary["paper_id"] == "bt_lstm_r4")]
    for row in best.to_dict("records") if len(view.results.predictions) else ():
        tested = rows_of(row, view.results.predictions)
        names = tested["group"].str.split("/").str[0].groupby(tested["label"]).first().to_dict()
        counts = pd.crosstab(tested["label"], tested["predicted"]).rename(index=names, columns=names)
        title = f"{view.title}\n{row['label']}, protocol {row['protocol']}, scaling {row['scaling']}"
        name, maps = f"confusion_{row['protocol']}_{row['scaling']}.png", {"": counts.where(counts > 0)}
        files.append(view.figure(name, draw_heat_maps, maps, title=title, x_label="predicted", y_label="true"))
    return files


_NEAR = 0.95  # of the dense model's accuracy
_VIDEO = Page(
    template="video",
    columns={
        **{"model": value("label"), **SIZE, "paper, UCF11": _paper},
        **{"error of W at the start": mean("start_error", ".3f", interval=False), **TESTED, **RUN},
    },
    figures=_video_figures,
    values=lambda view: (
        not_converged(view, view.summary)
        | {"near": _NEAR, "costs": cost_of_accuracy(view.summary, view.results, _NEAR)}
        | other_differences(view, LAST_EPOCH)
    ),
)


# ---- task 2


def _generation_figures(view: View) -> list[FigureFile]:
    lowest = view.results.epochs["val/nll_bound"].min() if len(view.results.epochs) else 0.0
    limits, label = (lowest - 2, lowest + 40), "validation NLL bound, nats"
    return [*drawn_files(view), *_epochs(view, "bound", {"": "val/nll_bound"}, label, limits=limits), *_examples(view)]


_PARTS = {"reconstruction": "test/reconstruction", "KL": "test/kl", "importance-weighted": "test/nll_importance"}
_SAMPLES = {"digit score": "test/digit_score"}


def _generation_values(view: View) -> dict[str, Any]:
    """Return what has not converged, the differences of the bound's parts, and the score of the test images."""
    compared = {head: (column, view.metric.form, 1) for head, column in (_PARTS | _SAMPLES).items()}
    true_score = view.results.runs["test/digit_score_true"].mean()
    return not_converged(view, view.summary) | other_differences(view, compared) | {"true_score": true_score}


_GENERATION = Page(
    template="generation",
    columns={
        **{"encoder": value("label"), **SIZE, "NLL bound, nats": mean("test/nll_bound", ".2f")},
        **{head: mean(column, ".2f", interval=False) for head, column in (_PARTS | _SAMPLES).items()},
        **{"training bound": value("train/nll_bound", ".1f"), **RUN},
    },
    figures=_generation_figures,
    values=_generation_values,
)


# ---- task 3


def _captioning_figures(view: View) -> list[FigureFile]:
    splits = {"training, with dropout": "train/loss", "validation": "val/loss"}
    files = [*captions_file(view), *_epochs(view, "loss", splits, "loss, nats a word")]
    shapes = view.summary[["model", "rank", "num_blocks", "origin"]].drop_duplicates()
    return [*_sizes(view), *files] if shapes.duplicated(["model", "origin"]).any() else files


_EXAMPLES = 8  # test images whose captions are shown


def _examples_of_captions(view: View) -> dict[str, Any]:
    """Return what each model says of some test images, by its first seed: drawn from all at random, not picked."""
    captions: dict[str, pd.DataFrame] = {}
    for row in view.summary.to_dict("records") if len(view.results.predictions) else ():
        said = rows_of(row, view.results.predictions)
        captions[row["label"]] = said[said["seed"] == said["seed"].min()].set_index("image")
    known = sorted(set.intersection(*(set(said.index) for said in captions.values()))) if captions else []
    places = np.random.default_rng(0).permutation(len(known))[:_EXAMPLES]
    images = [known[place] for place in sorted(places)]
    return {
        "examples": {image: {label: said.loc[image].to_dict() for label, said in captions.items()} for image in images}
    }


_SCORES = {"METEOR": "meteor", "ROUGE-L": "rouge_l"}
_OTHER_SCORES = {
    **{head: (f"test/{name}", ".1f", 100) for head, name in ({"BLEU-4": "bleu_4"} | _SCORES).items()},
    "perplexity": ("test/perplexity", ".2f", 1),
}
_CAPTIONING = Page(
    template="captioning",
    columns={
        **{"model": value("label"), **SIZE},
        "BLEU-1 / 2 / 3 / 4": lambda row: " / ".join(f"{100 * row[f'test/bleu_{n}']:.1f}" for n in (1, 2, 3, 4)),
        **{head: mean(f"test/{name}", ".1f", times=100, interval=False) for head, name in _SCORES.items()},
        "CIDEr": mean("test/cider", ".1f", times=100),
        **{"perplexity": mean("test/perplexity", ".2f", interval=False), **RUN},
    },
    figures=_captioning_figures,
    values=lambda view: _examples_of_captions(view) | other_differences(view, _OTHER_SCORES),
)
_TASKS = {VIDEO.prefixes: _VIDEO, GENERATION.prefixes: _GENERATION, CAPTIONING.prefixes: _CAPTIONING}
