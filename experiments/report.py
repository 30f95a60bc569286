"""Rows to pages and figures, in results/local: your own, with the published ones beside them.

`python experiments/report.py ucf11_motions --scale default` does one of them, and prints its table; without a name,
the tables of all that have this scale.
"""

import argparse
import sys
from pathlib import Path

from btrnn.engine.command import exit_status
from btrnn.reports.writing import check_published, report_own
from btrnn.storage.files import ResultsError


def main() -> None:
    """Parse the command line, and write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="default: all in RESULTS_DIR/local")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    parser.add_argument("--scale", help="print the tables of this scale")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a published file is stale")
    options = parser.parse_args()
    if options.check:
        check_published(options.results_dir)
    else:
        report_own(options.results_dir, options.experiments, options.scale)


if __name__ == "__main__":
    sys.exit(exit_status(main, ResultsError, OSError))
