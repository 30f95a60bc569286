"""Task 3: scores of captions beside the published ones, and the captions themselves."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from btrnn.figures.captioning import captions
from btrnn.figures.file import FigureFile
from btrnn.figures.series import draw_series
from btrnn.reports.format import count, marked, mean_text
from btrnn.reports.page import Page
from btrnn.reports.tables import Table, run_cells, size_cells
from btrnn.reports.view import View
from btrnn.results.schema import model_of
from btrnn.results.summary import Row, rows_of

_BLEU = tuple(f"test/bleu_{n}" for n in (1, 2, 3, 4))
_READ_AGAINST = {
    "cider_constant": "one caption for all images",
    "cider_true": "true captions, each against the others",
}
_SPLITS = {"train": "training, with dropout", "val": "validation"}


def _rows(view: View, panel: pd.DataFrame) -> Table:
    """Write a row for each setting, then what its CIDEr is read against, and the published scores."""
    rows = [
        {"model": row["label"]}
        | size_cells(row)
        | {"BLEU-1 / 2 / 3 / 4": " / ".join(f"{100 * row[column]:.1f}" for column in _BLEU)}
        | {"METEOR": _score(row, "meteor"), "ROUGE-L": _score(row, "rouge_l")}
        | {"CIDEr": mean_text(row, "test/cider", ".1f", times=100)}
        | {"perplexity": mean_text(row, "test/perplexity", ".2f", interval=False)}
        | run_cells(row)
        for row in panel.to_dict("records")
    ]
    others = [
        {"model": title, "CIDEr": f"{100 * panel[f'test/{column}'].mean():.1f}"}
        for column, title in _READ_AGAINST.items()
        if panel[f"test/{column}"].notna().all()
    ]
    return [dict.fromkeys(rows[0], "-") | row for row in (*rows, *others, _published(view))]


def _score(row: Row, name: str) -> str:
    return mean_text(row, f"test/{name}", ".1f", times=100, interval=False)


def _published(view: View) -> dict[str, str]:
    """Write Show and Tell's scores; its dense LSTM alone is published."""
    bleu, meteor, cider = (
        marked(view.paper["value"][key], view.paper["mark"][key])
        for key in ("captioning.bleu_4", "captioning.meteor", "captioning.cider")
    )
    return {
        "model": "Show and Tell (Vinyals 2015), MSCOCO",
        "parameters of W": count(int(view.paper["value"]["captioning.parameters.lstm"])),
        "BLEU-1 / 2 / 3 / 4": f"- / - / - / {bleu}",
        "METEOR": meteor,
        "CIDEr": cider,
    }


def _values(view: View) -> dict[str, Any]:
    summary = view.summary
    dense = [row for row in summary.to_dict("records") if model_of(row["model"]).dense]
    return {
        "plain_tokenizer": bool((summary["tokenizer"] != "ptb").any()),
        "dense": {name: 100 * dense[0][f"test/{name}"] for name in ("cider", *_READ_AGAINST)} if dense else {},
    }


def is_sweep(summary: pd.DataFrame) -> bool:
    """Return whether some model stands there with several ranks or numbers of blocks."""
    shapes = summary[["model", "rank", "num_blocks", "origin"]].drop_duplicates()
    return bool(shapes.duplicated(["model", "origin"]).any())


def _figures(view: View) -> list[FigureFile]:
    title = f"Captions of {view.title}"
    if is_sweep(view.summary):
        points = _points(view.summary)
        draw = partial(draw_series, points, title, "parameters of W", "CIDEr, times 100", bars=True, log_x=True)
        return [FigureFile(view.figure("parameters.png"), points, draw)]
    parts = [view.epoch_series(f"{split}/loss", partial(_split_name, name)) for split, name in _SPLITS.items()]
    loss = pd.concat(parts, ignore_index=True)
    draw = partial(draw_series, loss, title, "epoch", "loss, nats a word")
    return [*_caption_files(view, title), FigureFile(view.figure("loss.png"), loss, draw)]


def _split_name(name: str, _: Row) -> str:
    return name


def _points(summary: pd.DataFrame) -> pd.DataFrame:
    """Return CIDEr against the parameters of W: a line for each model and N; the dense model is a horizontal line."""
    rows = []
    for row in summary.sort_values(["parameters_input"]).to_dict("records"):
        dense, blocks = model_of(row["model"]).dense, row["num_blocks"]
        label = str(row["model_label"]) + ("" if pd.isna(blocks) else f", N = {blocks:g}")
        rows.append(
            {"panel": "", "label": label, "model": row["model"]}
            | {"x": np.nan if dense else row["parameters_input"], "mean": 100 * row["test/cider"]}
            | {end: 100 * row[f"test/cider_{end}"] for end in ("low", "high")}
            | {"note": "" if pd.isna(row["rank"]) else f"R = {row['rank']:g}"}
        )
    return pd.DataFrame(rows)


def _caption_files(view: View, title: str) -> list[FigureFile]:
    """Return the first test images with what each model says of them, by its first seed, if it saw them all."""
    images, shown = view.results.pictures["images"], view.results.pictures["image_ids"]
    texts = {}
    for row in view.summary.to_dict("records"):
        said = rows_of(row, view.results.predictions)
        first = said[said["seed"] == said["seed"].min()].set_index("image")["caption"]
        if set(shown) <= set(first.index):
            texts[row["label"]] = [str(first[image]) for image in shown]
    if not texts:
        return []
    models = dict(zip(view.summary["label"], view.summary["model"], strict=True))
    data: list[np.ndarray] = [images, np.array(list(texts.values())), np.array(list(texts))]
    return [FigureFile(view.figure("captions.png"), data, partial(captions, images, texts, models, title))]


PAGE = Page(
    template="captioning",
    rows=_rows,
    brief=(
        *("model", "parameters of W", "compression of W", "BLEU-1 / 2 / 3 / 4", "METEOR", "ROUGE-L", "CIDEr"),
        *("perplexity", "learning rate", "seconds per epoch"),
    ),
    figures=_figures,
    values=_values,
    form=".1f",
    times=100,
)
