"""Folds of groups, and frames and pixels out of order: from the split of a table to the rows that are compared."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.errors import InstantiationException
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig

from btrnn.data.video.clips import UCF11_CLASSES, UCF11_FOLDER
from btrnn.data.video.dataset import VideoClips
from btrnn.data.video.frame_cache import FrameCache
from btrnn.data.video.frames import CachedClips, order_of_values
from btrnn.data.video.protocols import NUM_FOLDS, keep_training, split_clips
from btrnn.engine import run
from btrnn.engine.baselines import add_baselines
from btrnn.engine.config import ConfigError
from btrnn.reports.page import _heading
from btrnn.results.differences import control_differences, convergence, model_differences, paired_difference
from btrnn.results.statistics import mean_interval
from btrnn.results.store import read_results, read_run, write_results
from btrnn.results.summary import rows_of, summarise

from .clips import write_clip
from .run_folders import write_folds


def clip_table(groups_of_class: list[int], rng: np.random.Generator) -> pd.DataFrame:
    """A table with this many groups a class, of one to seven clips each."""
    rows = [
        {"label": label, "group": f"class{label}/{group:02d}"}
        for label, num_groups in enumerate(groups_of_class)
        for group in range(1, num_groups + 1)
        for _ in range(rng.integers(1, 8))
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=int(rng.integers(1000)))


# The split


@settings(max_examples=8)
@given(seed=st.integers(0, 2**31), groups=st.lists(st.integers(5, 25), min_size=1, max_size=3))
def test_each_group_is_tested_in_one_fold_and_never_stands_in_two_splits(seed: int, groups: list[int]) -> None:
    table = clip_table(groups, np.random.default_rng(seed))
    tested = []
    for fold in range(NUM_FOLDS):
        splits = split_clips(table, "group_folds", seed, fold)
        assert splits.index.equals(table.index)
        of_group = table.assign(split=splits)[["label", "group", "split"]].drop_duplicates()
        assert of_group["group"].is_unique
        counts = pd.crosstab(of_group["label"], of_group["split"])
        expected = np.array(groups)
        assert (np.abs(counts["test"] - expected / 5) < 1).all()
        assert (np.abs(counts["val"] - (expected - counts["test"]) / 5) <= 0.5).all()
        tested += of_group["group"][of_group["split"] == "test"].tolist()
    assert sorted(tested) == sorted(table["group"].unique())


def test_folds_of_the_whole_set() -> None:
    table = clip_table([25] * 11, np.random.default_rng(0))
    of_fold = [split_clips(table, "group_folds", 0, fold) for fold in range(NUM_FOLDS)]
    for splits in of_fold:
        groups = table.assign(split=splits).drop_duplicates("group")
        counts = pd.crosstab(groups["label"], groups["split"])
        assert (counts == pd.Series({"test": 5, "train": 16, "val": 4})).all(axis=None)
    assert split_clips(table, "group_folds", 7, 2).equals(of_fold[2])  # the seed does not draw it
    numbers = table["group"][of_fold[1] == "test"].str[-2:].unique()
    assert sorted(numbers) == ["06", "07", "08", "09", "10"]
    fewer = table.drop(index=table[table.duplicated("group")].index[::2])  # clips are missing, but no group
    assert split_clips(fewer, "group_folds", 0, 1).equals(of_fold[1][fewer.index])


@pytest.mark.parametrize(("protocol", "fold"), [("group_folds", None), ("group_folds", 5), ("group_folds", -1)])
def test_a_fold_must_be_one_of_five(protocol: Any, fold: int | None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"needs fold, 0 to 4; got {fold}"):
        split_clips(pd.DataFrame({"label": [0], "group": ["a/1"]}), protocol, 0, fold)
    with pytest.raises(ValueError, match=rf"needs fold, 0 to 4; got {fold}"):
        VideoClips(source="ucf11", root=tmp_path, cache_dir=tmp_path, protocol=protocol, fold=fold)


def test_other_protocols_have_no_folds_and_few_groups_make_none() -> None:
    table = pd.DataFrame({"label": [0] * 4, "group": [f"a/{group}" for group in range(4)]})
    with pytest.raises(ValueError, match="'grouped' has no folds, so fold must be null; got 0"):
        split_clips(table, "grouped", 0, 0)
    with pytest.raises(ValueError, match="'group_folds' needs at least 5 groups a class, got 4 for label 0"):
        split_clips(table, "group_folds", 0, 0)


@given(num_train=st.integers(1, 29), fewer=st.integers(1, 29), seed=st.integers(0, 5))
def test_fewer_training_clips_are_a_part_of_more_and_others_stay(num_train: int, fewer: int, seed: int) -> None:
    splits = pd.Series([*["train"] * 20, "test", *["val"] * 5, *["train"] * 10], name="split").sample(frac=1.0)
    kept, some = (keep_training(splits, number, seed) for number in (max(num_train, fewer), min(num_train, fewer)))
    assert (kept == "train").sum() == max(num_train, fewer)
    assert (kept[some == "train"] == "train").all()
    assert set(kept[kept != splits]) <= {"unused"}
    assert kept.equals(keep_training(splits, max(num_train, fewer), seed))
    assert set(splits[kept != splits]) <= {"train"}


def test_more_training_clips_than_there_are_are_refused() -> None:
    for number in (0, 3):
        with pytest.raises(ValueError, match=f"from 1 to the 2 training clips of this split, got {number}"):
            keep_training(pd.Series(["train", "val", "train"]), number, 0)


# Frames and pixels out of order


def test_shuffled_clips_have_the_frames_of_ordered_ones_each_in_an_order_of_its_own() -> None:
    labels = pd.DataFrame({"label": np.zeros(40, dtype=np.int64)})
    cache = FrameCache(np.zeros((40, 12, 57_600), np.uint8), np.array([12] * 39 + [3]), labels)

    def positions(order: Any, seed: int = 0, epoch: int = 0, sampling: Any = "fixed") -> list[tuple[int, ...]]:
        clips = CachedClips(cache, 6, seed, sampling, order)
        return [tuple(map(int, clips.positions(row, epoch))) for row in range(40)]

    ordered, shuffled = positions("time"), positions("shuffled")
    assert [tuple(sorted(drawn)) for drawn in shuffled] == ordered
    orders = {tuple(np.argsort(drawn)) for drawn in shuffled[:39]}
    assert len(orders) > 30  # of 720
    assert shuffled == positions("shuffled", epoch=5)
    assert shuffled != positions("shuffled", seed=1)
    drawn_anew = [positions("shuffled", epoch=epoch, sampling="resampled") for epoch in (0, 1)]
    assert drawn_anew[0] != drawn_anew[1]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir with a tiny UCF11: five groups a class, of one clip each; colours and length tell the class."""
    data_dir = tmp_path_factory.mktemp("data")
    for label, (folder, stem) in enumerate(UCF11_CLASSES.items()):
        for group in range(1, NUM_FOLDS + 1):
            name = f"{stem}_{group:02d}"
            write_clip(data_dir / UCF11_FOLDER / folder / name / f"{name}_01.mpg", 6 + label, noise=5 * label)
    return data_dir


def module_of(videos: Path, **options: Any) -> VideoClips:
    data = VideoClips(source="ucf11", root=videos / UCF11_FOLDER, cache_dir=videos / "cache", batch_size=4, **options)
    data.prepare_data()
    data.setup("fit")
    return data


def test_pixels_of_all_frames_move_to_one_place_with_their_colours_or_channel_by_channel(videos: Path) -> None:
    ordered, moved, other, channels = (
        module_of(videos, scaling="normalized", pixel_order=order, seed=seed)
        for order, seed in (("rows", 3), ("random", 3), ("random", 4), ("channels", 3))
    )
    order = order_of_values("random", 3)
    assert order is not None
    pixels = order[::3] // 3
    assert sorted(pixels.tolist()) == list(range(19_200))
    for loader in ("train_dataloader", "test_dataloader"):
        batch, again = (next(iter(getattr(data, loader)())) for data in (ordered, moved))
        there, here, elsewhere, by_channel = (
            data.on_after_batch_transfer(batch, 0).frames for data in (ordered, moved, other, channels)
        )
        assert torch.equal(batch.frames, again.frames)
        colours = there.reshape(4, 6, 19_200, 3)
        assert torch.equal(here, colours[:, :, pixels].reshape(4, 6, 57_600))
        assert not torch.equal(elsewhere, here)
        assert torch.equal(by_channel, torch.cat(colours.unbind(-1), dim=-1))


# A run, its rows and their differences


def test_a_run_s_name_and_row_say_its_fold_and_orders(videos: Path, make_config: Callable[..., DictConfig]) -> None:
    words = ("experiment=ucf11", "scale=smoke", f"data_dir={videos}", "data.protocol=group_folds", "data.fold=3")
    small = ("data.num_clips=null", "scale.video.max_epochs=1")
    config = make_config(
        *words, *small, "data.frame_order=shuffled", "data.pixel_order=random", "data.num_train=20", "data.passes=2"
    )
    assert config.name.endswith("-fold3")
    summary = run.train(config)
    expected = {"protocol": "group_folds", "fold": 3, "frame_order": "shuffled", "pixel_order": "random"}
    expected |= {"num_groups": 55, "num_classes": 11, "num_train": 20, "num_val": 11, "num_test": 11}
    expected |= {"train_limit": 20, "passes": 2}
    assert summary.items() >= expected.items()
    assert "test/accuracy_last" in summary
    experiment_dir = Path(config.run_dir).parent.parent
    add_baselines(experiment_dir)  # a baseline of ordered frames stands for shuffled ones too
    assert [path.name for path in experiment_dir.iterdir()] == [config.name]
    row = read_run(Path(config.run_dir)).runs.iloc[0]
    assert (row["fold"], row["frame_order"], row["pixel_order"], row["num_groups"]) == ("3", "shuffled", "random", 55)
    ordered = make_config(*words, *small, f"run_dir={config.run_dir}")
    with pytest.raises(ConfigError, match=r"data\.frame_order: shuffled there, time now"):
        run.train(ordered)
    assert make_config("experiment=ucf11", f"data_dir={videos}").name.endswith("-smoke")
    with pytest.raises(InstantiationException, match="needs fold, 0 to 4; got None"):
        run.train(make_config(*words[:-1], *small))


def test_a_run_of_an_older_version_goes_on(videos: Path, make_config: Callable[..., DictConfig]) -> None:
    small = ("data.num_clips=null", "scale.video.max_epochs=1", "experiment=ucf11", f"data_dir={videos}")
    config = make_config(*small)
    run.train(config)
    experiment_dir = Path(config.run_dir).parent.parent
    add_baselines(experiment_dir)
    for path in (baseline for baseline in experiment_dir.iterdir() if baseline.name != config.name):
        baseline = read_run(path / "seed0").runs.iloc[0]
        assert (baseline["num_groups"], baseline["frame_order"], baseline["num_test"]) == (55, "time", 11)
    # baselines of all clips of the usual data do not stand for these
    for setting in (",data.num_clips=44", ",scale.video.num_clips=44", ",data=weizmann"):
        fewer = experiment_dir / f"{config.name}{setting}"
        shutil.copytree(experiment_dir / config.name, fewer)
        summary_path = fewer / "seed0" / "summary.json"
        summary_path.write_text(json.dumps(json.loads(summary_path.read_text()) | {"name": fewer.name}))
        before = {path.name for path in experiment_dir.iterdir()}
        add_baselines(experiment_dir)
        added = {path.name for path in experiment_dir.iterdir()} - before
        assert len(added) == 2
        assert all(name.endswith(setting) for name in added)
    saved = Path(config.run_dir) / "config.yaml"
    lines = saved.read_text().splitlines()
    later = ("  fold:", "  num_train:", "  frame_order:", "  pixel_order:", "  passes:")
    old = [line for line in lines if not line.startswith(later)]
    assert len(lines) - len(old) == 5
    saved.write_text("\n".join(old))
    assert run.train(config)["experiment"] == "ucf11"


def test_differences_pair_by_fold_and_seed_and_count_folds(tmp_path: Path) -> None:
    from btrnn.reports.publishing import collect

    write_folds(tmp_path, folds=(0, 1, 2), seeds=(0, 1))
    collect(tmp_path)
    results = read_results(tmp_path / "local", "ucf11_motions")
    assert write_results(results, tmp_path / "again", "ucf11_motions")[0].read_bytes() == (
        (tmp_path / "local" / "ucf11_motions.csv").read_bytes()
    )
    summary = summarise(results.runs)
    assert summary[["n", "seeds", "num_groups"]].to_numpy().tolist() == [[3, "0,1", 275], [3, "0,1", 275]]
    assert not summary["name"].str.contains("fold").any()
    runs = results.runs.set_index(["model", "fold", "seed"])["test/accuracy"]
    of_folds = [
        np.mean([runs["bt_lstm", fold, seed] - runs["lstm", fold, seed] for seed in (0, 1)]) for fold in ("0", "1", "2")
    ]
    found = model_differences(summary, results).iloc[0]
    expected = mean_interval(of_folds)
    np.testing.assert_allclose(
        [found["mean"], found["low"], found["high"]], [expected.mean, expected.low, expected.high]
    )
    assert found["n"] == 3
    accuracies = [runs["lstm", fold].mean() for fold in ("0", "1", "2")]
    row = summary.iloc[0].to_dict()
    np.testing.assert_allclose(row["test/accuracy_sd"], np.std(accuracies, ddof=1))
    assert len(rows_of(row, results.epochs)) == 3 * 2 * 3
    assert len(convergence(summary, results.epochs).drop_duplicates(["fold", "seed"])) == 6
    heading = _heading(summary)
    assert "groups 275, classes 11" in heading
    assert "order" not in heading
    with pytest.raises(ValueError, match="a seed stands in two rows"):
        paired_difference(pd.concat([rows_of(row, results.runs)] * 2), rows_of(row, results.runs), "test/accuracy")


def test_shuffled_frames_are_a_panel_of_their_own(tmp_path: Path) -> None:
    from btrnn.reports.publishing import collect

    write_folds(tmp_path, folds=(0, 1), seeds=(0,))
    write_folds(tmp_path, folds=(0, 1), seeds=(0,), frame_order="shuffled")
    collect(tmp_path)
    results = read_results(tmp_path / "local", "ucf11_motions")
    found = model_differences(summarise(results.runs), results)
    assert found["frame_order"].tolist() == ["time", "shuffled"]
    assert found["n"].tolist() == [2, 2]
    assert "frame order `shuffled`" in _heading(summarise(results.runs).query("frame_order == 'shuffled'"))


def test_a_control_is_compared_with_the_same_model_without_it(tmp_path: Path) -> None:
    from btrnn.reports.pages import page_of
    from btrnn.reports.publishing import collect

    plain, shuffled = {"test/accuracy": 0.8}, {"test/accuracy": 0.5, "train_limit": 100.0}
    write_folds(tmp_path, folds=(0, 1, 2), seeds=(0,), changes=plain)
    write_folds(tmp_path, folds=(0, 1), seeds=(0,), models=["bt_lstm"], frame_order="shuffled", changes=shuffled)
    collect(tmp_path)
    results = read_results(tmp_path / "local", "ucf11_motions")
    found = control_differences(summarise(results.runs), results)
    assert found[["first", "second", "n"]].to_numpy().tolist() == [["BT-LSTM, R = 4", "BT-LSTM, R = 4", 2]]
    assert found["mean"].iloc[0] == pytest.approx(-0.3)
    assert control_differences(summarise(results.runs).query("plain"), results).empty
    (text,) = page_of("ucf11_motions").report(tmp_path, "ucf11_motions", local=True).texts.values()
    assert "| shuffled frames, 100 training examples | BT-LSTM, R = 4" in text


def test_models_trained_on_fewer_clips_have_a_figure_against_their_number(tmp_path: Path) -> None:
    from btrnn.reports.pages import page_of
    from btrnn.reports.publishing import collect

    write_folds(tmp_path, folds=(0, 1, 2), seeds=(0,), changes={"test/accuracy": 0.8})
    fewer: dict[str, Any] = {
        "test/accuracy": 0.5,
        "train_limit": 100.0,
        "num_train": 100,
        "rank": 4,
        "learning_rate": 1e-3,
    }
    write_folds(tmp_path, folds=(0, 1, 2), seeds=(0,), models=["bt_lstm"], changes=fewer)
    other = fewer | {"rank": None}  # of another kind of control too, which is no matter of their number
    write_folds(tmp_path, folds=(0, 1, 2), seeds=(0,), models=["lstm"], frame_order="shuffled", changes=other)
    collect(tmp_path)
    figures = page_of("ucf11_motions").report(tmp_path, "ucf11_motions", local=True).figures
    (drawn,) = [figure for figure in figures if figure.path.name == "ucf11_motions_examples.png"]
    assert drawn.data["label"].tolist() == ["BT-LSTM, R = 4"] * 2
    assert drawn.data["x"].tolist() == [440, 100]
    assert drawn.data["mean"].tolist() == pytest.approx([0.8, 0.5])


def test_what_an_accuracy_costs_is_told_where_most_runs_reach_it(tmp_path: Path) -> None:
    from btrnn.reports.pages import page_of
    from btrnn.reports.publishing import collect

    write_folds(tmp_path, folds=(0, 1, 2), seeds=(0,), models=("lstm", "tt_lstm", "bt_lstm"))
    write_folds(tmp_path, folds=(0, 1, 2), seeds=(0,), models=["bt_lstm"], frame_order="shuffled")
    collect(tmp_path)
    path = tmp_path / "local" / "ucf11_motions_epochs.csv"
    epochs = pd.read_csv(path)
    reached = {"lstm": (0.4, 0.6, 0.8), "tt_lstm": (0.7, 0.7, 0.7), "bt_lstm": (0.1, 0.77, 0.9)}
    model = epochs["name"].str.extract("^([a-z]+_?lstm|lstm)")[0]
    epochs["val/accuracy"] = [reached[name][epoch] for name, epoch in zip(model, epochs["epoch"], strict=True)]
    lucky = (model == "tt_lstm") & epochs["name"].str.endswith("fold1") & (epochs["epoch"] == 2)
    epochs.loc[lucky, "val/accuracy"] = 0.78  # one run of three is not most of them
    epochs.to_csv(path, index=False)
    (text,) = page_of("ucf11_motions").report(tmp_path, "ucf11_motions", local=True).texts.values()
    lines = text.split("### Until 95 % of the dense model's accuracy")[1].split("###")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    assert [row[0].partition(",")[0].partition(" (")[0] for row in rows] == ["LSTM", "TT-LSTM", "BT-LSTM"]
    assert [row[1:] for row in rows] == [
        ["3 of 3", "3", "13", "900"],
        ["1 of 3", "-", "-", "900"],
        ["3 of 3", "2", "9", "900"],
    ]
