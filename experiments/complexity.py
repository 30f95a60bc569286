"""The paper's complexity laws beside measured exponents: `make complexity`.

Measures the sections of the benchmark that are not in results/local yet (minutes), and writes tables/complexity.md
there. Where all is measured, it only writes this.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmark

from btrnn.benchmark.results.exponents import SECTIONS
from btrnn.benchmark.results.records import measured_sections
from btrnn.reports import benchmark as report
from btrnn.results.store import LOCAL
from btrnn.storage.atomic import replace_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 130 when it was interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="for what is measured (default: %(default)s)")
    parser.add_argument("--results-dir", type=Path, help="default: results/local")
    options = parser.parse_args(arguments)
    results_dir: Path = options.results_dir or Path("results") / LOCAL
    missing = [name for name in SECTIONS if name not in measured_sections(results_dir)]
    if missing:
        made = ["--only", *missing, "--minutes", str(options.minutes), "--results-dir", str(results_dir)]
        if status := benchmark.main(made):
            return status
    for path, text in report.complexity_texts(results_dir).items():
        replace_file(results_dir / path, text)
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
