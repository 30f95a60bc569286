"""The index with its quirks, smaller sets of clips, and the two protocols."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btrnn.data.video.clips import UCF11_CLASSES, clips_per_group, index_clips
from btrnn.data.video.protocols import split_clips

CLIPS_A_CLASS = (141, 145, 156, 142, 198, 156, 137, 167, 119, 116, 123)


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def make_tree(root: Path, num_groups: int, num_clips: int, suffix: str = ".mpg") -> None:
    """Empty files: every class with the same number of groups, and of clips in each."""
    for class_name, stem in UCF11_CLASSES.items():
        for group in range(1, num_groups + 1):
            name = f"{stem}_{group:02d}"
            touch(
                root,
                *(f"{class_name}/{name}/{name}_{clip:02d}{suffix}" for clip in range(1, num_clips + 1)),
            )


def whole_ucf11() -> pd.DataFrame:
    """A table with the class sizes of UCF11, 25 groups a class."""
    rows = []
    for label, (class_name, num_clips) in enumerate(zip(UCF11_CLASSES, CLIPS_A_CLASS, strict=True)):
        rows += [
            {"clip": f"{class_name}_{clip}", "label": label, "group": f"{class_name}/{clip % 25 + 1:02d}"}
            for clip in range(num_clips)
        ]
    return pd.DataFrame(rows)


# The index


def test_index_reads_the_quirks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_tree(tmp_path, 2, 2)
    touch(
        tmp_path,
        "Excluded Videos.txt",
        "biking/readme.txt",
        "biking/Annotation/v_biking_01_01.xgtf",
        "biking/Annotation/v_biking_09_01.mpg",
        "biking/v_biking_01/._v_biking_01_01.mpg",
        "biking/v_biking_03/v_biking_03_11.AVI",
        "biking/v_biking_03/v_biking_03_2.mpg",
        "biking/v_biking_03/v_diving_03_03.mpg",
    )
    table = index_clips(tmp_path, UCF11_CLASSES)
    assert list(table.columns) == ["clip", "class_name", "label", "group", "path"]
    assert table["label"].dtype == np.int64
    assert len(table) == 11 * 4 + 2
    assert table["clip"].is_unique
    walking = table[table["class_name"] == "walking"]
    assert list(walking["clip"]) == [
        "v_walk_dog_01_01",
        "v_walk_dog_01_02",
        "v_walk_dog_02_01",
        "v_walk_dog_02_02",
    ]
    assert set(walking["group"]) == {"walking/01", "walking/02"}
    assert set(walking["label"]) == {10}
    biking = table[table["class_name"] == "biking"]
    assert list(biking["path"])[-2:] == [
        "biking/v_biking_03/v_biking_03_2.mpg",
        "biking/v_biking_03/v_biking_03_11.AVI",
    ]
    assert "v_diving_03_03.mpg" in caplog.text


def test_index_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder of videos at .*make data-ucf11.*make_motions"):
        index_clips(tmp_path / "missing", UCF11_CLASSES)
    touch(tmp_path, "Excluded Videos.txt", ".git/config")
    with pytest.raises(FileNotFoundError, match=r"holds no class folder.*make data-ucf11"):
        index_clips(tmp_path, UCF11_CLASSES)
    make_tree(tmp_path, 1, 1)
    (tmp_path / "swing" / "v_swing_01" / "v_swing_01_01.mpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"no clips of class 'swing'.*v_swing_01/v_swing_01_01.mpg"):
        index_clips(tmp_path, UCF11_CLASSES)
    touch(tmp_path, "swing/v_swing_01/v_swing_01_01.mpg", "swing/v_swing_01/v_swing_01_01.avi")
    with pytest.raises(ValueError, match=r"stand there once.*v_swing_01_01.avi, .*v_swing_01_01.mpg"):
        index_clips(tmp_path, UCF11_CLASSES)
    (tmp_path / "dancing").mkdir()
    with pytest.raises(ValueError, match=r"unknown class folder 'dancing' in .*known are basketball, biking"):
        index_clips(tmp_path, UCF11_CLASSES)


def link(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize("linked", ["root", "class", "group", "clip", "all"])
def test_links_are_followed(tmp_path: Path, linked: str, caplog: pytest.LogCaptureFixture) -> None:
    root, store = tmp_path / "set", tmp_path / "store"
    touch(store, "biking/v_biking_01/v_biking_01_01.mpg", "biking/v_biking_01/v_biking_01_02.mpg")
    places = {
        "root": ".",
        "class": "biking",
        "group": "biking/v_biking_01",
        "clip": "biking/v_biking_01/v_biking_01_01.mpg",
    }
    if linked == "all":
        link(tmp_path / "groups" / "v_biking_01", store / "biking" / "v_biking_01")
        link(tmp_path / "classes" / "biking", tmp_path / "groups")
        link(root, tmp_path / "classes")
    elif linked == "clip":
        touch(root, "biking/v_biking_01/v_biking_01_02.mpg")
        link(root / places[linked], store / places[linked])
    else:
        link(root / places[linked] if linked != "root" else root, store / places[linked])
    table = index_clips(root, {"biking": "v_biking"})
    assert list(table["path"]) == [f"biking/v_biking_01/v_biking_01_0{clip}.mpg" for clip in (1, 2)]
    assert caplog.text == ""


def test_links_that_lead_back_or_to_the_same_clips_give_each_clip_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "set"
    touch(root, "biking/v_biking_01/v_biking_01_01.mpg", "biking/v_biking_02/v_biking_02_01.mpg")
    biking, elsewhere = root / "biking", tmp_path / "elsewhere"
    link(biking / "a_copy", biking / "v_biking_02")  # before the folder itself, in order of names
    link(biking / "v_biking_01" / "here", biking / "v_biking_01")
    link(biking / "v_biking_01" / "up", root)
    link(elsewhere / "back", biking / "v_biking_01")
    link(biking / "v_biking_02" / "out", elsewhere)
    link(biking / "first" / "v_biking_01_01.mpg", biking / "v_biking_01" / "v_biking_01_01.mpg")
    table = index_clips(root, {"biking": "v_biking"})
    assert list(table["clip"]) == ["v_biking_01_01", "v_biking_02_01"]
    assert table["path"].iloc[1] == "biking/v_biking_02/v_biking_02_01.mpg"
    assert "v_biking_01/up: not followed" in caplog.text


def test_what_may_have_been_meant_as_a_clip_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(
        tmp_path,
        *("biking/v_biking_01/v_biking_01_01.mpg", "biking/v_biking_01/v_biking_01_02.mpg.part"),
        *("biking/v_biking_01/v_biking_01_03.gif", "biking/v_biking_01/ride.mp4", "biking/v_biking_01/notes.txt"),
        "biking/.trash/v_biking_01_01.mpg",
    )
    link(tmp_path / "biking" / "v_biking_02", tmp_path / "gone")
    link(tmp_path / "diving", tmp_path / "gone too")
    os.mkfifo(tmp_path / "biking" / "v_biking_01" / "v_biking_01_09.mpg")
    assert len(index_clips(tmp_path, {"biking": "v_biking"})) == 1
    said = caplog.text.splitlines()
    assert len(said) == 3
    assert "diving" in said[0]
    assert "left out 3" in said[1]
    assert all(name in said[1] for name in ("v_biking_01_02.mpg.part", "v_biking_01_03.gif", "ride.mp4"))
    assert "left out 2" in said[2]
    assert all(name in said[2] for name in ("v_biking_02", "v_biking_01_09.mpg"))


@pytest.mark.parametrize("suffix", [".mp4", ".MP4", ".mpeg", ".mov", ".mkv", ".AVI"])
def test_clips_of_any_format_are_found(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"biking/v_biking_01/v_biking_01_01{suffix}", "biking/v_biking_01/v_biking_01_02.mpg")
    table = index_clips(tmp_path, {"biking": "v_biking"})
    assert table["path"].iloc[0] == f"biking/v_biking_01/v_biking_01_01{suffix}"
    touch(tmp_path, f"biking/v_biking_01/v_biking_01_02{suffix}")
    with pytest.raises(ValueError, match=rf"once.*v_biking_01_02\.mpg.*v_biking_01_02\{suffix}|02\{suffix}.*02\.mpg"):
        index_clips(tmp_path, {"biking": "v_biking"})


# Fewer clips


@given(num_clips=st.integers(1, 4000), num_classes=st.integers(1, 12))
def test_subset_rule(num_clips: int, num_classes: int) -> None:
    counts = clips_per_group(num_clips, num_classes)
    assert counts.shape == (num_classes, min(max(num_clips // (5 * num_classes), 1), 25))
    assert counts.sum() == max(num_clips, 5 * num_classes)
    assert counts.min() >= 5
    assert counts.max() - counts.min() <= 1 or counts.shape[1] in (1, 25)
    assert np.ptp(counts.sum(axis=1)) <= 1
    if num_clips % (5 * num_classes) == 0:
        larger = clips_per_group(num_clips + 5 * num_classes, num_classes)
        assert (larger[:, : counts.shape[1]] >= counts).all()


def test_subset_numbers() -> None:
    assert clips_per_group(1600).sum() == 1600
    assert clips_per_group(1600)[:, :20].min() == 6
    assert clips_per_group(57).tolist() == [[6], [6], *[[5]] * 9]
    available = np.array([[4, 9], [5, 5]])
    assert clips_per_group(20, 2, available).tolist() == [[4, 6], [5, 5]]
    assert clips_per_group(100, 2, available).tolist() == [[4, 9], [5, 5]]
    with pytest.raises(ValueError, match="at least 1"):
        clips_per_group(0)
    with pytest.raises(ValueError, match=r"shape \(11, groups\)"):
        clips_per_group(5, 11, available)


def test_smaller_index_is_part_of_a_larger_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_tree(tmp_path, 4, 6)
    sets = [set(index_clips(tmp_path, UCF11_CLASSES, count)["clip"]) for count in (55, 60, 110, 165, 220, 264)]
    assert [len(clips) for clips in sets] == [55, 60, 110, 165, 220, 264]
    assert sets[0] < sets[1]
    assert sets[0] < sets[2] < sets[3] < sets[4] < sets[5]
    table = index_clips(tmp_path, UCF11_CLASSES, 110)
    assert set(table.groupby("group").size()) == {5}
    assert {group[-2:] for group in table["group"]} == {"01", "02"}
    assert not caplog.text
    assert len(index_clips(tmp_path, UCF11_CLASSES, 5000)) == 264
    assert "5000 clips were asked for, but there are only 264" in caplog.text


# The protocols


def groups_in(table: pd.DataFrame, splits: pd.Series) -> pd.DataFrame:
    """Count the groups: a row a class, a column a split."""
    groups = table.assign(split=splits).drop_duplicates("group")
    return pd.crosstab(groups["label"], groups["split"])


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), num_groups=st.integers(3, 25), num_clips=st.integers(1, 7))
def test_grouped_split(seed: int, num_groups: int, num_clips: int) -> None:
    table = pd.DataFrame(
        [
            {"label": label, "group": f"{label}/{group}"}
            for label in range(3)
            for group in range(num_groups)
            for _ in range(num_clips)
        ]
    )
    splits = split_clips(table, "grouped", seed)
    assert splits.index.equals(table.index)
    assert set(splits) == {"train", "val", "test"}
    assert table.assign(split=splits)[["group", "split"]].drop_duplicates()["group"].is_unique
    groups = groups_in(table, splits)
    held_out = max(1, round(num_groups / 5))
    assert (groups["val"] == held_out).all()
    assert (groups["test"] == held_out).all()
    assert (groups["train"] == num_groups - 2 * held_out).all()
    assert split_clips(table, "grouped", seed).equals(splits)


def test_grouped_split_of_the_whole_set() -> None:
    table = whole_ucf11()
    first, second = (split_clips(table, "grouped", seed) for seed in (0, 1))
    assert (groups_in(table, first) == pd.Series({"test": 5, "train": 15, "val": 5})).all(axis=None)
    assert not first.equals(second)
    # Each class draws for itself: not the same group numbers everywhere.
    tested = table[first == "test"]
    assert len({frozenset(group[-2:] for group in part["group"]) for _, part in tested.groupby("label")}) > 5


def test_a_clip_left_out_does_not_move_the_groups() -> None:
    table = whole_ucf11()
    fewer = table.drop(index=[3, 700])
    assert split_clips(fewer, "grouped", 4).equals(split_clips(table, "grouped", 4).drop(index=[3, 700]))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_paper_split(seed: int) -> None:
    table = whole_ucf11()
    splits = split_clips(table, "paper", seed)
    assert splits.value_counts().to_dict() == {"train": 1280, "test": 320}
    assert split_clips(table, "paper", seed).equals(splits)
    assert not split_clips(table, "paper", seed + 1).equals(splits)


def test_paper_split_leaves_near_duplicates_in_training() -> None:
    table = whole_ucf11()
    shares = []
    for seed in range(20):
        splits = split_clips(table, "paper", seed)
        shares.append(table["group"][splits == "test"].isin(table["group"][splits == "train"]).mean())
    assert np.mean(shares) > 0.99


def test_split_errors() -> None:
    table = pd.DataFrame({"label": [0, 0, 0], "group": ["a/1", "a/1", "a/2"]})
    with pytest.raises(ValueError, match="at least 3 groups a class, got 2 for label 0"):
        split_clips(table, "grouped", 0)
    with pytest.raises(ValueError, match="at least 2, got 1"):
        split_clips(table.iloc[:1], "paper", 0)
