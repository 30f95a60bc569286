"""Export finished runs to results/weights/: a safetensors file of at most 10 MB each, and a model card.

    python scripts/export_weights.py results/runs/ucf11_motions/NAME/seed0 ...

A run whose weights are larger gets the card alone. The runs must be published (`make publish`): the cards give the
numbers of the committed tables.
"""

import argparse
import sys
from collections.abc import Sequence
from glob import escape
from pathlib import Path

from btrnn.engine.command import exit_status
from btrnn.engine.config import ConfigError
from btrnn.engine.weights import SUFFIX, export_weights
from btrnn.reports.writing import card_texts
from btrnn.results.exported import LARGEST_BYTES, add_to_index, stem, weights_dir
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import RUN_AGAIN, ResultsError, read_json


def main(arguments: Sequence[str] | None = None) -> None:
    """Export the runs that are named, up to one that cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    for run_dir in options.run_dirs:
        _export(run_dir, options.results_dir)
    for path, text in card_texts(options.results_dir).items():
        replace_file(options.results_dir / path, text)


def _export(run_dir: Path, results_dir: Path) -> None:
    folder = weights_dir(results_dir)
    summary_path = run_dir / "summary.json"
    if not summary_path.exists():
        raise FileNotFoundError(f"{run_dir} is not a finished run: it has no summary.json")
    summary = read_json(summary_path, RUN_AGAIN)
    path = folder / f"{stem(summary)}{SUFFIX}"
    size = export_weights(run_dir, path, largest=LARGEST_BYTES)
    kept = size <= LARGEST_BYTES
    add_to_index(results_dir, summary | {"file": path.name if kept else "", "bytes": size})
    any_seed = escape(stem(summary)).removesuffix(str(summary["seed"]))  # of the same setting, of which one is kept
    for old in folder.glob(f"{any_seed}*.*"):
        if not (kept and old == path):
            old.unlink()
    print(f"{path}: {size:,} bytes" if kept else f"{run_dir}: {size:,} bytes, too large: a card alone")


if __name__ == "__main__":
    sys.exit(exit_status(main, OSError, ConfigError, ResultsError))
