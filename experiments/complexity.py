"""The paper's complexity laws beside measured exponents: `make complexity`.

Measures the sections of the benchmark that are not in results/local yet (minutes); tables/complexity.md goes there too.
"""

import argparse
from pathlib import Path

from btrnn.benchmark.exponents import missing_sections
from btrnn.benchmark.measure.run import measure
from btrnn.engine.command import exit_status
from btrnn.reports.benchmark import complexity_report
from btrnn.reports.writing import write
from btrnn.results.store import LOCAL
from btrnn.storage.files import ResultsError


def main() -> None:
    """Parse the command line, measure what is missing and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="for what is measured (default: %(default)s)")
    parser.add_argument("--results-dir", type=Path, help="default: results/local")
    options = parser.parse_args()
    results_dir: Path = options.results_dir or Path("results", LOCAL)
    measure(results_dir, missing_sections(results_dir), options.minutes)
    write(report := complexity_report(results_dir), results_dir)
    print(*report.texts.values(), sep="\n")


if __name__ == "__main__":
    raise SystemExit(exit_status(main, ResultsError, OSError))
