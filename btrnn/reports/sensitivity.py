"""Task 4 (c) in Markdown and figures: BT-LSTM's accuracy against core order d, Tucker-rank R and block terms N."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from btrnn.figures import sensitivity as figures
from btrnn.figures.file import FigureFile
from btrnn.reports import common, tables, video_remarks
from btrnn.reports.format import count, markdown_table, number, ratio
from btrnn.results.statistics import MeanInterval, mean_interval
from btrnn.results.store import read_results, run_table
from btrnn.results.summary import Row, headline_scale, summarise
from btrnn.storage.files import ResultsError

FACTORS = {"order": "d", "rank": "R", "num_blocks": "N"}
METRIC = "test/accuracy"


def terminal_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return the table of the runs whose folders are here as plain text.

    Raises:
        ResultsError: No run of this experiment and scale is finished.
    """
    summary = _summary(run_table(results_dir, experiment), experiment, scale, results_dir)
    return common.terminal_text(tables.heading(summary), _rows(summary))


def markdown_report(results_dir: Path, experiment: str, scale: str) -> str:
    """Return an experiment's tables at one scale, and notes, as Markdown."""
    runs = read_results(results_dir, experiment).runs
    summary = _summary(runs, experiment, scale, results_dir)
    chosen = runs[runs["scale"] == scale]
    effects = marginal_means(chosen)
    parts = [
        f"### {tables.heading(summary)}",
        f"**In short.** {conclusion(summary, effects)} {without_worst_order(chosen, effects)}".strip(),
        markdown_table(_rows(summary)),
        "Averages over all shapes that share a value, seed by seed; 95 % interval over the seeds:",
        _effects_table(effects),
        f"{video_remarks.notes(summary)}\n- One learning rate for all shapes, the one chosen for d = 4, R = 4, N = 2.\n"
        f"{tables.provenance(chosen)}",
    ]
    return "\n\n".join(parts)


def _summary(runs: pd.DataFrame, experiment: str, scale: str, results_dir: Path) -> pd.DataFrame:
    """Average the block-term runs of one scale over seeds, ordered by d, R and N; the baseline's row stands last."""
    chosen = runs[runs["scale"] == scale]
    if chosen[chosen["model"] == "bt_lstm"].empty:
        scales = ", ".join(sorted(runs["scale"].unique())) or "none"
        raise ResultsError(
            f"no finished run of {experiment!r} at scale {scale!r} in {results_dir}; scales there: {scales}"
        )
    return summarise(chosen).sort_values(list(FACTORS), ignore_index=True)


def _rows(summary: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {"d": number(row["order"], ".0f"), "R": number(row["rank"], ".0f"), "N": number(row["num_blocks"], ".0f")}
        | {"model": row["model_label"]}
        | {"parameters of W": count(row["parameters_input"] or np.nan)}
        | {"compression of W": ratio(row["parameters_dense_input"] / (row["parameters_input"] or np.nan))}
        | {"best epoch: mean ± sd (n), 95 % interval": tables.mean_text(row, METRIC)}
        | {"last epoch": tables.mean_text(row, f"{METRIC}_last")}
        | {"training, last epoch": number(row["train/accuracy_last"], ".3f")}
        | {"seconds per epoch": number(row["seconds_per_epoch"], ".3g")}
        for row in summary.to_dict("records")
    ]


def marginal_means(runs: pd.DataFrame) -> pd.DataFrame:
    """Average the accuracy over all shapes that share one value of d, R or N.

    Only seeds count that have every shape, so that no average is over other shapes than the next. The interval is over
    the seeds.

    Returns:
        A row for each value: factor ("order", "rank" or "num_blocks"), value, and mean, sd, n, low, high.
    """
    chosen = runs[runs["model"] == "bt_lstm"]
    shapes = chosen.groupby("seed")["name"].nunique()
    whole = chosen[chosen["seed"].isin(shapes.index[shapes == chosen["name"].nunique()])]
    rows: list[Row] = []
    for factor in FACTORS:
        for value, group in whole.groupby(factor):
            interval = mean_interval(group.groupby("seed")[METRIC].mean().to_numpy(), bounds=(0.0, 1.0))
            rows.append({"factor": factor, "value": value} | interval._asdict())
    return pd.DataFrame(rows, columns=["factor", "value", *MeanInterval._fields])


def _effects_table(effects: pd.DataFrame) -> str:
    return markdown_table(
        [
            {"averaged over all shapes with": f"{FACTORS[row['factor']]} = {row['value']:g}"}
            | {"accuracy, best epoch": f"{row['mean']:.3f}{_interval(row)}", "n": str(row["n"])}
            for row in effects.to_dict("records")
        ]
    )


def _interval(row: Row) -> str:
    return "" if np.isnan(row["low"]) else f" [{row['low']:.3f}, {row['high']:.3f}]"


def conclusion(summary: pd.DataFrame, effects: pd.DataFrame) -> str:
    """Say in Markdown which shape is best and worst, and what d, R and N do on average."""
    shapes = summary[summary["model"] == "bt_lstm"]
    ordered = sorted(shapes.to_dict("records"), key=lambda row: (row[METRIC], -row["parameters_input"]))
    worst, best = ordered[0], ordered[-1]
    equal = sum(row[METRIC] == best[METRIC] for row in ordered)
    others = f", as {equal - 1} larger ones do" if equal > 1 else ""
    data = tables.data_name(summary["source"].iloc[0])
    parts = [
        f"On {data} the {len(shapes)} shapes reach from {worst[METRIC]:.3f} ({_shape(worst)}, "
        f"{count(worst['parameters_input'])} parameters) to {best[METRIC]:.3f} ({_shape(best)}, "
        f"{count(best['parameters_input'])}){others}."
    ]
    said = []
    for factor, letter in FACTORS.items():
        rows = effects[effects["factor"] == factor].to_dict("records")
        if len(rows) > 1:
            means = ", ".join(f"{row['mean']:.3f} at {letter} = {row['value']:g}" for row in rows)
            said.append(means)
    if said:
        parts.append(f"On average over the other two: {'; '.join(said)}.")
    return " ".join(parts)


def without_worst_order(runs: pd.DataFrame, effects: pd.DataFrame) -> str:
    """Say what R and N do where the order with the lowest accuracy is left out, and that one rate served all shapes.

    Args:
        runs: Of one scale.
        effects: `marginal_means` of them.
    """
    orders = effects[effects["factor"] == "order"]
    if len(orders) < 2:
        return ""
    worst = orders.sort_values("mean")["value"].iloc[0]
    others = marginal_means(runs[runs["order"] != worst])
    said = [
        f"{' / '.join(f'{mean:.3f}' for mean in rows['mean'])} at {FACTORS[factor]} = "
        f"{', '.join(f'{value:g}' for value in rows['value'])}"
        for factor in ("rank", "num_blocks")
        if len(rows := others[others["factor"] == factor]) > 1
    ]
    if not said:
        return ""
    rates = sorted(runs.loc[runs["model"] == "bt_lstm", "learning_rate"].unique())
    one = f", at one learning rate for all shapes ({rates[0]:g})" if len(rates) == 1 else ""
    return f"Without d = {worst:g} these averages are {'; '.join(said)}{one}."


def _shape(row: Row) -> str:
    return ", ".join(f"{letter} = {row[factor]:g}" for factor, letter in FACTORS.items())


# ---- files


def table_texts(results_dir: Path, experiment: str) -> dict[Path, str]:
    """Return an experiment's Markdown file, all scales."""
    runs = read_results(results_dir, experiment).runs
    note = f"Made by `python experiments/report.py {experiment}` from the CSV files in results/; do not edit."
    title = f"# {experiment}: {tables.data_name(runs['source'].iloc[0])}"
    body = "\n\n".join(markdown_report(results_dir, experiment, scale) for scale in _scales(runs))
    return {results_dir / "tables" / f"{experiment}.md": f"{title}\n\n{note}\n\n{body}\n"}


def _scales(runs: pd.DataFrame) -> list[str]:
    """Return the scales, the one with the most training first."""
    first = headline_scale(runs)
    return [first, *sorted(set(runs["scale"]) - {first})]


def figure_files(results_dir: Path, experiment: str) -> list[FigureFile]:
    """Return an experiment's figures at its largest scale: heat maps and curves of the accuracy."""
    runs = read_results(results_dir, experiment).runs
    scale = headline_scale(runs)
    summary = _summary(runs, experiment, scale, results_dir)
    title = f"BT-LSTM on {tables.data_name(summary['source'].iloc[0])}, scale {scale}, n = {summary['n'].max()}"
    shown = summary[["model", *FACTORS, "n", METRIC, f"{METRIC}_low", f"{METRIC}_high"]]
    stem = results_dir / "figures" / experiment
    return [
        FigureFile(Path(f"{stem}_{name}.png"), shown, partial(draw, shown, title))
        for name, draw in (("heat_maps", figures.heat_maps), ("curves", figures.curves))
    ]


def readme_part(results_dir: Path, experiment: str, place: str) -> str:
    """Return what README says of an experiment, at its largest scale, in one paragraph.

    Args:
        results_dir: Where the committed tables are.
        experiment: Which of them.
        place: The path of `results_dir` as README links to it.
    """
    runs = read_results(results_dir, experiment).runs
    scale = headline_scale(runs)
    summary = _summary(runs, experiment, scale, results_dir)
    chosen = runs[runs["scale"] == scale]
    effects = marginal_means(chosen)
    text = f"{conclusion(summary, effects)} {without_worst_order(chosen, effects)}".strip()
    said = f"**Accuracy against d, R and N** (scale `{scale}`, n = {summary['n'].max()}). {text}"
    return (
        f"{said} [Curves]({place}/figures/{experiment}_curves.png), "
        f"[heat maps]({place}/figures/{experiment}_heat_maps.png), [all shapes]({place}/tables/{experiment}.md)."
    )
