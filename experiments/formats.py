"""Compare every format of the input map, on one thread: `make formats` (four minutes of a quiet machine).

Writes results/local/formats.csv; `make publish EXPERIMENTS=formats` makes it what the page "Which format?" shows.
"""

import argparse
from pathlib import Path

from btrnn.benchmark.measure.formats import compare, missing_libraries
from btrnn.benchmark.records import FORMATS_FILE
from btrnn.engine.command import exit_status
from btrnn.engine.machine import reuse_freed_memory
from btrnn.recovery.formats import fit_errors
from btrnn.results.store import LOCAL
from btrnn.storage.atomic import replace_file


def main() -> None:
    """Measure, write and print; nothing is kept of what is stopped."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if missing := missing_libraries():
        print(f"{' and '.join(missing)}: not installed, left out; `make formats` installs what is to be compared")
    reuse_freed_memory()
    table = compare().merge(fit_errors(), on="format", how="left").astype({"small_parameters": "Int64"})
    path = Path("results", LOCAL, FORMATS_FILE)
    replace_file(path, table.to_csv(index=False, float_format="%.4g"))
    print(table.to_string(index=False), f"\nwrote {path}")


if __name__ == "__main__":
    raise SystemExit(exit_status(main, OSError))
