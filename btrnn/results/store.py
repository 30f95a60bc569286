"""Run folders to tidy tables, and the committed files that hold them: tables and figures need no run folders.

A run folder is `<experiment>/<name>/seed<k>/` with summary.json (only when the run is finished), metrics.csv and what
the task puts out: a table of test examples, arrays.npz with pictures, or both. See `Results` for what becomes of many.
"""

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from btrnn.results.schema import (
    BASELINES,
    LATER_COLUMNS,
    RUN_KEY,
    TEXT_COLUMNS,
    Schema,
    is_named_for,
    schema_of,
)
from btrnn.storage import files
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import RUN_AGAIN, ResultsError
from btrnn.storage.stand_ins import STAND_INS

PUBLISHED, LOCAL = "published", "local"  # values of the column `origin`; the latter is also the folder
_BASELINES = tuple(model.name for model in BASELINES)
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

    def without(self, runs: Collection[tuple[str, int]]) -> "Results":
        """Return the rows of all runs but some, which are told by name and seed; pictures stay."""
        own, epochs, predictions = (
            table if table.empty else table[[key not in runs for key in run_keys(table)]] for table in self[:3]
        )
        return Results(own, epochs, predictions, self.pictures)


def run_keys(table: pd.DataFrame) -> list[tuple[str, int]]:
    """Return the name and the seed of the run that each row is of."""
    return list(zip(table["name"], table["seed"].astype(int), strict=True))


# ---- run folders


def _read_summary(run_dir: Path) -> dict[str, Any]:
    """Read a finished run's summary.json, which must stand in its folder, and stand-ins' under names of their own."""
    path, name = run_dir / "summary.json", run_dir.parent.parent.name
    summary = files.read_json(path, RUN_AGAIN)
    optional = {*LATER_COLUMNS, *(column for column in schema_of(name).columns if column.startswith("test/"))}
    if missing := [column for column in schema_of(name).columns if column not in {*summary, *optional}]:
        raise ResultsError(f"{path} lacks {', '.join(missing)}; was it written by another version of btrnn?")
    said = tuple(summary[key] for key in RUN_KEY)
    stands = (name, run_dir.parent.name, int(run_dir.name.removeprefix("seed")))
    if said != stands:
        raise ResultsError(f"{path} says experiment, name, seed = {said}, but its folder says {stands}")
    if not is_named_for(name, summary["source"], bool(summary["stand_in"])):
        raise ResultsError(
            f"{path} has stand_in = {summary['stand_in']} and source = {summary['source']} in experiment {name!r}: the "
            f"names of experiments on a stand-in ({', '.join(STAND_INS)}), and only those, end in its name"
        )
    return summary


def read_run(run_dir: Path) -> Results:
    """Read one finished run folder as tables of one run.

    Raises:
        ResultsError: A file is missing, cannot be parsed, lacks a column, or is of another run or other data.
    """
    summary = _read_summary(run_dir)
    schema, key = schema_of(summary["experiment"]), {column: summary[column] for column in RUN_KEY}
    texts = {name: json.dumps(value, sort_keys=True) for name, value in summary.items() if isinstance(value, dict)}
    epochs, predictions, pictures = pd.DataFrame(), pd.DataFrame(), {}
    tested = summary.get(schema.main) is not None  # a run that chooses a hyper-parameter does not touch the test split
    if tested and schema.predictions:
        needed = [column for column in schema.prediction_columns if not column.endswith("_last")]
        predictions = files.read_csv(run_dir / schema.predictions, needed, RUN_AGAIN, texts=TEXT_COLUMNS)
    if tested and schema.pictures != "none":
        prefix = f"{summary['name']}/" if schema.pictures == "of the run" else ""
        arrays = files.read_pictures(run_dir / "arrays.npz", RUN_AGAIN)
        pictures = {f"{prefix}{name}": array for name, array in arrays.items()}
    if summary["model"] not in _BASELINES or (run_dir / "metrics.csv").exists():  # which is fitted in one go
        epochs = files.read_csv(run_dir / "metrics.csv", ["epoch"], RUN_AGAIN)
        epochs = epochs.rename(columns={"gradient_norm": "first_gradient_norm"})  # its name in runs of older versions
    runs = _tidy(pd.DataFrame([summary | texts]), schema)
    return Results(runs, epochs.assign(**key), predictions.assign(**key), pictures)


# ---- committed files


def collect(results_dir: Path, experiment: str, tables_dir: Path | None = None) -> tuple[Results, list[Path]]:
    """Merge finished run folders of `results_dir`/runs into the tables of a folder, `results_dir` if None.

    Returns:
        The merged tables, not written yet; rows of runs whose folder is gone stay. And the unfinished run folders.

    Raises:
        ResultsError: See `read_run`.
    """
    places = (results_dir / "runs" / experiment).glob("*/seed*")
    folders = sorted(path for path in places if re.fullmatch(r"seed\d+", path.name) and path.is_dir())
    finished = [path for path in folders if (path / "summary.json").exists()]
    old, new = read_results(tables_dir or results_dir, experiment), [read_run(path) for path in finished]
    return merge(old, new, experiment), [path for path in folders if path not in finished]


def merge(old: Results, new: Sequence[Results], experiment: str) -> Results:
    """Return tables with the rows of `old` and of `new`; where both have a run, that of `new` stands, sorted."""
    schema, pictures = schema_of(experiment), dict(old.pictures)
    for run in reversed(new):  # of several seeds the first one's stay
        pictures |= run.pictures
    parts = [old.without({key for run in new for key in run_keys(run.runs)}), *new]
    return Results(
        _tidy(_concatenate([part.runs for part in parts], schema.columns), schema),
        _concatenate([part.epochs for part in parts], schema.epoch_columns),
        _concatenate([part.predictions for part in parts], (*RUN_KEY, *schema.prediction_columns)),
        pictures,
    )


def _concatenate(tables: list[pd.DataFrame], columns: tuple[str, ...]) -> pd.DataFrame:
    filled = [table.dropna(axis="columns", how="all") for table in tables if not table.empty]
    if not filled:
        return pd.DataFrame(columns=list(columns))
    order = [column for column in ("name", "seed", "epoch", "clip", "image") if column in columns]
    return _arrange(pd.concat(filled, ignore_index=True), columns).sort_values(order, kind="stable", ignore_index=True)


def _arrange(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Put the known columns first, in their fixed order; further ones follow by name."""
    return table.reindex(columns=[*columns, *sorted(set(table.columns) - set(columns))])


def _tidy(runs: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Put the run table in its column order, and make text columns text also where they are empty."""
    later = {name: LATER_COLUMNS[name] for name in LATER_COLUMNS if name in schema.columns and name not in runs}
    runs = _arrange(runs.assign(**later), schema.columns)
    for column in schema.columns:
        if column in TEXT_COLUMNS:
            texts = ["" if pd.isna(value) else str(value) for value in runs[column]]
            runs[column] = pd.Series(texts, runs.index, dtype="str")
        elif column not in ("stand_in", "scaled"):
            # float also where no value is missing: a type must not depend on the other rows
            runs[column] = pd.to_numeric(runs[column]).astype("int64" if column == "seed" else "float64")
    return runs


def result_paths(results_dir: Path, experiment: str) -> tuple[Path, Path, Path, Path]:
    """Return where the four parts of `Results` are committed; the last two only where the task has them."""
    arrays = results_dir / "arrays"
    rows = (results_dir / f"{experiment}.csv", results_dir / f"{experiment}_epochs.csv")
    return (*rows, arrays / f"{experiment}_predictions.npz", arrays / f"{experiment}_pictures.npz")


def read_results(results_dir: Path, experiment: str) -> Results:
    """Read an experiment's committed tables; empty tables where there are none yet.

    Raises:
        ResultsError: A file cannot be parsed or lacks a column.
    """
    schema, paths = schema_of(experiment), result_paths(results_dir, experiment)
    needed = ([name for name in schema.columns if name not in LATER_COLUMNS], [*RUN_KEY, "epoch"])
    runs, epochs = (
        files.read_csv(path, columns, _COLLECT_AGAIN, texts=TEXT_COLUMNS) if path.exists() else pd.DataFrame()
        for path, columns in zip(paths[:2], needed, strict=True)
    )
    predictions = files.read_arrays(paths[2]) if paths[2].exists() else pd.DataFrame()
    pictures = files.read_pictures(paths[3], _COLLECT_AGAIN) if paths[3].exists() else {}
    return Results(_tidy(runs, schema), epochs, predictions, pictures)


def read_with_local(results_dir: Path, experiment: str) -> Results:
    """Read the published rows of an experiment and, beside them, the user's, of `results_dir`/local.

    A column `origin`, "published" or "local", says whose a row is; a run of the user's that is published stands there
    once, as published. The names of the user's pictures begin with "local/", but where they show the data.
    """
    published, own = read_results(results_dir, experiment), read_results(results_dir / LOCAL, experiment)
    own = own.without(run_keys(own.runs.merge(published.runs, on=["name", "seed", "finished"])))
    tables = []
    for first, second in zip(published[:3], own[:3], strict=True):
        parts = [first.assign(origin=PUBLISHED), second.assign(origin=LOCAL)]
        tables.append(pd.concat([part for part in parts if not part.empty] or parts[:1], ignore_index=True))
    pictures = {f"{LOCAL}/{name}" if "/" in name else name: array for name, array in own.pictures.items()}
    runs, epochs, predictions = tables
    return Results(runs, epochs, predictions, pictures | published.pictures)


def write_results(results: Results, out_dir: Path, experiment: str) -> list[Path]:
    """Write an experiment's tables; the same tables give the same bytes. Returns the paths written."""
    texts = [table.to_csv(index=False, float_format="%.10g", lineterminator="\n") for table in results[:2]]
    arrays = [{} if results.predictions.empty else files.table_arrays(results.predictions), results.pictures]
    contents = [*texts, *(files.arrays_bytes(named) if named else "" for named in arrays)]
    written = [pair for pair in zip(result_paths(out_dir, experiment), contents, strict=True) if pair[1]]
    for path, content in written:
        replace_file(path, content)
    return [path for path, _ in written]


def collected_experiments(results_dir: Path) -> list[str]:
    """Return the names of the experiments that have committed run and epoch tables, sorted."""
    names = (path.name.removesuffix("_epochs.csv") for path in results_dir.glob("*_epochs.csv"))
    return sorted(name for name in names if (results_dir / f"{name}.csv").exists())
