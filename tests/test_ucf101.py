"""UCF101 and Weizmann in their original layouts: the index, a run, protocols with validation clips and people."""

import hashlib
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from btrnn.data.module import files_digest
from btrnn.data.video.clips import UCF101_CLASSES, UCF101_LAYOUT, WEIZMANN_CLASSES, WEIZMANN_LAYOUT, index_clips
from btrnn.data.video.protocols import split_clips
from btrnn.engine import run

from .clips import write_clip


@pytest.fixture(scope="module")
def ucf101(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir with a tiny UCF-101: 2 groups of 2 clips a class, and a class that is not asked for."""
    root = tmp_path_factory.mktemp("data") / "UCF-101"
    for label, class_name in enumerate([*UCF101_CLASSES, "YoYo"]):
        for group in (1, 2):
            for clip in (1, 2):
                path = root / class_name / f"v_{class_name}_g{group:02d}_c{clip:02d}.avi"
                write_clip(path, 8 + label, noise=5 * label, codec="mpeg4")
    return root.parent


def test_the_original_layout_is_read(ucf101: Path) -> None:
    table = index_clips(ucf101 / "UCF-101", UCF101_CLASSES, layout=UCF101_LAYOUT)
    assert len(UCF101_CLASSES) == 11
    assert len(table) == 44
    assert list(table["label"]) == [label for label in range(11) for _ in range(4)]
    assert list(table["clip"][:3]) == ["v_Basketball_g01_c01", "v_Basketball_g01_c02", "v_Basketball_g02_c01"]
    assert list(table["group"][:3]) == ["Basketball/01", "Basketball/01", "Basketball/02"]
    assert table["path"].iloc[-1] == "WalkingWithDog/v_WalkingWithDog_g02_c02.avi"
    fewer = index_clips(ucf101 / "UCF-101", UCF101_CLASSES, 22, UCF101_LAYOUT)
    assert fewer["label"].value_counts().unique().tolist() == [2]


def test_each_person_of_weizmann_is_tested_in_one_fold_with_all_of_their_clips(tmp_path: Path) -> None:
    people = ["daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar"]
    for action, person in product(WEIZMANN_CLASSES, people):
        twice = person == "lena" and action in ("run", "skip", "walk")
        for number in ("1", "2") if twice else ("",):
            path = tmp_path / action / f"{person}_{action}{number}.avi"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    table = index_clips(tmp_path, WEIZMANN_CLASSES, layout=WEIZMANN_LAYOUT)
    assert len(table) == 93
    assert table.loc[table["clip"] == "lena_walk2", "group"].tolist() == ["walk/lena"]
    for fold, person in enumerate(people):
        split = split_clips(table, "group_folds", 0, fold, len(people))
        of_person = table["group"].str.endswith(f"/{person}")
        assert of_person.equals((split == "test").rename("group"))
        assert split.value_counts()["val"] in (20, 23)  # two people
    with pytest.raises(ValueError, match="needs fold, 0 to 8; got 9"):
        split_clips(table, "group_folds", 0, 9, len(people))


def test_missing_files_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no folder of videos at {tmp_path}/UCF-101.*UCF101.*data_dir"):
        index_clips(tmp_path / "UCF-101", UCF101_CLASSES, layout=UCF101_LAYOUT)
    (tmp_path / "Basketball").mkdir()
    (tmp_path / "Basketball" / "v_Basketball_01_01.avi").touch()
    with pytest.raises(FileNotFoundError, match=r"'Basketball'.*Basketball/v_Basketball_g01_c01\.avi below"):
        index_clips(tmp_path, UCF101_CLASSES, layout=UCF101_LAYOUT)
    assert "named v_Basketball_g<group>_c<clip>" in caplog.text


def test_digest_is_that_of_lines_of_files(tmp_path: Path) -> None:
    root = tmp_path / "UCF-101"
    root.mkdir()
    for name in ("b", "a"):
        (root / name).write_text(name)
    lines = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  UCF-101/{name}\n" for name in ("a", "b"))
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert files_digest(root, ["b", "a"]) == expected


def test_a_digest_is_kept_until_a_file_changes(tmp_path: Path) -> None:
    root, cache_dir = tmp_path / "UCF-101", tmp_path / "cache"
    root.mkdir()
    (root / "a").write_text("a")
    left = cache_dir / "digests" / ".b.txt.1-ab.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a process that was killed")
    digest = files_digest(root, ["a"], cache_dir)
    assert not left.exists()
    (kept,) = left.parent.glob("*.txt")
    kept.write_text("0" * 64)
    assert files_digest(root, ["a"], cache_dir) == "0" * 64
    for damaged in (b"", b"\xff" * 64):
        kept.write_bytes(damaged)
        assert files_digest(root, ["a"], cache_dir) == digest
    (root / "a").write_text("another")
    assert files_digest(root, ["a"], cache_dir) == files_digest(root, ["a"]) != digest


def test_validation_clips_come_from_the_training_clips_of_the_paper_s_split() -> None:
    table = pd.DataFrame({"label": np.arange(1407) % 11, "group": "a/1"})
    paper, validated = (split_clips(table, protocol, 3) for protocol in ("paper", "paper_validated"))
    assert validated.value_counts().to_dict() == {"train": 1013, "test": 282, "val": 112}
    assert (paper == "test").equals(validated == "test")


def test_a_run_is_chosen_on_validation_clips_and_tests_the_last_epoch_too(
    ucf101: Path, make_config: Callable[..., DictConfig]
) -> None:
    config = make_config("experiment=ucf101_rates", "scale=smoke", "model=bt_lstm", f"data_dir={ucf101}")
    assert config.data.num_clips is None
    summary = run.train(config)
    expected = {"source": "ucf101", "stand_in": False, "num_clips": 44, "num_train": 32, "num_val": 3, "num_test": 9}
    assert summary.items() >= expected.items()
    assert {"val/accuracy", "test/accuracy", "test/accuracy_last"} <= summary.keys()
    paths = index_clips(ucf101 / "UCF-101", UCF101_CLASSES, layout=UCF101_LAYOUT)["path"]
    assert summary["data_digest"] == files_digest(ucf101 / "UCF-101", paths)
    predictions = pd.read_csv(Path(config.run_dir) / "predictions.csv")
    assert {"predicted", "predicted_last"} <= set(predictions)
    splits = pd.read_csv(Path(config.run_dir) / "splits.csv")
    assert set(predictions["clip"]) == set(splits["clip"][splits["split"] == "test"])
