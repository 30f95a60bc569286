"""One section of the paper from video files to its table: train what is missing, collect, and print.

`python experiments/reproduce.py experiment=ucf11 scale=default` takes the overrides of experiments/train.py.
"""

import subprocess
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from report import terminal_report

from btrnn import config as configuration

ROOT = Path(__file__).resolve().parent.parent
STAND_IN = (
    "UCF11 is not in {data_dir}: these are the STAND-IN's numbers (drawn figures with real human motion), "
    "not UCF11's. `make data-ucf11` gets the real one."
)


def main(overrides: list[str]) -> None:
    """Run the steps one after the other; the first that fails ends it with its error."""
    configuration.register()
    # A list of values asks for several runs; the first of them tells where all of them go.
    single = [f"{key}={value.split(',')[0]}" for key, _, value in (word.partition("=") for word in overrides)]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("train", single)
    notice = STAND_IN.format(data_dir=config.data_dir) if config.data.source != "ucf11" else ""
    print(notice, flush=True)
    runs = Path(config.results_dir) / "runs" / config.experiment
    results = ["--results-dir", config.results_dir]
    _python("train.py", *overrides)
    _python("baseline.py", str(runs))
    _python("collect.py", config.experiment, *results)
    _python("report.py", config.experiment, *results)
    print(terminal_report(Path(config.results_dir), config.experiment, config.scale.name))
    print(notice, flush=True)


def _python(script: str, *arguments: str) -> None:
    """Run one of this folder's scripts, and leave with its exit status if it fails."""
    status = subprocess.run([sys.executable, str(ROOT / "experiments" / script), *arguments]).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
