"""Published rows that are run again: which are drawn, by which words one is made, and how it compares."""

import json
from pathlib import Path

import pandas as pd
import pytest

from btrnn.engine.config import ConfigError
from btrnn.engine.sweeps import words_of_run
from btrnn.reports.publishing import publish
from btrnn.results import repeated
from btrnn.results.store import collect, write_results
from btrnn.storage.files import ResultsError

from .conftest import ROOT
from .processes import run_script

CONFIGS = ROOT / "configs"
RUN_ALONE = ROOT / "experiments" / "repeat.py"


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return repeated.candidates(ROOT / "results")


def test_what_may_be_drawn_is_real_and_has_a_spread(published):
    assert not published["stand_in"].any()
    assert (published["start"] == "").all()
    assert (published["n"] > 1).all()
    assert published[["sd", "value"]].notna().all(axis=None)
    chosen_on = published.loc[published["experiment"] == "captioning_flickr8k_rates", "metric"]
    assert set(chosen_on) == {"val/loss"}, "runs that choose a rate have not seen the test split"
    assert set(published.loc[published["experiment"] == "captioning_flickr8k", "metric"]) == {"test/cider"}


def test_a_draw_follows_from_its_seed_and_repeats_no_row(published):
    first, same, other = (
        [(row["experiment"], row["name"], row["seed"]) for row in repeated.draw(published, 40, seed)]
        for seed in (0, 0, 1)
    )
    assert first == same != other
    assert len(set(first)) == 40
    for count in (len(published) + 1, 0, -1):
        with pytest.raises(ResultsError, match="ask for 1 to"):
            repeated.draw(published, count, 0)


@pytest.mark.parametrize(
    "experiment", ["ucf101_groups", "ucf101_sensitivity", "ucf101_rivals_rates_scaled", "draw_mnist_rates"]
)
def test_a_published_command_still_makes_each_of_its_runs(published, experiment):
    """Whatever the command sweeps over, by itself or by the experiment's file."""
    for row in repeated.draw(published[published["experiment"] == experiment], 2, 0):
        words = words_of_run(row["command"], row["name"], row["seed"], CONFIGS)
        assert f"experiment={experiment}" in words
        assert not [word for word in words if word.startswith(("hydra", "results_dir", "-"))]


def test_a_run_that_no_command_makes_any_more_is_named():
    command = "python experiments/train.py experiment=weizmann model=tt_lstm data.fold=0 scale=smoke"
    with pytest.raises(ConfigError, match="another_name"):
        words_of_run(command, "another_name", 0, CONFIGS)


def test_a_row_that_is_run_again_is_the_same(videos_dir, tmp_path):
    tmp_path /= "a place (of mine)"
    folders = [f'results_dir="{tmp_path}"', f'data_dir="{videos_dir}"']
    sweep = ["model=tt_lstm", "seed=0,1", "scale.video.max_epochs=1", "logger=none", "trainer.accelerator=cpu"]
    first = run_script(ROOT / "experiments" / "train.py", *sweep, *folders)
    assert first.returncode == 0, first.stderr
    write_results(collect(tmp_path, "ucf11")[0], tmp_path, "ucf11")
    options = ["--rows", "1", "--results-dir", tmp_path, "--data-dir", videos_dir]
    again = run_script(RUN_ALONE, *options)
    assert again.returncode == 0, again.stderr
    (row,) = repeated.read_repeated(tmp_path / "local").to_dict("records")
    assert row["published"] == pytest.approx(row["again"], rel=1e-9)
    assert row["within"]
    assert row["n"] == 2

    other = run_script(RUN_ALONE, *options, "ucf11", "weizmann")
    assert other.returncode == 1
    assert "weizmann" in other.stderr
    assert "Traceback" not in other.stderr


def test_a_run_of_other_data_is_no_repetition(published, tmp_path):
    (row,) = repeated.draw(published, 1, 0)
    (tmp_path / "summary.json").write_text(json.dumps({"data_digest": "0" * 64, row["metric"]: row["value"]}))
    with pytest.raises(ResultsError, match="digest"):
        repeated.compare(row, tmp_path)


def test_rows_of_several_draws_stand_together_and_the_newest_of_one_run(tmp_path: Path):
    rows = [{"experiment": "weizmann", "name": name, "seed": 0, "again": again} for name, again in (("b", 1), ("a", 2))]
    old = repeated.merge(pd.DataFrame(), rows)
    assert old["name"].tolist() == ["a", "b"]
    merged = repeated.merge(old, [rows[0] | {"again": 3}])
    assert merged["again"].tolist() == [2, 3]


def test_what_was_run_again_is_published_where_its_code_was_committed(tmp_path):
    row = {"experiment": "weizmann", "name": "a", "seed": 0, "metric": "test/accuracy", "published": 0.5, "again": 0.5}
    own = tmp_path / "local"
    own.mkdir()
    for dirty in (True, False):
        table = pd.DataFrame([row | {"sd": 0.1, "git_commit": "1" * 40, "git_dirty": dirty}])
        table.to_csv(own / repeated.FILE, index=False)
        if dirty:
            with pytest.raises(ResultsError, match="not committed"):
                publish(tmp_path, ["repeated"])
    assert publish(tmp_path, ["repeated"]) == [tmp_path / repeated.FILE]
    assert repeated.read_repeated(tmp_path)["again"].tolist() == [0.5]
