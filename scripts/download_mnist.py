"""Download MNIST's four IDX files (11.6 MB packed): `make data-mnist`."""

import argparse
import sys
from pathlib import Path

from torchvision import datasets

from btrnn.data.fetch import DownloadError
from btrnn.engine.command import exit_status


def main() -> int:
    """Run the command line; 0 when the files are in their place, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder for the data (default: data)")
    parser.add_argument("--fashion", action="store_true", help="Fashion-MNIST instead (30.9 MB packed)")
    arguments = parser.parse_args()
    kind = datasets.FashionMNIST if arguments.fashion else datasets.MNIST
    folder = arguments.data_dir / kind.__name__ / "raw"

    def work() -> None:
        try:
            kind(arguments.data_dir, download=True)
        except (RuntimeError, OSError) as error:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()  # where the folder stands, the configuration takes MNIST to be there
            raise DownloadError(f"{error}\nWithout a connection, put the four files into {folder} by hand.") from error

    return exit_status(work, DownloadError)


if __name__ == "__main__":
    sys.exit(main())
