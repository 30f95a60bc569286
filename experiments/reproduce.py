"""One section of the paper from data files to its table; the words are those of train.py: experiment=ucf11 seed=0,1."""

import sys
from pathlib import Path

from btrnn.engine.baselines import add_baselines
from btrnn.engine.command import exit_status, run_script, user_errors
from btrnn.engine.config import ConfigError
from btrnn.engine.overrides import checked_command, has_options
from btrnn.reports import publishing, writing

TRAIN = Path(__file__).resolve().with_name("train.py")


def main(overrides: list[str]) -> None:
    """Train what is missing, add the baselines, collect and print; the first step that fails ends it with its error."""
    if has_options(overrides):
        return run_script(TRAIN, *overrides)  # which shows a help or a configuration, and trains nothing
    if swept := [word for word in overrides if word.startswith(("experiment=", "scale=")) and "," in word]:
        raise ConfigError(f"{' '.join(swept)}: one experiment at one scale; train.py takes several")
    overrides, config = checked_command(overrides, TRAIN.parent.parent / "configs", "train")
    run_script(TRAIN, *overrides)
    results_dir, name = Path(config.results_dir), config.experiment
    if config.section == "video":
        add_baselines(results_dir / "runs" / name)
    print("\n".join(publishing.collect(results_dir, [name])))
    return writing.report_own(results_dir, [name], config.scale.name)


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1:]), *user_errors()))
