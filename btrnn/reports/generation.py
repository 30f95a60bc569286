"""Task 2 in Markdown and figures: bounds on the negative log-likelihood, and pictures of what was learnt."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from btrnn.figures import generation as figures
from btrnn.figures.file import FigureFile
from btrnn.reports import common, tables
from btrnn.reports.format import count, difference_text, markdown_table, number, span
from btrnn.results.differences import settings_difference
from btrnn.results.paper import read_paper
from btrnn.results.store import Results, has_tests, read_results, result_paths, run_table
from btrnn.results.summary import Row, rows_of, summarise

_BRIEF = (
    *("encoder", "parameters of W", "compression of W", "of the whole model"),
    *("NLL bound, nats", "training bound", "published, MNIST, T = 64"),
)  # columns that README shows
_LAST_EPOCHS, _CONVERGED = 10, 1.0  # a bound that fell by more than a nat in the last ten epochs is no end
_PARTS = {"nll_bound": "NLL bound, nats", "reconstruction": "reconstruction", "kl": "KL"}


def terminal_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return the table of the runs whose folders are here as plain text.

    Raises:
        ResultsError: No run of this experiment and scale is finished.
    """
    summary = common.summary_at(run_table(results_dir, experiment), experiment, scale, results_dir)
    return common.terminal_text(_heading(summary), _rows(summary, results_dir))


def _falls(summary: pd.DataFrame, epochs: pd.DataFrame) -> dict[str, float]:
    """Say of each setting, by its label in pictures, by how many nats its validation bound fell in the last epochs."""
    falls: dict[str, float] = {}
    if epochs.empty:
        return falls
    for row in summary.to_dict("records"):
        curves = rows_of(row, epochs).sort_values("epoch").groupby("seed")["val/nll_bound"]
        ends = curves.agg(lambda bounds: bounds.iloc[-min(_LAST_EPOCHS + 1, len(bounds))] - bounds.iloc[-1])
        falls[_picture_label(row, summary)] = float(ends.mean())
    return falls


def _unfinished(summary: pd.DataFrame, epochs: pd.DataFrame) -> str:
    """Name the settings that have not converged; "" where all have."""
    falls = {label: fall for label, fall in _falls(summary, epochs).items() if fall > _CONVERGED}
    said = ", ".join(f"{label} {fall:.1f}" for label, fall in falls.items())
    return (
        f"**Not converged**, by the nats that the validation bound fell in the last {_LAST_EPOCHS} epochs: {said}."
        * bool(falls)
    )


def markdown_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return an experiment's table at one scale with its differences and notes, as Markdown."""
    results = read_results(results_dir, experiment)
    runs = results.runs
    summary = common.summary_at(runs, experiment, scale, results_dir)
    chosen = runs[runs["scale"] == scale]
    parts = [f"### {_heading(summary)}", markdown_table(_rows(summary, results_dir))]
    parts += [said] if (said := _unfinished(summary, results.epochs)) else []
    differences = _differences(summary, chosen)
    if not differences.empty:
        parts.insert(0, _conclusion(differences, summary))
        parts.append(_differences_table(differences))
    return "\n\n".join([*parts, f"{_notes(summary)}\n{tables.provenance(chosen)}"])


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
    paper = read_paper(results_dir / "paper.csv")
    several = len(summary["num_glimpses"].unique()) > 1
    return [
        {"encoder": row["label"]}
        | ({"T": count(row["num_glimpses"])} if several else {})
        | common.size_cells(row)
        | {title: _part(row, part) for part, title in _PARTS.items()}
        | {"training bound": number(row["train/nll_bound"], ".1f")}
        | {"published, MNIST, T = 64": _published(row, paper)}
        | common.run_cells(row)
        for row in summary.to_dict("records")
    ]


def _part(row: Row, part: str) -> str:
    return common.mean_text(row, f"test/{part}", ".2f", with_interval=part == "nll_bound")


def _published(row: Row, paper: pd.DataFrame) -> str:
    """Write Gregor et al.'s bound for the dense encoder; there is none for the others."""
    if row["model"] != "lstm":
        return "-"
    known = paper.loc["draw.nll_bound" if row["attention"] == "none" else "draw.nll_bound_attention"]
    return f"reported <= {known['value']} [{known['mark']}]"


# ---- differences


def _differences(summary: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Compare each factorised encoder with the dense one, seed by seed, where both have the same other settings.

    Returns:
        A row for each: label, num_glimpses, n, and mean, low, high of the difference of test bounds, nats.
    """
    rows = []
    for (_, glimpses), group in summary.groupby(["attention", "num_glimpses"], sort=True):
        records = group.to_dict("records")
        for dense in [row for row in records if row["model"] == "lstm"]:
            for other in [row for row in records if row["model"] != "lstm"]:
                found = settings_difference(other, dense, runs, "test/nll_bound")
                if found.n:
                    rows.append({"label": other["label"], "num_glimpses": glimpses, "n": found.n, "mean": found.mean})
                    rows[-1] |= {"low": found.low, "high": found.high}
    return pd.DataFrame(rows)


def _differences_table(rows: pd.DataFrame) -> str:
    table = [
        {"difference of test bounds, nats": f"{row['label']} - LSTM"}
        | {"mean, 95 % interval": difference_text(row, ".2f")}
        | {"n": str(row["n"])}
        for row in rows.to_dict("records")
    ]
    return markdown_table(table)


def _conclusion(rows: pd.DataFrame, summary: pd.DataFrame) -> str:
    """Say whether a compact encoder costs anything in nats."""
    first = summary.iloc[0]
    said = [_verdict(row) for row in rows.to_dict("records")]
    where = "with attention" if first["attention"] != "none" else "without attention"
    return f"**DRAW {where}, in short.** On {tables.data_name(first['source'])} {'; '.join(said)}."


def _verdict(row: Row) -> str:
    """Say how an encoder compares with the dense one, as far as the interval of the difference tells."""
    beyond = row["low"] > 0 or row["high"] < 0  # NaN is neither: one seed tells nothing
    verdict = ("worse than" if row["mean"] > 0 else "better than") if beyond else "not significantly different from"
    by = f"{difference_text(row, '.2f')} nats, n = {row['n']}"
    return f"the {row['label']} encoder is {verdict} the dense one ({by})"


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
    return common.page(results_dir, experiment, markdown_report, _rates_text)


def _rates_text(runs: pd.DataFrame) -> str:
    first = runs.iloc[0]
    setting = f"attention {_attention(first['attention'])}, T = {int(first['num_glimpses'])}"
    heads = ("encoder", "validation bound, nats", "training bound, last epoch")
    return common.rates_text(runs, setting, "nll_bound", heads, ".2f")


def figure_files(results_dir: Path, experiment: str) -> list[FigureFile]:
    """Return an experiment's figures at its largest scale: pictures of every encoder, and training curves."""
    results = read_results(results_dir, experiment)
    if not has_tests(results.runs):
        return []
    scale = common.scales(results.runs)[0]
    summary = summarise(results.runs[results.runs["scale"] == scale])
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
        known = {label: arrays for label, arrays in shown.items() if set(keys) <= arrays.keys()}
        data: list[np.ndarray] = [arrays[key] for arrays in known.values() for key in keys]
        if known:
            files.append(FigureFile(Path(f"{stem}_{name}"), data, partial(draw, known, title)))
    return files


def _picture_label(row: Row, summary: pd.DataFrame) -> str:
    several = len(summary["num_glimpses"].unique()) > 1
    return f"{row['label']}, T = {row['num_glimpses']:g}" if several else row["label"]


def _curve_files(results: Results, summary: pd.DataFrame, stem: Path, title: str) -> list[FigureFile]:
    curves = common.curves(summary, results.epochs, "val/nll_bound", lambda row: _picture_label(row, summary))
    return [FigureFile(Path(f"{stem}_bound.png"), curves, partial(figures.bounds, curves, title))]


def readme_part(results_dir: Path, experiment: str, place: str) -> str:
    """Return what README shows of an experiment, at its largest scale.

    Args:
        results_dir: Where the committed tables are.
        experiment: Which of them.
        place: The path of `results_dir` as README links to it.
    """
    results = read_results(results_dir, experiment)
    runs = results.runs
    summary = common.summary_at(runs, experiment, common.scales(runs)[0], results_dir)
    differences = _differences(summary, runs)
    said = [] if differences.empty else [_conclusion(differences, summary)]
    said += [text] if (text := _unfinished(summary, results.epochs)) else []
    pages = [f"[{experiment}.md]({place}/tables/{experiment}.md)"]
    for kind, sentence in (("draw_attention", _attention_sentence), ("draw_glimpses", _glimpses_sentence)):
        other = experiment.replace("draw", kind, 1)
        if result_paths(results_dir, other).runs.exists():
            said.append(sentence(results_dir, other))
            pages.append(f"[{other}.md]({place}/tables/{other}.md)")
    parts = [
        " ".join(said),
        f"### {_heading(summary)}",
        common.brief_table(_rows(summary, results_dir), _BRIEF),
        f"![Digits drawn by each encoder's model]({place}/figures/{experiment}_samples.png)",
        f"The canvas, glimpse by glimpse: [picture]({place}/figures/{experiment}_canvases.png), "
        f"[animation]({place}/figures/{experiment}_generation.gif). "
        f"All scales, rates and commands: {', '.join(pages)}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _attention_sentence(results_dir: Path, experiment: str) -> str:
    """Say what attention's encoders reach, and how they differ."""
    results = read_results(results_dir, experiment)
    runs = results.runs
    summary = common.summary_at(runs, experiment, common.scales(runs)[0], results_dir)
    differences = _differences(summary, runs)
    bounds = ", ".join(f"{row['label']} {_bound(row)}" for row in summary.to_dict("records"))
    compared = "".join(f"; {_verdict(row)}" for row in differences.to_dict("records"))
    said = f"With attention, at {_setting(summary)}: {bounds} nats{compared}."
    return f"{said} {_unfinished(summary, results.epochs)}".strip()


def _glimpses_sentence(results_dir: Path, experiment: str) -> str:
    """Say what the number of glimpses does to the bound."""
    results = read_results(results_dir, experiment)
    summary = common.summary_at(results.runs, experiment, common.scales(results.runs)[0], results_dir)
    bounds = ", ".join(f"{_bound(row)} with {row['num_glimpses']:g}" for row in summary.to_dict("records"))
    said = f"{summary['label'].iloc[0]} by glimpses, at {_setting(summary)}: {bounds} nats."
    return f"{said} {_unfinished(summary, results.epochs)}".strip()


def _setting(summary: pd.DataFrame) -> str:
    first = summary.iloc[0]
    return f"scale `{first['scale']}` ({span(summary['epochs'])} epochs, n = {span(summary['n'])})"


def _bound(row: Row) -> str:
    sd = row["test/nll_bound_sd"]
    return f"{row['test/nll_bound']:.2f}" + ("" if math.isnan(sd) else f" ± {sd:.2f}")
