"""Published rows that are run again: which may be drawn, and how near the second run came to the first."""

import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from btrnn.results.schema import BASELINES, schema_of
from btrnn.results.store import collected_experiments, read_results
from btrnn.results.summary import Row, with_folds
from btrnn.storage.files import RUN_AGAIN, ResultsError, read_csv, read_json

FILE = "repeated.csv"  # of `make repeat`, a row for each published row that was run again
WITHIN = 2  # standard deviations
_COLUMNS = ("experiment", "name", "seed", "metric", "n", "sd", "seconds", "git_commit", "data_digest", "command")


def candidates(results_dir: Path) -> pd.DataFrame:
    """Return the published rows that can be judged: runs on real data, in a setting with several seeds or folds.

    Runs that begin with what another run learnt are left out: their command alone does not make them.

    Returns:
        Columns of the runs and: metric (that of the test split, else of validation), value, sd and n (of the runs
        of one setting).
    """
    found = []
    for experiment in collected_experiments(results_dir):
        schema, runs = schema_of(experiment), read_results(results_dir, experiment).runs
        kept = ~runs["stand_in"].astype(bool) & (runs["start"] == "")
        kept &= ~runs["model"].isin([baseline.name for baseline in BASELINES])
        validated = schema.main.replace("test/", "val/")
        validated = validated if validated in runs else f"val/{schema.monitor}"
        runs = runs.assign(metric=schema.main, value=runs[schema.main])
        runs.loc[runs["value"].isna(), ["metric"]] = validated
        runs["value"] = runs["value"].fillna(runs[validated])
        spread = with_folds(runs).groupby(["name", "metric"])["value"].agg(["std", "count"])
        spread = spread.reindex(pd.MultiIndex.from_frame(with_folds(runs)[["name", "metric"]]))
        runs = runs.assign(sd=spread["std"].to_numpy(), n=spread["count"].to_numpy())
        found.append(runs[kept & (runs["n"] > 1)])
    return pd.concat([rows for rows in found if len(rows)] or [pd.DataFrame(columns=list(_COLUMNS))], ignore_index=True)


def draw(rows: pd.DataFrame, count: int, seed: int) -> list[Row]:
    """Draw rows at random, without repetition; the same seed and rows give the same.

    Raises:
        ResultsError: There are fewer, or none is asked for.
    """
    if not 1 <= count <= len(rows):
        raise ResultsError(f"{count} rows are to be run again: ask for 1 to {len(rows)}, of those that are published")
    chosen = random.Random(seed).sample(range(len(rows)), count)
    return rows.iloc[chosen].to_dict("records")


def compare(row: Row, run_dir: Path) -> Row:
    """Put a published row beside the run that was made by its command.

    Raises:
        ResultsError: The run is of other data.
    """
    summary = read_json(run_dir / "summary.json", RUN_AGAIN)
    if (digest := summary.get("data_digest")) != row["data_digest"]:
        raise ResultsError(f"{run_dir} is of data with the digest {digest}, the published row of {row['data_digest']}")
    again = summary[row["metric"]]
    known: dict[str, Any] = {name: row[name] for name in ("experiment", "name", "seed", "metric", "n", "sd")}
    known |= {"published": row["value"], "again": again, "within": abs(again - row["value"]) <= WITHIN * row["sd"]}
    known |= {"published_commit": row["git_commit"], "published_device": row["device"]}
    return known | {key: summary[key] for key in ("git_commit", "git_dirty", "device", "seconds", "finished")}


def read_repeated(results_dir: Path) -> pd.DataFrame:
    """Read the rows that were run again; empty where none were."""
    path = results_dir / FILE
    needed = ["experiment", "name", "seed", "metric", "published", "again", "sd", "git_commit", "git_dirty"]
    return read_csv(path, needed, "run `make repeat`") if path.exists() else pd.DataFrame()


def merge(old: pd.DataFrame, new: Collection[Row]) -> pd.DataFrame:
    """Return the rows of both, one for each run, sorted; where both have a run, that of `new` stands."""
    table = pd.concat([part for part in (old, pd.DataFrame(list(new))) if len(part)])
    key = ["experiment", "name", "seed"]
    return table.drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)
