"""Committed tables to what is read: results/tables/*.md, results/figures/*.png and README's results block.

    python experiments/report.py                  # all collected experiments
    python experiments/report.py ucf11_actions    # its tables and figures, and README's block
    python experiments/report.py --check          # write nothing; fail when something is out of date

README's block stands between two marker lines. It shows the main experiment at its largest scale; the tables
hold every scale. Figures are compared by the data they show, whose digest stands in the PNG, not by their
pixels.
"""

import argparse
import difflib
import hashlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from btrnn import comparison, figures, predictions, tables
from btrnn.atomic import replace_file
from btrnn.files import ResultsError
from btrnn.results import Results, collected_experiments, has_tests, read_results, run_table

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
README_EXPERIMENTS = ("ucf11", "ucf11_actions")
_DIGEST = "Data-SHA256"


class FigureFile(NamedTuple):
    """A figure to be written: its path, the numbers that it shows, and how to draw it."""

    path: Path
    data: pd.DataFrame
    draw: Callable[[], Figure]


def terminal_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return the tables of the runs whose folders are here, beside the paper's numbers, as plain text.

    Rows that were committed from elsewhere are left out: a user who trains one seed is shown n = 1.

    Raises:
        ResultsError: No run of this experiment and scale is finished.
    """
    _, panels = _panels(run_table(results_dir, experiment), results_dir, experiment, scale)
    return "\n\n".join(tables.terminal_table(panel) for panel in panels)


def markdown_report(results_dir: Path, experiment: str, scale: str, *, brief: bool = False) -> str:
    """Return an experiment's tables at one scale, the differences between models, and notes, as Markdown.

    `brief` leaves out all tables of models but the first: the paper's own protocol and input where they were run.
    """
    results, summary, panels = _read(results_dir, experiment, scale)
    paper = comparison.read_paper(results_dir / "paper.csv")
    shown = panels[:1] if brief else panels
    parts = [part for panel in shown for part in (f"### {tables.heading(panel)}", tables.main_table(panel))]
    compared = [predictions.differences(panel, results.predictions, paper) for panel in comparison.panels(summary)]
    compared = [rows for rows in compared if not rows.empty]
    if compared:
        main_rows = pd.concat(compared, ignore_index=True)
        best = main_rows[main_rows["first"] == comparison.PAPER_MODELS[2].label]
        if not best.empty:
            parts.insert(0, tables.conclusion(best, summary))
        data = tables.data_name(summary["source"].iloc[0])
        parts.append(f"### {data}: differences in test accuracy between models; scale `{scale}`")
        parts.append(tables.differences_table(main_rows))
    runs = results.runs[results.runs["scale"] == scale]
    parts.append(f"{tables.notes(summary)}\n{tables.provenance(runs)}")
    return "\n\n".join(parts)


def _read(results_dir: Path, experiment: str, scale: str) -> tuple[Results, pd.DataFrame, list[pd.DataFrame]]:
    """Return an experiment's tables, its summary at one scale, and its panels beside the paper's numbers."""
    results = read_results(results_dir, experiment)
    return results, *_panels(results.runs, results_dir, experiment, scale)


def _panels(
    runs: pd.DataFrame, results_dir: Path, experiment: str, scale: str
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Average the runs of one scale over seeds, and put their panels beside the paper's numbers."""
    chosen = runs[runs["scale"] == scale]
    if chosen.empty:
        scales = ", ".join(sorted(runs["scale"].unique())) or "none"
        raise ResultsError(
            f"no finished run of {experiment!r} at scale {scale!r} in {results_dir}; scales there: {scales}"
        )
    summary = comparison.summarise(chosen)
    paper = comparison.read_paper(results_dir / "paper.csv")
    return summary, [comparison.beside_paper(panel, paper) for panel in comparison.panels(summary)]


def table_texts(results_dir: Path, experiment: str) -> dict[Path, str]:
    """Return an experiment's Markdown files: all scales, largest first, and the published UCF11 results."""
    runs = read_results(results_dir, experiment).runs
    summary = comparison.summarise(runs)
    data = tables.data_name(summary["source"].iloc[0])
    note = f"Made by `python experiments/report.py {experiment}` from the CSV files in results/; do not edit."
    if not has_tests(runs):
        body = "\n\n".join(_rates_text(rows) for _, rows in runs.groupby("scale"))
        return {results_dir / "tables" / f"{experiment}.md": f"# {experiment}: {data}\n\n{note}\n\n{body}\n"}
    scales = summary["scale"].drop_duplicates().tolist()
    paper = comparison.read_paper(results_dir / "paper.csv")
    own = comparison.best_model(summary[summary["scale"] == comparison.headline_scale(runs)])
    published = tables.published_table(paper, own)
    body = "\n\n".join(markdown_report(results_dir, experiment, scale) for scale in scales)
    return {
        results_dir / "tables" / f"{experiment}.md": f"# {experiment}: {data}\n\n{note}\n\n{body}\n",
        results_dir / "tables" / f"{experiment}_published.md": (
            f"# Published results on UCF11, and ours on {data}\n\n{note}\n\n{published}\n"
        ),
    }


def _rates_text(runs: pd.DataFrame) -> str:
    """Return one scale's choice of learning rates as Markdown."""
    first = runs.iloc[0]
    about = (
        f"Scale `{first['scale']}` ({int(first['num_clips']):,} clips), {int(first['epochs'])} epochs, protocol "
        f"`{first['protocol']}`, seed {first['seed']} (n = 1). A run keeps the epoch with the lowest validation loss; "
        "of each model's rates the one with the lowest such loss is chosen. The test split was not touched."
    )
    return f"{about}\n\n{tables.rates_table(comparison.rates(runs))}\n\n{tables.provenance(runs)}"


def figure_files(results_dir: Path, experiment: str) -> list[FigureFile]:
    """Return an experiment's figures at its largest scale: loss, accuracy, parameters, confusion matrix."""
    if not has_tests(read_results(results_dir, experiment).runs):
        return []
    scale = comparison.headline_scale(read_results(results_dir, experiment).runs)
    results, summary, panels = _read(results_dir, experiment, scale)
    # a scale fixes the number of clips unless a user overrides it: never draw two numbers in one panel
    summary = summary[summary["num_clips"] == summary["num_clips"].max()]
    rows = pd.concat(panels, ignore_index=True)
    rows = rows[rows["num_clips"] == summary["num_clips"].max()]
    title = f"{tables.data_name(summary['source'].iloc[0])}, scale {scale}, n = {summary['n'].max()}"
    loss = comparison.curves(summary, results.epochs, "train/loss")
    accuracy = comparison.curves(summary, results.epochs, "val/accuracy")
    shown = ["label", "protocol", "scaling", "n", "parameters_input", "paper_accuracy", "paper_mark"]
    shown += ["test/accuracy", "test/accuracy_low", "test/accuracy_high"]
    stem = results_dir / "figures" / experiment
    files = [
        _figure_file(f"{stem}_training_loss.png", loss, figures.training_loss, loss, title),
        _figure_file(f"{stem}_accuracy.png", accuracy, figures.accuracy, accuracy, title),
        _figure_file(f"{stem}_parameters.png", rows[shown], figures.accuracy_against_parameters, rows, title),
    ]
    classes = predictions.class_names(results.predictions)
    for row in comparison.best_model(summary).to_dict("records"):
        counts = predictions.confusion(row, results.predictions, classes)
        name = f"{title}\n{row['label']}, {figures.panel_name(row['protocol'], row['scaling'])}"
        path = f"{stem}_confusion_{row['protocol']}_{row['scaling']}.png"
        files.append(_figure_file(path, counts, figures.confusion_matrix, counts, name))
    return files


def _figure_file(
    path: str,
    data: pd.DataFrame,
    draw: Callable[[pd.DataFrame, str], Figure],
    table: pd.DataFrame,
    title: str,
) -> FigureFile:
    return FigureFile(Path(path), data, partial(draw, table, title))


def readme_block(results_dir: Path, readme: Path) -> str:
    """Return what stands between README's markers: the main experiments, each at its largest scale."""
    collected = collected_experiments(results_dir)
    parts = []
    for experiment in (name for name in README_EXPERIMENTS if name in collected):
        scale = comparison.headline_scale(read_results(results_dir, experiment).runs)
        data = tables.data_name("actions" if experiment.endswith("_actions") else "ucf11")
        place = os.path.relpath(results_dir, readme.parent)
        parts.append(markdown_report(results_dir, experiment, scale, brief=True))
        parts += [
            f"![{data}: {text}]({place}/figures/{experiment}_{name}.png)"
            for name, text in (
                ("training_loss", "training loss against epoch"),
                ("accuracy", "accuracy against epoch"),
                ("parameters", "accuracy against parameters"),
            )
        ]
        parts.append(
            f"All protocols, inputs and scales: [{experiment}.md]({place}/tables/{experiment}.md). Beside the "
            f"published results on UCF11: [{experiment}_published.md]({place}/tables/{experiment}_published.md)."
        )
    return "\n\n".join(parts) or "No results are collected yet."


def with_block(text: str, block: str, readme: Path) -> str:
    """Return README's text with what stands between the markers replaced.

    Raises:
        ResultsError: The two markers do not each stand there once, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ResultsError(f"{readme} must have the lines {BEGIN} and {END} once each, in this order")
    return f"{text[: text.index(BEGIN)]}{BEGIN}\n\n{block}\n\n{text[text.index(END) :]}"


def data_digest(data: pd.DataFrame) -> str:
    """Return the SHA-256 of a figure's numbers, written as in the committed CSV files."""
    return hashlib.sha256(data.to_csv(float_format="%.10g", lineterminator="\n").encode()).hexdigest()


def write_figure(file: FigureFile) -> None:
    """Draw a figure and write it as PNG, with the digest of its numbers in the PNG's text."""
    buffer = io.BytesIO()
    file.draw().savefig(buffer, format="png", dpi=150, metadata={_DIGEST: data_digest(file.data)})
    replace_file(file.path, buffer.getvalue())


def _figure_is_current(file: FigureFile) -> bool:
    if not file.path.exists():
        return False
    with Image.open(file.path) as image:
        return bool(image.info.get(_DIGEST) == data_digest(file.data))


def _print_difference(path: Path, current: str, expected: str) -> None:
    lines = difflib.unified_diff(
        current.splitlines(), expected.splitlines(), str(path), "from the CSV", lineterm="", n=0
    )
    print("\n".join(list(lines)[:12]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report, or with --check exit 1 when a file is not what the committed tables give."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", help="default: all that are collected in RESULTS_DIR")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    options = parser.parse_args(arguments)
    try:
        stale = _report(options.experiment, options.results_dir, options.readme, check=options.check)
    except (ResultsError, FileNotFoundError) as error:
        sys.exit(str(error))
    if stale:
        sys.exit(f"out of date: {', '.join(map(str, stale))}; run `python experiments/report.py`")


def _report(experiment: str | None, results_dir: Path, readme: Path, *, check: bool) -> list[Path]:
    """Write or check everything; returns the paths that were found out of date (none when writing)."""
    collected = collected_experiments(results_dir)
    if experiment and experiment not in collected:
        raise ResultsError(
            f"{experiment!r} is not collected in {results_dir} (there: {', '.join(collected) or 'none'}); "
            f"run `python experiments/collect.py {experiment}` first"
        )
    texts: dict[Path, str] = {}
    drawn: list[FigureFile] = []
    for name in [experiment] if experiment else collected:
        texts |= table_texts(results_dir, name)
        drawn += figure_files(results_dir, name)
    texts[readme] = with_block(readme.read_text(encoding="utf-8"), readme_block(results_dir, readme), readme)
    stale = []
    for path, text in texts.items():
        current = path.read_text(encoding="utf-8") if path.exists() else ""
        if check and current != text:
            _print_difference(path, current, text)
            stale.append(path)
        if not check and current != text:
            replace_file(path, text)
    for file in drawn:
        if check and not _figure_is_current(file):
            stale.append(file.path)
        if not check:
            write_figure(file)
    if not check:
        print("\n".join(f"wrote {path}" for path in (*texts, *(file.path for file in drawn))))
    return stale


if __name__ == "__main__":
    main()
