"""Task 4 (b) in Markdown and figures: what maps of each shape recover of matrices of several kinds."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from btrnn.figures import recovery as figures
from btrnn.figures.file import FigureFile
from btrnn.figures.recovery import PanelRow
from btrnn.recovery.records import PANELS, RECOVERED, Recovery, paths, read
from btrnn.reports.format import count, markdown_table, span
from btrnn.results.paper import read_paper
from btrnn.results.statistics import mean_interval
from btrnn.results.summary import Row

_SAME_SHAPE = "same_shape"
_NUMBERS_OF_A_RANK = 128  # 64 + 64
_NEARER = 0.9  # times the best rank's error: what is less ahead may come from ranks being whole numbers
TRUTHS = {  # in the order of tables and figures
    "photograph": "photograph",
    "smooth": "smooth field",
    "low_rank": "low rank (4)",
    "kronecker": "Kronecker product",
    "random": "random",
    _SAME_SHAPE: "a map of the same shape",
}


def is_collected(results_dir: Path) -> bool:
    """Say whether the study's files are there."""
    return all(path.exists() for path in paths(results_dir))


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Average over the truths of a kind: a row for each shape and kind, kinds in the order of `TRUTHS`.

    Columns: the shape's, truth, n, share_recovered, median_best (over the truths, of the best restart), and of
    `error_best`, `error_median`, `error_from_dense`, `error_best_rank` the mean, `_low` and `_high` (95 %, by t).
    """
    summaries = []
    shape = ["name", "form", "order", "rank", "num_blocks", "parameters", "num_restarts"]
    for (_, truth), group in rows.groupby(["name", "truth"], sort=False):
        row: Row = {column: group[column].iloc[0] for column in shape}
        row |= {"truth": truth, "n": len(group), "share_recovered": group["share_recovered"].mean()}
        row |= {"median_best": group["error_best"].median()}
        for column in ("error_best", "error_median", "error_from_dense", "error_best_rank"):
            interval = mean_interval(group[column].to_numpy(), bounds=(0.0, float("inf")))
            row |= {column: interval.mean, f"{column}_low": interval.low, f"{column}_high": interval.high}
        summaries.append(row)
    table = pd.DataFrame(summaries)
    table["truth"] = pd.Categorical(table["truth"], list(TRUTHS))
    table = table.sort_values(["truth", "parameters", "name"], ignore_index=True)
    return table.assign(truth=table["truth"].astype(str))


def shape_name(name: str) -> str:
    """Write bt_d2_r4_n1 as "BT, d = 2, R = 4, N = 1"."""
    form, *letters = name.split("_")
    return ", ".join(
        [form.upper(), *(f"{part[0] if part[0] == 'd' else part[0].upper()} = {part[1:]}" for part in letters)]
    )


# ---- Markdown


def table_texts(results_dir: Path) -> dict[Path, str]:
    """Return results/tables/recovery.md."""
    rows = read(results_dir).rows
    table = summarise(rows)
    parts = [
        "# Recovery of 64 x 64 matrices from y = W x",
        "Made by `python experiments/report.py` from results/recovery.csv; do not edit.",
        f"**In short.** {conclusion(table)}",
        "## The paper's five shapes, each on truths of its own shape",
        _panel_table(table, results_dir),
        "![What the paper's shapes recover](../figures/recovery_panels.png)",
        "## When block terms fit: their error beside that of the best rank of as many numbers",
        _kinds_table(table),
        "![Relative error against parameters](../figures/recovery_errors.png)",
    ]
    for kind in table["truth"].unique():
        parts += [f"### Truth: {TRUTHS[kind]}", _shapes_table(table[table["truth"] == kind])]
    parts.append(_notes(rows))
    return {results_dir / "tables" / "recovery.md": "\n\n".join(parts) + "\n"}


def conclusion(table: pd.DataFrame) -> str:
    """Say in Markdown what is recovered, and for which kinds of matrices block terms are better than a low rank."""
    own = table[(table["truth"] == _SAME_SHAPE) & table["name"].isin(PANELS)]
    good = int((own["median_best"] < RECOVERED).sum())
    restarts = span(own["num_restarts"])
    single = f"{_percent(own['share_recovered'].min())} to {_percent(own['share_recovered'].max())}"
    parts = [
        f"{good} of {len(own)} of the paper's shapes recover truths of their own shape (relative error "
        f"below {RECOVERED:g}, best of {restarts} restarts, median of the truths); of single runs {single} do."
    ]
    nearer = ", ".join(
        f"{TRUTHS[row['truth']]} {row['nearer']} of {row['shapes']}"
        for row in _compare_with_rank(table).to_dict("records")
        if row["truth"] != _SAME_SHAPE
    )
    parts.append(f"Block-term shapes nearer to the truth, by a tenth, than the best rank of as many numbers: {nearer}.")
    return " ".join(parts)


def _compare_with_rank(table: pd.DataFrame) -> pd.DataFrame:
    """Count, for each kind of truth, the block-term shapes that come nearer than the best rank of as many numbers.

    Nearer by a tenth, that is; and only shapes count that have the numbers for a rank of 1.

    Returns:
        A row for each: truth, nearer, shapes, and the shape whose error is smallest beside the best rank's: name,
        parameters, error_best, error_best_rank.
    """
    rows = []
    chosen = table[table["form"].str.startswith("bt") & (table["parameters"] >= _NUMBERS_OF_A_RANK)]
    for truth, group in chosen.groupby("truth", sort=False):
        nearer = int((group["error_best"] < _NEARER * group["error_best_rank"]).sum())
        records: list[Row] = group.to_dict("records")  # from few parameters to many
        best = min(records, key=lambda row: max(row["error_best"], RECOVERED) / max(row["error_best_rank"], RECOVERED))
        shown = {key: best[key] for key in ("name", "parameters", "error_best", "error_best_rank")}
        rows.append({"truth": truth, "nearer": nearer, "shapes": len(group)} | shown)
    return pd.DataFrame(rows)


def _panel_table(table: pd.DataFrame, results_dir: Path) -> str:
    paper = read_paper(results_dir / "paper.csv")
    own: dict[str, Row] = {row["name"]: row for row in table[table["truth"] == _SAME_SHAPE].to_dict("records")}
    rows = []
    for name, row in ((name, own[name]) for name in PANELS if name in own):
        key = f"recovery.parameters.{name.removeprefix('bt_')}"
        best = f"best of {count(row['num_restarts'])}: median of {count(row['n'])} truths"
        rows.append(
            {"shape": shape_name(name), "P": count(row["parameters"])}
            | {"paper's P": f"reported {paper['value'][key]} [{paper['mark'][key]}]", best: _error(row["median_best"])}
            | {f"below {RECOVERED:g}": "yes" if row["median_best"] < RECOVERED else "no"}
            | {"single runs that are": _percent(row["share_recovered"])}
            | {"from_dense": _error(row["error_from_dense"]), "best rank": _error(row["error_best_rank"])}
        )
    return markdown_table(rows)


def _kinds_table(table: pd.DataFrame) -> str:
    return markdown_table(
        [
            {"truth": TRUTHS[row["truth"]], "shapes nearer by a tenth": f"{row['nearer']} of {row['shapes']}"}
            | {"most ahead": shape_name(row["name"]), "P": count(row["parameters"])}
            | {"its error": _error(row["error_best"]), "best rank's": _error(row["error_best_rank"])}
            for row in _compare_with_rank(table).to_dict("records")
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


def _notes(rows: pd.DataFrame) -> str:
    """Say how the numbers were made."""
    first: Row = rows.to_dict("records")[0]
    commits = ", ".join(
        sorted(
            {
                f"{str(row['git_commit'])[:10]}{' (uncommitted changes)' if row['git_dirty'] else ''}"
                for row in rows.to_dict("records")
            }
        )
    )
    minutes = rows.groupby("name")["seconds"].first().sum() / 60
    lines = [
        "Errors: |W' - W| / |W|, Frobenius norm; the answer 0 has error 1. Cells: mean over n truths of a kind (seeds) "
        "and 95 % interval by Student's t.",
        f"Trained: Adam from the layer's own initialisation, {count(first['num_steps'])} steps on "
        f"{count(first['num_pairs'])} pairs (x, W x), rate {first['learning_rate']:g} falling to 0. Of the restarts "
        f"({span(rows['num_restarts'])} a truth) the best is taken by that very error: the pairs have no noise, so the "
        "loss on them says the same.",
        "from_dense: made from the truth itself by `BTLinear.from_dense` or `TTLinear.from_dense`, no training.",
        "Best rank: the best product (64 x r)(r x 64) of at most as many numbers (SVD); with fewer than 128 there is "
        "none, and the error is 1. Ranks are whole: a shape can have up to 127 numbers more than its rank.",
        "Photographs: patches of the two that scikit-learn ships, reduced to a third, without their mean.",
        f"{rows['name'].nunique()} shapes, {minutes:.0f} minutes (CPU threads: {count(first['threads'])}); torch "
        f"{first['torch']}; commit {commits}.",
    ]
    return "\n".join(f"- {line}" for line in lines)


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
    content = [
        array
        for row in shown
        for caption, matrix in [panel for panel in row.panels if panel]
        for array in (np.array(caption), matrix)
    ]
    title = f"Relative error against parameters, n = {table['n'].max()}; below {RECOVERED:g} drawn at {RECOVERED:g}"
    columns = ["name", "form", "order", "parameters", "truth", "error_best", "error_best_low", "error_best_high"]
    drawn = table[[*columns, "error_from_dense", "error_best_rank"]]
    folder = results_dir / "figures"
    panel_title = "64 x 64 matrices and what is recovered of them from y = W x; P parameters, relative error"
    return [
        FigureFile(folder / "recovery_panels.png", content, partial(figures.panels, shown, panel_title)),
        FigureFile(
            folder / "recovery_errors.png",
            drawn,
            partial(figures.errors_against_parameters, drawn, TRUTHS, _SAME_SHAPE, title),
        ),
    ]


def _panel_rows(recovery: Recovery) -> list[PanelRow]:
    """Lay out the truths of seed 0 and what the paper's shapes learnt of them; the last two rows: their own truths."""
    rows_of_seed_0: list[Row] = recovery.rows[recovery.rows["seed"] == 0].to_dict("records")
    first = {(row["name"], row["truth"]): row for row in rows_of_seed_0}
    names = [name for name in PANELS if name in set(recovery.rows["name"])]

    def learnt(name: str, kind: str) -> tuple[str, np.ndarray]:
        row = first[name, kind]
        return f"P = {row['parameters']}: {_error(row['error_best'])}", recovery.matrices[f"{name}/{kind}/learnt"]

    kinds = [kind for kind in TRUTHS if kind in set(recovery.rows["truth"]) and kind != _SAME_SHAPE]
    rows = [
        PanelRow(
            TRUTHS[kind],
            [
                ("truth, P = 4096", recovery.matrices[f"{names[0]}/{kind}/truth"]),
                *(learnt(name, kind) for name in names),
            ],
        )
        for kind in kinds
    ]
    if _SAME_SHAPE in set(recovery.rows["truth"]):
        truths = [(shape_name(name), recovery.matrices[f"{name}/{_SAME_SHAPE}/truth"]) for name in names]
        rows.append(PanelRow("truths of the\nsame shape", [None, *truths]))
        rows.append(PanelRow("recovered", [None, *(learnt(name, _SAME_SHAPE) for name in names)]))
    return rows


def readme_part(results_dir: Path, place: str) -> str:
    """Return what README says of the study, in one paragraph.

    Args:
        results_dir: Where the committed files are.
        place: The path of `results_dir` as README links to it.
    """
    said = conclusion(summarise(read(results_dir).rows))
    return (
        f"**Recovery of matrices from y = W x.** {said} [Pictures]({place}/figures/recovery_panels.png), "
        f"[errors]({place}/figures/recovery_errors.png), "
        f"[all shapes]({place}/tables/recovery.md); [parameters against d and R]({place}/tables/parameters.md)."
    )
