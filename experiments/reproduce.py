"""One section of the paper from data files to its table: train what is missing, add the baseline, collect, print.

`python experiments/reproduce.py experiment=ucf11 scale=default` takes the overrides of experiments/train.py. What it
writes is the user's own: run folders in results/runs, tables and figures in results/local.
"""

import signal
import subprocess
import sys
from pathlib import Path

from btrnn.engine.command import exit_status
from btrnn.engine.failures import MENDABLE
from btrnn.engine.overrides import checked_command, has_options

ROOT = Path(__file__).resolve().parent.parent


def main(overrides: list[str]) -> None:
    """Do the steps one after the other; the first that fails ends it with its error."""
    if has_options(overrides):
        _script("train", *overrides)  # which shows a help or a configuration, and trains nothing
        return
    overrides, config = checked_command(overrides, ROOT / "configs", "train")
    place = ("--results-dir", config.results_dir)
    _script("train", *overrides)
    if config.section == "video":
        _script("baseline", f"{config.results_dir}/runs/{config.experiment}")
    _script("collect", config.experiment, *place)
    _script("report", config.experiment, *place, "--scale", config.scale.name)


def _script(name: str, *arguments: str) -> None:
    """Run a script of this folder, and leave with its exit status if it fails; Ctrl-C is left to it."""
    process = subprocess.Popen([sys.executable, str(ROOT / "experiments" / f"{name}.py"), *arguments])
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if status:
        sys.exit(status)


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1:]), *MENDABLE))
