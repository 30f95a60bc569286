"""The pages of Task 1 say what the tables give; what a page cannot tell stands on it."""

import importlib.util
import math
import re
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from shutil import copyfile, rmtree
from types import ModuleType

import pandas as pd
import pytest

from btrnn.reports import publishing
from btrnn.reports.page import Page, caveats
from btrnn.reports.pages import page_of
from btrnn.reports.rates import RATES
from btrnn.reports.render import render
from btrnn.reports.view import view_of
from btrnn.reports.writing import report_own
from btrnn.results.store import collect, collected_experiments, read_results, write_results
from btrnn.storage.files import ResultsError
from tests.run_folders import write_run, write_study

ROOT = Path(__file__).parent.parent
_BLOCKS = "".join(f"<!-- {name}:begin -->\nold\n<!-- {name}:end -->\n\n" for name in ("answer", "results", "speed"))
README = f"# btrnn\n\nBefore.\n\n{_BLOCKS}After.\n"
EXPERIMENT, RATE_CURVES = "ucf11_motions", "ucf11_rates_random_split_motions"
ACCURACIES = {"lstm": {1e-5: 0.9, 1e-4: 0.8, 1e-3: 0.6}, "bt_lstm": {1e-5: 0.3, 1e-4: 0.85, 1e-3: 0.85}}


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


def workspace_paper(results_dir: Path) -> None:
    """Put the paper's numbers into a results folder."""
    copyfile(ROOT / "results" / "paper.csv", results_dir / "paper.csv")


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
    ((path, text),) = page_of(experiment).report(results_dir, experiment, local=local).texts.items()
    assert path == Path("tables", f"{experiment}.md")
    return text


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with a study of models (one in no table), a choice of rates, and rate curves."""
    folder = tmp_path_factory.mktemp("reported")
    workspace(folder)
    results_dir = folder / "results"
    list(write_study(results_dir, seeds=2, models=("lstm", "bt_lstm", "toy", "logistic_regression"), epochs=3))
    for model, accuracies in ACCURACIES.items():
        for rate, accuracy in accuracies.items():
            changes = {"learning_rate": rate, "val/loss": abs(rate - 1e-3)}
            for seed in range(2):
                later = 1 - seed if model == "lstm" else seed  # so that their differences vary
                change = changes | {"test/accuracy": accuracy + 0.01 * later}
                write_run(results_dir, model, seed, experiment=RATE_CURVES, changes=change)
            untested = changes | {"test/accuracy": None}
            write_run(results_dir, model, 100, experiment="ucf11_rates_motions", changes=untested)
    for experiment in (EXPERIMENT, RATE_CURVES, "ucf11_rates_motions"):
        collect_all(results_dir, experiment)
    return results_dir


@pytest.mark.parametrize("experiment", [EXPERIMENT, "ucf11_rates_motions"])
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
    command = "`python experiments/train.py -m experiment=ucf11_motions model=bt_lstm seed=0,1`"
    assert row[7:] == ["0.990", "0.001", "4.4", command]


def test_a_model_in_no_table_of_models_stands_in_every_table_difference_and_figure(reported: Path) -> None:
    text, view = page_text(reported), view_of(reported, EXPERIMENT)
    assert len(re.findall(r"\| toy, R = 5, d = 3 +\|", text)) == 4  # panels
    assert text.count("| toy, R = 5, d = 3 - LSTM ") == 4 + 2  # at the last epoch, which two of the protocols test
    for name in ("accuracy", "training_loss", "parameters"):
        (file,) = [file for file in page_of(EXPERIMENT).figures(view) if file.path.stem.endswith(name)]
        assert isinstance(file.data, pd.DataFrame)
        assert "toy" in set(file.data["model"])
    assert "toy, R = 5, d = 3" in page_of(EXPERIMENT).terminal_report(reported, EXPERIMENT, "study")


def test_a_column_without_a_value_is_left_out(reported: Path) -> None:
    view = view_of(reported, EXPERIMENT)
    grouped = view.summary[view.summary["protocol"] == "grouped"]
    assert "last epoch" in page_of(EXPERIMENT).table(view.summary)[0]
    assert "last epoch" not in page_of(EXPERIMENT).table(grouped)[0]  # the test split is met once


def test_a_page_opens_with_its_figure_and_ends_with_the_wide_table(reported: Path) -> None:
    for experiment in (EXPERIMENT, RATE_CURVES):
        parts = page_text(reported, experiment).split("\n\n")
        assert parts[2].startswith(f"![Motions (stand-in)](../figures/{experiment}")
        assert parts[-1].startswith("| model ")
        figures = page_of(experiment).report(reported, experiment).figures
        linked = set(re.findall(r"\]\(\.\./(figures/\S+)\)", "\n".join(parts)))
        assert linked == {file.path.as_posix() for file in figures}


def test_every_table_has_a_heading_that_names_the_data_and_what_was_run(reported: Path) -> None:
    headings = [line for line in page_text(reported).splitlines() if line.startswith("#### ")]
    assert len(headings) == 4
    assert all(heading.startswith("#### Motions (stand-in): scale `study`, protocol") for heading in headings)
    assert all(heading.endswith("clips 550; 550 examples, 3 epochs, n = 2") for heading in headings[:2])


def test_one_seed_is_printed_without_interval(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    for model in ("lstm", "bt_lstm"):
        write_run(results_dir, model, 0, scale="default", epochs=2, changes={"test/accuracy": 0.5})
    collect_all(results_dir)
    text = page_text(results_dir)
    assert cells(text.split("### All numbers")[1], "BT-LSTM, R = 4")[5] == "0.500 (n = 1)"
    assert cells(text, "BT-LSTM, R = 4 - LSTM")[1:4] == ["+0.000", "1", "one seed, no verdict"]
    assert "- Some rows rest on one seed (n = 1)" in text
    shown = page_of(EXPERIMENT).terminal_report(results_dir, EXPERIMENT, "default")
    assert shown.startswith("Motions (stand-in): scale default, protocol paper, scaling raw")
    assert "command" not in shown
    assert "0.500 (n = 1)" in shown
    assert "17,388" in shown


def test_the_tables_of_a_scale_are_printed_of_what_is_named_or_of_all_that_have_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    others = ("ucf11_rates_motions", "weizmann")
    for experiment, scale in ((EXPERIMENT, "default"), (others[0], "default"), (others[1], "smoke")):
        write_run(results_dir, "bt_lstm", 0, experiment=experiment, scale=scale, epochs=2)
    publishing.collect(results_dir)
    report_own(results_dir, [EXPERIMENT], "default")
    named = capsys.readouterr().out
    assert named.count("scale default") == 1
    report_own(results_dir, [], "default")
    assert capsys.readouterr().out.count("scale default") == 2
    report_own(results_dir, [], None)
    assert "scale default" not in capsys.readouterr().out
    with pytest.raises(ResultsError, match=r"no run at scale 'paper' .*: default, smoke"):
        report_own(results_dir, [], "paper")


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
    assert len(page_of(EXPERIMENT).report(results_dir, EXPERIMENT, local=True).figures) >= 3


def test_real_data_are_named_and_compared_with_the_paper(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    write_run(results_dir, "bt_lstm", 0, experiment="ucf11", epochs=2, changes={"test/accuracy": 0.8})
    write_run(results_dir, "lstm", 0, experiment="ucf11", epochs=2, changes={"test/accuracy": 0.7})
    collect_all(results_dir, "ucf11")
    text = page_text(results_dir, "ucf11")
    assert cells(text.split("### All numbers")[1], "BT-LSTM, R = 4")[4:6] == ["0.853 [S]", "0.800 (n = 1)"]
    assert cells(text, "BT-LSTM, R = 4 - LSTM")[1:] == [
        *("+0.100", "1", "one seed, no verdict", "17,388", "219.9", "+0.156"),
    ]
    assert "The data are" not in text
    assert "#### UCF11: scale `study`, protocol `paper`" in text
    assert "stand-in" not in text


def test_a_scale_that_was_not_run_is_named(reported: Path) -> None:
    with pytest.raises(ResultsError, match=r"no finished run of 'ucf11_motions' at scale 'smoke'.*scales there: study"):
        page_of(EXPERIMENT).terminal_report(reported, EXPERIMENT, "smoke")
    with pytest.raises(ResultsError, match=r"no finished run of 'ucf11'.*scales there: none"):
        page_of("ucf11").terminal_report(reported, "ucf11", "study")


def test_each_experiment_has_the_page_of_its_task_or_study() -> None:
    names = ("ucf11", "ucf11_motions", "ucf101_rates_raw", "draw_rates_mnist_5k", "ucf101_sensitivity", "draw_mnist_5k")
    found = [page_of(name) for name in (*names, "captioning_ranks_scenes")]
    assert all(isinstance(page, Page) for page in found)
    templates = ["video", "video", "rates", "rates", "sensitivity", "generation", "captioning"]
    assert [page.template for page in found] == templates
    with pytest.raises(ResultsError, match="does not begin with that of a task"):
        page_of("speech")


# ---- what a table cannot tell


def test_the_ceiling_the_study_of_rates_and_shapes_that_share_one_are_found(tmp_path: Path) -> None:
    for rate in (1e-4, 1e-3):
        change = {"learning_rate": rate, "test/accuracy": None}
        write_run(tmp_path, "bt_lstm", 100, experiment="ucf11_rates_motions", changes=change)
    workspace_paper(tmp_path)
    for rank, accuracy in ((4, 0.995), (2, 0.5)):
        for seed in (0, 1):
            write_run(tmp_path, "bt_lstm", seed, changes={"rank": rank, "test/accuracy": accuracy})
    collect_all(tmp_path)
    assert caveats(view_of(tmp_path, EXPERIMENT))["study"] == ""
    collect_all(tmp_path, "ucf11_rates_motions")
    found = caveats(view_of(tmp_path, EXPERIMENT))
    text = page_text(tmp_path)
    assert "**The data are Motions (stand-in), not UCF11.** " in text
    assert "shown for orientation; no claim of the paper is judged by these rows." in text
    assert found["ceiling"] == ["BT-LSTM, R = 4"]
    assert found["study"] == "ucf11_rates_motions"
    assert found["one_rate"] == ["BT-LSTM (0.001)"]
    assert "One learning rate for all shapes of a model: BT-LSTM (0.001)." in text
    assert "(n = 1)" not in text
    assert "yours" not in text


def test_runs_at_the_papers_rate_name_no_search(tmp_path: Path) -> None:
    workspace_paper(tmp_path)
    for experiment, rate in ((EXPERIMENT, 1e-4), ("ucf11_rates_motions", 1e-3)):
        for model in ("lstm", "bt_lstm"):
            write_run(tmp_path, model, 0, experiment=experiment, changes={"learning_rate": rate})
        collect_all(tmp_path, experiment)
    found = caveats(view_of(tmp_path, EXPERIMENT))
    assert (found["study"], found["fixed_rate"]) == ("", "0.0001")
    write_run(tmp_path, "lstm", 0, changes={"learning_rate": 1e-3})
    collect_all(tmp_path)
    found = caveats(view_of(tmp_path, EXPERIMENT))
    assert (found["study"], found["fixed_rate"]) == ("ucf11_rates_motions", "")


def test_models_begun_with_a_trained_one_are_compared_with_themselves(tmp_path: Path) -> None:
    workspace_paper(tmp_path)
    for start, rate, accuracy in (("lstm", 3e-3, 0.4), ("", 1e-3, 0.5)):
        for seed in range(3):
            changes = {"start": start, "learning_rate": rate, "test/accuracy": accuracy + 0.01 * seed}
            changes["test/accuracy"] += 0.001 * (seed - 1) * bool(start)  # differences must vary
            write_run(tmp_path, "bt_lstm", seed, changes=changes | {"start_error": 0.9 if start else None})
    collect_all(tmp_path)
    text = page_text(tmp_path)
    sentence = next(line for line in text.splitlines() if line.startswith("Test accuracy on"))
    assert "BT-LSTM, R = 4 (begun with the trained LSTM) minus BT-LSTM, R = 4 -0.100 [-0.102, -0.098]" in sentence
    plain, begun = text.split("#### ")[1:]
    assert "error of W at the start" not in plain
    assert "0.900 ± 0.000 (3)" in begun


def test_own_and_published_runs_are_never_on_one_line(tmp_path: Path) -> None:
    workspace_paper(tmp_path)
    models = ("lstm", "bt_lstm", "bt_lstm", "logistic_regression")
    for own in (False, True):
        for model, rank in zip(models, (None, 4, 2, None), strict=True):
            changes = {"rank": rank, "parameters_input": 848 * (rank or 0), "finished": f"2026-01-0{1 + own}T00:00:00Z"}
            write_run(tmp_path, model, 0, changes=changes)
        collect_all(tmp_path, own=own)
        rmtree(tmp_path / "runs")
    figures = page_of(EXPERIMENT).report(tmp_path, EXPERIMENT, local=True).figures
    (file,) = [figure for figure in figures if figure.path.name == f"{EXPERIMENT}_parameters.png"]
    table = file.data[file.data["panel"] == "W"]
    both = {f"{label}{whose}" for whose in ("", " (yours)") for label in ("LSTM", "BT-LSTM, R = 2, 4")}
    assert both < set(table["label"])
    assert table.loc[table["model"] == "bt_lstm", "note"].tolist() == ["4", "4", "2", "2"]
    assert set(table.loc[table["model"] != "bt_lstm", "note"]) == {""}


# ---- learning rates


def test_the_rate_with_the_lowest_validation_loss_is_chosen_and_edges_and_ties_are_noted(tmp_path: Path) -> None:
    losses = {"lstm": (2.0, 1.5, 1.9), "bt_lstm": (1.5, 1.6, 1.5)}
    workspace_paper(tmp_path)
    for model, values in losses.items():
        for rate, loss in zip((1e-4, 1e-3, 3e-3), values, strict=True):
            changes = {"learning_rate": rate, "val/loss": loss, "test/accuracy": None}
            write_run(tmp_path, model, 0, experiment="ucf11_rates_motions", changes=changes)
    collect_all(tmp_path, "ucf11_rates_motions")
    view = view_of(tmp_path, "ucf11_rates_motions")
    rows = RATES.rows(view).set_index(["model", "learning_rate"])
    assert rows.index[rows["best"]].tolist() == [("lstm", 1e-3), ("bt_lstm", 1e-4)]
    assert rows["chosen"].to_dict() == dict.fromkeys(rows.index, "") | {
        ("lstm", 1e-3): "yes",
        ("bt_lstm", 1e-4): "yes, at the grid's edge",
        ("bt_lstm", 3e-3): "as low, at the grid's edge",
    }
    models = {model["label"]: model for model in RATES.values(view)["models"]}
    assert (models["BT-LSTM"]["ties"], models["BT-LSTM"]["edge"], models["BT-LSTM"]["best"]) == (1, True, "1.500")
    assert (models["LSTM"]["ties"], models["LSTM"]["edge"], models["LSTM"]["rate"]) == (0, False, "0.001")
    assert RATES.differences(view) == []  # no run met the test split


def test_rates_with_fewer_seeds_are_not_chosen(tmp_path: Path) -> None:
    workspace_paper(tmp_path)
    for rate, seeds, loss in ((1e-4, 2, 1.0), (1e-3, 1, 0.5)):
        for seed in range(seeds):
            changes = {"learning_rate": rate, "val/loss": loss}
            write_run(tmp_path, "bt_lstm", seed, experiment=RATE_CURVES, changes=changes)
    collect_all(tmp_path, RATE_CURVES)
    rows = RATES.rows(view_of(tmp_path, RATE_CURVES))
    assert rows.loc[rows["best"], "learning_rate"].tolist() == [1e-4]


def test_the_longest_runs_of_a_model_choose_its_rate(tmp_path: Path) -> None:
    """Successive halving: the loss after two epochs only says which rates are worth ten."""
    losses = {("bt_lstm", 2): (1.0, 0.8, 0.9), ("bt_lstm", 10): (None, 0.6, 0.5), ("lstm", 2): (0.7, 0.65, 0.9)}
    workspace_paper(tmp_path)
    for (model, epochs), values in losses.items():
        for rate, loss in zip((1e-4, 1e-3, 3e-3), values, strict=True):
            for seed in range(3 - 2 * (epochs == 10)) if loss else ():
                changes = {"learning_rate": rate, "val/loss": loss, "epochs": epochs, "test/accuracy": None}
                write_run(tmp_path, model, seed, experiment="ucf11_rates_motions", changes=changes)
    collect_all(tmp_path, "ucf11_rates_motions")
    view = view_of(tmp_path, "ucf11_rates_motions")
    rows = RATES.rows(view).query("best")
    assert list(zip(rows["model"], rows["epochs"], rows["learning_rate"], strict=True)) == [
        ("lstm", 2, 1e-3),
        ("bt_lstm", 10, 3e-3),
    ]
    wanted = ("label", "stage", "best", "lowest", "highest")
    assert [tuple(model[name] for name in wanted) for model in RATES.values(view)["models"]] == [
        ("LSTM", "2", "0.650", "0.650", "0.900"),
        ("BT-LSTM", "10", "0.500", "0.500", "0.600"),
    ]
    assert set(RATES.figures(view)[0].data["panel"]) == {"2 epochs", "10 epochs"}


def test_a_model_with_fewer_seeds_than_another_has_a_choice_too(tmp_path: Path) -> None:
    workspace_paper(tmp_path)
    for model, seeds in (("bt_lstm", 2), ("lstm", 1)):
        for seed, (rate, loss) in product(range(seeds), ((1e-4, 1.0), (1e-3, 0.5))):
            changes = {"learning_rate": rate, "val/loss": loss}
            write_run(tmp_path, model, seed, experiment=RATE_CURVES, changes=changes)
    collect_all(tmp_path, RATE_CURVES)
    models = RATES.values(view_of(tmp_path, RATE_CURVES))["models"]
    assert [(model["label"], model["rate"]) for model in models] == [("LSTM", "0.001"), ("BT-LSTM", "0.001")]


def test_a_curve_is_of_the_seeds_that_all_its_rates_have(tmp_path: Path) -> None:
    workspace_paper(tmp_path)
    for rate, seeds in ((1e-4, 2), (1e-3, 4)):
        for seed in range(seeds):
            changes = {"learning_rate": rate, "val/loss": 1.0, "test/accuracy": 0.5 + 0.1 * seed}
            write_run(tmp_path, "bt_lstm", seed, experiment=RATE_CURVES, changes=changes)
    write_run(tmp_path, "lstm", 0, experiment=RATE_CURVES, changes={"learning_rate": 1e-4, "test/accuracy": 0.4})
    write_run(tmp_path, "lstm", 1, experiment=RATE_CURVES, changes={"learning_rate": 1e-3, "test/accuracy": 0.6})
    collect_all(tmp_path, RATE_CURVES)
    view = view_of(tmp_path, RATE_CURVES)
    (figure,) = RATES.figures(view)
    assert isinstance(figure.data, pd.DataFrame)
    means = figure.data.set_index(["model", "x"])["mean"].to_dict()
    assert means == pytest.approx(
        {("bt_lstm", 1e-4): 0.55, ("bt_lstm", 1e-3): 0.55, ("lstm", 1e-4): 0.4, ("lstm", 1e-3): 0.6}
    )
    assert {row["n"] for row in RATES.rows(view).to_dict("records")} == {1, 2, 4}, "the table has all"


def test_simple_baselines_stand_beside_the_rates_without_a_choice(tmp_path: Path) -> None:
    workspace_paper(tmp_path)
    for rate, loss in ((1e-4, 0.9), (1e-3, 0.7), (1e-2, 0.8)):
        for model in ("lstm", "bt_lstm"):
            write_run(tmp_path, model, 0, experiment=RATE_CURVES, changes={"learning_rate": rate, "val/loss": loss})
    write_run(tmp_path, "logistic_regression", 0, experiment=RATE_CURVES, changes={"val/loss": 0.1})
    collect_all(tmp_path, RATE_CURVES)
    view = view_of(tmp_path, RATE_CURVES)
    (baseline,) = RATES.rows(view).query("model == 'logistic_regression'").to_dict("records")
    assert (baseline["best"], baseline["edge"], baseline["chosen"], baseline["stage"]) == (False, False, "", "")
    assert {model["label"] for model in RATES.values(view)["models"]} == {"LSTM", "BT-LSTM"}
    assert RATES.values(view)["stages"] == [6]
    assert not RATES.values(view)["few"]
    (row,) = RATES.differences(view)
    assert (row["first_model"], row["second"]) == ("bt_lstm", "LSTM (learning rate 0.001)")
    (figure,) = RATES.figures(view)
    (line,) = figure.data[figure.data["model"] == "logistic_regression"].to_dict("records")
    assert math.isnan(line["x"]), "a horizontal line"
    (text,) = RATES.report(tmp_path, RATE_CURVES).texts.values()
    assert len(re.findall(r"^\| logistic regression on mean frames +\| - +\|", text, flags=re.MULTILINE)) == 1


def test_runs_in_another_precision_alone_make_a_page(tmp_path: Path) -> None:
    workspace_paper(tmp_path)
    write_run(tmp_path, "bt_lstm", 0, changes={"precision": "bf16-mixed"})
    collect_all(tmp_path)
    report = page_of(EXPERIMENT).report(tmp_path, EXPERIMENT)
    assert f"{EXPERIMENT}_parameters.png" not in {file.path.name for file in report.figures}


def test_models_are_compared_each_at_its_chosen_rate(reported: Path) -> None:
    view = view_of(reported, RATE_CURVES)
    models = {model["label"]: model for model in RATES.values(view)["models"]}
    assert models["LSTM"] == {
        **{"label": "LSTM", "rate": "0.001", "edge": True, "best": "0.605", "lowest": "0.605", "highest": "0.905"},
        **{"paper": "0.805", "ties": 0, "stage": "", "n": 2, "paper_n": 2, "fit": "0.990"},
    }
    (row,) = RATES.differences(view)
    assert (row["n"], row["mean"], row["verdict"]) == (2, pytest.approx(0.25), "better")
    (file,) = RATES.figures(view)
    assert file.path == Path("figures", f"{RATE_CURVES}.png")
    assert set(file.data["x"]) == {1e-5, 1e-4, 1e-3}


# ---- splits that overlap


@pytest.mark.parametrize("experiment", collected_experiments(ROOT / "results"))
def test_every_page_says_so_where_the_seed_or_the_fold_draws_the_split(experiment: str) -> None:
    text = (ROOT / "results" / "tables" / f"{experiment}.md").read_text()
    runs = read_results(ROOT / "results", experiment).runs
    folds = "protocol" in runs and (runs["protocol"] == "group_folds").any()
    seeds = "protocol" in runs and (runs["protocol"] != "group_folds").any()
    assert ("\n- Folds share most of their training clips" in text) == folds
    assert ("plits that the seed draws have clips in common" in text) == seeds
    assert text.count("(Nadeau and Bengio, Machine Learning 52, 2003)") == (folds or seeds)


def test_a_page_names_the_verdicts_that_a_correction_does_not_leave(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    gained = {"tt_lstm": [0.10, 0.11, 0.12], "bt_lstm": [0.10, 0.14, 0.18]}
    for model, seed in product(("lstm", *gained), range(3)):
        accuracy = 0.5 + (gained[model][seed] if model in gained else 0.0)
        changes = {"test/accuracy": accuracy, "num_train": 440, "num_test": 220}
        write_run(results_dir, model, seed, scale="default", epochs=2, changes=changes)
    collect_all(results_dir)
    rows = {row["first_model"]: row for row in page_of(EXPERIMENT).differences(view_of(results_dir, EXPERIMENT))}
    assert {model: row["verdict"] for model, row in rows.items()} == {"tt_lstm": "better", "bt_lstm": "better"}
    assert [rows[model]["overlap_verdict"] for model in gained] == ["better", "no significant difference"]
    said = "below it leaves 1 of 2, not that of BT-LSTM, R = 4 - LSTM.\n"
    assert said in page_text(results_dir)


def test_rivals_are_a_family_of_their_own_and_change_no_verdict_on_the_papers_models(tmp_path: Path) -> None:
    results_dir = tmp_path / "results"

    def judged() -> dict[tuple[str, str], tuple[str, float]]:
        collect_all(results_dir)
        rows = page_of(EXPERIMENT).differences(view_of(results_dir, EXPERIMENT))
        return {(row["first_model"], row["second_model"]): (row["verdict"], row["p_different"]) for row in rows}

    for model, seed in product(("lstm", "tt_lstm", "bt_lstm"), range(3)):
        write_run(results_dir, model, seed, scale="default", epochs=2)
    before = judged()
    assert "a family of their own" not in page_text(results_dir)
    for model, seed in product(("gru", "low_rank_lstm"), range(3)):
        write_run(results_dir, model, seed, scale="default", epochs=2, changes={"model_label": model})
    after = judged()
    assert {pair: after[pair] for pair in before} == before
    assert set(after) - set(before) == {
        (rival, reference) for rival in ("gru", "low_rank_lstm") for reference in ("lstm", "bt_lstm")
    }
    assert "a family of their own" in page_text(results_dir)


# ---- sentences


def row(**changes: object) -> dict[str, object]:
    values = {"first": "A", "second": "B", "n": 3, "text": "+0.1 [+0.05, +0.15]", "place": "", "compression": 2.0}
    return values | {"compression_total": 1.0, "verdict": "better"} | changes


@pytest.mark.parametrize("verdict", ["better", "worse", "no significant difference", "one seed, no verdict"])
def test_a_sentence_says_of_few_differences_what_each_is(verdict: str) -> None:
    text = " ".join(render("compared", rows=[row(verdict=verdict)]).split())
    assert text == f"{verdict.capitalize()}: A minus B +0.1 [+0.05, +0.15], n = 3."


def test_a_sentence_counts_many_differences_and_names_the_smallest_that_is_not_worse() -> None:
    rows = [row(first=name, verdict="worse", compression=9.0) for name in "CDE"]
    rows[0] |= {"verdict": "not significant after Holm's correction", "compression": 10.0}
    rows += [row(first="F", compression=3.0, compression_total=2.0), row(first="a baseline", compression=math.nan)]
    rows += [row(first="G", verdict="no significant difference", compression=4.0)]
    text = " ".join(render("compared", rows=rows).split())
    assert "Worse in 2 of 6 comparisons with B." in text
    assert "Not significant after Holm's correction in 1 of 6" in text
    assert "G has the smallest W: +0.1 [+0.05, +0.15], n = 3; F has the fewest" in text
    rows[-3] |= {"compression_total": 0.5}
    assert "G has the smallest W and the fewest" in " ".join(render("compared", rows=rows).split())
    assert "smallest" not in render("compared", rows=[row(verdict="one seed, no verdict")] * 5)
    assert "smallest" not in render("compared", rows=[row(place="scaling raw")] * 5)
