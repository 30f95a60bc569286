"""Download and unpack Flickr8k (1.1 GB packed, as much again unpacked): `make data-flickr8k`."""

import argparse
import logging
import sys
from pathlib import Path

from btrnn.data.archives import FLICKR8K_URL, download_flickr8k
from btrnn.data.fetch import DownloadError
from btrnn.engine.command import exit_status


def main() -> int:
    """Run the command line; 0 when Flickr8k is in its place, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder for the data (default: data)")
    parser.add_argument("--url", default=FLICKR8K_URL, help="site of its two archives (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = arguments.data_dir / "flickr8k"
    return exit_status(lambda: download_flickr8k(folder, arguments.url), DownloadError, OSError)


if __name__ == "__main__":
    sys.exit(main())
