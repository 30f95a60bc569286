"""Task 3 in Markdown and figures: scores of captions beside the published ones, and the captions themselves."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from btrnn.figures import captioning as figures
from btrnn.figures.file import FigureFile
from btrnn.reports import captioning_differences as comparisons
from btrnn.reports import common, tables
from btrnn.reports.format import count, markdown_table, span
from btrnn.results.paper import read_paper
from btrnn.results.store import Results, has_tests, read_results, result_paths, run_table
from btrnn.results.summary import Row, rows_of, summarise

_BLEU = tuple(f"test/bleu_{n}" for n in (1, 2, 3, 4))
_CIDER = ("test/cider", "test/cider_low", "test/cider_high")
_PAIRS = {"pairs": "colours with shapes: all right (by chance)", "pairs_any": "one right (by chance)"}


def terminal_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return the table of the runs whose folders are here as plain text.

    Raises:
        ResultsError: No run of this experiment and scale is finished.
    """
    summary = common.summary_at(run_table(results_dir, experiment), experiment, scale, results_dir)
    return common.terminal_text(_heading(summary), _rows(summary, results_dir))


def markdown_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return an experiment's table at one scale with its differences and notes, as Markdown."""
    results = read_results(results_dir, experiment)
    summary = common.summary_at(results.runs, experiment, scale, results_dir)
    differences = comparisons.differences(summary, results)
    parts = [f"### {_heading(summary)}", markdown_table(_rows(summary, results_dir))]
    if not differences.empty:
        parts.insert(0, _conclusion(differences, summary))
        parts.append(comparisons.differences_table(differences))
    chosen = results.runs[results.runs["scale"] == scale]
    notes = f"{_notes(summary)}{_untimed(chosen)}\n{tables.provenance(chosen)}"
    return "\n\n".join([*parts, notes])


def _untimed(runs: pd.DataFrame) -> str:
    """Say where the word pre-training before the first epoch was not timed, as in runs of earlier versions."""
    missing = "pretraining_seconds" not in runs or bool(runs["pretraining_seconds"].isna().any())
    return "\n- Seconds leave out the word pre-training before the first epoch, which was not timed." if missing else ""


def _conclusion(differences: pd.DataFrame, summary: pd.DataFrame) -> str:
    said = comparisons.ranks_conclusion if comparisons.is_sweep(summary) else comparisons.conclusion
    return said(differences, summary)


def _heading(summary: pd.DataFrame) -> str:
    first = summary.iloc[0]
    split = "" if first["stand_in"] else f", split `{first['split']}`"
    return (
        f"Captions of {tables.data_name(first['source'])}{split}: scale `{first['scale']}` ({span(summary['epochs'])} "
        f"epochs), {_features(first)}, beam {span(summary['beam_size'])}, n = {span(summary['n'])}"
    )


def _features(run: "pd.Series[Any]") -> str:
    return f"features of {run['encoder']} in {run['grid']:.0f} x {run['grid']:.0f} cells"


# ---- the table


def _rows(summary: pd.DataFrame, results_dir: Path) -> list[dict[str, str]]:
    """Write a row for each setting, then what its CIDEr is read against, and the published scores."""
    with_pairs = summary["test/pairs"].notna().any()
    rows = [
        {"model": row["label"]}
        | common.size_cells(row)
        | {"BLEU-1 / 2 / 3 / 4": " / ".join(f"{100 * row[column]:.1f}" for column in _BLEU)}
        | {"METEOR": _score(row, "meteor"), "ROUGE-L": _score(row, "rouge_l")}
        | {"CIDEr": common.mean_text(row, "test/cider", ".1f", times=100)}
        | ({title: _pairs(row, name) for name, title in _PAIRS.items()} if with_pairs else {})
        | {"perplexity": common.mean_text(row, "test/perplexity", ".2f", with_interval=False)}
        | common.run_cells(row)
        for row in summary.to_dict("records")
    ]
    others = [
        {"model": model, "CIDEr": f"{100 * summary[f'test/{column}'].mean():.1f}"}
        for model, column in (
            ("one caption for all images", "cider_constant"),
            ("true captions, each against the others", "cider_true"),
        )
        if summary[f"test/{column}"].notna().all()
    ]
    return [dict.fromkeys(rows[0], "-") | row for row in (*rows, *others, _published(results_dir))]


def _score(row: Row, name: str) -> str:
    return common.mean_text(row, f"test/{name}", ".1f", times=100, with_interval=False)


def _pairs(row: Row, name: str) -> str:
    right = common.mean_text(row, f"test/{name}", ".3f", with_interval=False)
    return f"{right} ({row[f'test/{name}_shuffled']:.3f})"


def _published(results_dir: Path) -> dict[str, str]:
    """Write Show and Tell's scores; its dense LSTM alone is published."""
    paper = read_paper(results_dir / "paper.csv")
    bleu, meteor, cider = (
        tables.marked(paper["value"][key], paper["mark"][key])
        for key in ("captioning.bleu_4", "captioning.meteor", "captioning.cider")
    )
    return {
        "model": "Show and Tell (Vinyals 2015), MSCOCO",
        "parameters of W": count(int(paper["value"]["captioning.parameters.lstm"])),
        "BLEU-1 / 2 / 3 / 4": f"- / - / - / {bleu}",
        "METEOR": meteor,
        "CIDEr": cider,
    }


# ---- notes


def _notes(summary: pd.DataFrame) -> str:
    first = summary.iloc[0]
    lines = []
    if first["stand_in"]:
        lines.append(
            f"**The data are {tables.data_name(first['source'])}, not MSCOCO.** The published scores are of MSCOCO: "
            "they stand here for orientation, and no difference to them is given."
        )
    lines.append(
        "Scores by pycocoevalcap, times 100, of one caption for each test image. The epoch is chosen by the loss on "
        "validation captions; so is the length penalty of the search."
    )
    if (summary["tokenizer"] != "ptb").any():
        lines.append(
            "**Without Java:** a plain tokeniser stands for pycocoevalcap's, and METEOR, a Java program too, is left "
            "out. The other scores differ a little from those with Java."
        )
    if summary["test/pairs"].notna().any():
        lines.append(
            "Colours with shapes: share of the test images whose caption names objects by colour and shape, and all, "
            "or at least one, of those objects are in the image. By chance: the same captions with all other images."
        )
    lines.append(
        "One caption for all images: of all training captions the one with the highest CIDEr on the validation images. "
        "True captions: each image's first reference against its others, which are one fewer than the models have. "
        "Perplexity: of the words of each test image's first reference."
    )
    lines.append(
        "The decoder's input-to-hidden map alone differs between models. The seed draws weights, order and dropout. "
        "Intervals: Student's t over the n seeds, of differences over the n paired differences; none at n = 1."
    )
    return "\n".join(f"- {line}" for line in lines)


# ---- files


def table_texts(results_dir: Path, experiment: str) -> dict[Path, str]:
    """Return an experiment's Markdown file, all scales."""
    return common.page(results_dir, experiment, markdown_report, _rates_text)


def _rates_text(runs: pd.DataFrame) -> str:
    heads = ("model", "validation loss, nats a word", "training loss, last epoch")
    return common.rates_text(runs, _features(runs.iloc[0]), "loss", heads, ".3f")


def figure_files(results_dir: Path, experiment: str) -> list[FigureFile]:
    """Return an experiment's figures at its largest scale: captions, curves, and where ranks vary what they do."""
    results = read_results(results_dir, experiment)
    if not has_tests(results.runs):
        return []
    scale = common.scales(results.runs)[0]
    summary = summarise(results.runs[results.runs["scale"] == scale])
    title = f"Captions of {tables.data_name(summary['source'].iloc[0])}, scale {scale}"
    counted = f"{title}, n = {span(summary['n'])}"
    stem = results_dir / "figures" / experiment
    if comparisons.is_sweep(summary):
        columns = ["model", "label", "rank", "num_blocks", "parameters_input", "n", *_CIDER]
        points = summary[columns]
        return [
            FigureFile(Path(f"{stem}_parameters.png"), points, partial(figures.against_parameters, points, counted))
        ]
    return [*_caption_files(results, summary, stem, title), _curve_file(results, summary, stem, counted)]


def _caption_files(results: Results, summary: pd.DataFrame, stem: Path, title: str) -> list[FigureFile]:
    """Draw the first test images with what each model says of them, by its first seed, if it saw them all."""
    images, shown = results.pictures["images"], results.pictures["image_ids"]
    texts = {}
    for row in summary.to_dict("records"):
        said = rows_of(row, results.predictions)
        first = said[said["seed"] == said["seed"].min()].set_index("image")["caption"]
        if set(shown) <= set(first.index):
            texts[row["label"]] = [str(first[image]) for image in shown]
    if not texts:
        return []
    models = dict(zip(summary["label"], summary["model"], strict=True))
    data: list[np.ndarray] = [images, np.array(list(texts.values())), np.array(list(texts))]
    return [FigureFile(Path(f"{stem}_captions.png"), data, partial(figures.captions, images, texts, models, title))]


def _curve_file(results: Results, summary: pd.DataFrame, stem: Path, title: str) -> FigureFile:
    curves = pd.concat(
        [
            common.curves(summary, results.epochs, f"{split}/loss", lambda row: str(row["label"])).assign(split=split)
            for split in ("train", "val")
        ],
        ignore_index=True,
    )
    return FigureFile(Path(f"{stem}_loss.png"), curves, partial(figures.losses, curves, title))


def readme_part(results_dir: Path, experiment: str, place: str) -> str:
    """Return what README shows of an experiment, at its largest scale.

    Args:
        results_dir: Where the committed tables are.
        experiment: Which of them.
        place: The path of `results_dir` as README links to it.
    """
    results = read_results(results_dir, experiment)
    summary = common.summary_at(results.runs, experiment, common.scales(results.runs)[0], results_dir)
    differences = comparisons.differences(summary, results)
    said = "" if differences.empty else _conclusion(differences, summary)
    last = f"All scales, scores and commands: [{experiment}.md]({place}/tables/{experiment}.md)."
    ranks = experiment.replace("captioning", "captioning_ranks", 1)
    if result_paths(results_dir, ranks).runs.exists():
        last += (
            f" CIDEr against R and N: [table]({place}/tables/{ranks}.md), "
            f"[figure]({place}/figures/{ranks}_parameters.png)."
        )
    parts = [
        said or f"### {_heading(summary)}",
        f"![Captions by each model]({place}/figures/{experiment}_captions.png)",
        last,
    ]
    return "\n\n".join(parts)
