"""Run folders to committed tables: results/runs/<experiment>/ -> results/<experiment>.csv and its companions.

    python experiments/collect.py                 # every experiment that has run folders
    python experiments/collect.py ucf11_motions

Rows of runs whose folder is gone stay as they are; rows of runs whose folder is there are replaced.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from btrnn.engine.command import explain
from btrnn.recovery import records
from btrnn.results.store import collect, write_results
from btrnn.storage.files import ResultsError


def main(arguments: Sequence[str] | None = None) -> None:
    """Collect the experiments that are named, or all; exits with a message when a file is corrupt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="default: all under RESULTS_DIR/runs")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    runs_dir = options.results_dir / "runs"
    present = sorted(path.name for path in runs_dir.iterdir() if path.is_dir()) if runs_dir.is_dir() else []
    unknown = [name for name in options.experiments if name not in present]
    if unknown:
        there = ", ".join(present) or "none"
        sys.exit(f"no run folders for {', '.join(unknown)} in {runs_dir}; there are: {there}")
    for experiment in options.experiments or present:
        try:
            num_rows, paths, unfinished = _collect(options.results_dir, experiment)
        except (ResultsError, OSError) as error:
            sys.exit(f"error: {explain(error)}")
        for path in unfinished:
            print(f"{path}: not finished, left out")
        if num_rows:
            print(f"{experiment}: {num_rows} rows -> {', '.join(str(path) for path in paths)}")
        else:
            print(f"{experiment}: no finished run, nothing written")


def _collect(results_dir: Path, experiment: str) -> tuple[int, list[Path], list[Path]]:
    """Collect one experiment; returns how many rows it has, the files written, and the unfinished run folders."""
    if experiment == records.EXPERIMENT:
        recovery, unfinished = records.collect(results_dir)
        rows = len(recovery.rows)
        return rows, records.write(recovery, results_dir) if rows else [], unfinished
    results, unfinished = collect(results_dir, experiment)
    rows = len(results.runs)
    return rows, write_results(results, results_dir, experiment) if rows else [], unfinished


if __name__ == "__main__":
    main()
