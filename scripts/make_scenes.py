"""Make the stand-in for COCO: pictures of flat shapes with captions. A stopped call is repeated to go on."""

import argparse
import logging
import sys
from pathlib import Path

from btrnn.data.standins.scenes import NUM_TRAIN, make_scenes, split_sizes
from btrnn.engine.command import exit_status


def main() -> int:
    """Run the command line; 0 when the scenes are there, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("data/scenes"), help="folder of the set (%(default)s)")
    parser.add_argument("--num-train", type=int, default=NUM_TRAIN, help="training scenes in the set (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    def work() -> None:
        make_scenes(arguments.root, arguments.num_train, seed=arguments.seed)
        sizes = " / ".join(map(str, split_sizes(arguments.num_train).values()))
        print(f"{sizes} scenes for training, validation and test are in {arguments.root}")

    return exit_status(work, ValueError, OSError)


if __name__ == "__main__":
    sys.exit(main())
