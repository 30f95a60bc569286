"""Own results and published ones: where each stands, and how the first become the second.

Runs are collected into `results/local/`, which no repository holds; `make publish` alone takes them over into
`results/`: their rows, their pictures, and the recovery study's and the benchmark's files.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from btrnn.benchmark.records import (
    FORMATS_FILE,
    machine_path,
    measured_sections,
    note_machine,
    read_machines,
    section_path,
)
from btrnn.recovery import records
from btrnn.results import store
from btrnn.results.store import LOCAL
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import ResultsError

SMOKE = "smoke"  # the scale whose runs only show that everything works: they are never published


def local_dir(results_dir: Path) -> Path:
    """Return the folder of the user's own results, made if need be, with the paper's numbers beside them."""
    folder = results_dir / LOCAL
    paper, copy = results_dir / "paper.csv", folder / "paper.csv"
    if paper.exists() and not (copy.exists() and copy.read_bytes() == paper.read_bytes()):
        replace_file(copy, paper.read_bytes())
    return folder


def collect(results_dir: Path, experiments: Sequence[str] = ()) -> list[str]:
    """Collect finished run folders of `results_dir`/runs into the tables of `results_dir`/local.

    Args:
        results_dir: Has the run folders, in runs/.
        experiments: Which of them; all that are there if empty.

    Returns:
        A line for each experiment and each unfinished run.

    Raises:
        ResultsError: An experiment has no run folder, or a file of a run is damaged.
    """
    runs_dir, out = results_dir / "runs", local_dir(results_dir)
    present = sorted(path.name for path in runs_dir.iterdir() if path.is_dir()) if runs_dir.is_dir() else []
    if unknown := [name for name in experiments if name not in present]:
        there = ", ".join(present) or "none"
        raise ResultsError(f"no run folders for {', '.join(unknown)} in {runs_dir}; there are: {there}")
    lines = []
    for name in experiments or present:
        if name == records.EXPERIMENT:
            recovery, unfinished = records.collect(results_dir, out)
            rows, paths = len(recovery.rows), records.write(recovery, out) if len(recovery.rows) else []
        else:
            results, unfinished = store.collect(results_dir, name, out)
            rows, paths = len(results.runs), store.write_results(results, out, name) if len(results.runs) else []
        lines += [f"{path}: not finished, left out" for path in unfinished]
        written = f"{rows} rows -> {', '.join(map(str, paths))}" if rows else "no finished run, nothing written"
        lines.append(f"{name}: {written}")
    return lines


def publish(results_dir: Path, experiments: Sequence[str] = ()) -> list[Path]:
    """Take the user's rows over into the published tables.

    Args:
        results_dir: The published results; the user's are in its folder local/.
        experiments: Which of them; all that are there if empty. The benchmark is named "benchmark", the
            comparison of formats "formats".

    Returns:
        The files written.

    Raises:
        ResultsError: An experiment is not there, or a run was made by code that is not committed: what is published
            must be what a commit gives.
    """
    own = results_dir / LOCAL
    present = [*store.collected_experiments(own)]
    present += [records.EXPERIMENT] if records.paths(own)[0].exists() else []
    present += ["benchmark"] if machine_path(own).exists() else []
    present += ["formats"] if (own / FORMATS_FILE).exists() else []
    if unknown := [name for name in experiments if name not in present]:
        raise ResultsError(f"no results of {', '.join(unknown)} in {own}; there are: {', '.join(present) or 'none'}")
    written: list[Path] = []
    for name in experiments or present:
        if name == "benchmark":
            written += _publish_benchmark(own, results_dir)
        elif name == "formats":
            replace_file(results_dir / FORMATS_FILE, (own / FORMATS_FILE).read_bytes())
            written.append(results_dir / FORMATS_FILE)
        elif name == records.EXPERIMENT:
            recovery = records.read(own)
            _check_commit(recovery.rows, name)
            written += records.write(records.merge(records.read(results_dir), [recovery]), results_dir)
        else:
            results = store.without_scale(store.read_results(own, name), SMOKE)
            _check_commit(results.runs, name)
            merged = store.merge(store.read_results(results_dir, name), [results], name)
            written += store.write_results(merged, results_dir, name)
    return written


def _check_commit(rows: pd.DataFrame, name: str) -> None:
    dirty = rows[rows["git_dirty"].astype("string").str.lower().ne("false") | rows["git_commit"].isna()]
    if len(dirty):
        raise ResultsError(
            f"{len(dirty)} of {len(rows)} runs of {name} were made by code that is not committed (the first: "
            f"{dirty['name'].iloc[0]}); commit, delete their folders and rows in results/local, and run them again"
        )


def _publish_benchmark(own: Path, results_dir: Path) -> list[Path]:
    written = []
    for device in ("cpu", "cuda"):
        for section in measured_sections(own, device):
            path = section_path(results_dir, section, device)
            replace_file(path, section_path(own, section, device).read_bytes())
            note_machine(results_dir, section, device, read_machines(own)[path.stem])
            written.append(path)
    return written
