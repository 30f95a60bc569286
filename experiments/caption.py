"""Caption pictures with a finished run, or with a file of weights.

    python experiments/caption.py PICTURE...
    python experiments/caption.py --run results/runs/captioning_scenes/NAME/seed0 PICTURE...

Without --run it is the captioning run in results/runs that was finished last, or else one of results/weights. What was
trained on the stand-in knows drawn shapes alone: of a photograph it will say what shapes it resembles.
"""

import argparse
import sys
from pathlib import Path

from btrnn.engine.caption_pictures import caption_pictures, last_captioning_run
from btrnn.engine.command import exit_status, user_errors


def main(arguments: list[str] | None = None) -> None:
    """Print each picture's caption; the exit status is 1 where one could not be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="results/runs/<experiment>/<name>/seed<k>, or a .safetensors file")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="where one is looked for")
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE")
    options = parser.parse_args(arguments)
    caption_pictures(options.run or last_captioning_run(options.results_dir), options.pictures)


if __name__ == "__main__":
    sys.exit(exit_status(main, *user_errors()))
