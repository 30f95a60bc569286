"""Train what the configuration says: `python experiments/train.py experiment=ucf11 scale=default`.

Sweeps are Hydra multiruns; a finished run is skipped, a stopped one goes on.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from btrnn.engine.command import user_errors
from btrnn.engine.overrides import ending_in_one_line, run_checked
from btrnn.engine.run import train

CONFIG_DIR = Path(__file__).resolve().parent.parent / "configs"


@hydra.main(config_path=str(CONFIG_DIR), config_name="train", version_base="1.3")
def main(config: DictConfig) -> None:
    """Do one run."""
    with ending_in_one_line(*user_errors()):
        train(config)


if __name__ == "__main__":
    run_checked(main, CONFIG_DIR, "train")
