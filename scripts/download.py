"""Download a data set and unpack it: `make data-ucf11`, `make data-ucf101`, `make data-mnist` and so on."""

import argparse
import logging
import sys
from pathlib import Path

from btrnn.data import archives
from btrnn.data.fetch import DownloadError
from btrnn.engine.command import exit_status

SITES = {
    "ucf11": archives.UCF11_URL,
    "ucf101": archives.UCF101_URL,
    "mnist": archives.MNIST_URLS["mnist"],
    "fashion_mnist": archives.MNIST_URLS["fashion_mnist"],
    "coco": archives.COCO_URL,
    "flickr8k": archives.FLICKR8K_URL,
}


def main() -> int:
    """Run the command line; 0 when the data are in their place, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SITES, help="of the data set")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder for the data (default: data)")
    parser.add_argument("--url", help="another site, or of ucf11 another address of its archive")
    parser.add_argument("--karpathy-url", default=archives.KARPATHY_URL, help="site of COCO's split (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    name, data_dir, url = arguments.name, arguments.data_dir, arguments.url or SITES[arguments.name]

    def work() -> None:
        if name == "ucf11":
            archives.download_ucf11(data_dir, url)
        elif name == "ucf101":
            archives.download_ucf101(data_dir, url)
        elif name == "coco":
            archives.download_coco(data_dir / "coco", url, arguments.karpathy_url)
        elif name == "flickr8k":
            archives.download_flickr8k(data_dir / "flickr8k", url)
        else:
            archives.download_mnist(data_dir, name, url)

    return exit_status(work, DownloadError, OSError)


if __name__ == "__main__":
    sys.exit(main())
