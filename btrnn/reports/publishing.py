"""Own results, collected into `results/local/`, which no repository holds, and how `make publish` takes them over."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from btrnn.benchmark.records import FORMATS_FILE, machine_path, publish_sections
from btrnn.recovery import records
from btrnn.results import repeated, store
from btrnn.results.schema import schema_of
from btrnn.results.store import LOCAL
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import ResultsError

SMOKE = "smoke"  # the scale whose runs only show that everything works: they are never published


def collect(results_dir: Path, experiments: Sequence[str] = ()) -> list[str]:
    """Collect run folders of `results_dir`/runs, of some experiments or of all, into the tables of `results_dir`/local.

    Returns:
        A line for each experiment and each unfinished run.

    Raises:
        ResultsError: An experiment has no run folder, or a file of a run is damaged.
    """
    runs_dir, out, lines = results_dir / "runs", results_dir / LOCAL, []
    present = sorted(path.name for path in runs_dir.iterdir() if path.is_dir()) if runs_dir.is_dir() else []
    for name in chosen(experiments, present, "run folders", runs_dir):
        if name == records.EXPERIMENT:
            recovery, unfinished = records.collect(results_dir, out)
            rows, write = recovery.rows, partial(records.write, recovery, out)
        else:
            results, unfinished = store.collect(results_dir, name, out)
            rows, write = results.runs, partial(store.write_results, results, out, name)
        paths = write() if len(rows) else []
        lines += [f"{path}: not finished, left out" for path in unfinished]
        written = f"{len(rows)} rows -> {', '.join(map(str, paths))}" if paths else "no finished run, nothing written"
        lines.append(f"{name}: {written}")
    return lines


def publish(results_dir: Path, experiments: Sequence[str] = ()) -> list[Path]:
    """Take the user's rows of `results_dir`/local over into the published tables of `results_dir`.

    Of some experiments, "benchmark", "formats" or "repeated", or of all that is there. Pictures of real data stay with
    the user: they have authors of their own. Returns the files written.

    Raises:
        ResultsError: An experiment is not there, or a run was made by code that is not committed: what is published
            must be what a commit gives.
    """
    own, work = results_dir / LOCAL, list[Callable[[], list[Path]]]()
    others = {records.EXPERIMENT: records.paths(own)[0], "benchmark": machine_path(own)}
    others |= {"formats": own / FORMATS_FILE, "repeated": own / repeated.FILE}
    present = [*store.collected_experiments(own), *(name for name, path in others.items() if path.exists())]
    for name in chosen(experiments, present, "results", own):
        if name == "benchmark":
            work.append(partial(publish_sections, own, results_dir))
        elif name == "formats":
            work.append(partial(_publish_file, own / FORMATS_FILE, results_dir))
        elif name == "repeated":
            _check_commit(repeated.read_repeated(own), name)
            work.append(partial(_publish_file, own / repeated.FILE, results_dir))
        elif name == records.EXPERIMENT:
            recovery = records.read(own)
            _check_commit(recovery.rows, name)
            merged = records.merge(records.read(results_dir), [recovery])
            work.append(partial(records.write, merged, results_dir))
        else:
            results = store.read_results(own, name)
            results = results.without(store.run_keys(results.runs[results.runs["scale"] == SMOKE]))
            _check_commit(results.runs, name)
            if schema_of(name).pictures == "of the data" and not results.runs["stand_in"].all():
                results = results._replace(pictures={})  # photographs of others, who keep their rights
            both = store.merge(store.read_results(results_dir, name), [results], name)
            work.append(partial(store.write_results, both, results_dir, name))
    return [path for write in work for path in write()]  # none before all are checked


def _publish_file(path: Path, results_dir: Path) -> list[Path]:
    replace_file(results_dir / path.name, path.read_bytes())
    return [results_dir / path.name]


def chosen(asked: Sequence[str], present: Collection[str], what: str, place: Path) -> Collection[str]:
    """Return what was asked for, or all; raises ResultsError where something is not there."""
    if unknown := [name for name in asked if name not in present]:
        raise ResultsError(f"no {what} of {', '.join(unknown)} in {place}; there are: {', '.join(present) or 'none'}")
    return asked or present


def _check_commit(rows: pd.DataFrame, name: str) -> None:
    dirty = rows[rows["git_dirty"].astype("string").str.lower().ne("false") | rows["git_commit"].isna()]
    if len(dirty):
        raise ResultsError(
            f"{len(dirty)} of {len(rows)} runs of {name} were made by code that is not committed (the first: "
            f"{dirty['name'].iloc[0]}); commit, delete their folders and rows in results/local, and run them again"
        )
