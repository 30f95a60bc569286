"""Test the chosen weights of a finished run again: `python experiments/evaluate.py RUN_DIR`."""

import argparse
import json
import logging
import sys
from pathlib import Path

from btrnn.config import ConfigError
from btrnn.run import evaluate


def main() -> None:
    """Parse the command line and print the test metrics as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path, help="results/runs/<experiment>/<name>/seed<k>")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        print(json.dumps(evaluate(parser.parse_args().run_dir), indent=2))
    except (FileNotFoundError, ConfigError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
