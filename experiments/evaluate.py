"""Test the chosen weights of a finished run, or those of a file, again.

`python experiments/evaluate.py results/runs/ucf11_motions/NAME/seed0`, or a path results/weights/NAME.safetensors.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

from btrnn.engine.command import exit_status, user_errors
from btrnn.engine.run import evaluate
from btrnn.engine.weights import read_weights


def main() -> None:
    """Print the test metrics as JSON; on stderr, what a file says was reported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="results/runs/<experiment>/<name>/seed<k>, or a .safetensors file")
    parser.add_argument("--data-dir", type=Path, help="where the data are (default: where the run found them)")
    parser.add_argument("--rewrite", action="store_true", help="put the outcome into the run's folder")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(json.dumps(evaluate(options.path, data_dir=options.data_dir, rewrite=options.rewrite), indent=2))
    if reported := read_weights(options.path).reported:
        print(f"reported: {json.dumps(reported)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_status(main, *user_errors()))
