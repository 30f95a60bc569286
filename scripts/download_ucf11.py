"""Download and unpack UCF11: `make data-ucf11`."""

import argparse
import logging
import sys
from pathlib import Path

from btrnn.data.archives import UCF11_URL, download_ucf11
from btrnn.data.fetch import DownloadError
from btrnn.engine.command import exit_status


def main() -> int:
    """Run the command line; 0 when UCF11 is in its place, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder for the data (default: data)")
    parser.add_argument("--url", default=UCF11_URL, help="address of the archive")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_status(lambda: download_ucf11(arguments.data_dir, arguments.url), DownloadError, OSError)


if __name__ == "__main__":
    sys.exit(main())
