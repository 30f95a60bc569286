"""Pages and figures to files: the published ones of results/, or the user's own in results/local."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from btrnn.recovery import records
from btrnn.reports import benchmark, shapes
from btrnn.reports.claims import claim_pages
from btrnn.reports.claims.claim_figures import claim_figures
from btrnn.reports.pages import page_of
from btrnn.reports.publishing import chosen
from btrnn.reports.render import Report, render, setting_text
from btrnn.reports.view import unusual
from btrnn.results.exported import LARGEST_BYTES, read_index, stem, weights_dir
from btrnn.results.schema import CAPTIONING, GENERATION, VIDEO, model_of, schema_of
from btrnn.results.store import LOCAL, collected_experiments, read_results
from btrnn.results.summary import summarise
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import ResultsError

_TASKS = {VIDEO: "action recognition", GENERATION: "image generation by DRAW", CAPTIONING: "image captioning"}
OTHER_PAGES: dict[str, Callable[[Path], Report]] = {  # of no experiment with runs
    "parameters": shapes.parameters_report,
    "benchmark": benchmark.report_with_laws,
    "recovery": shapes.recovery_report,
}


def page_report(results_dir: Path, name: str, *, local: bool = False) -> Report:
    """Return one page of tables/ and its figures: of an experiment, or one of `OTHER_PAGES`.

    With `local` it is of the user's own rows, beside the published ones where it is of an experiment.
    """
    if name in OTHER_PAGES:
        return OTHER_PAGES[name](results_dir / LOCAL if local else results_dir)
    return page_of(name).report(results_dir, name, local=local)


def _joined(reports: Sequence[Report]) -> Report:
    texts = {path: text for report in reports for path, text in report.texts.items()}
    return Report(texts, [figure for report in reports for figure in report.figures])


def published_report(results_dir: Path) -> Report:
    """Return every page and figure of the published rows, and the README beside `results_dir`, where there is one."""
    names = [*collected_experiments(results_dir), *OTHER_PAGES]
    texts, figures = _joined([page_report(results_dir, name) for name in names])
    texts |= card_texts(results_dir)
    known = claim_pages.all_known(results_dir)
    figures = [*figures, *claim_figures(known)]
    written = [*texts, *(figure.path for figure in figures)]
    texts |= claim_pages.page_texts(results_dir, written, known)  # which speaks of every experiment
    if (readme := results_dir.parent / "README.md").exists():
        texts[Path("..", readme.name)] = _with_blocks(readme, results_dir, known)
    return Report(texts, figures)


def card_texts(results_dir: Path) -> dict[Path, str]:
    """Return the cards, and the page that lists them; nothing where nothing was exported.

    Raises:
        ResultsError: An exported run is not in the committed tables, or its file is not there.
    """
    cards, folder = [], weights_dir(results_dir)
    for row in read_index(results_dir).to_dict("records"):
        if row["file"] and not (folder / row["file"]).exists():
            raise ResultsError(f"{folder / 'index.csv'} lists {row['file']}, which is not there; export the run again")
        schema, runs = schema_of(row["experiment"]), read_results(results_dir, row["experiment"]).runs
        runs = runs[runs["name"] == row["name"]]
        if row["seed"] not in set(runs["seed"]):
            raise ResultsError(
                f"{stem(row)} was exported, but is not in {row['experiment']}.csv: run `make publish` first"
            )
        run = runs[runs["seed"] == row["seed"]].iloc[0].to_dict()
        settings = unusual(run, (*schema.data, "scale"))
        card = {"exported": row, "stem": stem(row), "schema": schema, "task": _TASKS[schema], "run": run}
        card |= {"mean": summarise(runs).iloc[0].to_dict(), "factorised": bool(model_of(run["model"]).shape)}
        cards.append(card | {"setting": ", ".join(setting_text(*said) for said in settings.items())})
    texts = {card["stem"]: render("model_card", largest=LARGEST_BYTES, **card) for card in cards}
    pages = {"README": render("model_cards", cards=cards)} | texts if cards else {}
    return {Path("weights", f"{name}.md"): f"{text}\n" for name, text in pages.items()}


def own_report(results_dir: Path, experiments: Sequence[str] = ()) -> Report:
    """Return the pages and figures of the user's rows of some experiments, or of all that were collected.

    Raises:
        ResultsError: One of them was not collected.
    """
    own = results_dir / LOCAL
    present = collected_experiments(own) + [records.EXPERIMENT] * records.paths(own)[0].exists()
    names = chosen(experiments, present, "collected results", own)
    return _joined([page_report(results_dir, name, local=True) for name in names])


def write(report: Report, out_dir: Path) -> list[Path]:
    """Write a report's files below a folder and return their paths; what is current already is left alone."""
    figures = {out_dir / figure.path: figure for figure in report.figures}
    for path in stale(report, out_dir):
        if path in figures:
            figures[path].write(out_dir)
        else:
            replace_file(path, report.texts[path.relative_to(out_dir)])
    return [*(out_dir / path for path in report.texts), *figures]


def stale(report: Report, out_dir: Path) -> list[Path]:
    """Return the paths of the files that are not there or show something else."""
    texts = {out_dir / path: text for path, text in report.texts.items()}
    found = [path for path, text in texts.items() if not (path.exists() and path.read_text(encoding="utf-8") == text)]
    return found + [out_dir / figure.path for figure in report.figures if not figure.is_current(out_dir)]


def _with_blocks(readme: Path, results_dir: Path, known: dict[str, Any]) -> str:
    """Return README's text with its generated blocks filled anew.

    Raises:
        ResultsError: The two markers of a block do not each stand there once, in order.
    """
    text = readme.read_text(encoding="utf-8")
    blocks = {name: claim_pages.readme_block(results_dir, f"readme_{name}", known) for name in ("answer", "results")}
    blocks |= {"speed": benchmark.speed_block(results_dir)}
    for name, block in blocks.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise ResultsError(f"{readme} must have the lines {begin} and {end} once each, in this order")
        text = f"{text[: text.index(begin)]}{begin}\n\n{block}\n\n{text[text.index(end) :]}"
    return text


def write_published(results_dir: Path) -> None:
    """Write the published pages and figures, and print their paths."""
    written = write(published_report(results_dir), results_dir)
    print("\n".join(f"wrote {os.path.normpath(path)}" for path in written))


def check_published(results_dir: Path) -> None:
    """Compare the published pages and figures with what the CSV files give.

    Raises:
        ResultsError: A file is out of date; the message names all that are.
    """
    if found := stale(published_report(results_dir), results_dir):
        names = ", ".join(os.path.relpath(path) for path in found)
        raise ResultsError(f"out of date: {names}; run `python experiments/publish.py --pages`")


def report_own(results_dir: Path, experiments: Sequence[str], scale: str | None) -> None:
    """Write the user's pages and figures into `results_dir`/local; with a scale, print the tables of it.

    Raises:
        ResultsError: One of the experiments was not collected, or has no run at the scale; without any, none has.
    """
    own = results_dir / LOCAL
    written = write(own_report(results_dir, experiments), own)
    print("\n".join(f"wrote {path}" for path in written) or f"nothing to report: {own} holds no collected results yet")
    if not scale:
        return
    scales = {name: set(read_results(own, name).runs["scale"]) for name in collected_experiments(own)}
    names = experiments or [name for name, there in scales.items() if scale in there]
    if not names:
        known = ", ".join(sorted(set().union(*scales.values()))) or "none"
        raise ResultsError(f"no run at scale {scale!r} was collected in {own}; scales there: {known}")
    for name in names:
        print(f"\n{page_of(name).terminal_report(results_dir, name, scale)}\n")
