"""Run folders to tidy tables, and the committed files that hold them.

A run folder is `<experiment>/<name>/seed<k>/` with summary.json (only when the run is finished), metrics.csv and what
the task puts out: a table of test examples, arrays.npz with pictures, or both. Collecting turns many of them into three
tables (a row per run, per run and epoch, per run and test example) and one file of pictures. They are kept in results/,
so that every table and figure can be made without run folders.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from btrnn.results.schema import BASELINE, LATER, RUN_KEY, Schema, schema_of
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import (
    RUN_AGAIN,
    ResultsError,
    arrays_bytes,
    read_arrays,
    read_csv,
    read_json,
    read_pictures,
    table_arrays,
)

PUBLISHED, LOCAL = "published", "local"  # values of the column `origin`; the latter is also the folder
_BASELINE_COLUMNS = (
    *("experiment", "name", "seed", "model", "model_label", "source", "stand_in", "protocol", "scaling", "scale"),
    *("num_clips", "test/accuracy"),
)
_COLLECT_AGAIN = "collect the runs again, or restore the committed file"


class Results(NamedTuple):
    """One experiment: tables, and pictures of the first seed of each name or of the data.

    runs: A row per run.
    epochs: A row per run and epoch.
    predictions: A row per run and test example, where the task keeps them.
    pictures: Arrays by "<name>/<array>", or by "<array>" where they show the data, the same for every run.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame
    predictions: pd.DataFrame
    pictures: dict[str, np.ndarray]


class ResultPaths(NamedTuple):
    """Where the parts of `Results` are committed; the last two only where the task has them."""

    runs: Path
    epochs: Path
    predictions: Path
    pictures: Path


# ---- run folders


def find_runs(runs_dir: Path, experiment: str) -> tuple[list[Path], list[Path]]:
    """Return the finished and the unfinished run folders of one experiment, each sorted.

    A folder counts as a run by its place, `<experiment>/<name>/seed<k>`; it is finished when it has a
    summary.json.
    """
    folders = sorted(
        path
        for path in (runs_dir / experiment).glob("*/seed*")
        if path.is_dir() and re.fullmatch(r"seed\d+", path.name)
    )
    finished = [path for path in folders if (path / "summary.json").exists()]
    return finished, [path for path in folders if path not in finished]


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Read a finished run's summary.json.

    Raises:
        ResultsError: It is not a JSON object, lacks a key, says it belongs to another folder, or would bring
            stand-in numbers under a real data set's name or the reverse.
    """
    path = run_dir / "summary.json"
    summary = read_json(path, RUN_AGAIN)
    # a baseline that is fitted in one go may leave out what it does not have; it reads as null
    schema = schema_of(run_dir.parent.parent.name)
    needed = _BASELINE_COLUMNS if summary.get("model") == BASELINE.name else schema.training_columns
    missing = [column for column in needed if column not in summary]
    if missing:
        raise ResultsError(f"{path} lacks {', '.join(missing)}; was it written by another version of btrnn?")
    said = (summary["experiment"], summary["name"], summary["seed"])
    stands = (run_dir.parent.parent.name, run_dir.parent.name, int(run_dir.name.removeprefix("seed")))
    if said != stands:
        raise ResultsError(f"{path} says experiment, name, seed = {said}, but its folder says {stands}")
    ending = f"_{summary['source']}"
    if bool(summary["stand_in"]) != str(summary["experiment"]).endswith(ending):
        raise ResultsError(
            f"{path} has stand_in = {summary['stand_in']} in experiment {summary['experiment']!r}: the names "
            f"of experiments on a stand-in, and only those, end in its name, here {ending!r}"
        )
    return summary


def read_run(run_dir: Path) -> Results:
    """Read one finished run folder as tables of one run.

    Raises:
        ResultsError: A file is missing, cannot be parsed or lacks a column.
    """
    summary = read_summary(run_dir)
    schema = schema_of(summary["experiment"])
    key = {column: summary[column] for column in RUN_KEY}
    flat = {
        name: json.dumps(value, sort_keys=True) if isinstance(value, dict) else value for name, value in summary.items()
    }
    predictions, pictures = pd.DataFrame(), {}
    tested = summary.get(schema.main) is not None  # a run that chooses a hyper-parameter does not touch the test split
    if tested and schema.predictions:
        needed = [column for column in schema.prediction_columns if not column.endswith("_last")]
        predictions = read_csv(run_dir / schema.predictions, needed, RUN_AGAIN, texts=schema.text)
    if tested and schema.pictures != "none":
        prefix = f"{summary['name']}/" if schema.pictures == "of the run" else ""
        arrays = read_pictures(run_dir / "arrays.npz", RUN_AGAIN)
        pictures = {f"{prefix}{name}": array for name, array in arrays.items()}
    if summary["model"] == BASELINE.name and not (run_dir / "metrics.csv").exists():
        epochs = pd.DataFrame()  # it is fitted in one go and has no epochs
    else:
        epochs = read_csv(run_dir / "metrics.csv", ["epoch"], RUN_AGAIN)
        epochs = epochs.rename(columns={"gradient_norm": "first_gradient_norm"})  # its name in runs of older versions
    runs = _tidy(pd.DataFrame([flat]), schema)
    return Results(runs, epochs.assign(**key), predictions.assign(**key), pictures)


# ---- committed files


def collect(results_dir: Path, experiment: str, tables_dir: Path | None = None) -> tuple[Results, list[Path]]:
    """Merge an experiment's finished run folders into its tables, without writing them.

    Rows of a run whose folder is there are replaced; rows of a run whose folder is gone stay.

    Args:
        results_dir: Has the run folders, in runs/.
        experiment: Which of them.
        tables_dir: Has the tables that they are merged into; `results_dir` if None.

    Returns:
        The merged tables, sorted, and the unfinished run folders, which are left out.

    Raises:
        ResultsError: See `read_run`.
    """
    finished, unfinished = find_runs(results_dir / "runs", experiment)
    runs = [read_run(path) for path in finished]
    return merge(read_results(tables_dir or results_dir, experiment), runs, experiment), unfinished


def merge(old: Results, new: Sequence[Results], experiment: str) -> Results:
    """Return tables with the rows of `old` and of `new`; where both have a run, that of `new` stands, sorted."""
    schema, pictures = schema_of(experiment), dict(old.pictures)
    for run in reversed(new):  # of several seeds the first one's stay
        pictures |= run.pictures
    keys = {key for run in new for key in zip(run.runs["name"], run.runs["seed"].astype(int), strict=True)}
    return Results(
        _tidy(_merge(old.runs, (run.runs for run in new), keys, schema.columns), schema),
        _merge(old.epochs, (run.epochs for run in new), keys, schema.epoch_columns),
        _merge(old.predictions, (run.predictions for run in new), keys, (*RUN_KEY, *schema.prediction_columns)),
        pictures,
    )


def without_scale(results: Results, scale: str) -> Results:
    """Return tables without the runs of one scale; pictures stay."""
    names = set(results.runs.loc[results.runs["scale"] == scale, "name"])
    runs, epochs, predictions = (
        table if table.empty else table[~table["name"].isin(names)]
        for table in (results.runs, results.epochs, results.predictions)
    )
    return Results(runs, epochs, predictions, results.pictures)


def _merge(
    old: pd.DataFrame, new: Iterable[pd.DataFrame], new_keys: set[tuple[str, int]], columns: tuple[str, ...]
) -> pd.DataFrame:
    if not old.empty:
        old = old[[key not in new_keys for key in zip(old["name"], old["seed"], strict=True)]]
    parts = [part.dropna(axis="columns", how="all") for part in (old, *new) if not part.empty]
    if not parts:
        return pd.DataFrame(columns=list(columns))
    merged = pd.concat(parts, ignore_index=True)
    order = [column for column in ("name", "seed", "epoch", "clip", "image") if column in columns]
    return _arrange(merged, columns).sort_values(order, kind="stable", ignore_index=True)


def _arrange(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Put the known columns first, in their fixed order; further ones follow by name."""
    return table.reindex(columns=[*columns, *sorted(set(table.columns) - set(columns))])


def _tidy(runs: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Give the run table its column order, and text columns that are text also where they are empty."""
    runs = _arrange(runs.assign(**{name: LATER[name] for name in LATER if name not in runs}), schema.columns)
    for column in schema.columns:
        if column in schema.text_columns:
            runs[column] = pd.Series([_text(value) for value in runs[column]], runs.index, dtype="str")
        elif column == "seed":
            runs[column] = runs[column].astype("int64")
        elif column not in ("stand_in", *LATER):  # float also where none is missing: no type depends on other rows
            runs[column] = pd.to_numeric(runs[column]).astype("float64")
    return runs


def _text(value: object) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def read_results(results_dir: Path, experiment: str) -> Results:
    """Read an experiment's committed tables; empty tables where there are none yet.

    Raises:
        ResultsError: A file cannot be parsed or lacks a column.
    """
    paths, schema = result_paths(results_dir, experiment), schema_of(experiment)
    runs, epochs, predictions = pd.DataFrame(columns=list(schema.columns)), pd.DataFrame(), pd.DataFrame()
    pictures: dict[str, np.ndarray] = {}
    if paths.runs.exists():
        runs = _tidy(read_csv(paths.runs, list(schema.training_columns), _COLLECT_AGAIN), schema)
    if paths.epochs.exists():
        epochs = read_csv(paths.epochs, [*RUN_KEY, "epoch"], _COLLECT_AGAIN)
    if paths.predictions.exists():
        predictions = read_arrays(paths.predictions)
    if paths.pictures.exists():
        pictures = read_pictures(paths.pictures, _COLLECT_AGAIN)
    return Results(runs, epochs, predictions, pictures)


def read_with_local(results_dir: Path, experiment: str) -> Results:
    """Read the published rows of an experiment and, beside them, the user's, of `results_dir`/local.

    A run of the user's that is published stands there once, as published.

    Returns:
        Tables with a column `origin`, "published" or "local", which says whose a row is. The names of the user's
        pictures begin with "local/", but where they show the data, which are taken from one of the two.
    """
    published, own = read_results(results_dir, experiment), read_results(results_dir / LOCAL, experiment)
    known = set(zip(*(published.runs[column] for column in ("name", "seed", "finished")), strict=True))
    keys = zip(*(own.runs[column] for column in ("name", "seed", "finished")), strict=True)
    new = {key[:2] for key in keys if key not in known}

    def both(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
        if not second.empty:
            second = second[[key in new for key in zip(second["name"], second["seed"], strict=True)]]
        parts = [table.assign(origin=origin) for table, origin in ((first, PUBLISHED), (second, LOCAL))]
        return pd.concat([part for part in parts if not part.empty] or parts[:1], ignore_index=True)

    tables = [both(*pair) for pair in zip(published[:3], own[:3], strict=True)]
    pictures = {f"{LOCAL}/{name}" if "/" in name else name: array for name, array in own.pictures.items()}
    return Results(tables[0], tables[1], tables[2], pictures | published.pictures)


def write_results(results: Results, out_dir: Path, experiment: str) -> list[Path]:
    """Write an experiment's tables; the same tables give the same bytes. Returns the paths written."""
    paths = result_paths(out_dir, experiment)
    for table, path in ((results.runs, paths.runs), (results.epochs, paths.epochs)):
        replace_file(path, table.to_csv(index=False, float_format="%.10g", lineterminator="\n"))
    written = [paths.runs, paths.epochs]
    arrays = {} if results.predictions.empty else table_arrays(results.predictions)
    for named, path in ((arrays, paths.predictions), (results.pictures, paths.pictures)):
        if named:
            replace_file(path, arrays_bytes(named))
            written.append(path)
    return written


def result_paths(results_dir: Path, experiment: str) -> ResultPaths:
    """Return where an experiment's results are committed."""
    return ResultPaths(
        runs=results_dir / f"{experiment}.csv",
        epochs=results_dir / f"{experiment}_epochs.csv",
        predictions=results_dir / "arrays" / f"{experiment}_predictions.npz",
        pictures=results_dir / "arrays" / f"{experiment}_pictures.npz",
    )


def has_tests(runs: pd.DataFrame) -> bool:
    """Say whether an experiment's runs met the test split; those of a hyper-parameter's choice did not."""
    return bool(runs[schema_of(runs["experiment"].iloc[0]).main].notna().any())


def collected_experiments(results_dir: Path) -> list[str]:
    """Return the names of the experiments that have committed run and epoch tables, sorted."""
    names = (path.name.removesuffix("_epochs.csv") for path in results_dir.glob("*_epochs.csv"))
    return sorted(name for name in names if (results_dir / f"{name}.csv").exists())
