"""The stand-in: motion that a body can do, clips that depend on their numbers alone, files that are whole."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import av
import joblib
import numpy as np
import pytest

from btrnn.data.standins import actions, clips
from btrnn.data.standins.actions import ACTION_CLASSES, INFO_FILE, clip_path, make_actions, write_video
from btrnn.data.standins.backgrounds import BACKGROUNDS, PERIOD, paint_background, pan
from btrnn.data.standins.clips import class_palettes, draw_clip
from btrnn.data.standins.figure import Camera, Figure, Person
from btrnn.data.standins.motion import JOINT_INDEX, joint_positions, load_motion, motion_path, pose_at
from btrnn.data.video.subset import clips_per_group

SCRIPT = Path(__file__).parent.parent / "scripts" / "make_actions.py"


@pytest.fixture(scope="module")
def real_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest set, made by two processes."""
    root = tmp_path_factory.mktemp("actions")
    make_actions(root, 55, seed=5, num_workers=2)
    return root


@pytest.fixture
def quick_drawing(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Two plain frames in place of a drawn clip (in this process only); the list is of the clips asked for."""
    drawn: list[tuple[int, ...]] = []

    def plain(*numbers: int) -> np.ndarray:
        drawn.append(numbers)
        return np.full((2, 240, 320, 3), sum(numbers) % 256, dtype=np.uint8)

    monkeypatch.setattr(actions, "draw_clip", plain)
    return drawn


def videos(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.mpg"))}


def captured(name: str, count: int = 200) -> np.ndarray:
    motion = load_motion(name)
    return joint_positions(*pose_at(motion, np.linspace(0, motion.times[-1], count, endpoint=False)))


# Motion


@pytest.mark.parametrize("name", ACTION_CLASSES)
def test_motion_is_a_bodys(name: str) -> None:
    motion = load_motion(name)
    assert 0.5 < motion.times[-1] < 6
    assert (np.diff(motion.times) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(motion.rotations, axis=-1), 1, atol=1e-12)
    points = captured(name)
    low, high = points[..., 1].min(), points[..., 1].max()
    assert -0.25 < low < 0.1, "something touches the ground, and nothing is buried"
    assert 0.4 < high < 2.3
    shin = np.linalg.norm(points[:, JOINT_INDEX["left_knee"]] - points[:, JOINT_INDEX["left_ankle"]], axis=-1)
    np.testing.assert_allclose(shin, 0.410, atol=1e-9)


@pytest.mark.parametrize("name", ACTION_CLASSES)
def test_motion_has_no_jump_where_it_begins_again(name: str) -> None:
    motion = load_motion(name)
    end = motion.times[-1]
    root, rotations = pose_at(motion, np.array([end - 1e-6, end + 1e-6]))
    assert np.abs(root[1] - root[0]).max() < 1e-3
    assert (np.abs((rotations[1] * rotations[0]).sum(-1)) > 1 - 1e-6).all()


def test_walker_is_upright_with_a_foot_on_the_ground_and_goes_on() -> None:
    points = captured("walk")
    feet = points[:, [JOINT_INDEX["left_heel"], JOINT_INDEX["right_heel"]], 1].min(axis=1)
    assert np.abs(feet).max() < 0.12
    assert (points[:, JOINT_INDEX["head"], 1] > 1.3).all()
    assert (points[:, JOINT_INDEX["right_hip"], 2] > points[:, JOINT_INDEX["left_hip"], 2]).all()
    assert load_motion("walk").travel[0] > 1


@pytest.mark.parametrize("name", ["cartwheel", "backflip"])
def test_head_goes_under_the_hips(name: str) -> None:
    points = captured(name)
    assert (points[:, JOINT_INDEX["head"], 1] < points[:, JOINT_INDEX["root"], 1] - 0.3).any()
    assert (points[:, JOINT_INDEX["head"], 1] > points[:, JOINT_INDEX["root"], 1] + 0.3).any()


def test_knees_bend_backwards_and_elbows_forwards() -> None:
    motion = load_motion("run")
    knee = list(JOINT_INDEX).index("right_knee")
    elbow = list(JOINT_INDEX).index("right_elbow")
    angle = 2 * np.arctan2(motion.rotations[..., 3], motion.rotations[..., 0])
    assert angle[:, knee].min() < -1
    assert angle[:, knee].max() < 0.1
    assert angle[:, elbow].min() > -0.1


def test_unknown_motion_names_those_there_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"no motion 'swim'.*backflip"):
        motion_path("swim")


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install pybullet"):
        motion_path("walk")


# Drawing


def test_camera_puts_up_above_and_near_larger() -> None:
    camera = Camera(focal=500.0, distance=5.0, pitch=0.1, centre=(160.0, 130.0), height=0.85)
    points = np.array([[0, 0.85, 0], [0, 1.85, 0], [1, 0.85, 0], [0, 0.85, 1.0], [0, 0, -1e6]])
    pixels, depth, scale = camera.project(points)
    np.testing.assert_allclose(pixels[0], [160, 130])
    assert pixels[1, 1] < 130
    assert pixels[2, 0] == pytest.approx(260)
    assert scale[3] > scale[0]
    assert depth[3] > depth[0]
    assert pixels[4, 1] == pytest.approx(camera.horizon(), abs=0.1)


def test_figure_is_lit_from_its_lamps_side_and_stands_in_front_of_its_shadow() -> None:
    kinds = ("skin", "hair", "shirt", "trousers", "shoes", "forearms", "shins")
    person = Person(size=1.0, leg=1.0, arm=1.0, width=1.0, colours=dict.fromkeys(kinds, (200, 200, 200)))
    camera = Camera(focal=500.0, distance=5.0, pitch=0.1, centre=(160.0, 130.0), height=0.85)
    points = captured("walk", 1) - load_motion("walk").root[0] * np.array([1, 0, 1])
    sides = []
    for x in (-1.0, 1.0):
        frames = np.full((1, 240, 320, 3), 128, dtype=np.uint8)
        Figure(person, np.array([x, 1.0, 0.3]), 1.0, np.ones(3)).draw(frames, points, camera)
        trunk = frames[0, 90:115, 140:180].mean(axis=(0, 2))
        sides.append(trunk[:20].mean() - trunk[20:].mean())
        body = frames[0] != 128
        assert body[:200].any()
        assert not body[:30].any()
        assert frames[0, 190:].min() < 100, "a shadow on the ground"
    assert sides[0] > 5
    assert sides[1] < -5


def test_light_from_below_is_refused() -> None:
    person = clips._group(0, 0, 1).person
    with pytest.raises(ValueError, match="from above"):
        Figure(person, np.array([0.0, -1.0, 0.0]), 1.0, np.ones(3))


@pytest.mark.parametrize("scene", BACKGROUNDS)
@pytest.mark.parametrize("floor_row", [95, 170])
def test_background_goes_round_and_the_floor_moves_faster_than_the_wall(scene: str, floor_row: int) -> None:
    rng = np.random.default_rng(0)
    background = paint_background(
        BACKGROUNDS[scene], rng, floor_row=floor_row, colour_spread=5.0, brightness=1.0, tint=np.ones(3)
    )
    wall_travel = (floor_row - 60) / (210 - 60)
    shifts = np.array([0.0, 40.0, PERIOD / wall_travel])
    frames = pan(background, shifts, floor_row=floor_row, horizon=60.0, feet_row=210.0)
    np.testing.assert_array_equal(frames[0], background[:, :320])
    moved = round(40 * wall_travel)
    np.testing.assert_array_equal(frames[1, :floor_row], background[:floor_row, moved : moved + 320])
    np.testing.assert_array_equal(frames[2, :floor_row], frames[0, :floor_row])
    lower = 40 * (236 - 60) / (210 - 60)
    matches = [k for k in range(80) if (frames[1, 236] == background[236, k : k + 320]).all()]
    assert matches, "the floor is moved as a whole"
    assert min(abs(k - lower) for k in matches) <= 5
    assert background.std() > 5


def test_each_class_has_its_own_few_palettes_and_shares_them() -> None:
    palettes = [set(class_palettes(k)) for k in range(len(ACTION_CLASSES))]
    assert all(len(names) == 2 for names in palettes)
    assert len({tuple(sorted(names)) for names in palettes}) == len(ACTION_CLASSES)
    assert all(any(names & other for other in palettes if other is not names) for names in palettes)


# Clips


def test_clip_depends_on_its_numbers_alone() -> None:
    first = draw_clip(3, 0, 2, 1)
    draw_clip(3, 7, 1, 4)
    clips._group.cache_clear()
    np.testing.assert_array_equal(draw_clip(3, 0, 2, 1), first)
    for other in ((4, 0, 2, 1), (3, 1, 2, 1), (3, 0, 3, 1), (3, 0, 2, 2)):
        assert not np.array_equal(draw_clip(*other)[0], first[0]), other


def test_a_group_shares_its_scene_and_clips_differ() -> None:
    def top(group: int, clip: int) -> np.ndarray:
        return np.asarray(draw_clip(3, 4, group, clip)[:, :20].mean(axis=(0, 1, 2)))

    here = [top(1, clip) for clip in (1, 2, 3)]
    assert max(np.abs(here[0] - colour).max() for colour in here) < 12
    assert np.abs(here[0] - top(2, 1)).max() > 12


@pytest.mark.parametrize("class_index", range(len(ACTION_CLASSES)))
def test_figure_is_in_the_picture_and_moves(class_index: int) -> None:
    frames = draw_clip(11, class_index, 3, 1)
    assert frames.shape[1:] == (240, 320, 3)
    assert 30 <= len(frames) <= 75
    shared = clips._group(11, class_index, 3)
    assert 60 < shared.floor_row < 215
    motion = np.abs(np.diff(frames[:, 20:, 40:280].astype(np.int16), axis=0)).max(axis=-1)
    assert (motion > 60).mean() > 2e-4


# Files


def test_layout_counts_and_decoding(real_set: Path) -> None:
    names = set(videos(real_set))
    expected = {f"{name}/v_{name}_01/v_{name}_01_{clip:02d}.mpg" for name in ACTION_CLASSES for clip in range(1, 6)}
    assert names == expected
    assert json.loads((real_set / INFO_FILE).read_text())["seed"] == 5
    assert not list(real_set.rglob("*.part"))
    for class_index, name in enumerate(ACTION_CLASSES):
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
        assert path.read_bytes() == clip_path(real_set, list(ACTION_CLASSES)[class_index], group, clip).read_bytes()


def test_smaller_set_is_part_of_a_larger(tmp_path: Path, quick_drawing: list[tuple[int, ...]]) -> None:
    make_actions(tmp_path / "small", 1, num_workers=1)
    make_actions(tmp_path / "large", 118, num_workers=1)
    small, large = videos(tmp_path / "small"), videos(tmp_path / "large")
    assert len(small) == 55
    assert len(large) == clips_per_group(118).sum() == 118
    assert small.items() <= large.items()
    make_actions(tmp_path / "small", 118, num_workers=1)
    assert videos(tmp_path / "small") == large


def test_only_missing_files_are_made(tmp_path: Path, quick_drawing: list[tuple[int, ...]]) -> None:
    make_actions(tmp_path, 55, num_workers=1)
    before = videos(tmp_path)
    gone = clip_path(tmp_path, "kick", 1, 3)
    gone.unlink()
    old, young = (gone.with_name(f".{gone.name}.{number}.part") for number in (1, 2))
    for leftover in (old, young):
        leftover.write_bytes(b"half")
    os.utime(old, (time.time() - 3600,) * 2)
    quick_drawing.clear()
    make_actions(tmp_path, 55, num_workers=1)
    assert quick_drawing == [(0, list(ACTION_CLASSES).index("kick"), 1, 3)]
    assert videos(tmp_path) == before
    assert not old.exists()
    assert young.exists(), "another process may be writing it"


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
        make_actions(tmp_path, 55, num_workers=1)
    assert "55 of 55" in caplog.text
    assert len(caplog.records) < 10


def test_another_seed_or_version_is_refused(
    tmp_path: Path, quick_drawing: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_actions(tmp_path, 55, seed=1, num_workers=1)
    before = videos(tmp_path)
    with pytest.raises(ValueError, match=r"'seed': 1.*'seed': 2.*another folder"):
        make_actions(tmp_path, 110, seed=2, num_workers=1)
    monkeypatch.setattr(actions, "VERSION", actions.VERSION + 1)
    with pytest.raises(ValueError, match="version"):
        make_actions(tmp_path, 55, seed=1, num_workers=1)
    (tmp_path / INFO_FILE).write_text("{")
    with pytest.raises(ValueError, match="nothing that can be read"):
        make_actions(tmp_path, 55, seed=1, num_workers=1)
    assert videos(tmp_path) == before


def test_folder_of_other_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "walk").mkdir()
    with pytest.raises(ValueError, match=INFO_FILE):
        make_actions(tmp_path, 55)
    assert [path.name for path in tmp_path.iterdir()] == ["walk"]


def test_a_worker_of_joblib_draws_in_processes_of_its_own(tmp_path: Path) -> None:
    """The first job of a sweep by Hydra's joblib launcher draws the clips."""
    jobs = [joblib.delayed(make_actions)(tmp_path / name, 11, num_workers=2) for name in ("a", "b")]
    joblib.Parallel(n_jobs=2)(jobs)
    drawn = [sorted(path.read_bytes() for path in (tmp_path / name).glob("**/*.mpg")) for name in ("a", "b")]
    assert drawn[0]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("arguments", "words"), [({"seed": -1}, "seed"), ({"num_workers": 0}, "num_workers")])
def test_wrong_number_is_named(tmp_path: Path, arguments: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_actions(tmp_path / "new", 55, **arguments)
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
