"""Captions of any pictures, by a finished run or by a file of weights."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from btrnn.data.captions.vocabulary import Vocabulary
from btrnn.data.encoders import load_encoder
from btrnn.data.pictures import ImageError, read_image
from btrnn.engine.config import ConfigError
from btrnn.engine.saved import make_saved
from btrnn.engine.weights import SUFFIX, load_weights, read_weights
from btrnn.tasks import Captioning


def last_captioning_run(results_dir: Path) -> Path:
    """Return the captioning run that was finished last, or else the file of weights of the smallest model.

    Raises:
        FileNotFoundError: There is neither.
    """
    finished = results_dir.glob("runs/captioning*/*/seed*/vocabulary.json")
    files = results_dir.glob(f"weights/captioning*{SUFFIX}")
    found = [path.parent for path in sorted(finished, key=lambda path: path.stat().st_mtime, reverse=True)]
    found += sorted(files, key=lambda path: (path.stat().st_size, path.name))
    if not found:
        raise FileNotFoundError(
            f"no captioning run is finished in {results_dir}/runs, and {results_dir}/weights has no weights of one: "
            "`make reproduce-captioning` trains them, or name one with --run"
        )
    print(f"with {found[0]}", file=sys.stderr)
    return found[0]


def caption_pictures(run: Path, paths: Sequence[Path]) -> None:
    """Print a caption for each picture; those that cannot be read are named on stderr.

    Args:
        run: A finished captioning run's folder, or a file of weights.
        paths: The pictures.

    Raises:
        FileNotFoundError: `run` is neither.
        ConfigError: It is not of captioning, or of a version of btrnn that had other networks.
        ImageError: Some pictures could not be read; the others have their captions.
    """
    weights = read_weights(run)
    config = weights.config
    if config.section != "captioning":
        raise ConfigError(f"{run} is of experiment={config.experiment}, which makes no captions")
    if not weights.vocabulary:
        raise ConfigError(f"{run} was not tested, or is not finished: its words were not kept; take another run")
    vocabulary = Vocabulary.parse(weights.vocabulary, run)
    encoder = load_encoder(config.data.encoder)
    task: Captioning = make_saved(config, "task", run)
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
    if failed:
        raise ImageError(f"{failed} of {len(paths)} pictures could not be read")
