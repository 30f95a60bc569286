"""Make the stand-in for UCF11: video files of eleven motions. A stopped call is repeated to go on."""

import argparse
import logging
import sys
from pathlib import Path

from btrnn.data.standins.motions import make_motions
from btrnn.engine.command import exit_status


def main() -> int:
    """Run the command line; 0 when the clips are there, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("data/motions"), help="folder of the set (%(default)s)")
    parser.add_argument("--num-clips", type=int, default=1600, help="clips in the set, 55 at least (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    def work() -> None:
        make_motions(arguments.root, arguments.num_clips, seed=arguments.seed)
        print(f"the clips are in {arguments.root}")

    return exit_status(work, ValueError, OSError)


if __name__ == "__main__":
    sys.exit(main())
