"""Your own results become the published ones: `make publish`, the only command that changes what is published.

`--pages` takes over no new rows: pages, figures and README from the published ones. Runs of scale `smoke` are left out,
and a run by code that is not committed is refused.
"""

import argparse
import sys
from pathlib import Path

from btrnn.engine.command import exit_status
from btrnn.reports.publishing import publish
from btrnn.reports.writing import write_published
from btrnn.storage.files import ResultsError


def main() -> None:
    """Parse the command line and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="default: all in RESULTS_DIR/local")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    parser.add_argument("--pages", action="store_true", help="take over no rows")
    options = parser.parse_args()
    if not options.pages:
        print("\n".join(f"wrote {path}" for path in publish(options.results_dir, options.experiments)))
    write_published(options.results_dir)


if __name__ == "__main__":
    sys.exit(exit_status(main, ResultsError, OSError))
