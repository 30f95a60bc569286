"""Add simple baselines to an experiment: logistic regression and the nearest neighbour on mean frames of its runs.

`python experiments/baseline.py results/runs/ucf11_motions` adds two run folders for each protocol, fold, scaling, scale
and seed that it finds there, and leaves those that exist.
"""

import argparse
import sys
from pathlib import Path

from btrnn.engine.baselines import add_baselines
from btrnn.engine.command import exit_status, user_errors


def main() -> None:
    """Parse the command line, and fit what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment_dir", type=Path, help="folder of the experiment's runs")
    add_baselines(parser.parse_args().experiment_dir)


if __name__ == "__main__":
    sys.exit(exit_status(main, *user_errors()))
