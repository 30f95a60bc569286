"""Run folders of the recovery study to its committed files: results/recovery.csv and results/arrays/recovery.npz."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from btrnn.storage.atomic import replace_file
from btrnn.storage.files import ResultsError, arrays_bytes, read_csv, read_pictures

EXPERIMENT = "recovery"
PANELS = ("bt_d2_r1_n1", "bt_d2_r4_n1", "bt_d2_r1_n2", "bt_d3_r4_n1", "bt_d4_r4_n1")  # the paper's, in its order
RECOVERED = 1e-2  # relative error below which a fit counts as a success
_SHAPE = ("name", "form", "order", "rank", "num_blocks", "in_modes", "out_modes", "parameters")
_ERRORS = ("error_best", "error_median", "error_worst", "share_recovered", "error_from_dense", "error_best_rank")
_SETTINGS = ("num_pairs", "num_steps", "learning_rate")
_MACHINE = ("seconds", "threads", "torch", "git_commit", "git_dirty", "command", "finished")
COLUMNS = (*_SHAPE, "truth", "seed", *_ERRORS, "num_restarts", *_SETTINGS, *_MACHINE)
_RUN_AGAIN = "delete the run's folder and run it again"
_COLLECT_AGAIN = "collect the runs again, or restore the committed file"


class Recovery(NamedTuple):
    """The study's committed numbers.

    rows: A row for each shape, truth and seed, see `COLUMNS`; errors are relative, in the Frobenius norm.
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
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path} is not valid JSON ({error}); {_RUN_AGAIN}") from None
    missing = [column for column in (*_SHAPE, *_SETTINGS, *_MACHINE) if column not in summary]
    if missing:
        raise ResultsError(f"{path} lacks {', '.join(missing)}; {_RUN_AGAIN}")
    fits = read_csv(run_dir / "fits.csv", ["truth", "seed", "restart", "error"], _RUN_AGAIN)
    truths = read_csv(run_dir / "truths.csv", ["truth", "seed", "error_from_dense", "error_best_rank"], _RUN_AGAIN)
    fits["recovered"] = fits["error"] < RECOVERED
    over_restarts = fits.groupby(["truth", "seed"], sort=False).agg(
        error_best=("error", "min"),
        error_median=("error", "median"),
        error_worst=("error", "max"),
        share_recovered=("recovered", "mean"),
        num_restarts=("error", "size"),
    )
    rows = truths.merge(over_restarts.reset_index(), on=["truth", "seed"], validate="one_to_one")
    rows = rows.assign(**{column: summary[column] for column in (*_SHAPE, *_SETTINGS, *_MACHINE)})
    matrices = read_pictures(run_dir / "matrices.npz", _RUN_AGAIN) if summary["name"] in PANELS else {}
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
