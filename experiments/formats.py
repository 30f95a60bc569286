"""Compare every format of the input map: `python experiments/formats.py` (minutes, on one thread of a quiet machine).

Writes results/formats.csv, which the page "Which format?" of the documentation shows.
"""

from pathlib import Path

from btrnn.recovery.formats import compare
from btrnn.storage.atomic import replace_file


def main() -> None:
    """Measure, write and print."""
    table = compare()
    replace_file(Path("results") / "formats.csv", table.to_csv(index=False, float_format="%.4g"))
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
