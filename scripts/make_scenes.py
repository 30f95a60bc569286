"""Make the stand-in for COCO: pictures of solids with captions. A stopped call is repeated to go on."""

import argparse
import logging
import sys
from pathlib import Path

from btrnn.data.synthetic.scenes import NUM_TRAIN, make_scenes, split_sizes


def main() -> None:
    """Read the command line and make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("data/scenes"), help="folder of the set (%(default)s)")
    parser.add_argument("--num-train", type=int, default=NUM_TRAIN, help="training scenes in the set (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        make_scenes(arguments.root, arguments.num_train, seed=arguments.seed)
    except (ValueError, OSError) as error:
        sys.exit(f"make_scenes: {error}")
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    sizes = " / ".join(map(str, split_sizes(arguments.num_train).values()))
    print(f"{sizes} scenes for training, validation and test are in {arguments.root}")


if __name__ == "__main__":
    main()
