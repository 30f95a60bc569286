"""Task 1 in Markdown and figures: accuracies beside the paper's."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from btrnn.figures import video as figures
from btrnn.figures.file import FigureFile
from btrnn.reports import tables, video_rates, video_remarks
from btrnn.reports.format import markdown_table, span
from btrnn.results.differences import accuracy_differences, convergence
from btrnn.results.paper import PAPER_MODELS, beside_paper, best_model, read_paper
from btrnn.results.store import Results, has_tests, read_results, run_table
from btrnn.results.summary import class_names, confusion, curves, headline_scale, panels, rates, summarise
from btrnn.storage.files import ResultsError


def terminal_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return the tables of the runs whose folders are here, beside the paper's numbers, as plain text.

    Rows that were committed from elsewhere are left out: a user who trains one seed is shown n = 1.

    Raises:
        ResultsError: No run of this experiment and scale is finished.
    """
    _, panels = _panels(run_table(results_dir, experiment), results_dir, experiment, scale)
    return "\n\n".join(tables.terminal_table(panel) for panel in panels)


def markdown_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return an experiment's tables at one scale, the differences between models, and notes, as Markdown."""
    results, summary, panels = _read(results_dir, experiment, scale)
    parts = [part for panel in panels for part in (f"### {tables.heading(panel)}", tables.main_table(panel))]
    compared, source = _differences(results, summary, results_dir), str(summary["source"].iloc[0])
    if not compared.empty:
        best = compared[compared["first"] == PAPER_MODELS[2].label]
        if not best.empty:
            parts.insert(0, video_remarks.conclusion(best, summary, video_rates.pointer(results_dir, source)))
        parts.append(f"### {tables.data_name(source)}: differences in test accuracy between models; scale `{scale}`")
        parts.append(tables.differences_table(compared))
    times = [times for panel in panels(summary) if len(times := convergence(panel, results.epochs))]
    if times:
        parts += [f"### {tables.data_name(summary['source'].iloc[0])}: how soon; scale `{scale}`", _CONVERGENCE]
        parts.append(_convergence_table(pd.concat(times, ignore_index=True)))
    runs = results.runs[results.runs["scale"] == scale]
    parts.append(f"{video_remarks.notes(summary)}\n{tables.provenance(runs)}")
    return "\n\n".join(parts)


def _differences(results: Results, summary: pd.DataFrame, results_dir: Path) -> pd.DataFrame:
    """Compare the models of each panel of `summary`."""
    paper = read_paper(results_dir / "paper.csv")
    panels = panels(summary)
    rows = [accuracy_differences(panel, results.runs, results.predictions, paper) for panel in panels]
    rows = [found for found in rows if not found.empty]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


_CONVERGENCE = (
    "Epochs and seconds (training and validation) until the dense LSTM's best validation loss is reached, by seed. "
    "Under protocol `paper` validation is on the test split."
)


def _convergence_table(times: pd.DataFrame) -> str:
    """Write a row for each factorised setting: every seed's epochs and seconds, beside the dense LSTM's."""
    rows = []
    for _, group in times.groupby(["protocol", "scaling", "label"], sort=False):
        first = group.iloc[0]
        speed = (group["dense_seconds"] / group["seconds"]).dropna()
        factor = "-" if speed.empty else f"{speed.min():.3g} to {speed.max():.3g}"
        rows.append(
            {"protocol": first["protocol"], "scaling": first["scaling"], "model": first["label"]}
            | {"seeds": ", ".join(str(seed) for seed in group["seed"])}
            | {"its epochs": _each(group["epochs"], ".0f"), "LSTM's epochs": _each(group["dense_epochs"], ".0f")}
            | {"its seconds": _each(group["seconds"], ".3g"), "LSTM's seconds": _each(group["dense_seconds"], ".3g")}
            | {"times sooner": factor}
        )
    return markdown_table(rows)


def _each(values: pd.Series, form: str) -> str:
    return ", ".join("never" if math.isnan(value) else f"{value:{form}}" for value in values)


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
    summary = summarise(chosen)
    paper = read_paper(results_dir / "paper.csv")
    return summary, [beside_paper(panel, paper) for panel in panels(summary)]


def table_texts(results_dir: Path, experiment: str) -> dict[Path, str]:
    """Return an experiment's Markdown files: all scales, largest first, and the published UCF11 results."""
    runs = read_results(results_dir, experiment).runs
    summary = summarise(runs)
    data = tables.data_name(summary["source"].iloc[0])
    note = f"Made by `python experiments/report.py {experiment}` from the CSV files in results/; do not edit."
    if not has_tests(runs):
        body = "\n\n".join(_rates_text(rows) for _, rows in runs.groupby("scale"))
        return {results_dir / "tables" / f"{experiment}.md": f"# {experiment}: {data}\n\n{note}\n\n{body}\n"}
    scales = summary["scale"].drop_duplicates().tolist()
    paper = read_paper(results_dir / "paper.csv")
    own = best_model(summary[summary["scale"] == headline_scale(runs)])
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
    first, clips = runs.iloc[0], tables.clips_used(summarise(runs))
    about = (
        f"Scale `{first['scale']}` ({clips}), {int(first['epochs'])} epochs, protocol "
        f"`{first['protocol']}`, seed {first['seed']} (n = 1). A run keeps the epoch with the lowest validation loss; "
        "of each model's rates the one with the lowest such loss is chosen. The test split was not touched."
    )
    return f"{about}\n\n{tables.rates_table(rates(runs))}\n\n{tables.provenance(runs)}"


def figure_files(results_dir: Path, experiment: str) -> list[FigureFile]:
    """Return an experiment's figures at its largest scale: loss, accuracy, parameters, confusion matrix."""
    if not has_tests(read_results(results_dir, experiment).runs):
        return []
    scale = headline_scale(read_results(results_dir, experiment).runs)
    results, summary, panels = _read(results_dir, experiment, scale)
    # a scale fixes the number of clips unless a user overrides it: never draw two numbers in one panel
    summary = summary[_most_clips(summary)]
    rows = pd.concat(panels, ignore_index=True)
    rows = rows[_most_clips(rows)]
    title = f"{tables.data_name(summary['source'].iloc[0])}, scale {scale}, n = {summary['n'].max()}"
    loss = curves(summary, results.epochs, "train/loss")
    accuracy = curves(summary, results.epochs, "val/accuracy")
    shown = ["label", "protocol", "scaling", "n", "parameters_input", "paper_accuracy", "paper_mark"]
    shown += ["test/accuracy", "test/accuracy_low", "test/accuracy_high"]
    stem = results_dir / "figures" / experiment
    files = [
        _figure_file(f"{stem}_training_loss.png", loss, figures.training_loss, loss, title),
        _figure_file(f"{stem}_accuracy.png", accuracy, figures.accuracy, accuracy, title),
        _figure_file(f"{stem}_parameters.png", rows[shown], figures.accuracy_against_parameters, rows, title),
    ]
    classes = class_names(results.predictions)
    for row in best_model(summary).to_dict("records"):
        counts = confusion(row, results.predictions, classes)
        name = f"{title}\n{row['label']}, {figures.panel_name(row['protocol'], row['scaling'])}"
        path = f"{stem}_confusion_{row['protocol']}_{row['scaling']}.png"
        files.append(_figure_file(path, counts, figures.confusion_matrix, counts, name))
    return files


def _most_clips(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Say which rows have the most clips; where no number was asked for, there were all."""
    asked = rows["num_clips"].fillna(math.inf)
    most: pd.Series[bool] = asked == asked.max()
    return most


def _figure_file(
    path: str,
    data: pd.DataFrame,
    draw: Callable[[pd.DataFrame, str], Figure],
    table: pd.DataFrame,
    title: str,
) -> FigureFile:
    return FigureFile(Path(path), data, partial(draw, table, title))


_OTHER_FIGURES = (("training_loss", "training loss against epoch"), ("parameters", "accuracy against parameters"))


def readme_part(results_dir: Path, experiment: str, place: str) -> str:
    """Return what README shows of an experiment, at its largest scale.

    Args:
        results_dir: Where the committed tables are.
        experiment: Which of them.
        place: The path of `results_dir` as README links to it.
    """
    scale = headline_scale(read_results(results_dir, experiment).runs)
    results, summary, panels = _read(results_dir, experiment, scale)
    data, extent = (
        tables.data_name(summary["source"].iloc[0]),
        f"{tables.clips_used(summary)}, {span(summary['epochs'])}",
    )
    parts = [
        f"### Test accuracy on {data}: scale `{scale}` ({extent} epochs)",
        tables.overview_table(panels, _differences(results, summary, results_dir)),
        f"{video_remarks.caveat(summary, '')} Differences with 95 % intervals. "
        "Split `paper` has clips of one group on both sides, `grouped` has not.",
    ]
    loss, parameters = (f"[{text}]({place}/figures/{experiment}_{name}.png)" for name, text in _OTHER_FIGURES)
    parts.append(f"![{data}: accuracy against epoch]({place}/figures/{experiment}_accuracy.png)")
    parts.append(
        f"Also: {loss}, {parameters}; all scales, last epochs, rates and commands: "
        f"[{experiment}.md]({place}/tables/{experiment}.md); beside the published results on UCF11: "
        f"[{experiment}_published.md]({place}/tables/{experiment}_published.md)."
    )
    return "\n\n".join(parts)
