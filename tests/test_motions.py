"""Motions: one frame tells nothing, all frames tell the class; clips depend on their numbers alone; whole files."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import av
import joblib
import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from btrnn.data.standins import motions
from btrnn.data.standins.motions import (
    INFO_FILE,
    MANNERS,
    MOTION_CLASSES,
    NUM_FRAMES,
    PLACES,
    clip_path,
    draw_clip,
    make_motions,
    write_video,
)
from btrnn.data.video.clips import clips_per_group

SCRIPT = Path(__file__).parent.parent / "scripts" / "make_motions.py"
NUM_CLASSES = len(MOTION_CLASSES)


@pytest.fixture(scope="module")
def real_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest set, made by two processes."""
    root = tmp_path_factory.mktemp("motions")
    make_motions(root, 55, seed=5, num_workers=2)
    return root


@pytest.fixture
def quick_drawing(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Two plain frames in place of a drawn clip (in this process only); the list is of the clips asked for."""
    drawn: list[tuple[int, ...]] = []

    def plain(*numbers: int) -> np.ndarray:
        drawn.append(numbers)
        return np.full((2, 240, 320, 3), sum(numbers) % 256, dtype=np.uint8)

    monkeypatch.setattr(motions, "draw_clip", plain)
    return drawn


def videos(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.mpg"))}


# Classes


def test_eleven_classes_are_a_direction_and_a_manner() -> None:
    assert NUM_CLASSES == 11
    parts = [name.split("_", 1) for name in MOTION_CLASSES]
    assert {way for way, _ in parts} == {"right", "left", "up", "down"}
    assert {manner for _, manner in parts} == set(MANNERS)
    assert all(len(hops) == NUM_FRAMES for hops in MANNERS.values())


def places(class_index: int, count: int) -> np.ndarray:
    """Draw the rows and columns, 0 to 2, at which the patch of many clips is in each frame; there is no jitter."""
    drawn = [motions._places(class_index, np.random.default_rng(number)) for number in range(count)]
    found: np.ndarray = np.array(drawn) * PLACES // (motions.HEIGHT, motions.WIDTH) % PLACES
    return found


def test_in_each_frame_a_patch_is_everywhere_equally_often_but_no_two_classes_have_one_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(motions, "JITTER", 0.0)
    paths = []
    for class_index in range(NUM_CLASSES):
        found = places(class_index, 900)
        for frame in range(NUM_FRAMES):
            counts = np.bincount(found[:, frame] @ [PLACES, 1], minlength=PLACES**2)
            assert counts.min() > 60, "a ninth of 900, and four standard deviations"
            assert counts.max() < 140
        moved = (found - found[:, :1]) % PLACES
        assert (moved == moved[0]).all(), "from wherever it begins, it takes the same way"
        paths.append(tuple(moved[0].flatten()))
    assert len(set(paths)) == NUM_CLASSES


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Frames of 440 clips in 12 x 16 pixels, (clips, frames, values) from 0 to 1, and the clips' classes."""
    labels = np.tile(np.arange(NUM_CLASSES), 40)
    clips = np.array(
        [draw_clip(7, label, 1, number)[:, 10::20, 10::20] for number, label in enumerate(labels.tolist())]
    )
    return clips.reshape(len(labels), NUM_FRAMES, -1) / 255, labels


def right(model: RidgeClassifier | KNeighborsClassifier, inputs: np.ndarray, labels: np.ndarray) -> float:
    """Fit a model on three quarters of the clips; return how many of the 110 others it gets right."""
    train = np.arange(len(labels)) % 44 < 33
    return float((model.fit(inputs[train], labels[train]).predict(inputs[~train]) == labels[~train]).sum())


@pytest.mark.parametrize("frame", range(NUM_FRAMES))
def test_models_that_see_one_frame_are_at_chance(drawn: tuple[np.ndarray, np.ndarray], frame: int) -> None:
    clips, labels = drawn
    for model in (RidgeClassifier(10.0), KNeighborsClassifier(1)):
        # 110 draws at a chance of 1 / 11: 10 on average; 99.9 % of the time from 2 to 21
        assert 2 <= right(model, clips[:, frame], labels) <= 21


def test_the_places_in_all_frames_tell_the_class() -> None:
    labels = np.tile(np.arange(NUM_CLASSES), 40)
    paths = [motions._places(label, np.random.default_rng(number)) for number, label in enumerate(labels.tolist())]
    steps = 2 * np.pi * np.diff(np.array(paths) / (motions.HEIGHT, motions.WIDTH), axis=1)
    inputs = np.concatenate([np.cos(steps), np.sin(steps)], axis=-1).reshape(len(labels), -1)
    assert right(RidgeClassifier(), inputs, labels) >= 105, "the jitter leaves it visible"


# Clips


def test_clip_depends_on_its_numbers_alone() -> None:
    first = draw_clip(3, 0, 2, 1)
    draw_clip(3, 7, 1, 4)
    np.testing.assert_array_equal(draw_clip(3, 0, 2, 1), first)
    for other in ((4, 0, 2, 1), (3, 1, 2, 1), (3, 0, 3, 1), (3, 0, 2, 2)):
        assert not np.array_equal(draw_clip(*other)[0], first[0]), other


@pytest.mark.parametrize("class_index", range(NUM_CLASSES))
def test_a_bright_patch_moves_over_a_ground_that_stays(class_index: int) -> None:
    frames = draw_clip(11, class_index, 3, 1)
    assert frames.shape == (NUM_FRAMES, 240, 320, 3)
    bright = frames.mean(axis=-1) > 135
    assert (bright.mean(axis=(1, 2)) > 0.04).all()
    assert (bright.mean(axis=(1, 2)) < 0.2).all()
    ground = np.where(bright[..., None], 0, frames).max(axis=0)
    assert ((frames == ground).all(axis=-1) | bright).mean() > 0.99
    assert (bright[0] != bright[2]).any()


# Files


def test_layout_counts_and_decoding(real_set: Path) -> None:
    names = set(videos(real_set))
    expected = {f"{name}/v_{name}_01/v_{name}_01_{clip:02d}.mpg" for name in MOTION_CLASSES for clip in range(1, 6)}
    assert names == expected
    assert json.loads((real_set / INFO_FILE).read_text())["seed"] == 5
    assert not list(real_set.rglob("*.part"))
    for class_index, name in enumerate(MOTION_CLASSES):
        with av.open(str(clip_path(real_set, name, 1, 2))) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == 30
            assert stream.codec_context.name == "mpeg1video"
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        drawn = draw_clip(5, class_index, 1, 2)
        assert np.shape(decoded) == drawn.shape
        assert np.abs(decoded[-1].astype(int) - drawn[-1]).mean() < 12, "the frames are those drawn, in order"


def test_files_do_not_depend_on_the_processes(real_set: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mpg"
    for class_index, group, clip in ((0, 1, 5), (9, 1, 1)):
        write_video(path, draw_clip(5, class_index, group, clip))
        assert path.read_bytes() == clip_path(real_set, list(MOTION_CLASSES)[class_index], group, clip).read_bytes()


def test_smaller_set_is_part_of_a_larger(tmp_path: Path, quick_drawing: list[tuple[int, ...]]) -> None:
    make_motions(tmp_path / "small", 1, num_workers=1)
    make_motions(tmp_path / "large", 118, num_workers=1)
    small, large = videos(tmp_path / "small"), videos(tmp_path / "large")
    assert len(small) == 55
    assert len(large) == clips_per_group(118).sum() == 118
    assert small.items() <= large.items()
    make_motions(tmp_path / "small", 118, num_workers=1)
    assert videos(tmp_path / "small") == large


def test_only_missing_files_are_made(tmp_path: Path, quick_drawing: list[tuple[int, ...]]) -> None:
    make_motions(tmp_path, 55, num_workers=1)
    before = videos(tmp_path)
    gone = clip_path(tmp_path, "left_steady", 1, 3)
    gone.unlink()
    gone.with_name(f".{gone.name}.1.part").write_bytes(b"half")
    quick_drawing.clear()
    make_motions(tmp_path, 55, num_workers=1)
    assert quick_drawing == [(0, list(MOTION_CLASSES).index("left_steady"), 1, 3)]
    assert videos(tmp_path) == before
    assert not list(tmp_path.rglob(".*.part"))


def test_failure_while_writing_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        Path.touch(self)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_video(tmp_path / "clip.mpg", np.zeros((2, 240, 320, 3), dtype=np.uint8))
    assert not list(tmp_path.iterdir())


def test_progress_is_logged_off_a_terminal(
    tmp_path: Path, quick_drawing: list[tuple[int, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        make_motions(tmp_path, 55, num_workers=1)
    assert "55 of 55" in caplog.text
    assert len(caplog.records) < 10


def test_another_seed_or_version_is_refused(
    tmp_path: Path, quick_drawing: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_motions(tmp_path, 55, seed=1, num_workers=1)
    before = videos(tmp_path)
    with pytest.raises(ValueError, match=r"'seed': 1.*'seed': 2.*another folder"):
        make_motions(tmp_path, 110, seed=2, num_workers=1)
    monkeypatch.setattr(motions, "VERSION", motions.VERSION + 1)
    with pytest.raises(ValueError, match="version"):
        make_motions(tmp_path, 55, seed=1, num_workers=1)
    (tmp_path / INFO_FILE).write_text("{")
    with pytest.raises(ValueError, match="nothing that can be read"):
        make_motions(tmp_path, 55, seed=1, num_workers=1)
    assert videos(tmp_path) == before


def test_folder_of_other_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "right_steady").mkdir()
    with pytest.raises(ValueError, match=INFO_FILE):
        make_motions(tmp_path, 55)
    assert [path.name for path in tmp_path.iterdir()] == ["right_steady"]


def test_a_worker_of_joblib_draws_in_processes_of_its_own(tmp_path: Path) -> None:
    """The first job of a sweep by Hydra's joblib launcher draws the clips."""
    jobs = [joblib.delayed(make_motions)(tmp_path / name, 11, num_workers=2) for name in ("a", "b")]
    joblib.Parallel(n_jobs=2)(jobs)
    drawn = [sorted(path.read_bytes() for path in (tmp_path / name).glob("**/*.mpg")) for name in ("a", "b")]
    assert drawn[0]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("arguments", "words"), [({"seed": -1}, "seed"), ({"num_workers": 0}, "num_workers")])
def test_wrong_number_is_named(tmp_path: Path, arguments: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_motions(tmp_path / "new", 55, **arguments)
    assert not (tmp_path / "new").exists()


def test_script_says_what_there_is_and_what_is_wrong(real_set: Path) -> None:
    def call(seed: int) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            str(SCRIPT),
            "--root",
            str(real_set),
            "--num-clips",
            "55",
            "--seed",
            str(seed),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    done = call(5)
    assert done.returncode == 0, done.stderr
    assert str(real_set) in done.stdout
    refused = call(6)
    assert refused.returncode != 0
    assert "another folder" in refused.stderr
    assert "Traceback" not in refused.stderr
