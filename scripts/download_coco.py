"""Download and unpack COCO 2014 (20 GB packed, as much again unpacked): `make data-coco`."""

import argparse
import logging
import sys
from pathlib import Path

from btrnn.data.archives import COCO_URL, KARPATHY_URL, download_coco
from btrnn.data.fetch import DownloadError
from btrnn.engine.command import exit_status


def main() -> int:
    """Run the command line; 0 when COCO is in its place, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder for the data (default: data)")
    parser.add_argument("--url", default=COCO_URL, help="site of COCO's archives (%(default)s)")
    parser.add_argument("--karpathy-url", default=KARPATHY_URL, help="site of Karpathy's split (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    def work() -> None:
        download_coco(arguments.data_dir / "coco", arguments.url, arguments.karpathy_url)

    return exit_status(work, DownloadError, OSError)


if __name__ == "__main__":
    sys.exit(main())
