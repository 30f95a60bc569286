"""Committed tables to what is read: results/README.md, results/tables/*.md, figures, cards, and README's results block.

    python experiments/report.py                  # all collected experiments
    python experiments/report.py ucf11_motions    # its tables and figures, and README's block
    python experiments/report.py --check          # write nothing; fail when something is out of date

README's block stands between two marker lines. It shows the main experiments at their largest scale; the tables
hold every scale. Figures are compared by the data they show, whose digest stands in the file, not by their
pixels. A results folder of one's own gets its report without README, and the paper's numbers if it has none yet.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from btrnn.engine.command import explain
from btrnn.figures.file import FigureFile
from btrnn.reports import (
    captioning,
    choosing_ranks,
    claims,
    complexity,
    generation,
    model_cards,
    parameters,
    recovery,
    sensitivity,
    video,
    video_rates,
)
from btrnn.results.schema import schema_of
from btrnn.results.store import collected_experiments
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import ResultsError

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
README_EXPERIMENTS = (
    *(
        "ucf11",
        "ucf11_rates_random_split",
        "ucf11_rates_random_split_actions",
        "draw",
        "draw_mnist_5k",
        "captioning",
        "captioning_scenes",
    ),
    *("ucf11_sensitivity", "ucf11_sensitivity_actions"),
)
# by the prefix of the task's schema
REPORTS: dict[str, ModuleType] = {"ucf11": video, "draw": generation, "captioning": captioning}


def report_of(experiment: str) -> ModuleType:
    """Return the module that reports an experiment."""
    if video_rates.is_study(experiment):
        return video_rates
    return sensitivity if experiment.startswith("ucf11_sensitivity") else REPORTS[schema_of(experiment).prefix]


def readme_block(results_dir: Path, readme: Path) -> str:
    """Return what stands between README's markers: the main experiments, each at its largest scale."""
    place = os.path.relpath(results_dir, readme.parent)
    collected = collected_experiments(results_dir)
    shown = [name for name in README_EXPERIMENTS if name in collected]
    parts = [report_of(name).readme_part(results_dir, name, place) for name in shown]
    if recovery.is_collected(results_dir):
        parts.append(recovery.readme_part(results_dir, place))
    return "\n\n".join(parts) or "No results are collected yet."


def with_block(text: str, block: str, readme: Path) -> str:
    """Return README's text with what stands between the markers replaced.

    Raises:
        ResultsError: The two markers do not each stand there once, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ResultsError(f"{readme} must have the lines {BEGIN} and {END} once each, in this order")
    return f"{text[: text.index(BEGIN)]}{BEGIN}\n\n{block}\n\n{text[text.index(END) :]}"


def _print_difference(path: Path, current: str, expected: str) -> None:
    lines = difflib.unified_diff(
        current.splitlines(), expected.splitlines(), str(path), "from the CSV", lineterm="", n=0
    )
    print("\n".join(list(lines)[:12]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report, or with --check exit 1 when a file is not what the committed tables give."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", help="default: all that are collected in RESULTS_DIR")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    parser.add_argument("--readme", type=Path, help="default: the project's, if RESULTS_DIR is the project's too")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    options = parser.parse_args(arguments)
    readme = options.readme
    if readme is None and options.results_dir.resolve() == ROOT / "results":
        readme = Path(os.path.relpath(ROOT / "README.md"))
    try:
        stale = _report(options.experiment, options.results_dir, readme, check=options.check)
    except (ResultsError, OSError) as error:
        sys.exit(f"error: {explain(error)}")
    if stale:
        sys.exit(f"out of date: {', '.join(map(str, stale))}; run `python experiments/report.py`")


def _report(experiment: str | None, results_dir: Path, readme: Path | None, *, check: bool) -> list[Path]:
    """Write or check everything; returns the paths that were found out of date (none when writing)."""
    collected = collected_experiments(results_dir)
    if experiment and experiment not in collected:
        raise ResultsError(
            f"{experiment!r} is not collected in {results_dir} (there: {', '.join(collected) or 'none'}); "
            f"run `python experiments/collect.py {experiment}` first"
        )
    paper = results_dir / "paper.csv"
    if not check and not paper.exists():
        replace_file(paper, (ROOT / "results" / "paper.csv").read_bytes())
    texts: dict[Path, str] = {}
    drawn: list[FigureFile] = []
    for name in [experiment] if experiment else collected:
        texts |= report_of(name).table_texts(results_dir, name)
        drawn += report_of(name).figure_files(results_dir, name)
    if not experiment:  # what is made of no training run
        texts |= parameters.table_texts(results_dir) | complexity.table_texts(results_dir)
        drawn += parameters.figure_files(results_dir) + complexity.figure_files(results_dir)
        drawn += choosing_ranks.figure_files(results_dir)
    if not experiment and recovery.is_collected(results_dir):
        texts |= recovery.table_texts(results_dir)
        drawn += recovery.figure_files(results_dir)
    texts |= model_cards.card_texts(results_dir)
    texts |= claims.page_texts(results_dir, texts.keys())  # which speaks of every experiment
    if readme is not None:
        texts[readme] = with_block(readme.read_text(encoding="utf-8"), readme_block(results_dir, readme), readme)
    stale = []
    for path, text in texts.items():
        current = path.read_text(encoding="utf-8") if path.exists() else ""
        if check and current != text:
            _print_difference(path, current, text)
            stale.append(path)
        if not check and current != text:
            replace_file(path, text)
    for file in drawn:
        if check and not file.is_current():
            stale.append(file.path)
        if not check:
            file.write()
    if not check:
        print("\n".join(f"wrote {path}" for path in (*texts, *(file.path for file in drawn))))
    return stale


if __name__ == "__main__":
    main()
