"""Add the baseline to an experiment: logistic regression on the very splits and frames of its finished runs.

`python experiments/baseline.py results/runs/ucf11_motions` adds one run folder for each protocol, scaling, scale and
seed that it finds there, and leaves those that exist.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from btrnn.engine.baseline import fit_baseline
from btrnn.engine.command import exit_status
from btrnn.engine.config import read_config
from btrnn.engine.failures import MENDABLE
from btrnn.results.schema import BASELINE
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import RUN_AGAIN, read_json

COPIED = (  # of the run's summary that also hold for the baseline on the same data
    *("experiment", "seed", "source", "stand_in", "protocol", "scaling", "sampling", "scale", "num_clips"),
    *("parameters_dense_input", "parameters_dense_total", "num_train", "num_val", "num_test", "versions"),
    *("git_commit", "git_dirty"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, and fit what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment_dir", type=Path, help="folder of the experiment's runs")
    experiment_dir: Path = parser.parse_args(arguments).experiment_dir
    for path in sorted(experiment_dir.glob("*/seed*/summary.json")):
        summary = read_json(path, RUN_AGAIN)
        if summary["model"] == BASELINE.name or "test/accuracy" not in summary:
            continue
        name = "-".join([BASELINE.name, summary["protocol"], summary["scaling"], summary["scale"]])
        run_dir = experiment_dir / name / path.parent.name
        if not (run_dir / "summary.json").exists():
            _add(
                path.parent,
                run_dir,
                {key: summary[key] if key in COPIED else None for key in summary} | {"name": name},
            )


def _add(source_dir: Path, run_dir: Path, common: dict[str, object]) -> None:
    """Fit on the data of the run in `source_dir`, and write the files of a finished run."""
    print(f"fitting {run_dir}", flush=True)
    started = time.perf_counter()
    config = read_config(source_dir / "config.yaml")
    metrics, data, predictions = fit_baseline(config)
    summary = {  # what a linear model does not have stays None
        **common,
        **metrics,
        "model": BASELINE.name,
        "model_label": BASELINE.label,
        "seconds": time.perf_counter() - started,
        "command": f"python experiments/baseline.py {run_dir.parent.parent}",
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    for name, table in (("predictions.csv", predictions), ("splits.csv", data.splits)):
        replace_file(run_dir / name, table.to_csv(index=False))
    replace_file(run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(exit_status(main, *MENDABLE))
