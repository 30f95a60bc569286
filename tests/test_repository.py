"""The repository as a reader finds it: what the documents name exists, and what is shown is what the CSV files give."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import yaml

from btrnn.engine.baselines import INVERSE_PENALTIES
from btrnn.results.schema import LOGISTIC_REGRESSION, schema_of
from btrnn.results.store import collected_experiments, read_results

from .conftest import ROOT

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md")),
    *sorted((ROOT / "results").glob("**/README.md")),
    *sorted((ROOT / "docs").glob("**/*.md")),
]
TEXTS = "\n".join(path.read_text() for path in DOCUMENTS)


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z][a-z0-9-]+)", TEXTS))
    assert {"reproduce-ucf11", "test"} <= named
    assert named <= targets


def test_every_experiment_model_and_scale_that_is_named_exists():
    for group, values in re.findall(r"\b(experiment|model|scale|logger)=([\w,]+)", TEXTS):
        for value in values.split(","):
            assert (ROOT / "configs" / group / f"{value}.yaml").exists(), f"{group}={value}"
    assert set(re.findall(r"SCALE=(\w+)", TEXTS)) <= {path.stem for path in (ROOT / "configs" / "scale").iterdir()}


def test_every_file_that_is_named_exists():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"
    for path in re.findall(r"python ((?:experiments|scripts)/\w+\.py)", TEXTS):
        assert (ROOT / path).exists(), path


def test_readme_is_short_enough_to_be_read():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_conda_users_get_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "ffmpeg", "openjdk", "pip"]
    assert pip == {"pip": ["-r requirements.txt"]}


def test_every_requirement_is_pinned_and_has_its_reason():
    reasons = (ROOT / "docs" / "requirements.md").read_text().lower()
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    for line in requirements:
        assert re.match(r"[\w.-]+==[\w.]+( *;.*)?$", line), f"not pinned: {line}"
    assert not {"lightning==2.6.2", "lightning==2.6.3"} & set(requirements)
    direct = "\n".join(lines).split("# --- what these pull in")[0]
    for name in re.findall(r"^([\w.-]+)==", direct, re.MULTILINE):
        assert name.lower() in reasons, f"docs/requirements.md gives no reason for {name}"


def test_tables_figures_and_readme_are_what_the_csv_files_give():
    command = [sys.executable, "experiments/report.py", "--check"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_nothing_names_a_path_of_one_machine():
    files = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    for name in files:
        if (
            Path(name).suffix in {".csv", ".md", ".yaml", ".py", ".toml", ".txt", ".ipynb"}
            and name != "tests/test_repository.py"
        ):
            assert not re.search(r"(?<![\w.])/(?:root|home|work|tmp)/", (ROOT / name).read_text()), name


@pytest.mark.parametrize("target", ["help", ""])
def test_make_lists_its_targets(target):
    command = ["make", *([target] if target else [])]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "reproduce-ucf11" in outcome.stdout
    assert "train LSTM, TT-LSTM and BT-LSTM" in outcome.stdout


RESULTS = ROOT / "results"
STUDIES = [name for name in collected_experiments(RESULTS) if "_rates" in name or name == "ucf101_sensitivity"]
CHOSEN_BY = {  # the study that chose the rates of an experiment, for all its models that the study has
    "draw_mnist": "draw_mnist_rates",
    "draw_mnist_5k": "draw_rates_mnist_5k",
    "draw_glimpses_mnist_5k": "draw_rates_mnist_5k",
    "draw_attention_mnist_5k": "draw_attention_rates_mnist_5k",
    "ucf101_groups": "ucf101_groups_rates",
    "ucf101_rivals": "ucf101_rivals_rates_scaled",
    "ucf101_compressed": "ucf101_compressed_rates",
    "ucf101_features": "ucf101_features_rates_scaled",
    "ucf101_maps": "ucf101_maps_rates_scaled",
    "weizmann": "weizmann_rates",
    "captioning_flickr8k": "captioning_flickr8k_rates",
}


@cache
def searches(study: str) -> pd.DataFrame:
    """Return the models of a study, in each of their settings: the rate chosen, and the lowest and highest tried."""
    runs = read_results(RESULTS, study).runs.dropna(subset=["learning_rate"])  # baselines have none
    settings = ("scaling", "attention", "scaled", "start", "in_modes", "rank", "num_blocks", "order")
    known = ["model", *(name for name in settings if name in runs)]
    spans = runs.groupby(known, dropna=False)["learning_rate"].agg(["min", "max"]).reset_index()
    longest = runs[runs["epochs"] == runs.groupby(known, dropna=False)["epochs"].transform("max")]  # successive halving
    tried = longest.groupby([*known, "learning_rate"], dropna=False)[f"val/{schema_of(study).monitor}"]
    rates = tried.agg(["mean", "count"]).reset_index()
    most = rates.groupby(known, dropna=False)["count"].transform("max")  # rates with fewer seeds are not chosen
    rates["mean"] = rates["mean"].where(rates["count"] == most)
    found = rates.groupby(known, dropna=False)
    return spans.assign(chosen=rates.loc[found["mean"].idxmin(), "learning_rate"].to_numpy())


@pytest.mark.parametrize("experiment", collected_experiments(RESULTS))
def test_every_published_run_on_data_that_others_have_says_which_files_it_read(experiment: str) -> None:
    runs = read_results(RESULTS, experiment).runs
    drawn = runs["source"].str.startswith(("motions", "scenes"))
    assert drawn.all() or runs.loc[~drawn, ["data_digest", *schema_of(experiment).counted]].notna().all(axis=None)
    assert len(set(runs["data_digest"][~drawn] if not drawn.all() else ())) <= 1


@pytest.mark.parametrize("study", STUDIES)
def test_no_published_choice_of_a_rate_is_at_the_edge_of_what_was_tried(study: str) -> None:
    found = searches(study)
    assert len(found) > 0
    edge = (found["chosen"] <= found["min"]) | (found["chosen"] >= found["max"])
    assert not edge.any(), f"widen the grid of {found.loc[edge, 'model'].tolist()}"


def test_no_published_baseline_has_its_penalty_at_the_edge_of_what_was_tried() -> None:
    tables = [read_results(RESULTS, name).runs for name in collected_experiments(RESULTS)]
    baselines = [table[table["model"] == LOGISTIC_REGRESSION.name] for table in tables if "model" in table]
    chosen = {value for table in baselines if len(table) for value in table["inverse_penalty"]}
    assert len(chosen) > 1
    assert min(INVERSE_PENALTIES) < min(chosen) <= max(chosen) < max(INVERSE_PENALTIES)


@pytest.mark.parametrize("experiment", sorted({*CHOSEN_BY} & {*collected_experiments(RESULTS)}))
def test_published_runs_have_the_rate_that_was_chosen_for_their_model_and_shape(experiment: str) -> None:
    known = ["model", "start", "rank", "num_blocks", "order"]
    runs = read_results(RESULTS, experiment).runs.dropna(subset=["learning_rate"])  # baselines have none
    found = {
        rate: table.reindex(columns=[*known, rate]).fillna(0).groupby(known)[rate].agg(set)
        for rate, table in (("chosen", searches(CHOSEN_BY[experiment])), ("learning_rate", runs))
    }
    for model, rates in found["learning_rate"].items():
        assert rates == found["chosen"].get(model), f"{model} of {experiment}"
