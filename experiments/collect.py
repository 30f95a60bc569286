"""Run folders to committed tables: results/runs/<experiment>/ -> results/<experiment>.csv and its companions.

    python experiments/collect.py                 # every experiment that has run folders
    python experiments/collect.py ucf11_actions

Rows of runs whose folder is gone stay as they are; rows of runs whose folder is there are replaced.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from btrnn.files import ResultsError
from btrnn.results import collect, write_results


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
            results, unfinished = collect(options.results_dir, experiment)
        except ResultsError as error:
            sys.exit(str(error))
        for path in unfinished:
            print(f"{path}: not finished, left out")
        if results.runs.empty:
            print(f"{experiment}: no finished run, nothing written")
            continue
        paths = write_results(results, options.results_dir, experiment)
        print(f"{experiment}: {len(results.runs)} runs -> {', '.join(str(path) for path in paths)}")


if __name__ == "__main__":
    main()
