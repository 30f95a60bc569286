"""Task 2 in Markdown and figures: bounds on the negative log-likelihood, and pictures of what was learnt."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from btrnn import comparison, tables
from btrnn.comparison import Row
from btrnn.files import ResultsError
from btrnn.formatting import count, markdown_table, number, ratio, span
from btrnn.reports import generation_figures as figures
from btrnn.reports.figure_file import FigureFile
from btrnn.results import Results, has_tests, read_results, run_table
from btrnn.statistics import mean_interval

_PARTS = {"nll_bound": "NLL bound, nats", "reconstruction": "reconstruction", "kl": "KL"}


def terminal_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return the table of the runs whose folders are here as plain text.

    Raises:
        ResultsError: No run of this experiment and scale is finished.
    """
    summary = _summary(run_table(results_dir, experiment), experiment, scale, results_dir)
    rows = [{key: text for key, text in row.items() if key != "command"} for row in _rows(summary, results_dir)]
    table = tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)
    return f"{_heading(summary).replace('`', '')}\n\n{table}"


def markdown_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return an experiment's table at one scale with its differences and notes, as Markdown."""
    runs = read_results(results_dir, experiment).runs
    summary = _summary(runs, experiment, scale, results_dir)
    chosen = runs[runs["scale"] == scale]
    parts = [f"### {_heading(summary)}", markdown_table(_rows(summary, results_dir))]
    differences = _differences(chosen)
    if not differences.empty:
        parts.insert(0, _conclusion(differences, summary))
        parts.append(_differences_table(differences))
    return "\n\n".join([*parts, f"{_notes(summary)}\n{tables.provenance(chosen)}"])


def _summary(runs: pd.DataFrame, experiment: str, scale: str, results_dir: Path) -> pd.DataFrame:
    chosen = runs[runs["scale"] == scale]
    if chosen.empty:
        scales = ", ".join(sorted(runs["scale"].unique())) or "none"
        raise ResultsError(
            f"no finished run of {experiment!r} at scale {scale!r} in {results_dir}; scales there: {scales}"
        )
    return comparison.summarise(chosen)


def _heading(summary: pd.DataFrame) -> str:
    first = summary.iloc[0]
    return (
        f"DRAW on {tables.data_name(first['source'])}: scale `{first['scale']}` ({span(summary['epochs'])} epochs), "
        f"attention {_attention(first['attention'])}, T = {span(summary['num_glimpses'])}, n = {span(summary['n'])}"
    )


def _attention(attention: str) -> str:
    return attention.replace("x", " x ")


def _rows(summary: pd.DataFrame, results_dir: Path) -> list[dict[str, str]]:
    """Write a row for each setting: what its encoder's W costs, its bound, and the published one beside."""
    paper = comparison.read_paper(results_dir / "paper.csv")
    several = len(summary["num_glimpses"].unique()) > 1
    return [
        {"encoder": row["label"]}
        | ({"T": count(row["num_glimpses"])} if several else {})
        | {"parameters of W": count(row["parameters_input"])}
        | {"compression of W": ratio(row["parameters_dense_input"] / row["parameters_input"])}
        | {"of the whole model": ratio(row["parameters_dense_total"] / row["parameters_total"])}
        | {title: _interval(row, f"test/{part}", with_interval=part == "nll_bound") for part, title in _PARTS.items()}
        | {"training bound": number(row["train/nll_bound"], ".1f")}
        | {"published, MNIST, T = 64": _published(row, paper)}
        | {"learning rate": f"{row['learning_rate']:g}"}
        | {"seconds per epoch": number(row["seconds_per_epoch"], ".3g")}
        | {"command": f"`{row['command']}`"}
        for row in summary.to_dict("records")
    ]


def _published(row: Row, paper: pd.DataFrame) -> str:
    """Write Gregor et al.'s bound for the dense encoder; there is none for the others."""
    if row["model"] != "lstm":
        return "-"
    known = paper.loc["draw.nll_bound" if row["attention"] == "none" else "draw.nll_bound_attention"]
    return f"reported <= {known['value']} [{known['mark']}]"


def _interval(row: Row, column: str, *, with_interval: bool) -> str:
    """Write mean ± sd (n), and the 95 % interval where asked for."""
    mean, sd = row[column], row[f"{column}_sd"]
    if math.isnan(sd):
        return f"{mean:.2f} (n = 1)"
    interval = f" [{row[f'{column}_low']:.2f}, {row[f'{column}_high']:.2f}]" if with_interval else ""
    return f"{mean:.2f} ± {sd:.2f} ({row['n']}){interval}"


# ---- differences


def _differences(runs: pd.DataFrame) -> pd.DataFrame:
    """Compare each factorised encoder with the dense one, seed by seed, where both have the same other settings.

    Returns:
        A row for each: label, num_glimpses, n, and mean, low, high of the difference of test bounds, nats.
    """
    rows = []
    for (_, glimpses), group in runs.groupby(["attention", "num_glimpses"], sort=True):
        bounds = group.pivot_table(index="seed", columns="model_label", values="test/nll_bound")
        for label in [name for name in ("TT-LSTM", "BT-LSTM") if {name, "LSTM"} <= set(bounds)]:
            paired = (bounds[label] - bounds["LSTM"]).dropna()
            interval = mean_interval(paired.to_numpy())
            rows.append({"label": label, "num_glimpses": glimpses, "n": interval.n, "mean": interval.mean})
            rows[-1] |= {"low": interval.low, "high": interval.high}
    return pd.DataFrame(rows)


def _differences_table(rows: pd.DataFrame) -> str:
    table = [
        {"difference of test bounds, nats": f"{row['label']} - LSTM"}
        | {"mean, 95 % interval": _difference(row)}
        | {"n": str(row["n"])}
        for row in rows.to_dict("records")
    ]
    return markdown_table(table)


def _difference(row: Row) -> str:
    if math.isnan(row["low"]):
        return f"{row['mean']:+.2f}"
    return f"{row['mean']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"


def _conclusion(rows: pd.DataFrame, summary: pd.DataFrame) -> str:
    """Say whether a compact encoder costs anything in nats."""
    first = summary.iloc[0]
    said = []
    for row in rows.to_dict("records"):
        beyond = not math.isnan(row["low"]) and not row["low"] <= 0 <= row["high"]
        verdict = "not told apart from" if not beyond else ("worse than" if row["mean"] > 0 else "better than")
        said.append(f"the {row['label']} encoder is {verdict} the dense one ({_difference(row)} nats, n = {row['n']})")
    where = "with attention" if first["attention"] != "none" else "without attention"
    return f"**DRAW {where}, in short.** On {tables.data_name(first['source'])} {'; '.join(said)}."


def _notes(summary: pd.DataFrame) -> str:
    first = summary.iloc[0]
    lines = [
        "The bound is the mean of -log p(x | z) + KL over the test images, in nats; lower is better. The epoch is "
        "chosen by the bound on validation images; the test split is used once.",
        "The encoder's input-to-hidden map alone differs between models. The seed draws weights, order, pixels and "
        "latents; validation and test images are the same binary images for every seed.",
        "Intervals: Student's t over the n seeds, for differences over the n paired differences; none at n = 1.",
    ]
    if first["source"] != "mnist":
        lines.insert(
            0,
            f"**The data are {tables.data_name(first['source'])}.** The published bounds are of all of MNIST with "
            "T = 64: they stand here for orientation.",
        )
    return "\n".join(f"- {line}" for line in lines)


# ---- files


def table_texts(results_dir: Path, experiment: str) -> dict[Path, str]:
    """Return an experiment's Markdown file, all scales."""
    runs = read_results(results_dir, experiment).runs
    note = f"Made by `python experiments/report.py {experiment}` from the CSV files in results/; do not edit."
    title = f"# {experiment}: {tables.data_name(runs['source'].iloc[0])}"
    if has_tests(runs):
        body = "\n\n".join(markdown_report(results_dir, experiment, scale) for scale in _scales(runs))
    else:
        body = "\n\n".join(_rates_text(rows) for _, rows in runs.groupby("scale"))
    return {results_dir / "tables" / f"{experiment}.md": f"{title}\n\n{note}\n\n{body}\n"}


def _scales(runs: pd.DataFrame) -> list[str]:
    """Return the scales, the one with the most epochs first."""
    return list(runs.groupby("scale")["epochs"].max().sort_values(ascending=False).index)


def _rates_text(runs: pd.DataFrame) -> str:
    """Return the choice of learning rates as Markdown."""
    first = runs.iloc[0]
    best = runs.sort_values("val/nll_bound").drop_duplicates("model").index
    table = [
        {"encoder": row["model_label"], "learning rate": f"{row['learning_rate']:g}"}
        | {"validation bound, nats": f"{row['val/nll_bound']:.2f}", "at epoch": count(row["epoch_chosen"] + 1)}
        | {"training bound, last epoch": f"{row['train/nll_bound_last']:.2f}"}
        | {"chosen": "yes" if index in best else ""}
        for index, row in runs.sort_values(["model", "learning_rate"]).iterrows()
    ]
    about = (
        f"Scale `{first['scale']}`, {int(first['epochs'])} epochs, T = {int(first['num_glimpses'])}, seed "
        f"{first['seed']} (n = 1). Of each encoder's rates the one with the lowest bound on validation images is "
        "chosen; the test split was not touched."
    )
    return f"{about}\n\n{markdown_table(table)}\n\n{tables.provenance(runs)}"


def figure_files(results_dir: Path, experiment: str) -> list[FigureFile]:
    """Return an experiment's figures at its largest scale: pictures of every encoder, and training curves."""
    results = read_results(results_dir, experiment)
    if not has_tests(results.runs):
        return []
    scale = _scales(results.runs)[0]
    summary = comparison.summarise(results.runs[results.runs["scale"] == scale])
    title = f"DRAW on {tables.data_name(summary['source'].iloc[0])}, scale {scale}"
    stem = results_dir / "figures" / experiment
    return [*_picture_files(results, summary, stem, title), *_curve_files(results, summary, stem, title)]


def _picture_files(results: Results, summary: pd.DataFrame, stem: Path, title: str) -> list[FigureFile]:
    shown = {
        _picture_label(row, summary): {
            key.removeprefix(f"{row['name']}/"): array
            for key, array in results.pictures.items()
            if key.startswith(f"{row['name']}/")
        }
        for row in summary.to_dict("records")
    }
    shown = {label: arrays for label, arrays in shown.items() if arrays}
    if not shown:
        return []
    files = []
    for name, keys, draw in (
        ("samples.png", ["samples"], figures.samples),
        ("reconstructions.png", ["originals", "reconstructions"], figures.reconstructions),
        ("canvases.png", ["canvases"], figures.canvases),
        ("generation.gif", ["canvases"], figures.animation),
    ):
        data: list[np.ndarray] = [arrays[key] for arrays in shown.values() for key in keys]
        files.append(FigureFile(Path(f"{stem}_{name}"), data, partial(draw, shown, title)))
    return files


def _picture_label(row: Row, summary: pd.DataFrame) -> str:
    several = len(summary["num_glimpses"].unique()) > 1
    return f"{row['label']}, T = {row['num_glimpses']:g}" if several else row["label"]


def _curve_files(results: Results, summary: pd.DataFrame, stem: Path, title: str) -> list[FigureFile]:
    parts = []
    for row in summary.to_dict("records"):
        epochs = comparison.rows_of(row, results.epochs)
        grouped = epochs.groupby("epoch")["val/nll_bound"].agg(["mean", "min", "max"]).reset_index()
        parts.append(grouped.assign(label=_picture_label(row, summary), model=row["model"]))
    curves = pd.concat(parts, ignore_index=True)
    return [FigureFile(Path(f"{stem}_bound.png"), curves, partial(figures.bounds, curves, title))]


def readme_part(results_dir: Path, experiment: str, place: str) -> str:
    """Return what README shows of an experiment, at its largest scale.

    Args:
        results_dir: Where the committed tables are.
        experiment: Which of them.
        place: The path of `results_dir` as README links to it.
    """
    runs = read_results(results_dir, experiment).runs
    text = markdown_report(results_dir, experiment, _scales(runs)[0])
    return (
        f"{text}\n\n![Digits drawn by each encoder's model]({place}/figures/{experiment}_samples.png)\n"
        f"![The canvas, glimpse by glimpse]({place}/figures/{experiment}_canvases.png)\n\n"
        f"All scales: [{experiment}.md]({place}/tables/{experiment}.md)."
    )
