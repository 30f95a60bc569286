"""Open W&B's terminal view on the runs that are here: `make dashboard`. No account, no network.

Each run keeps its W&B files in its own folder; the view wants them side by side, so it is shown a folder of links.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from btrnn.engine.command import exit_status


def main(arguments: Sequence[str] | None = None) -> None:
    """Open the view, and leave with its exit status if it fails.

    Raises:
        FileNotFoundError: There are no runs to be shown.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    runs_dir: Path = parser.parse_args(arguments).results_dir / "runs"
    logs = find_logs(runs_dir)
    if not logs:
        raise FileNotFoundError(
            f"no W&B files in {runs_dir}: `make reproduce-ucf11 SCALE=smoke` makes some, in a minute"
        )
    with tempfile.TemporaryDirectory() as folder:
        for log in logs:
            (Path(folder) / log.name).symlink_to(log.resolve(), target_is_directory=True)
        status = subprocess.run([sys.executable, "-m", "wandb", "leet", folder], check=False).returncode
    if status:
        sys.exit(status)


def find_logs(runs_dir: Path) -> list[Path]:
    """Return the folders that W&B wrote, of all runs; a run that was resumed has several."""
    return sorted(runs_dir.glob("*/*/seed*/wandb/*run-*"))


if __name__ == "__main__":
    sys.exit(exit_status(main, OSError))
