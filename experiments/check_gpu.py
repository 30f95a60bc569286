"""Print which bars a GPU meets, from what `make check-gpu` has just measured into results/local."""

from pathlib import Path

from btrnn.benchmark.records import gpu_bars
from btrnn.engine.command import exit_status
from btrnn.reports.render import text_table
from btrnn.results.store import LOCAL
from btrnn.storage.files import ResultsError


def main() -> None:
    """Print a row for each bar."""
    print(text_table(gpu_bars(Path("results", LOCAL)), "simple"))


if __name__ == "__main__":
    raise SystemExit(exit_status(main, ResultsError, OSError))
