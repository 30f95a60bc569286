"""Make the stand-in for UCF11: video files of eleven human actions. A stopped call is repeated to go on."""

import argparse
import logging
import sys
from pathlib import Path

from btrnn.data.synthetic.actions import make_actions


def main() -> None:
    """Read the command line and make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("data/actions"), help="folder of the set (%(default)s)")
    parser.add_argument("--num-clips", type=int, default=1600, help="clips in the set (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        make_actions(arguments.root, arguments.num_clips, seed=arguments.seed)
    except (ValueError, OSError) as error:
        sys.exit(f"make_actions: {error}")
    print(f"{arguments.num_clips} clips are in {arguments.root}")


if __name__ == "__main__":
    main()
