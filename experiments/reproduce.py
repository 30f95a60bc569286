"""One section of the paper from video files to its table: train what is missing, add the baseline, collect, print.

`python experiments/reproduce.py experiment=ucf11 scale=default` takes the overrides of experiments/train.py.
"""

import signal
import subprocess
import sys
from pathlib import Path

import baseline
import collect
import report

from btrnn.engine.command import exit_status
from btrnn.engine.failures import MENDABLE
from btrnn.engine.overrides import checked_command, has_options

ROOT = Path(__file__).resolve().parent.parent
STAND_INS = {
    "actions": "UCF11 is not in {data_dir}/: these are the STAND-IN's numbers (drawn figures with real human motion), "
    "not UCF11's. `make data-ucf11` gets the real one.",
    "mnist_5k": "MNIST is not in {data_dir}/: these are the numbers of MNIST-5k, 5,000 of its digits that a package "
    "ships, not MNIST's. `make data-mnist` gets the whole.",
    "scenes": "COCO is not in {data_dir}/: these are the STAND-IN's numbers (drawn scenes, captions of a grammar), "
    "not MSCOCO's. `make data-coco` gets the real one.",
}


def main(overrides: list[str]) -> None:
    """Do the steps one after the other; the first that fails ends it with its error."""
    if has_options(overrides):
        _train(overrides)  # which shows a help or a configuration, and trains nothing
        return
    overrides, config = checked_command(overrides, ROOT / "configs", "train")
    notice = STAND_INS.get(config.data.source, "").format(data_dir=config.data_dir)
    if notice:
        print(notice, flush=True)
    results_dir = Path(config.results_dir)
    _train(overrides)
    if config.section == "video":
        baseline.main([str(results_dir / "runs" / config.experiment)])
    collect.main([config.experiment, "--results-dir", str(results_dir)])
    report.main([config.experiment, "--results-dir", str(results_dir)])
    shown = report.report_of(config.experiment).terminal_report(results_dir, config.experiment, config.scale.name)
    print(f"\n{shown}\n")
    if notice:
        print(notice, flush=True)


def _train(overrides: list[str]) -> None:
    """Train in a process of its own, and leave with its exit status if it fails.

    Ctrl-C reaches both processes; this one waits until the other has left its run so that it can go on.
    """
    process = subprocess.Popen([sys.executable, str(ROOT / "experiments" / "train.py"), *overrides])
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if status:
        sys.exit(status)


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1:]), *MENDABLE))
