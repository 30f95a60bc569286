"""A model and a data set that the package does not know go all the way from configuration to pages."""

from pathlib import Path

import pandas as pd
import pytest

from btrnn.engine import run
from btrnn.engine.baselines import fit_baseline
from btrnn.engine.overrides import checked_command
from btrnn.reports.publishing import collect
from btrnn.reports.writing import own_report, write
from btrnn.results.differences import model_differences
from btrnn.results.schema import model_of
from btrnn.results.store import LOCAL, read_results
from btrnn.results.summary import summarise

from .conftest import ROOT

CONFIGS = ROOT / "configs"
TOY = Path(__file__).resolve().parent / "toy" / "configs"
MODELS = ("lstm", "tt_lstm", "bottleneck_lstm")
EXPERIMENT = "ucf11_waves"


def words(results_dir: Path, *overrides: str) -> list[str]:
    """Return the command line of a run of the toy data."""
    common = [f"hydra.searchpath=[file://{TOY}]", "data=waves", "modes.input=[2,3,2,2]", "modes.hidden=[2,2,2,2]"]
    return [*common, f"results_dir={results_dir}", "logger=none", *overrides]


@pytest.fixture(scope="module")
def results_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of three models, two seeds each, collected."""
    results_dir = tmp_path_factory.mktemp("toy") / "results"
    for model in MODELS:
        for seed in (0, 1):
            line = words(results_dir, f"model={model}", f"seed={seed}", "scale=smoke", "task.learning_rate=0.02")
            command = checked_command(line, CONFIGS, "train")
            assert command.words == line
            run.train(command.config)
    collect(results_dir)
    return results_dir


def test_its_names_and_rates_come_from_the_configuration(results_dir: Path) -> None:
    config = checked_command(words(results_dir, "model=bottleneck_lstm"), CONFIGS, "train").config
    assert config.run_dir == f"{results_dir}/runs/{EXPERIMENT}/bottleneck_lstm_r2-paper-normalized-smoke/seed0"
    assert config.task.learning_rate == config.rates.smoke.any
    assert config.task.network.num_classes == 3


def test_every_model_has_its_rows(results_dir: Path) -> None:
    runs = read_results(results_dir / LOCAL, EXPERIMENT).runs
    assert runs["model"].value_counts().to_dict() == dict.fromkeys(MODELS, 2)
    toy = runs[runs["model"] == "bottleneck_lstm"].iloc[0]
    assert (toy["source"], toy["stand_in"], toy["rank"]) == ("waves", True, 2)
    assert toy["parameters_input"] == 2 * (24 + 4 * 16)
    assert toy["parameters_dense_input"] == 24 * 4 * 16
    assert runs["test/accuracy"].between(0, 1).all()


def test_the_classes_can_be_learnt(results_dir: Path) -> None:
    config = checked_command(words(results_dir, "model=bottleneck_lstm"), CONFIGS, "train").config
    assert fit_baseline(config)[0]["test/accuracy"] > 0.9


def test_it_stands_in_every_difference(results_dir: Path) -> None:
    results = read_results(results_dir / LOCAL, EXPERIMENT)
    found = model_differences(summarise(results.runs), results)
    assert set(zip(found["first_model"], found["second_model"], strict=True)) == {
        ("tt_lstm", "lstm"),
        ("bottleneck_lstm", "lstm"),
    }
    assert (found["n"] == 2).all()


def test_it_stands_in_every_table_and_figure(results_dir: Path) -> None:
    report = own_report(results_dir, [EXPERIMENT])
    label = model_of("bottleneck_lstm").label
    assert label == "bottleneck_lstm"
    (page,) = report.texts.values()
    tables = [table for table in page.split("\n\n") if table.lstrip().startswith("|") and "LSTM" in table]
    of_runs = [table for table in tables if "reported" not in table]  # not of what others have published
    assert of_runs
    for table in of_runs:
        assert label in table, table
    shown = [figure.data.to_csv() for figure in report.figures if isinstance(figure.data, pd.DataFrame)]
    assert [label in data for data in shown if "TT-LSTM" in data].count(True) > 0
    assert all(label in data for data in shown if "TT-LSTM" in data)
    written = write(report, results_dir / LOCAL)
    assert all(path.exists() for path in written)
    assert pd.read_csv(results_dir / LOCAL / f"{EXPERIMENT}.csv")["model"].isin(MODELS).all()
