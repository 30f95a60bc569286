"""Caption pictures with a finished run, or with a file of weights.

    python experiments/caption.py PICTURE...
    python experiments/caption.py --run results/runs/captioning_scenes/NAME/seed0 PICTURE...
    python experiments/caption.py --run results/weights/NAME.safetensors PICTURE...

Without --run it is the captioning run in results/runs that was finished last, or else one of results/weights. What was
trained on the stand-in knows drawn shapes alone: of a photograph it will say what shapes it resembles.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate

from btrnn.data.captions.encoders import load_encoder, read_image
from btrnn.data.captions.pictures import ImageError
from btrnn.data.captions.vocabulary import Vocabulary
from btrnn.engine.command import explain
from btrnn.engine.config import ConfigError
from btrnn.engine.failures import MENDABLE
from btrnn.engine.run import load_weights
from btrnn.engine.weights import SUFFIX, read_weights
from btrnn.tasks import Captioning


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each picture's caption; a picture that cannot be read is named, and the exit status is then 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="results/runs/<experiment>/<name>/seed<k>, or a .safetensors file")
    parser.add_argument(
        "--results-dir", type=Path, default=Path("results"), help="where one is looked for (%(default)s)"
    )
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE")
    options = parser.parse_args(arguments)
    try:
        failed = caption(options.run or last_run(options.results_dir), options.pictures)
    except MENDABLE as error:
        sys.exit(f"error: {explain(error)}")
    if failed:
        sys.exit(f"{failed} of {len(options.pictures)} pictures could not be read")


def last_run(results_dir: Path) -> Path:
    """Choose the captioning run that was finished last, or else a file of weights of the smallest model.

    Raises:
        FileNotFoundError: There is neither.
    """
    finished = sorted(
        results_dir.glob("runs/captioning*/*/seed*/vocabulary.json"), key=lambda path: path.stat().st_mtime
    )
    files = sorted(results_dir.glob(f"weights/captioning*{SUFFIX}"), key=lambda path: (path.stat().st_size, path.name))
    found = [path.parent for path in reversed(finished)] + files
    if not found:
        raise FileNotFoundError(
            f"no captioning run is finished in {results_dir}/runs, and {results_dir}/weights has no weights of one: "
            "`make reproduce-captioning` trains them, or name one with --run"
        )
    print(f"with {found[0]}", file=sys.stderr)
    return found[0]


def caption(run: Path, paths: Sequence[Path]) -> int:
    """Print a line for each picture, and return how many could not be read.

    Raises:
        FileNotFoundError: `run` is neither a finished run's folder nor a file of weights.
        ConfigError: It is not of captioning.
    """
    weights = read_weights(run)
    config = weights.config
    if config.section != "captioning":
        raise ConfigError(f"{run} is of experiment={config.experiment}, which makes no captions")
    if not weights.vocabulary:
        raise ConfigError(f"{run} was not tested, or is not finished: its words were not kept; take another run")
    vocabulary = Vocabulary.parse(weights.vocabulary, run)
    encoder = load_encoder(config.data.encoder)
    task: Captioning = instantiate(config.task)
    task.make_network(len(vocabulary), encoder.channels)
    load_weights(task, weights.state, run)
    task.eval()
    failed = 0
    for path in paths:
        try:
            pixels, _ = read_image(path, encoder.input_size)
        except ImageError as error:
            print(f"{path}: not captioned: {error}", file=sys.stderr)
            failed += 1
            continue
        feature = torch.from_numpy(encoder.encode(pixels[np.newaxis], config.data.grid))
        print(f"{path}: {task.captions(feature, vocabulary)[0]}", flush=True)
    return failed


if __name__ == "__main__":
    main()
