"""Recover 64 x 64 matrices by maps of many shapes, then collect: `python experiments/recovery.py`.

The grid stands in configs/recovery.yaml; a finished run is skipped. `form=tt order=3 rank=1,2` does a part of it.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from btrnn.engine.config import ConfigError
from btrnn.engine.overrides import ending_in_one_line, run_checked
from btrnn.recovery.study import run

CONFIG_DIR = Path(__file__).resolve().parent.parent / "configs"


@hydra.main(config_path=str(CONFIG_DIR), config_name="recovery", version_base="1.3")
def main(config: DictConfig) -> None:
    """Do one run."""
    with ending_in_one_line(ConfigError, OSError):
        run(config)


if __name__ == "__main__":
    run_checked(main, CONFIG_DIR, "recovery")
