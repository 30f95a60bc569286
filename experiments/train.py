"""Train what the configuration says: `python experiments/train.py experiment=ucf11 scale=default`.

Sweeps are Hydra multiruns; a finished run is skipped, a stopped one goes on.
"""

import sys
from pathlib import Path

import hydra
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from btrnn import config as configuration
from btrnn.run import train

CONFIG_DIR = Path(__file__).resolve().parent.parent / "configs"


@hydra.main(config_path=str(CONFIG_DIR), config_name="train", version_base="1.3")
def main(config: DictConfig) -> None:
    """Do one run."""
    train(config)


if __name__ == "__main__":
    configuration.register()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        first = configuration.first_of_each(sys.argv[1:])
        base = compose("train", configuration.group_choices(first, CONFIG_DIR))
    try:
        configuration.check_overrides(sys.argv[1:], base)
    except configuration.ConfigError as error:
        sys.exit(f"error: {error}")
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped: the same command goes on")
