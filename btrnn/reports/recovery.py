"""Task 4 (b) in Markdown and figures: what maps of each shape recover of matrices of several kinds."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from btrnn.figures import recovery as figures
from btrnn.figures.file import FigureFile
from btrnn.figures.recovery import PanelRow
from btrnn.recovery.records import PANELS, RECOVERED, Recovery, paths, read
from btrnn.recovery.summary import SAME_SHAPE, TRUTHS, compare_with_rank, shape_name, summarise
from btrnn.reports.claims.rules import published
from btrnn.reports.format import count, markdown_table, span
from btrnn.reports.render import render
from btrnn.results.comparison import Row


def is_collected(results_dir: Path) -> bool:
    """Return whether the study's files are there."""
    return all(path.exists() for path in paths(results_dir))


def table_texts(results_dir: Path) -> dict[Path, str]:
    """Return tables/recovery.md."""
    rows = read(results_dir).rows
    table = summarise(rows)
    own = table[(table["truth"] == SAME_SHAPE) & table["name"].isin(PANELS)]
    commits = {f"{str(row['git_commit'])[:10]}{' (uncommitted changes)' * bool(row['git_dirty'])}" for _, row in rows.iterrows()}
    text = render(
        "recovery",
        recovered=int((own["median_best"] < RECOVERED).sum()),
        shapes=len(own),
        limit=RECOVERED,
        restarts=span(own["num_restarts"]),
        single=[_percent(own["share_recovered"].min()), _percent(own["share_recovered"].max())],
        kinds=[row | {"truth": TRUTHS[row["truth"]], "own": row["truth"] == SAME_SHAPE} for row in compare_with_rank(table).to_dict("records")],
        panel_table=_panel_table(own, results_dir),
        kinds_table=_kinds_table(table),
        shapes_tables={TRUTHS[kind]: _shapes_table(table[table["truth"] == kind]) for kind in table["truth"].unique()},
        first=rows.iloc[0].to_dict(),
        all_restarts=span(rows["num_restarts"]),
        num_shapes=rows["name"].nunique(),
        minutes=rows.groupby("name")["seconds"].first().sum() / 60,
        commits=sorted(commits),
    )
    return {Path("tables/recovery.md"): text + "\n"}


def _panel_table(own: pd.DataFrame, results_dir: Path) -> str:
    found: dict[str, Row] = {row["name"]: row for row in own.to_dict("records")}
    return markdown_table(
        [
            {"shape": shape_name(name), "P": count(row["parameters"])}
            | {"paper's P": published(results_dir, f"recovery.parameters.{name.removeprefix('bt_')}")}
            | {f"best of {row['num_restarts']}: median of {row['n']} truths": _error(row["median_best"])}
            | {f"below {RECOVERED:g}": "yes" if row["median_best"] < RECOVERED else "no"}
            | {"single runs that are": _percent(row["share_recovered"])}
            | {"from_dense": _error(row["error_from_dense"]), "best rank": _error(row["error_best_rank"])}
            for name, row in ((name, found[name]) for name in PANELS if name in found)
        ]
    )


def _kinds_table(table: pd.DataFrame) -> str:
    return markdown_table(
        [
            {"truth": TRUTHS[row["truth"]], "shapes nearer by a tenth": f"{row['nearer']} of {row['shapes']}"}
            | {"most ahead": shape_name(row["name"]), "P": count(row["parameters"])}
            | {"its error": _error(row["error_best"]), "best rank's": _error(row["error_best_rank"])}
            for row in compare_with_rank(table).to_dict("records")
        ]
    )


def _shapes_table(table: pd.DataFrame) -> str:
    return markdown_table(
        [
            {"shape": shape_name(row["name"]), "P": count(row["parameters"])}
            | {"trained: best restart": _with_interval(row, "error_best")}
            | {"median restart": _error(row["error_median"]), "runs that recover": _percent(row["share_recovered"])}
            | {"from_dense": _with_interval(row, "error_from_dense")}
            | {"best rank": _with_interval(row, "error_best_rank"), "n": count(row["n"])}
            for row in table.to_dict("records")
        ]
    )


def _error(value: float) -> str:
    return f"{value:.3f}" if value >= RECOVERED else f"{value:.0e}"


def _with_interval(row: Row, column: str) -> str:
    if np.isnan(row[f"{column}_low"]) or row[column] < RECOVERED:
        return _error(row[column])
    return f"{row[column]:.3f} [{row[f'{column}_low']:.3f}, {row[f'{column}_high']:.3f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


# ---- figures


def figure_files(results_dir: Path) -> list[FigureFile]:
    """Return the paper's panel figure, and errors against parameters."""
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
        parameters, error = first.loc[name, kind]
        return f"P = {parameters:.0f}: {_error(error)}", recovery.matrices[f"{name}/{kind}/learnt"]

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
