"""Collecting run folders, averaging them, and the intervals."""

import json
import math
import subprocess
import sys
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from btrnn.complexity import bt_parameters
from btrnn.reports.render import difference_text
from btrnn.reports.view import view_of
from btrnn.results.differences import against, judge, model_differences, outcome, paired_difference
from btrnn.results.schema import CAPTIONING, GENERATION, VIDEO, model_of, model_position, schema_of
from btrnn.results.schema import MODELS as MODELS_TABLE
from btrnn.results.statistics import MeanInterval, difference_p, equivalence_p, mean_interval
from btrnn.results.store import collect, read_results, read_with_local, result_paths, write_results
from btrnn.results.summary import (
    beside_paper,
    panels,
    read_paper,
    rows_of,
    scales,
    summarise,
)
from btrnn.storage.files import ResultsError, arrays_bytes, read_arrays, table_arrays
from tests.run_folders import MODELS, write_run, write_study

PAPER = Path(__file__).parent.parent / "results" / "paper.csv"
EXPERIMENT = "ucf11_motions"


def collect_all(results_dir: Path, experiment: str = EXPERIMENT) -> list[Path]:
    results, _ = collect(results_dir, experiment)
    return write_results(results, results_dir, experiment)


# ---- intervals


def test_runs_of_all_clips_are_compared_like_others(tmp_path):
    for scale, num_clips in (("s3", 275), ("s2", None)):
        for seed in range(2):
            write_run(tmp_path, "bt_lstm", seed, scale=scale, epochs=3, changes={"num_clips": num_clips})
    results = collect(tmp_path, "ucf11_motions")[0]
    write_results(results, tmp_path, "ucf11_motions")
    copyfile(PAPER, tmp_path / "paper.csv")
    runs = read_results(tmp_path, "ucf11_motions").runs
    summary = summarise(runs)
    assert summary["n"].tolist() == [2, 2]
    assert summary["scale"].tolist() == ["s2", "s3"]
    assert scales(runs) == ["s2", "s3"]
    assert [len(panel) for panel in panels(summary)] == [1, 1]
    assert view_of(tmp_path, "ucf11_motions", "s2").epoch_series({"": "val/loss"})["x"].tolist() == [1, 2, 3]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.sampled_from([0.8, 0.95, 0.99]))
def test_mean_interval_is_student_t(values: list[float], level: float) -> None:
    ours = mean_interval(values, level=level)
    sd = float(np.std(values, ddof=1))
    assert ours.n == len(values)
    assert (ours.mean, ours.sd) == pytest.approx((np.mean(values), sd), abs=1e-12)
    if sd > 1e-9:
        expected = stats.t.interval(level, len(values) - 1, np.mean(values), stats.sem(values))
        assert (ours.low, ours.high) == pytest.approx(expected, abs=1e-9)


def test_mean_interval_by_hand_and_at_its_edges() -> None:
    ours = mean_interval([0.1, 0.2, 0.3])
    assert (ours.mean, ours.sd) == pytest.approx((0.2, 0.1))
    assert ours.high - ours.mean == pytest.approx(4.302652729911275 * 0.1 / math.sqrt(3))
    one = mean_interval([0.5])
    assert (one.mean, one.n) == (0.5, 1)
    assert math.isnan(one.sd)
    assert math.isnan(one.low)
    assert mean_interval([0.4, math.nan, 0.6]).n == 2
    assert mean_interval([]).n == 0
    assert mean_interval([0.97, 0.99, 0.95], bounds=(0.0, 1.0)).high == 1
    with pytest.raises(ValueError, match=r"level must lie between 0 and 1.*got 95.0"):
        mean_interval([1.0, 2.0], level=95.0)


def test_paired_differences_cover_the_truth_where_seeds_vary() -> None:
    """Simulated: 200 clips tested under three seeds that shift both models alike, and each model a little."""
    rng = np.random.default_rng(0)
    truth, covered, trials = 0.1, 0, 600
    for _ in range(trials):
        shared, own = rng.normal(0, 0.05, 3), rng.normal(0, 0.03, 3)
        first, second = (
            pd.DataFrame({"seed": range(3), "accuracy": rng.binomial(200, np.clip(mean, 0, 1)) / 200})
            for mean in (0.7 + shared + own, 0.6 + shared)
        )
        interval = paired_difference(first, second, "accuracy")
        covered += interval.low <= truth <= interval.high
    assert 0.93 <= covered / trials <= 0.97


# ---- collecting


def test_collect_is_idempotent_and_keeps_what_is_gone(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, model, seed) for model in ("bt_lstm", "lstm") for seed in (1, 0)]
    paths = collect_all(tmp_path)
    first = [path.read_bytes() for path in paths]
    assert pd.read_csv(paths[0])[["name", "seed"]].apply(tuple, axis=1).is_monotonic_increasing
    collect_all(tmp_path)
    assert [path.read_bytes() for path in paths] == first
    rmtree(runs[0])
    rmtree(runs[3])
    collect_all(tmp_path)
    assert [path.read_bytes() for path in paths] == first
    rmtree(tmp_path / "runs")
    collect_all(tmp_path)
    assert [path.read_bytes() for path in paths] == first


def test_collect_replaces_a_run_that_was_repeated(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path, "bt_lstm", seed, epochs=6)
    collect_all(tmp_path)
    rmtree(tmp_path / "runs")
    write_run(tmp_path, "bt_lstm", 1, epochs=2, changes={"test/accuracy": 0.125})
    collect_all(tmp_path)
    results = read_results(tmp_path, EXPERIMENT)
    assert results.runs["seed"].tolist() == [0, 1]
    assert results.runs["test/accuracy"].iloc[1] == 0.125
    assert results.epochs.groupby("seed").size().tolist() == [6, 2]
    assert results.predictions.groupby("seed").size().tolist() == [110, 110]


def test_committed_tables_hold_what_the_run_folders_say(tmp_path: Path) -> None:
    run = write_run(tmp_path, "bt_lstm", 2, protocol="grouped")
    write_run(tmp_path, "logistic_regression", 2)
    collect_all(tmp_path)
    results = read_results(tmp_path, EXPERIMENT)
    summary = json.loads((run / "summary.json").read_text())
    row = results.runs[results.runs["model"] == "bt_lstm"].iloc[0]
    for key, value in summary.items():
        if value is None:
            assert math.isnan(row[key])
        elif key in ("versions", "git_dirty"):
            assert row[key] == (json.dumps(value, sort_keys=True) if key == "versions" else "False")
        else:
            assert row[key] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)
    assert results.runs.loc[results.runs["model"] == "logistic_regression", "init"].tolist() == [""]
    kept = results.predictions[results.predictions["name"] == summary["name"]].reset_index(drop=True)
    written = pd.read_csv(run / "predictions.csv").sort_values("clip", ignore_index=True)
    for column in written.columns:
        assert kept[column].tolist() == written[column].tolist()
    assert kept["predicted_last"].isna().all()
    epochs = results.epochs[results.epochs["name"] == summary["name"]].reset_index(drop=True)
    expected = pd.read_csv(run / "metrics.csv")
    pd.testing.assert_frame_equal(epochs[expected.columns], expected, check_dtype=False, rtol=1e-9)


def test_unfinished_runs_are_told_and_left_out(tmp_path: Path) -> None:
    write_run(tmp_path, "bt_lstm", 0)
    unfinished = write_run(tmp_path, "bt_lstm", 1)
    (unfinished / "summary.json").unlink()
    (tmp_path / "runs" / EXPERIMENT / "multirun").mkdir()
    results, left_out = collect(tmp_path, EXPERIMENT)
    assert left_out == [unfinished]
    assert results.runs["seed"].tolist() == [0]
    assert set(results.predictions["seed"]) == {0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"experiment": "ucf1', "summary.json is not valid JSON"),
        ("[1, 2]", "summary.json holds a list; it must be one flat JSON object"),
        ("{}", "summary.json lacks experiment, name, seed"),
    ],
)
def test_a_corrupt_summary_is_named(tmp_path: Path, content: str, message: str) -> None:
    run = write_run(tmp_path, "bt_lstm", 0)
    (run / "summary.json").write_text(content)
    with pytest.raises(ResultsError, match=message) as caught:
        collect(tmp_path, EXPERIMENT)
    assert str(run) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("predictions.csv", None, "predictions.csv is missing"),
        ("metrics.csv", None, "metrics.csv is missing"),
        ("predictions.csv", "clip,label\n1,2\n", "lacks the column group, predicted"),
        ("metrics.csv", "", "metrics.csv is not a readable CSV"),
    ],
)
def test_a_bad_file_of_a_finished_run_is_named(tmp_path: Path, name: str, damage: str | None, message: str) -> None:
    run = write_run(tmp_path, "bt_lstm", 0)
    (run / name).unlink()
    if damage is not None:
        (run / name).write_text(damage)
    with pytest.raises(ResultsError, match=message):
        collect(tmp_path, EXPERIMENT)


def test_what_a_baseline_does_not_have_is_null_and_not_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path, "logistic_regression", 0)
    summary = json.loads((run / "summary.json").read_text())
    without = ("init", "rank", "epochs", "learning_rate", "device", "parameters_input", "train/accuracy_last")
    summary |= dict.fromkeys(without)
    (run / "summary.json").write_text(json.dumps(summary))
    collect_all(tmp_path)
    (row,) = summarise(read_results(tmp_path, EXPERIMENT).runs).to_dict("records")
    assert (row["n"], row["init"], row["test/accuracy"]) == (1, "", pytest.approx(summary["test/accuracy"]))
    del summary["init"]
    (run / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ResultsError, match=r"summary\.json lacks init;"):
        collect(tmp_path, EXPERIMENT)


def test_runs_with_scaled_rates_stand_apart_from_older_ones_that_do_not_say(tmp_path: Path) -> None:
    write_run(tmp_path, "bt_lstm", 0)
    write_run(tmp_path, "bt_lstm", 0, scale="again", changes={"scaled": True})
    collect_all(tmp_path)
    runs = read_results(tmp_path, EXPERIMENT).runs
    assert dict(zip(runs["scale"], runs["scaled"], strict=True)) == {"study": False, "again": True}
    assert {"scaled"} <= set(schema_of(EXPERIMENT).panel) & set(summarise(runs).columns)


def test_a_summary_in_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, "bt_lstm", 0)
    run.rename(run.with_name("seed7"))
    with pytest.raises(ResultsError, match=r"0\), but its folder says .* 7\)"):
        collect(tmp_path, EXPERIMENT)


@pytest.mark.parametrize(("experiment", "stand_in"), [("ucf11", True), ("ucf11_motions", False)])
def test_stand_in_and_real_data_never_share_a_file(tmp_path: Path, experiment: str, stand_in: bool) -> None:
    write_run(tmp_path, "bt_lstm", 0, experiment=experiment, changes={"stand_in": stand_in})
    with pytest.raises(ResultsError, match=f"stand_in = {stand_in} .* in experiment '{experiment}'"):
        collect(tmp_path, experiment)


def test_a_broken_array_file_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, "bt_lstm", 0)
    path = collect_all(tmp_path)[2]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ResultsError, match=r"ucf11_motions_predictions.npz is not a readable npz"):
        read_results(tmp_path, EXPERIMENT)
    assert result_paths(tmp_path, EXPERIMENT)[2] == path


# ---- averaging


@pytest.mark.parametrize(
    "change",
    [
        {"scale": "smoke"},
        {"learning_rate": 1e-4},
        {"init": "paper"},
        {"num_clips": 275},
        {"epochs": 7},
        {"scaling": "normalized"},
        {"protocol": "grouped"},
        {"rank": 2},
        {"in_modes": "320x180"},
    ],
)
def test_different_settings_never_mix(tmp_path: Path, change: dict[str, Any]) -> None:
    for seed in (0, 1):
        write_run(tmp_path, "bt_lstm", seed)
    collect_all(tmp_path)
    runs = read_results(tmp_path, EXPERIMENT).runs
    other = runs[runs["seed"] == 1].assign(seed=2, **change)  # the same name, as a hand-set name could have
    summary = summarise(pd.concat([runs, other], ignore_index=True))
    assert sorted(summary["n"]) == [1, 2]
    assert summary["label"].is_unique or len(panels(summary)) == 2


def test_summary_is_the_mean_over_seeds_with_its_interval(tmp_path: Path) -> None:
    accuracies = [0.5, 0.75, 0.625]
    for seed, accuracy in enumerate(accuracies):
        write_run(tmp_path, "tt_lstm", seed, changes={"test/accuracy": accuracy})
    collect_all(tmp_path)
    (row,) = summarise(read_results(tmp_path, EXPERIMENT).runs).to_dict("records")
    assert (row["n"], row["seeds"], row["label"]) == (3, "0,1,2", "TT-LSTM")
    assert row["test/accuracy"] == pytest.approx(0.625)
    assert row["test/accuracy_sd"] == pytest.approx(0.125)
    half = stats.t.ppf(0.975, 2) * 0.125 / math.sqrt(3)
    assert row["test/accuracy_low"] == pytest.approx(0.625 - half)
    assert row["test/accuracy_high"] == pytest.approx(0.625 + half)
    assert row["command"] == "python experiments/train.py -m experiment=ucf11_motions model=tt_lstm seed=0,1,2"


def test_the_commands_of_sweeps_become_one_of_all_their_runs(tmp_path: Path) -> None:
    for seed in range(3):
        command = f"python experiments/train.py -m model=tt_lstm seed={'0,1' if seed < 2 else '2'}"
        write_run(tmp_path, "tt_lstm", seed, changes={"command": command})
    collect_all(tmp_path)
    (row,) = summarise(read_results(tmp_path, EXPERIMENT).runs).to_dict("records")
    assert row["command"] == "python experiments/train.py -m model=tt_lstm seed=0,1,2"


@pytest.mark.parametrize("first", ["-m model=tt_lstm,bt_lstm", "model=tt_lstm seed=0"])
def test_a_command_of_runs_by_different_ones_has_all_seeds(tmp_path: Path, first: str) -> None:
    for seed, words in enumerate([first, "model=tt_lstm seed=1 logger=none", "model=tt_lstm seed=2"]):
        write_run(tmp_path, "tt_lstm", seed, changes={"command": f"python experiments/train.py {words}"})
    collect_all(tmp_path)
    (row,) = summarise(read_results(tmp_path, EXPERIMENT).runs).to_dict("records")
    sweep = first.removeprefix("-m ").removesuffix(" seed=0")
    assert row["command"] == f"python experiments/train.py -m {sweep} seed=0,1,2"


def test_texts_that_look_like_numbers_stay_texts(tmp_path: Path) -> None:
    run = write_run(tmp_path, "bt_lstm", 0)
    run.parent.rename(run.parent.with_name("7"))
    summary = run.parent.with_name("7") / "seed0" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"name": "7"}))
    paths = collect_all(tmp_path)
    contents = [path.read_bytes() for path in paths]
    (row,) = summarise(read_results(tmp_path, EXPERIMENT).runs).to_dict("records")
    assert len(rows_of(row, read_results(tmp_path, EXPERIMENT).epochs)) == 6
    write_results(read_results(tmp_path, EXPERIMENT), tmp_path, EXPERIMENT)
    assert [path.read_bytes() for path in paths] == contents


def test_a_table_of_numbers_comes_back(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            **{"image": [1, 2**31 + 5], "score": [0.5, np.nan], "predicted_last": [3, np.nan], "word": ["a", "b"]},
            **{"whole": [1, np.nan], "none": [np.nan, np.nan], "negative": [-1, np.nan], "large": [2**31 + 5, np.nan]},
        }
    )
    path = tmp_path / "table.npz"
    path.write_bytes(arrays_bytes(arrays := table_arrays(table)))
    pd.testing.assert_frame_equal(read_arrays(path), table, check_dtype=False)
    assert (arrays["image"].dtype, arrays["whole"].dtype) == (np.int64, np.float32)


def test_a_missing_class_of_an_older_file_is_read_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    path.write_bytes(arrays_bytes({"predicted_last": np.array([3, -1], dtype=np.int32)}))
    assert read_arrays(path)["predicted_last"].tolist() == pytest.approx([3, np.nan], nan_ok=True)


def test_a_seed_twice_in_one_setting_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "bt_lstm", 0)
    collect_all(tmp_path)
    runs = read_results(tmp_path, EXPERIMENT).runs
    with pytest.raises(ResultsError, match="seed twice"):
        summarise(pd.concat([runs, runs]))


def test_panels_are_cut_in_order_and_compression_counted(tmp_path: Path) -> None:
    list(write_study(tmp_path, seeds=1, models=("bt_lstm",), scale="default"))
    list(write_study(tmp_path, seeds=1, models=("bt_lstm",), scale="smoke", num_clips=275))
    collect_all(tmp_path)
    runs = read_results(tmp_path, EXPERIMENT).runs
    assert scales(runs) == ["default", "smoke"]
    cut = panels(summarise(runs))
    assert [(rows["scale"].iloc[0], rows["protocol"].iloc[0], rows["scaling"].iloc[0]) for rows in cut][:4] == [
        ("default", "paper", "raw"),
        ("default", "paper", "normalized"),
        ("default", "grouped", "raw"),
        ("default", "grouped", "normalized"),
    ]
    (row,) = cut[0].to_dict("records")
    assert math.floor(row["compression"]) == 17_388
    assert row["compression_total"] == pytest.approx(59_248_395 / 269_387)


def test_the_paper_s_accuracies_stand_beside_its_own_shapes_alone(tmp_path: Path) -> None:
    shapes = ({}, {"rank": 2}, {"rank": 1}, {"num_blocks": 1}, {"order": 3}, {"rank": 3})
    for changes in shapes:
        write_run(tmp_path, "bt_lstm", 0, changes=changes)
    for model in ("lstm", "tt_lstm", "toy"):
        write_run(tmp_path, model, 0)
    collect_all(tmp_path)
    rows = beside_paper(summarise(read_results(tmp_path, EXPERIMENT).runs), read_paper(PAPER)).set_index("label")
    known = rows["paper"].dropna().to_dict()
    assert known == {
        **{"LSTM": 0.697, "TT-LSTM": 0.796},
        **{"BT-LSTM, R = 4": 0.853, "BT-LSTM, R = 2": 0.803, "BT-LSTM, R = 1": 0.784},
    }
    assert rows.loc[list(known), "paper_mark"].tolist() == ["S", "M", "S", "M", "M"]
    assert len(rows) == 9
    assert set(rows.loc[~rows.index.isin(known), "paper_mark"]) == {""}


def test_curves_give_mean_and_range_over_seeds(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, "lstm", seed, epochs=3) for seed in (0, 1)]
    collect_all(tmp_path)
    losses = np.array([pd.read_csv(run / "metrics.csv")["train/loss"] for run in runs])
    copyfile(PAPER, tmp_path / "paper.csv")
    table = view_of(tmp_path, EXPERIMENT).epoch_series({"training": "train/loss"})
    assert table["x"].tolist() == [1, 2, 3]
    assert set(table["panel"]) == {"training"}
    np.testing.assert_allclose(table["mean"], losses.mean(0), rtol=1e-9)
    np.testing.assert_allclose(table["low"], losses.min(0), rtol=1e-9)
    np.testing.assert_allclose(table["high"], losses.max(0), rtol=1e-9)


# ---- differences


def compared(results_dir: Path, **options: Any) -> pd.DataFrame:
    collect_all(results_dir)
    results = read_results(results_dir, EXPERIMENT)
    return model_differences(summarise(results.runs), results, **options)


def test_difference_of_models_is_the_difference_of_their_accuracies(tmp_path: Path) -> None:
    for model in ("lstm", "tt_lstm", "bt_lstm"):
        for seed in range(3):
            write_run(tmp_path, model, seed)
    collect_all(tmp_path)
    results = read_results(tmp_path, EXPERIMENT)
    summary = beside_paper(summarise(results.runs), read_paper(PAPER))
    parts = [model_differences(summary, results, asked=against(name)) for name in ("lstm", "tt_lstm")]
    table = pd.concat(parts).set_index(["first_model", "second_model"])
    assert table.index.tolist() == [
        *(("tt_lstm", "lstm"), ("bt_lstm", "lstm"), ("lstm", "tt_lstm"), ("bt_lstm", "tt_lstm")),
    ]
    runs = read_results(tmp_path, EXPERIMENT).runs
    wide: Any = runs.pivot_table(index="seed", columns="model", values="test/accuracy")
    for (first, second), row in table.iterrows():
        paired = wide[first] - wide[second]
        assert row["mean"] == pytest.approx(paired.mean())
        assert (row["low"], row["high"]) == pytest.approx(stats.t.interval(0.95, 2, paired.mean(), stats.sem(paired)))
        assert row["n"] == 3
    assert table.loc[("bt_lstm", "lstm"), "paper"] == pytest.approx(0.853 - 0.697)
    assert table.loc[("bt_lstm", "lstm"), "compression"] == pytest.approx(58_982_400 / 3_392)


def test_every_model_is_compared_with_the_dense_one_also_one_that_no_table_knows(tmp_path: Path) -> None:
    for model in (*MODELS, "toy"):
        write_run(tmp_path, model, 0, changes={"num_blocks": 3} if model == "toy" else None)
    table = compared(tmp_path)
    assert table["first_model"].tolist() == ["tt_lstm", "bt_lstm", "logistic_regression", "toy"]
    assert table["first"].tolist()[-1] == "toy, R = 5, N = 3, d = 3"
    assert set(table["second"]) == {"LSTM"}


def test_a_dense_gru_is_compared_with_the_lstm_and_is_a_reference_for_grus_alone(
    tmp_path: Path,
) -> None:
    for model in ("lstm", "gru", "bt_lstm", "bt_gru"):
        write_run(tmp_path, model, 0)
    table = compared(tmp_path)
    pairs = set(zip(table["first_model"], table["second_model"], strict=True))
    assert pairs == {("bt_lstm", "lstm"), ("gru", "lstm"), ("bt_gru", "lstm"), ("bt_gru", "gru")}
    table = compared(tmp_path, asked=against("bt_lstm"))  # as rivals of block terms
    assert set(table["first_model"]) == {"lstm", "gru", "bt_gru"}


def test_only_seeds_that_both_models_have_are_paired(tmp_path: Path) -> None:
    for model, seeds in (("lstm", (1, 2)), ("bt_lstm", (0, 1)), ("tt_lstm", (3,))):
        for seed in seeds:
            write_run(tmp_path, model, seed, protocol="grouped")
    (row,) = compared(tmp_path).to_dict("records")
    assert (row["first_model"], row["second"], row["n"]) == ("bt_lstm", "LSTM", 1)
    assert np.isnan([row["low"], row["high"]]).all()  # one seed has no interval


def test_models_tested_on_different_clips_are_not_paired(tmp_path: Path) -> None:
    write_run(tmp_path, "bt_lstm", 0)
    run = write_run(tmp_path, "lstm", 0)
    table = pd.read_csv(run / "predictions.csv")
    table.iloc[1:].to_csv(run / "predictions.csv", index=False)
    with pytest.raises(ResultsError, match="bt_lstm_paper_raw_study and lstm_paper_raw_study were tested on different"):
        compared(tmp_path)


def test_models_that_used_other_amounts_of_data_are_not_paired(tmp_path: Path) -> None:
    write_run(tmp_path, "lstm", 0)
    write_run(tmp_path, "bt_lstm", 0, changes={"num_train": 441})
    assert compared(tmp_path).empty


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-3.0, -1.0, "worse"),
        (1.0, 3.0, "better"),
        (-1.0, 1.0, "no significant difference"),
        (0.0, 1.0, "no significant difference"),
    ],
)
def test_an_outcome_claims_no_more_than_the_interval(low: float, high: float, verdict: str) -> None:
    mean, half = (low + high) / 2, (high - low) / 2
    sd = half * math.sqrt(5) / float(stats.t.ppf(0.975, 4))  # of five values with this interval
    found = MeanInterval(mean, sd, 5, low, high)
    different, equivalent = difference_p(found) * (1 + 1e-9), equivalence_p(found, VIDEO.margin)
    assert outcome(mean, different, equivalent, VIDEO) == verdict
    turned = {"worse": "better", "better": "worse"}.get(verdict, verdict)
    assert outcome(mean, different, equivalent, GENERATION) == turned
    assert outcome(mean, math.nan, math.nan, VIDEO) == "one seed, no verdict"


def test_of_few_seeds_that_differ_alike_there_is_no_verdict() -> None:
    runs = [pd.DataFrame({"seed": [0, 1], "test/accuracy": np.float32([0.7, 0.3]) + more}) for more in (0.0, 0.1)]
    runs[0].loc[1, "test/accuracy"] += 6e-8  # what single precision rounds away makes no spread
    alike = paired_difference(*runs, "test/accuracy")
    assert (alike.mean, alike.sd, alike.n) == (pytest.approx(-0.1), 0.0, 2)
    others = [mean_interval(values) for values in ([0.1], [0.0, 0.001, 0.002], [0.1, 0.101, 0.102])]
    verdicts = [said.verdict for said in judge([alike, *others], VIDEO)]
    assert verdicts == ["all alike, no verdict", "one seed, no verdict", "equivalent within 0.03", "better"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.5], "+50.0%"),
        ([0.5, 0.5], "+50.0% (the same in both)"),
        ([0.5, 0.5, 0.5], "+50.0% (the same in all 3)"),
        ([0.49, 0.5, 0.51], "+50.0% [+47.5, +52.5]"),
        ([0.5] * 5, "+50.0% [+50.0, +50.0]"),
    ],
)
def test_a_difference_is_written_with_its_interval_or_why_there_is_none(values: list[float], text: str) -> None:
    assert difference_text(mean_interval(values)._asdict(), ".1f", 100, "%") == text


def test_an_outcome_is_equivalence_where_that_is_shown_and_no_direction_is() -> None:
    assert outcome(0.001, 0.5, 0.049, VIDEO) == "equivalent within 0.03"
    assert outcome(0.001, 0.5, 0.051, VIDEO) == "no significant difference"
    assert outcome(0.1, 0.051, 0.9, VIDEO, alone=0.049) == "not significant after Holm's correction"
    assert outcome(0.001, 0.049, 0.001, VIDEO) == "better"  # however little
    assert outcome(-0.2, 0.5, 0.01, GENERATION) == "equivalent within 1 nat"
    assert outcome(-0.01, 0.5, 0.01, CAPTIONING) == "equivalent within 3"


# ---- the table of models


def test_a_model_outside_the_table_has_a_row_of_its_own_after_the_others() -> None:
    toy, other = model_of("toy", "Toy"), model_of("another")
    assert (toy.label, other.label) == ("Toy", "another")
    assert not toy.dense
    assert toy == model_of("toy", "Toy")
    assert toy.color not in {model.color for model in MODELS_TABLE}
    assert sorted(["toy", "logistic_regression", "another", "bt_lstm", "lstm"], key=model_position) == [
        *("lstm", "bt_lstm", "logistic_regression", "another", "toy"),
    ]


def test_models_have_colours_marks_and_lines_of_their_own() -> None:
    for looks in zip(*((model.color, model.marker, model.line) for model in MODELS_TABLE), strict=True):
        assert len(set(looks)) == len(MODELS_TABLE)


# ---- own rows beside published ones


def test_own_rows_stand_beside_the_published_ones_and_are_told_apart(tmp_path: Path) -> None:
    published = [write_run(tmp_path, "bt_lstm", seed, changes={"test/accuracy": 0.5}) for seed in (0, 1)]
    write_run(tmp_path, "lstm", 0)
    collect_all(tmp_path)
    rmtree(published[0])
    write_run(tmp_path, "bt_lstm", 0, changes={"test/accuracy": 0.75, "finished": "2031-01-01T00:00:00"})
    own, _ = collect(tmp_path, EXPERIMENT, tmp_path / "local")
    write_results(own, tmp_path / "local", EXPERIMENT)
    results = read_with_local(tmp_path, EXPERIMENT)
    summary = summarise(results.runs)
    assert summary["label"].tolist() == ["LSTM", "BT-LSTM, R = 4", "BT-LSTM, R = 4 (yours)"]
    assert summary["n"].tolist() == [1, 2, 1]  # never averaged, and the published runs stand there once
    assert summary["test/accuracy"].tolist()[1:] == [0.5, 0.75]
    assert [len(rows_of(row, results.epochs)) for row in summary.to_dict("records")] == [6, 12, 6]
    assert set(model_differences(summary, results)["first"]) == {"BT-LSTM, R = 4"}  # yours has no dense run
    assert read_results(tmp_path, EXPERIMENT).runs["test/accuracy"].max() < 0.75


def test_own_rows_alone_need_no_published_ones(tmp_path: Path) -> None:
    write_run(tmp_path, "bt_lstm", 0)
    own, _ = collect(tmp_path, EXPERIMENT, tmp_path / "local")
    write_results(own, tmp_path / "local", EXPERIMENT)
    results = read_with_local(tmp_path, EXPERIMENT)
    assert set(results.runs["origin"]) == set(results.predictions["origin"]) == {"local"}
    assert summarise(results.runs)["label"].tolist() == ["BT-LSTM, R = 4"]


# ---- the paper's numbers, and imports


def test_paper_numbers_have_a_mark_and_agree_with_the_closed_form(tmp_path: Path) -> None:
    copyfile(PAPER, tmp_path / "paper.csv")
    paper = read_paper(tmp_path / "paper.csv")
    assert paper.index.is_unique
    assert set(paper["mark"]) == {"S", "D", "M", "S/D", "S/M", "M/D", "unmarked"}
    numbers = paper[~paper["unit"].isin(["modes", "law"])]
    assert pd.to_numeric(numbers["value"]).notna().all()
    for order in range(1, 9):
        modes = [
            [int(mode) for mode in paper["value"][f"sensitivity.{side}_modes_d{order}"].split("x")]
            for side in ("in", "out")
        ]
        for rank in range(1, 5):
            expected = int(paper["value"][f"sensitivity.parameters.r{rank}_d{order}"])
            assert bt_parameters(modes[0], modes[1], rank, 1) == expected


WITHOUT_TORCH = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(f"btrnn.{name}")
    if "torch" in sys.modules:
        sys.exit(f"{name} imports torch")
"""


def test_counting_and_reading_results_needs_no_torch() -> None:
    names = ["complexity", "results.store", "results.differences", "figures.series", "figures.file", "reports.pages"]
    command = [sys.executable, "-c", WITHOUT_TORCH, *names, "reports.claims.claim_pages", "reports.writing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0, done.stderr
