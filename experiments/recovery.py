"""Recover 64 x 64 matrices by maps of many shapes, then collect: `python experiments/recovery.py`.

The grid stands in configs/recovery.yaml; a finished run is skipped. `form=tt order=3 rank=1,2` does a part of it.
"""

import sys
from pathlib import Path

import hydra
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from btrnn import config as configuration
from btrnn.recovery.study import run

CONFIG_DIR = Path(__file__).resolve().parent.parent / "configs"


@hydra.main(config_path=str(CONFIG_DIR), config_name="recovery", version_base="1.3")
def main(config: DictConfig) -> None:
    """Do one run."""
    run(config)


if __name__ == "__main__":
    configuration.register()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        base = compose("recovery")
    try:
        configuration.check_overrides(sys.argv[1:], base)
    except configuration.ConfigError as error:
        sys.exit(f"error: {error}")
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped: the same command goes on")
