"""The recovery study's numbers: from run folders to recovery.csv and arrays/recovery.npz, and their averages."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from btrnn.results.statistics import mean_interval
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import RUN_AGAIN, ResultsError, arrays_bytes, read_csv, read_json, read_pictures

EXPERIMENT = "recovery"
PANELS = ("bt_d2_r1_n1", "bt_d2_r4_n1", "bt_d2_r1_n2", "bt_d3_r4_n1", "bt_d4_r4_n1")  # the paper's, in its order
RECOVERED = 1e-2  # relative error below which a fit counts as a success
_SHAPE = ("name", "form", "order", "rank", "num_blocks", "in_modes", "out_modes", "parameters")
_OF_TRUTHS = ("error_from_dense", "error_best_rank", "error_least_squares")
_ERRORS = ("error_best", "error_median", "error_worst", "share_recovered", *_OF_TRUTHS)
_SETTINGS = ("num_pairs", "noise", "num_steps", "learning_rate")
_MACHINE = ("seconds", "threads", "torch", "git_commit", "git_dirty", "command", "finished")
COLUMNS = (*_SHAPE, "truth", "seed", *_ERRORS, "num_restarts", *_SETTINGS, *_MACHINE)
_COLLECT_AGAIN = "collect the runs again, or restore the committed file"
SAME_SHAPE = "same_shape"
EQUAL = "equal"  # the form of the maps of `btrnn.recovery.maps`, whose pairs may be few, and noisy
EQUAL_MAPS = {  # these, in the order of tables
    "bt": "block terms",
    "tt": "tensor train",
    "tr": "tensor ring",
    "cp": "canonical polyadic",
    "tucker": "Tucker",
    "ht": "hierarchical Tucker",
    "kronecker": "Kronecker, two matrices",
    "low_rank": "low rank",
}
SIZE = 64  # of the matrices
TRUTHS = {  # in the order of tables and figures
    "photograph": "photograph",
    "smooth": "smooth field",
    "low_rank": "low rank (4)",
    "kronecker": "Kronecker product",
    "random": "random",
    SAME_SHAPE: "a map of the same shape",
}
_NUMBERS_OF_A_RANK = 2 * SIZE
NEARER = 0.9  # times the best rank's error: what is less ahead may come from ranks being whole numbers
_AVERAGED = ["name", "form", "order", "rank", "num_blocks", "parameters", "num_restarts"]


class Recovery(NamedTuple):
    """The study's committed numbers.

    rows: A row for each shape, truth and seed, see `COLUMNS`; errors are relative, in the Frobenius norm, `error_best`
        is that of the restart with the lowest loss.
    matrices: "<name>/<truth>/truth" and "/learnt" of the panels, (64, 64), seed 0.
    """

    rows: pd.DataFrame
    matrices: dict[str, np.ndarray]


def read_run(run_dir: Path) -> Recovery:
    """Read one finished run folder.

    Raises:
        ResultsError: A file is missing, cannot be parsed or lacks a column.
    """
    path = run_dir / "summary.json"
    summary = read_json(path, RUN_AGAIN)
    missing = [column for column in (*_SHAPE, *_SETTINGS, *_MACHINE) if column not in summary]
    if missing:
        raise ResultsError(f"{path} lacks {', '.join(missing)}; {RUN_AGAIN}")
    fits = read_csv(run_dir / "fits.csv", ["truth", "seed", "restart", "error", "loss"], RUN_AGAIN)
    truths = read_csv(run_dir / "truths.csv", ["truth", "seed", *_OF_TRUTHS], RUN_AGAIN)
    fits["recovered"] = fits["error"] < RECOVERED
    fits = fits.sort_values("loss", kind="stable")  # which is all that is known of a fit where the truth is not
    over_restarts = fits.groupby(["truth", "seed"], sort=False).agg(
        error_best=("error", "first"),
        error_median=("error", "median"),
        error_worst=("error", "max"),
        share_recovered=("recovered", "mean"),
        num_restarts=("error", "size"),
    )
    rows = truths.merge(over_restarts.reset_index(), on=["truth", "seed"], validate="one_to_one")
    rows = rows.assign(**{column: summary[column] for column in (*_SHAPE, *_SETTINGS, *_MACHINE)})
    matrices = read_pictures(run_dir / "matrices.npz", RUN_AGAIN) if summary["name"] in PANELS else {}
    return Recovery(rows[list(COLUMNS)], {f"{summary['name']}/{key}": matrix for key, matrix in matrices.items()})


def collect(results_dir: Path, tables_dir: Path) -> tuple[Recovery, list[Path]]:
    """Merge the finished run folders of `results_dir` into the tables of `tables_dir`, without writing them.

    Returns:
        The merged numbers; rows of shapes whose folder is gone stay. And the unfinished run folders.

    Raises:
        ResultsError: See `read_run`.
    """
    folders = sorted(path.parent for path in (results_dir / "runs" / EXPERIMENT).glob("*/config.yaml"))
    finished = [path for path in folders if (path / "summary.json").exists()]
    merged = merge(read(tables_dir), [read_run(path) for path in finished])
    return merged, [path for path in folders if path not in finished]


def merge(old: Recovery, new: Sequence[Recovery]) -> Recovery:
    """Return the numbers of both; those of `new` stand where both have a shape."""
    names = {name for part in new for name in part.rows["name"]}
    kept = old.rows[~old.rows["name"].isin(names)]
    parts = [part for part in (kept, *(part.rows for part in new)) if not part.empty]
    rows = pd.concat(parts, ignore_index=True) if parts else kept
    matrices = dict(old.matrices)
    for part in new:
        matrices |= part.matrices
    ordered = rows.sort_values(["form", "order", "rank"], kind="stable", ignore_index=True)
    return Recovery(ordered, dict(sorted(matrices.items())))


def paths(results_dir: Path) -> tuple[Path, Path]:
    """Return where the rows and the matrices are committed."""
    return results_dir / f"{EXPERIMENT}.csv", results_dir / "arrays" / f"{EXPERIMENT}.npz"


def read(results_dir: Path) -> Recovery:
    """Read the committed files; empty where there are none yet.

    Raises:
        ResultsError: A file cannot be parsed or lacks a column.
    """
    rows_path, matrices_path = paths(results_dir)
    rows = pd.DataFrame(columns=list(COLUMNS))
    if rows_path.exists():
        rows = read_csv(rows_path, list(COLUMNS), _COLLECT_AGAIN)
    return Recovery(rows, read_pictures(matrices_path, _COLLECT_AGAIN) if matrices_path.exists() else {})


def write(recovery: Recovery, results_dir: Path) -> list[Path]:
    """Write the committed files; the same numbers give the same bytes. Returns the paths written."""
    rows_path, matrices_path = paths(results_dir)
    replace_file(rows_path, recovery.rows.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    replace_file(matrices_path, arrays_bytes(recovery.matrices))
    return [rows_path, matrices_path]


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Average over the truths of a kind: a row for each shape and kind, kinds in the order of `TRUTHS`.

    Columns: the shape's, truth, n, share_recovered, median_best (over the truths, of the best restart), and of
    `error_best`, `error_median`, `error_from_dense`, `error_best_rank` the mean, `_low` and `_high` (95 %, by t).
    """
    summaries = []
    for (_, truth), group in rows.groupby(["name", "truth"], sort=False):
        row = {str(column): group[column].iloc[0] for column in _AVERAGED}
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


def compare_with_rank(table: pd.DataFrame) -> pd.DataFrame:
    """Count, for each kind of truth, the shapes of BT and of TT that come nearer than the best rank of as many numbers.

    Nearer by a tenth (`NEARER`), that is; and only shapes count that have the numbers for a rank of 1.

    Args:
        table: Of `summarise`.

    Returns:
        A row for each: truth, family ("BT" or "TT"), nearer, shapes, and the shape whose error is smallest beside the
        best rank's: name, parameters, error_best, error_best_rank.
    """
    rows = []
    chosen = table[table["parameters"] >= _NUMBERS_OF_A_RANK]
    chosen = chosen.assign(family=chosen["form"].str[:2].str.upper())
    for (truth, family), group in chosen.groupby(["truth", "family"], sort=False):
        nearer = int((group["error_best"] < NEARER * group["error_best_rank"]).sum())
        ratios = group["error_best"].clip(lower=RECOVERED) / group["error_best_rank"].clip(lower=RECOVERED)
        best = group.iloc[
            int(ratios.to_numpy().argmin())
        ]  # of equals that with the fewest parameters, which stands first
        shown = {key: best[key] for key in ("name", "parameters", "error_best", "error_best_rank")}
        rows.append({"truth": truth, "family": family, "nearer": nearer, "shapes": len(group)} | shown)
    return pd.DataFrame(rows).sort_values("family", kind="stable", ignore_index=True)


def shape_name(name: str) -> str:
    """Write bt_d2_r4_n1 as "BT, d = 2, R = 4, N = 1"."""
    form, *letters = name.split("_")
    return ", ".join(
        [form.upper(), *(f"{'d' if part[0] == 'd' else part[0].upper()} = {part[1:]}" for part in letters)]
    )
