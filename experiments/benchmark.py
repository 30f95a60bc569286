"""The products and layers side by side: measure, write results/local/benchmark_*.csv and their page, print targets.

    python experiments/benchmark.py                   # all of it, half an hour; `make bench` installs the peers first
    python experiments/benchmark.py --only product    # one section; those that were measured before stay
    python experiments/benchmark.py --quick           # tiny shapes, to see that everything works; into a folder apart
    python experiments/benchmark.py --report          # tables and figures from the CSV files, nothing is measured

Ctrl-C keeps what was measured. Other libraries that are not installed are left out, and listed so.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from btrnn.benchmark.results.records import SECTIONS
from btrnn.reports.benchmark import figure_files, table_texts, terminal_report
from btrnn.results.store import LOCAL
from btrnn.storage.atomic import replace_file

SPARE = 0.95  # of the time: a setting that has begun is finished
QUICK_DIR = Path(tempfile.gettempdir()) / "btrnn-benchmark-quick"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 130 when it was interrupted."""
    options = _parser().parse_args(arguments)
    results_dir = options.results_dir or (QUICK_DIR if options.quick else Path("results") / LOCAL)
    if options.report:
        write_report(results_dir)
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        devices = measure(results_dir, options.only or SECTIONS, options.minutes, quick=options.quick)
    except KeyboardInterrupt:
        print(f"stopped; what was measured stands in {results_dir}/benchmark_*.csv", file=sys.stderr)
        return 130
    write_report(results_dir)
    for device in devices:
        print(f"\n{terminal_report(results_dir, device)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="the sections to measure; default: all")
    parser.add_argument("--minutes", type=float, default=30.0, help="for everything together (default: 30)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes and few rounds")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--results-dir", type=Path, help="default: results/local, with --quick a temporary folder")
    return parser


def measure(results_dir: Path, sections: Sequence[str], minutes: float, *, quick: bool) -> list[str]:
    """Measure on the CPU, and on a GPU if there is one; returns the devices."""
    import torch  # here, so that --report and --help need not load it

    from btrnn.benchmark.measure.run import Options, quick_options, run

    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        seconds = 60 * minutes * SPARE / len(devices)
        options = Options(results_dir, device, seconds, tuple(sections))
        with _show_progress(device) as show:
            run(quick_options(results_dir, device, tuple(sections)) if quick else options, show)
    return devices


@contextmanager
def _show_progress(device: str) -> Iterator[Callable[[int, int, str], None]]:
    """Give a function that shows how far the benchmark is: a bar on a terminal, else a line for each part."""
    console = Console(stderr=True)
    title = TextColumn("{task.fields[title]}")
    columns = (TextColumn(device), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), title)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", title="")

        def show(done: int, total: int, title: str) -> None:
            bar.update(task, completed=done, total=total, title=title)
            if not console.is_terminal:
                logging.info("%s, %d of %d: %s", device, done, total, title)

        yield show


def write_report(results_dir: Path) -> None:
    """Write tables/benchmark.md and the figures from the CSV files; without any, say so and write nothing."""
    texts, files = table_texts(results_dir), figure_files(results_dir)
    if not texts:
        print(f"no benchmark in {results_dir}: `make bench` makes one")
        return
    for path, text in texts.items():
        replace_file(results_dir / path, text)
    for file in files:
        file.write(results_dir)
    print("\n".join(f"wrote {results_dir / path}" for path in (*texts, *(file.path for file in files))))


if __name__ == "__main__":
    sys.exit(main())
