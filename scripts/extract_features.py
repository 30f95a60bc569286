"""Make the image features that captioning reads, ahead of its first run. A stopped call is repeated to go on."""

import argparse
import logging
import sys
from pathlib import Path

from btrnn.data.captions.coco import SOURCES, AnnotationError, CaptionedImages, features_dir
from btrnn.data.captions.features import FeatureError
from btrnn.data.encoders import ENCODERS, EncoderError
from btrnn.data.standins.scenes import NUM_TRAIN, SPLITS
from btrnn.engine.command import exit_status


def main() -> int:
    """Run the command line; 0 when the features are there, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", choices=SOURCES, required=True, help="scenes are drawn where missing")
    parser.add_argument("--encoder", choices=ENCODERS, default="efficientnet_lite0", help="network (%(default)s)")
    parser.add_argument("--grid", type=int, default=1, help="cells along each side of a picture (%(default)s)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder for the data (default: data)")
    parser.add_argument("--num-train", type=int, help=f"training images; all without it ({NUM_TRAIN:,} scenes)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cache_dir = features_dir(arguments.data_dir, arguments.source, arguments.encoder, arguments.grid)

    def work() -> None:
        data = CaptionedImages(
            source=arguments.source,
            root=arguments.data_dir / arguments.source,
            cache_dir=cache_dir,
            encoder=arguments.encoder,
            grid=arguments.grid,
            num_train=arguments.num_train,
        )
        data.prepare_data()
        used = data.splits["split"].isin(SPLITS).sum()
        print(f"the features of {used:,} images are in {cache_dir}")

    return exit_status(work, AnnotationError, EncoderError, FeatureError, ValueError, OSError)


if __name__ == "__main__":
    sys.exit(main())
