"""Print which targets a GPU meets, by what `make check-gpu` has just measured into results/local; fail if not all."""

from pathlib import Path

from btrnn.benchmark.targets import gpu_targets
from btrnn.engine.command import exit_status
from btrnn.reports.render import text_table
from btrnn.results.store import LOCAL
from btrnn.storage.files import ResultsError


def main() -> None:
    """Print a row for each target.

    Raises:
        ResultsError: One is not met, or was not measured.
    """
    targets = gpu_targets(Path("results", LOCAL))
    print(text_table(targets, "simple"))
    if missed := sum(target["verdict"] != "met" for target in targets):
        raise ResultsError(f"{missed} of {len(targets)} targets are not met, or were not measured")


if __name__ == "__main__":
    raise SystemExit(exit_status(main, ResultsError, OSError))
