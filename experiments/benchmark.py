"""The products and layers side by side: measure, write results/local/benchmark_*.csv and their page, print targets."""

import argparse
from pathlib import Path

from btrnn.benchmark.measure.run import measure
from btrnn.benchmark.records import SECTIONS
from btrnn.engine.command import exit_status
from btrnn.reports.benchmark import report, terminal_report
from btrnn.reports.writing import write
from btrnn.results.store import LOCAL
from btrnn.storage.files import ResultsError


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, measure and report; Ctrl-C keeps what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS, help="none: only the page and figures")
    parser.add_argument("--minutes", type=float, default=30.0, help="for everything together (default: 30)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes and few rounds, to see that all works")
    parser.add_argument("--results-dir", type=Path, help="default: results/local, with --quick a folder below it")
    options = parser.parse_args(arguments)
    results_dir = options.results_dir or Path("results", LOCAL) / ("quick" if options.quick else "")
    devices = measure(results_dir, options.only, options.minutes, quick=options.quick)
    paths = write(report(results_dir), results_dir)
    print("\n".join(f"wrote {path}" for path in paths) or f"no benchmark in {results_dir}: `make bench` makes one")
    print("\n\n".join(terminal_report(results_dir, device) for device in devices))


if __name__ == "__main__":
    raise SystemExit(exit_status(main, ResultsError, OSError))
