"""Download MNIST's four IDX files (11.6 MB packed): `make data-mnist`."""

import argparse
import logging
import sys
from pathlib import Path

from btrnn.data.archives import download_mnist
from btrnn.data.fetch import DownloadError
from btrnn.engine.command import exit_status


def main() -> int:
    """Run the command line; 0 when the files are in their place, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder for the data (default: data)")
    parser.add_argument("--fashion", action="store_true", help="Fashion-MNIST instead (30.9 MB packed)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    def work() -> None:
        download_mnist(arguments.data_dir, "fashion_mnist" if arguments.fashion else "mnist")

    return exit_status(work, DownloadError, OSError)


if __name__ == "__main__":
    sys.exit(main())
