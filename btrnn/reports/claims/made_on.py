"""What the published numbers rest on: runs and their hours, data and devices."""

from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from btrnn.benchmark.records import read_machines
from btrnn.reports.render import count, data_name, span
from btrnn.results.repeated import read_repeated
from btrnn.results.schema import BASELINES
from btrnn.results.store import collected_experiments, read_results
from btrnn.results.summary import Row


def made_on(results_dir: Path) -> dict[str, Any]:
    """Return what the published rows rest on.

    Returns:
        num_runs, num_fits (of simple baselines); hours (of all, by device); data (see `_data`); clocks (the date of the
        last measurement of times, by processor or GPU); repeated (the rows that were run again).
    """
    tables = [read_results(results_dir, name).runs for name in collected_experiments(results_dir)]
    runs = pd.concat([table for table in tables if len(table)] or [pd.DataFrame(columns=["model", "device"])])
    fits = runs["model"].isin([baseline.name for baseline in BASELINES])
    clocks: dict[str, str] = {}
    for section, machine in read_machines(results_dir).items():
        if "memory" not in section:
            name = machine["processor"] if machine["device"] == "cpu" else machine["device"]
            clocks[name] = max(clocks.get(name, ""), machine["date"])
    known = runs[runs["device"].fillna("") != ""]
    hours = {device: rows["seconds"].sum() / 3600 for device, rows in known.groupby("device")}
    return {
        **{"num_runs": int((~fits).sum()), "num_fits": int(fits.sum()), "hours": hours, "clocks": clocks},
        "data": _data(runs[~fits]) if len(runs) else [],
        "repeated": read_repeated(results_dir).to_dict("records"),
    }


def _data(runs: pd.DataFrame) -> list[Row]:
    """Return of each data set the digest of its files, none of a drawn one, how much a run uses, and the runs."""
    digests = runs["data_digest"].fillna("") if "data_digest" in runs else ""
    runs = runs.assign(digest=digests, used=runs[["num_train", "num_val", "num_test"]].sum(axis=1))
    found = []
    for (source, digest), rows in runs.groupby(["source", "digest"]):
        groups = rows["num_groups"].max() if "num_groups" in rows else nan
        found.append(
            {"name": data_name(str(source)), "digest": digest, "runs": len(rows), "hours": rows["seconds"].sum() / 3600}
            | {"used": span(rows["used"]), "groups": count(groups)}
        )
    return found
