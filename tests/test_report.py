"""The pages of Task 1 say what the tables give; what a page cannot tell stands on it."""

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile, rmtree
from types import ModuleType

import pandas as pd
import pytest

from btrnn.reports.caveats import caveats
from btrnn.reports.page import Page
from btrnn.reports.pages import page_of
from btrnn.reports.render import render
from btrnn.reports.view import view_of
from btrnn.results.store import collect, write_results
from btrnn.storage.files import ResultsError
from tests.run_folders import write_run, write_study

ROOT = Path(__file__).parent.parent
README = "# btrnn\n\nBefore.\n\n<!-- results:begin -->\nold\n<!-- results:end -->\n\nAfter.\n"
EXPERIMENT, RATE_CURVES = "ucf11_actions", "ucf11_rates_random_split_actions"
RATES = {"lstm": {1e-5: 0.9, 1e-4: 0.8, 1e-3: 0.6}, "bt_lstm": {1e-5: 0.3, 1e-4: 0.85, 1e-3: 0.85}}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"experiments_{name}", ROOT / "experiments" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def workspace(folder: Path) -> list[str]:
    """Make a README and a results folder with the paper's numbers; return the options that point there."""
    (folder / "results").mkdir()
    copyfile(ROOT / "results" / "paper.csv", folder / "results" / "paper.csv")
    (folder / "README.md").write_text(README)
    return ["--results-dir", str(folder / "results"), "--readme", str(folder / "README.md")]


def cells(markdown: str, first: str) -> list[str]:
    """Return the cells of the first table row whose first cell is `first`."""
    (line, *_) = [line for line in markdown.splitlines() if re.match(rf"\| {re.escape(first)} +\|", line)]
    return [cell.strip() for cell in line.strip("|").split("|")]


def collect_all(results_dir: Path, experiment: str = EXPERIMENT, *, own: bool = False) -> None:
    """Collect an experiment's run folders into the published tables, or into the user's own."""
    folder = results_dir / "local" if own else results_dir
    write_results(collect(results_dir, experiment, folder)[0], folder, experiment)


def page_text(results_dir: Path, experiment: str = EXPERIMENT, *, local: bool = False) -> str:
    """Return the one page of an experiment."""
    ((path, text),) = page_of(experiment).table_texts(results_dir, experiment, local=local).items()
    assert path == Path("tables", f"{experiment}.md")
    return text


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with a study of models (one in no table), a choice of rates, and rate curves."""
    folder = tmp_path_factory.mktemp("reported")
    workspace(folder)
    results_dir = folder / "results"
    list(write_study(results_dir, seeds=2, models=("lstm", "bt_lstm", "toy", "logistic_regression"), epochs=3))
    for model, accuracies in RATES.items():
        for rate, accuracy in accuracies.items():
            changes = {"learning_rate": rate, "val/loss": abs(rate - 1e-3)}
            for seed in range(2):
                change = changes | {"test/accuracy": accuracy + 0.01 * seed}
                write_run(results_dir, model, seed, experiment=RATE_CURVES, changes=change)
            untested = changes | {"test/accuracy": None}
            write_run(results_dir, model, 100, experiment="ucf11_rates_actions", changes=untested)
    for experiment in (EXPERIMENT, RATE_CURVES, "ucf11_rates_actions"):
        collect_all(results_dir, experiment)
    return results_dir


@pytest.mark.parametrize("experiment", [EXPERIMENT, RATE_CURVES, "ucf11_rates_actions"])
def test_pages_are_as_they_were(reported: Path, experiment: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{experiment}.md", page_text(reported, experiment))


def test_the_table_is_what_the_csv_gives(reported: Path) -> None:
    runs = pd.read_csv(reported / f"{EXPERIMENT}.csv")
    chosen = runs[(runs["model"] == "bt_lstm") & (runs["protocol"] == "paper") & (runs["scaling"] == "raw")]
    row = cells(page_text(reported).split("### All numbers")[1], "BT-LSTM, R = 4")
    assert row[1:5] == ["3,392", "17,388", "219.9", "0.853 [S]"]
    for place, column in ((5, "test/accuracy"), (6, "test/accuracy_last")):
        mean, sd = chosen[column].mean(), chosen[column].std()
        half = 12.706204736 * sd / 2**0.5  # Student's t at n = 2
        low, high = max(mean - half, 0), min(mean + half, 1)
        assert row[place] == f"{mean:.3f} ± {sd:.3f} (2) [{low:.3f}, {high:.3f}]"
    command = "`python experiments/train.py -m experiment=ucf11_actions model=bt_lstm seed=0,1`"
    assert row[7:] == ["other data", "0.990", "0.001", "4.4", command]


def test_a_model_in_no_table_of_models_stands_in_every_table_difference_and_figure(reported: Path) -> None:
    text, view = page_text(reported), view_of(reported, EXPERIMENT)
    assert len(re.findall(r"\| toy, R = 5, d = 3 +\|", text)) == 4 + 4  # panels, and settings of how soon
    assert text.count("| toy, R = 5, d = 3 - LSTM ") == 4
    for name in ("accuracy", "training_loss", "parameters"):
        (file,) = [file for file in page_of(EXPERIMENT).figures(view) if file.path.stem.endswith(name)]
        assert isinstance(file.data, pd.DataFrame)
        assert "toy" in set(file.data["model"])
    assert "toy, R = 5, d = 3" in page_of(EXPERIMENT).terminal_report(reported, EXPERIMENT, "study")


def test_models_that_were_not_run_show_their_counts(reported: Path) -> None:
    text = page_text(reported).split("### All numbers")[1]
    counts = ["722", "81,693", "222.1", "reported 0.784 [M]"]
    assert cells(text, "BT-LSTM, R = 1")[1:7] == [*counts, "not run", "not run"]
    assert cells(text, "BT-LSTM, R = 2")[1:3] == ["1,472", "40,069"]
    assert cells(text, "TT-LSTM")[1:6] == ["3,360", "17,554", "220", "reported 0.796 [M]", "not run"]
    assert cells(text, "LSTM")[1:5] == ["58,982,400", "1", "1", "0.697 [S]"]
    assert cells(text, "logistic regression on mean frames")[1:5] == ["-"] * 4


def test_a_page_opens_with_its_figure_and_ends_with_the_wide_table(reported: Path) -> None:
    for experiment in (EXPERIMENT, RATE_CURVES):
        parts = page_text(reported, experiment).split("\n\n")
        assert parts[2].startswith(f"![Actions (stand-in)](../figures/{experiment}")
        assert parts[-1].startswith("| model ")
        figures = page_of(experiment).figure_files(reported, experiment)
        linked = set(re.findall(r"\]\(\.\./(figures/\S+)\)", "\n".join(parts)))
        assert linked == {file.path.as_posix() for file in figures}


def test_every_table_has_a_heading_that_names_the_data_and_what_was_run(reported: Path) -> None:
    headings = [line for line in page_text(reported).splitlines() if line.startswith("#### ")]
    assert len(headings) == 4
    assert all(heading.startswith("#### Actions (stand-in): scale `study`, protocol") for heading in headings)
    assert all(heading.endswith("clips 550; 550 examples, 3 epochs, n = 2") for heading in headings[:2])


def test_one_seed_is_printed_without_interval(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    for model in ("lstm", "bt_lstm"):
        write_run(results_dir, model, 0, scale="default", epochs=2, changes={"test/accuracy": 0.5})
    collect_all(results_dir)
    text = page_text(results_dir)
    assert cells(text.split("### All numbers")[1], "BT-LSTM, R = 4")[5] == "0.500 (n = 1)"
    assert cells(text, "BT-LSTM, R = 4 - LSTM")[1:3] == ["+0.000", "1"]
    assert caveats(view_of(results_dir, EXPERIMENT))["single"]
    shown = page_of(EXPERIMENT).terminal_report(results_dir, EXPERIMENT, "default")
    assert shown.startswith("Actions (stand-in): scale default, protocol paper, scaling raw")
    assert "0.500 (n = 1)" in shown
    assert "81,693" in shown


def test_own_rows_stand_beside_the_published_ones_in_own_pages_alone(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    for seed in (0, 1):
        write_run(results_dir, "bt_lstm", seed, epochs=2)
    collect_all(results_dir)
    rmtree(results_dir / "runs")
    published = page_text(results_dir)
    write_run(results_dir, "bt_lstm", 0, epochs=2, changes={"finished": "2031-01-01T00:00:00"})
    collect_all(results_dir, own=True)
    assert page_text(results_dir) == published
    own, shown = (
        page_text(results_dir, local=True),
        page_of(EXPERIMENT).terminal_report(results_dir, EXPERIMENT, "study"),
    )
    for text in (own, shown):
        assert "BT-LSTM, R = 4 (yours)" in text
        assert re.search(r"BT-LSTM, R = 4  ", text)
    assert "(n = 1)" in cells(own.split("### All numbers")[1], "BT-LSTM, R = 4 (yours)")[5]
    assert "(2)" in cells(own.split("### All numbers")[1], "BT-LSTM, R = 4")[5]
    assert len(page_of(EXPERIMENT).figure_files(results_dir, EXPERIMENT, local=True)) >= 3


def test_real_data_are_named_and_compared_with_the_paper(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    write_run(results_dir, "bt_lstm", 0, experiment="ucf11", epochs=2, changes={"test/accuracy": 0.8})
    collect_all(results_dir, "ucf11")
    text = page_text(results_dir, "ucf11")
    assert cells(text.split("### All numbers")[1], "BT-LSTM, R = 4")[7] == "-0.053"
    assert "#### UCF11: scale `study`, protocol `paper`" in text
    assert "stand-in" not in text


def test_a_scale_that_was_not_run_is_named(reported: Path) -> None:
    with pytest.raises(ResultsError, match=r"no finished run of 'ucf11_actions' at scale 'smoke'.*scales there: study"):
        page_of(EXPERIMENT).terminal_report(reported, EXPERIMENT, "smoke")
    with pytest.raises(ResultsError, match=r"no finished run of 'ucf11'.*scales there: none"):
        page_of("ucf11").terminal_report(reported, "ucf11", "study")


def test_each_experiment_has_the_page_of_its_task_or_study() -> None:
    names = ("ucf11", "ucf11_rates", "ucf11_rates_random_split", "ucf11_sensitivity_actions", "draw_mnist_5k")
    found = [page_of(name) for name in (*names, "captioning_ranks_scenes")]
    assert all(isinstance(page, Page) for page in found)
    templates = ["video", "video", "rate_curves", "sensitivity", "generation", "captioning"]
    assert [page.template for page in found] == templates
    with pytest.raises(ResultsError, match="does not begin with that of a task"):
        page_of("speech")


# ---- what a table cannot tell


def test_rates_at_the_edge_of_the_grid_the_ceiling_and_shapes_that_share_a_rate_are_found(tmp_path: Path) -> None:
    for rate in (1e-4, 1e-3):
        change = {"learning_rate": rate, "test/accuracy": None}
        write_run(tmp_path, "bt_lstm", 100, experiment="ucf11_rates_actions", changes=change)
    collect_all(tmp_path, "ucf11_rates_actions")
    for rank, accuracy in ((4, 0.995), (2, 0.5)):
        for seed in (0, 1):
            write_run(tmp_path, "bt_lstm", seed, changes={"rank": rank, "test/accuracy": accuracy})
    collect_all(tmp_path)
    found = caveats(view_of(tmp_path, EXPERIMENT))
    assert found["stand_in"]
    assert found["ceiling"] == ["BT-LSTM, R = 4"]
    assert (found["study"], found["edges"]) == ("ucf11_rates_actions", ["BT-LSTM, raw 0.001"])
    assert found["one_rate"] == ["BT-LSTM (0.001)"]
    assert (found["single"], found["yours"]) == (False, False)


def test_rates_inside_their_grid_need_no_caveat(tmp_path: Path) -> None:
    for rate in (1e-4, 1e-3, 1e-2):
        change = {"learning_rate": rate, "test/accuracy": None}
        write_run(tmp_path, "bt_lstm", 100, experiment="ucf11_rates_actions", changes=change)
    collect_all(tmp_path, "ucf11_rates_actions")
    write_run(tmp_path, "bt_lstm", 0, changes={"test/accuracy": 0.5})
    collect_all(tmp_path)
    found = caveats(view_of(tmp_path, EXPERIMENT))
    assert (found["edges"], found["ceiling"], found["one_rate"]) == ([], [], [])


def test_rates_that_tie_are_named(reported: Path) -> None:
    page = page_of(RATE_CURVES)
    models = {model["label"]: model for model in page.values(view_of(reported, RATE_CURVES))["models"]}
    assert models["BT-LSTM"]["best_rates"] == ["0.0001", "0.001"]
    assert models["LSTM"] == {
        **{"label": "LSTM", "best": "0.905", "worst": "0.605", "best_rates": ["1e-05"], "worst_rate": "0.001"},
        **{"edge": True, "partial": False, "paper": "0.805"},
    }
    (row,) = page.differences(view_of(reported, RATE_CURVES)).to_dict("records")
    assert (row["n"], row["mean"]) == (2, pytest.approx(-0.05))


def outcome(**changes: object) -> dict[str, object]:
    row = {"first": "A", "second": "B", "settings": 1, "n": 3, "better": 0, "worse": 0, "same": 0, "one_seed": 0}
    return row | {"text": "+0.1, 95 % CI [+0.05, +0.15]", "mean": 0.1, "compression": 2.0} | changes


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"better": 1}, "more accurate"),
        ({"worse": 1}, "less accurate"),
        ({"same": 1}, "no significant difference"),
        ({"one_seed": 1, "n": 1}, "one seed, no verdict"),
    ],
)
def test_a_verdict_claims_no_more_than_the_interval(changes: dict[str, object], verdict: str) -> None:
    text = render("video_sentence", outcomes=[outcome(**changes)], data="UCF11", first={"scale": "paper"})
    assert f"A against B: {verdict} (" in " ".join(text.split())
