"""Run folders to your own tables: results/runs/<experiment>/ -> results/local/<experiment>.csv and its companions.

    python experiments/collect.py                 # every experiment that has run folders
    python experiments/collect.py ucf11_motions

Rows of runs whose folder is gone stay as they are; rows of runs whose folder is there are replaced.
"""

import argparse
import sys
from pathlib import Path

from btrnn.engine.command import exit_status
from btrnn.reports.publishing import collect
from btrnn.storage.files import ResultsError


def main() -> None:
    """Parse the command line and collect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="default: all under RESULTS_DIR/runs")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    options = parser.parse_args()
    print("\n".join(collect(options.results_dir, options.experiments)))


if __name__ == "__main__":
    sys.exit(exit_status(main, ResultsError, OSError))
