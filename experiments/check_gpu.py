"""Print which bars a GPU meets, by what `make check-gpu` has just measured into results/local; fail if not all."""

from pathlib import Path

from btrnn.benchmark.records import gpu_bars
from btrnn.engine.command import exit_status
from btrnn.reports.render import text_table
from btrnn.results.store import LOCAL
from btrnn.storage.files import ResultsError


def main() -> None:
    """Print a row for each bar.

    Raises:
        ResultsError: One is not met, or was not measured.
    """
    bars = gpu_bars(Path("results", LOCAL))
    print(text_table(bars, "simple"))
    if missed := sum(bar["verdict"] != "met" for bar in bars):
        raise ResultsError(f"{missed} of {len(bars)} bars are not met, or were not measured")


if __name__ == "__main__":
    raise SystemExit(exit_status(main, ResultsError, OSError))
