"""One section of the paper from data files to its table: train what is missing, add the baseline, collect, print.

`python experiments/reproduce.py experiment=ucf11 scale=default` takes the overrides of experiments/train.py. What it
writes is the user's own: run folders in results/runs, tables and figures in results/local.
"""

import sys
from pathlib import Path

from btrnn.engine.command import exit_status, mendable, run_script
from btrnn.engine.overrides import checked_command, has_options

HERE = Path(__file__).resolve().parent


def main(overrides: list[str]) -> None:
    """Do the steps one after the other; the first that fails ends it with its error."""
    if has_options(overrides):
        return run_script(HERE / "train.py", *overrides)  # which shows a help or a configuration, and trains nothing
    overrides, config = checked_command(overrides, HERE.parent / "configs", "train")
    place = ("--results-dir", config.results_dir)
    run_script(HERE / "train.py", *overrides)
    if config.section == "video":
        run_script(HERE / "baseline.py", f"{config.results_dir}/runs/{config.experiment}")
    run_script(HERE / "collect.py", config.experiment, *place)
    return run_script(HERE / "report.py", config.experiment, *place, "--scale", config.scale.name)


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1:]), *mendable()))
