"""Task 4 (b) in Markdown and figures: what maps of each shape recover of matrices of several kinds."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from btrnn.figures import recovery as figures
from btrnn.figures.file import FigureFile
from btrnn.figures.recovery import PanelRow
from btrnn.recovery.records import (
    PANELS,
    RECOVERED,
    SAME_SHAPE,
    TRUTHS,
    Recovery,
    compare_with_rank,
    paths,
    read,
    shape_name,
    summarise,
)
from btrnn.reports.claims.rules import paper_values
from btrnn.reports.format import span
from btrnn.reports.render import render
from btrnn.results.summary import Row


def is_collected(results_dir: Path) -> bool:
    """Return whether the study's files are there."""
    return all(path.exists() for path in paths(results_dir))


def table_texts(results_dir: Path) -> dict[Path, str]:
    """Return tables/recovery.md; nothing where the study is not collected."""
    if not is_collected(results_dir):
        return {}
    rows = read(results_dir).rows
    table = summarise(rows)
    table["shape"], table["kind"] = table["name"].map(shape_name), table["truth"].map(TRUTHS)
    own = table[(table["truth"] == SAME_SHAPE) & table["name"].isin(PANELS)].sort_values("name", key=_place)
    commits = rows["git_commit"].astype(str).str[:10] + rows["git_dirty"].map(
        {True: " (uncommitted changes)", False: ""}
    )
    text = render(
        "recovery",
        panels=own.to_dict("records"),
        kinds=compare_with_rank(table).to_dict("records"),
        shapes={kind: group.to_dict("records") for kind, group in table.groupby("kind", sort=False)},
        names=TRUTHS,
        limit=RECOVERED,
        first=rows.iloc[0].to_dict(),
        restarts=span(rows["num_restarts"]),
        minutes=rows.groupby("name")["seconds"].first().sum() / 60,
        commits=sorted(set(commits)),
        error=_error,
        with_interval=_with_interval,
        shape_name=shape_name,
        **paper_values(results_dir),
    )
    return {Path("tables/recovery.md"): text + "\n"}


def _place(names: "pd.Series[str]") -> "pd.Series[int]":
    return names.map(PANELS.index)


def _error(value: float) -> str:
    return f"{value:.3f}" if value >= RECOVERED else f"{value:.0e}"


def _with_interval(row: Row, column: str) -> str:
    if np.isnan(row[f"{column}_low"]) or row[column] < RECOVERED:
        return _error(row[column])
    return f"{row[column]:.3f} [{row[f'{column}_low']:.3f}, {row[f'{column}_high']:.3f}]"


# ---- figures


def figure_files(results_dir: Path) -> list[FigureFile]:
    """Return the paper's panel figure, and errors against parameters; none where the study is not collected."""
    if not is_collected(results_dir):
        return []
    recovery = read(results_dir)
    table = summarise(recovery.rows)
    shown = _panel_rows(recovery)
    pictures = [panel for row in shown for panel in row.panels if panel]
    content = [array for caption, matrix in pictures for array in (np.array(caption), matrix)]
    columns = ["name", "form", "order", "parameters", "truth", "error_best", "error_best_low", "error_best_high"]
    drawn = table[[*columns, "error_from_dense", "error_best_rank"]]
    panel_title = "64 x 64 matrices and what is recovered of them from y = W x; P parameters, relative error"
    draw_panels = partial(figures.panels, shown, panel_title)
    title = f"Recovery of 64 x 64 matrices, n = {table['n'].max()}; errors below {RECOVERED:g} drawn at {RECOVERED:g}"
    draw_errors = partial(figures.errors_against_parameters, drawn, TRUTHS, SAME_SHAPE, title)
    return [
        FigureFile(Path("figures/recovery_panels.png"), content, draw_panels),
        FigureFile(Path("figures/recovery_errors.png"), drawn, draw_errors),
    ]


def _panel_rows(recovery: Recovery) -> list[PanelRow]:
    """Lay out the truths of seed 0 and what the paper's shapes learnt of them; the last two rows: their own truths."""
    first = recovery.rows[recovery.rows["seed"] == 0].set_index(["name", "truth"])[["parameters", "error_best"]]
    names = [name for name in PANELS if name in set(recovery.rows["name"])]

    def learnt(name: str, kind: str) -> tuple[str, np.ndarray]:
        row = first.loc[[(name, kind)]].iloc[0]
        return f"P = {row['parameters']:.0f}: {_error(row['error_best'])}", recovery.matrices[f"{name}/{kind}/learnt"]

    rows = []
    for kind in [kind for kind in TRUTHS if kind in set(recovery.rows["truth"])]:
        found = [learnt(name, kind) for name in names]
        truths = [recovery.matrices[f"{name}/{kind}/truth"] for name in names]
        if kind == SAME_SHAPE:
            titled = [(shape_name(name), truth) for name, truth in zip(names, truths, strict=True)]
            rows += [PanelRow("truths of the\nsame shape", [None, *titled]), PanelRow("recovered", [None, *found])]
        else:
            rows.append(PanelRow(TRUTHS[kind], [("truth, P = 4096", truths[0]), *found]))
    return rows
