"""Caption pictures with a finished run.

    python experiments/caption.py --run results/runs/captioning_scenes/NAME/seed0 PICTURE...

A run on the stand-in knows drawn solids alone: of a photograph it will say what solids it resembles.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from btrnn.config import ConfigError
from btrnn.data.encoders import EncoderError, ImageError, load_encoder, read_image
from btrnn.data.vocabulary import Vocabulary, VocabularyError
from btrnn.run import load_weights
from btrnn.tasks import Captioning
from btrnn.weights import read_weights

_NEEDED = {
    "config.yaml": "is not the folder of a run",
    "summary.json": "is not finished; the command that began it goes on with it",
    "vocabulary.json": "was not tested, so its words were not kept; take one of experiment=captioning",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each picture's caption; a picture that cannot be read is named, and the exit status is then 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="results/runs/<experiment>/<name>/seed<k>")
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE")
    options = parser.parse_args(arguments)
    try:
        failed = caption(options.run, options.pictures)
    except (FileNotFoundError, ConfigError, EncoderError, VocabularyError) as error:
        sys.exit(f"error: {error}")
    if failed:
        sys.exit(f"{failed} of {len(options.pictures)} pictures could not be read")


def caption(run_dir: Path, paths: Sequence[Path]) -> int:
    """Print a line for each picture, and return how many could not be read.

    Raises:
        ConfigError: `run_dir` is not that of a finished run of captioning.
    """
    config = _config(run_dir)
    vocabulary = Vocabulary.load(run_dir / "vocabulary.json")
    encoder = load_encoder(config.data.encoder)
    task: Captioning = instantiate(config.task)
    task.make_network(len(vocabulary), encoder.channels)
    load_weights(task, read_weights(run_dir).state, run_dir)
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


def _config(run_dir: Path) -> DictConfig:
    """Read a run's configuration, after a look at whether it can caption."""
    for name, problem in _NEEDED.items():
        if not (run_dir / name).exists():
            raise ConfigError(f"{run_dir} {problem} (it has no {name})")
    config = DictConfig(OmegaConf.load(run_dir / "config.yaml"))
    if config.section != "captioning":
        raise ConfigError(f"{run_dir} is a run of experiment={config.section}, which makes no captions")
    return config


if __name__ == "__main__":
    main()
