import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from btrnn.data.video import decode_pool
from btrnn.data.video import decoding as video
from btrnn.data.video import frame_cache as module
from btrnn.data.video.decode_pool import DecodeTask, clip_rng, decode_clips
from btrnn.data.video.decoding import DecoderMissingError, VideoError, read_sampled_frames
from btrnn.data.video.frame_cache import FrameCache, build_frame_cache
from tests.clips import positions_shown, write_audio, write_clip
from tests.processes import children

FRAMES_CACHED = 3


def list_clips(root: Path) -> pd.DataFrame:
    """Index the files of a folder as the loader does."""
    paths = sorted(path.relative_to(root) for path in root.rglob("*.*"))
    return pd.DataFrame(
        {
            "clip": [path.stem for path in paths],
            "class_name": "walking",
            "label": 0,
            "group": "walking/01",
            "path": [str(path) for path in paths],
        }
    )


@pytest.fixture(scope="module")
def clip_bytes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """Return clips by their number of frames."""
    folder = tmp_path_factory.mktemp("clips")
    return {count: write_clip(folder / f"{count}.mpg", count).read_bytes() for count in (1, 2, 30, 40)}


@pytest.fixture
def root(tmp_path: Path, clip_bytes: dict[int, bytes]) -> Path:
    """Make a folder of 6 clips: four long ones, one of 2 frames, one of 1."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for index, count in enumerate((30, 40, 2, 30, 1, 40)):
        (folder / f"clip_{index}.mpg").write_bytes(clip_bytes[count])
    return folder


def build(root: Path, cache_dir: Path, **changes: object) -> FrameCache:
    arguments = {"frames_cached": FRAMES_CACHED, "num_workers": 1} | changes
    return build_frame_cache(list_clips(root), root, cache_dir, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the clips that are decoded in this process."""
    clips: list[str] = []
    original = decode_pool.decode_clip

    def record(task: DecodeTask, array_file: int) -> decode_pool.DecodedClip:
        clips.append(task.clip)
        return original(task, array_file)

    monkeypatch.setattr(decode_pool, "decode_clip", record)
    return clips


def test_each_row_holds_the_frames_that_were_drawn(root: Path, tmp_path: Path) -> None:
    cache = build(root, tmp_path / "cache")
    assert cache.frames.shape == (6, FRAMES_CACHED, 57_600)
    assert isinstance(cache.frames, np.memmap)
    assert not cache.frames.flags.writeable
    assert cache.table["clip"].tolist() == [f"clip_{index}" for index in range(6)]
    assert cache.table["num_frames"].tolist() == [30, 40, 2, 30, 1, 40]
    assert cache.num_cached.tolist() == cache.table["num_cached"].tolist() == [3, 3, 2, 3, 1, 3]
    assert set(list_clips(root).columns) < set(cache.table.columns)
    for row, clip in enumerate(cache.table["clip"]):
        frames, positions, _ = read_sampled_frames(root / f"{clip}.mpg", FRAMES_CACHED, clip_rng(0, clip))
        assert (cache.frames[row, : len(frames)].reshape(frames.shape) == frames).all()
        assert positions_shown(frames).tolist() == positions.tolist()
        assert not cache.frames[row, len(frames) :].any()


def test_a_clips_draw_does_not_depend_on_the_other_clips(root: Path, tmp_path: Path) -> None:
    whole = build(root, tmp_path / "whole")
    (root / "clip_0.mpg").unlink()
    rest = build(root, tmp_path / "rest")
    assert (whole.frames[1:] == rest.frames).all()
    assert not np.array_equal(whole.frames[0], whole.frames[3])  # equal files, other names: other draws


def test_several_processes_build_the_same_cache(root: Path, tmp_path: Path) -> None:
    one = build(root, tmp_path / "one")
    two = build(root, tmp_path / "two", num_workers=2)
    assert (one.frames == two.frames).all()
    pd.testing.assert_frame_equal(one.table, two.table)


def test_an_unchanged_cache_is_opened_without_decoding(
    root: Path, tmp_path: Path, decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = build(root, tmp_path / "cache")
    assert len(decoded) == 6
    again = build(root, tmp_path / "cache")
    assert len(decoded) == 6
    assert "anew" not in caplog.text
    assert (first.frames == again.frames).all()
    pd.testing.assert_frame_equal(first.table, again.table)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        "cache.json",
        "frames.u8",
        "lock",
        "report.json",
    ]


def test_a_large_cache_opens_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    for index in range(1600):
        (root / f"clip_{index:04}.mpg").write_bytes(b"x")
    monkeypatch.setattr(
        decode_pool,
        "decode_clip",
        lambda task, array_file: decode_pool.DecodedClip(task.row, task.clip, 30, 1),
    )
    monkeypatch.setattr(os, "posix_fallocate", lambda file, start, size: os.truncate(file, size))
    clips = list_clips(root)
    build_frame_cache(clips, root, tmp_path / "cache", frames_cached=1, num_workers=1)
    start = time.perf_counter()
    cache = build_frame_cache(clips, root, tmp_path / "cache", frames_cached=1)
    assert time.perf_counter() - start < 1
    assert len(cache.table) == 1600


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frames_cached": 2}, "frames_cached was 3 and is 2"),
        ({"sampling_seed": 1}, "sampling_seed was 0 and is 1"),
    ],
)
def test_other_settings_make_the_cache_anew(
    root: Path,
    tmp_path: Path,
    decoded: list[str],
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, object],
    reason: str,
) -> None:
    before = np.array(build(root, tmp_path / "cache").frames)
    decoded.clear()
    after = build(root, tmp_path / "cache", **changes)
    assert len(decoded) == 6
    assert reason in caplog.text
    assert not np.array_equal(before, after.frames)


def test_another_decoder_makes_the_cache_anew(
    root: Path, tmp_path: Path, ffmpeg: None, caplog: pytest.LogCaptureFixture
) -> None:
    of_pyav = np.array(build(root, tmp_path / "cache").frames)
    of_skvideo = build(root, tmp_path / "cache", decoder="skvideo")
    assert "decoder was 'pyav' and is 'skvideo'" in caplog.text
    assert np.abs(of_pyav.astype(int) - of_skvideo.frames).mean() <= 2


def test_a_changed_file_makes_the_cache_anew(
    root: Path, tmp_path: Path, clip_bytes: dict[int, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    build(root, tmp_path / "cache")
    (root / "clip_4.mpg").write_bytes(clip_bytes[40])
    cache = build(root, tmp_path / "cache")
    assert cache.num_cached.tolist() == [3, 3, 2, 3, 3, 3]
    assert "1 source file(s) changed, the first is clip_4" in caplog.text
    status = (root / "clip_1.mpg").stat()
    os.utime(root / "clip_1.mpg", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    build(root, tmp_path / "cache")
    assert "the first is clip_1" in caplog.text


def test_another_list_of_clips_makes_the_cache_anew(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(root, tmp_path / "cache")
    (root / "clip_5.mpg").unlink()
    assert len(build(root, tmp_path / "cache").table) == 5
    assert "the list of clips changed (6 clips before, 5 now)" in caplog.text


@pytest.mark.parametrize("damage", ["cut", "longer", "missing", "mark"])
def test_a_damaged_cache_is_made_anew(
    root: Path, tmp_path: Path, decoded: list[str], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    whole = np.array(build(root, tmp_path / "cache").frames)
    decoded.clear()
    array = tmp_path / "cache" / "frames.u8"
    if damage == "missing":
        array.unlink()
    elif damage == "mark":
        (tmp_path / "cache" / "cache.json").write_text('{"settings": {')
    else:
        os.truncate(array, array.stat().st_size + (1000 if damage == "longer" else -1000))
    again = build(root, tmp_path / "cache")
    assert (again.frames == whole).all()
    assert len(decoded) == 6
    assert "is made anew: " + ("cache.json is damaged" if damage == "mark" else "frames.u8 has") in caplog.text


def build_until_stopped(root: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Build a cache whose decoding stops with Ctrl-C after some clips."""
    original = decode_clips

    def interrupted(*arguments: object, **keywords: object):  # type: ignore[no-untyped-def]
        for index, result in enumerate(original(*arguments, **keywords)):  # type: ignore[arg-type]
            if index == count:
                raise KeyboardInterrupt
            yield result

    with monkeypatch.context() as context:
        context.setattr(module, "decode_clips", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(root, cache_dir)


def test_a_stopped_build_goes_on(
    root: Path,
    tmp_path: Path,
    decoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = build(root, tmp_path / "whole")
    build_until_stopped(root, tmp_path / "cache", monkeypatch, 4)
    assert not (tmp_path / "cache" / "frames.u8").exists()
    with (tmp_path / "cache" / "progress.jsonl").open("a") as lines:
        lines.write('{"row": 4, "cl')  # as if stopped while writing
    decoded.clear()
    cache = build(root, tmp_path / "cache")
    assert decoded == ["clip_4", "clip_5"]
    assert "it has 4 of 6 clips" in caplog.text
    assert (cache.frames == whole.frames).all()
    pd.testing.assert_frame_equal(cache.table, whole.table)


def test_what_a_build_that_was_killed_at_its_end_left_is_removed(
    root: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(module, "_remove_unfinished", stop)
        with pytest.raises(KeyboardInterrupt):
            build(root, tmp_path / "cache")
    assert (tmp_path / "cache" / "progress.jsonl").exists()
    decoded.clear()
    build(root, tmp_path / "cache")
    assert decoded == []
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert left == {"cache.json", "frames.u8", "lock", "report.json"}


BROKEN_LINES = {
    "no UTF-8": lambda line: b"\xff" + line,
    "a list": lambda line: b"[]",
    "other keys": lambda line: b'{"a": 1}',
    "a row of none": lambda line: re.sub(rb'"row": \d+', b'"row": -1', line),
    "a row of words": lambda line: re.sub(rb'"row": \d+', b'"row": "one"', line),
}


@pytest.mark.parametrize("damage", BROKEN_LINES)
@pytest.mark.parametrize("number", [0, 2])
def test_progress_that_cannot_be_read_costs_work_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, damage: str
) -> None:
    whole = build(root, tmp_path / "whole")
    build_until_stopped(root, tmp_path / "cache", monkeypatch, 4)
    progress = tmp_path / "cache" / "progress.jsonl"
    lines = progress.read_bytes().splitlines()
    lines[number] = BROKEN_LINES[damage](lines[number])
    progress.write_bytes(b"\n".join(lines))
    assert (build(root, tmp_path / "cache").frames == whole.frames).all()


def test_a_worker_left_over_from_a_killed_build_writes_into_no_later_one(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / ".cache.json.1-ab.part").write_text("{")
    with (folder / "frames.partial").open("wb", buffering=0) as left_over:
        made = build(root, folder)
        before = np.array(made.frames)
        left_over.write(b"\xff" * 10_000)
    assert np.array_equal(made.frames, before)
    assert not list(folder.glob(".*.part"))


@pytest.mark.parametrize("damage", ["row lost", "array cut", "array missing", "progress empty", "other seed"])
def test_what_a_stopped_build_lost_is_decoded_again(
    root: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    seed = 1 if damage == "other seed" else 0
    whole = build(root, tmp_path / "whole", sampling_seed=seed)
    build_until_stopped(root, tmp_path / "cache", monkeypatch, 4)
    decoded.clear()
    array = tmp_path / "cache" / "frames.partial"
    row = FRAMES_CACHED * 57_600
    if damage == "row lost":
        with array.open("r+b") as file:
            file.seek(row)
            file.write(bytes(row))
    elif damage == "array cut":
        os.truncate(array, 3 * row + 5)
    elif damage == "array missing":
        array.unlink()
    elif damage == "progress empty":
        os.truncate(tmp_path / "cache" / "progress.jsonl", 0)
    cache = build(root, tmp_path / "cache", sampling_seed=seed)
    assert (cache.frames == whole.frames).all()
    again = {"row lost": ["clip_1", "clip_4", "clip_5"], "array cut": ["clip_3", "clip_4", "clip_5"]}
    assert decoded == again.get(damage, [f"clip_{index}" for index in range(6)])


SLOW_BUILD = """
import sys, pandas, pathlib
from btrnn.data.video.frame_cache import build_frame_cache
root, cache_dir = map(pathlib.Path, sys.argv[1:])
clips = pandas.DataFrame({"clip": [path.stem for path in sorted(root.iterdir())]})
clips["path"] = clips["clip"] + ".mpg"
build_frame_cache(clips, root, cache_dir, frames_cached=3, num_workers=2)
"""


def test_a_killed_build_goes_on(tmp_path: Path, decoded: list[str]) -> None:
    root, cache_dir = tmp_path / "videos", tmp_path / "cache"
    clip = write_clip(tmp_path / "clip.mpg", 70, size=(320, 240)).read_bytes()
    root.mkdir()
    for index in range(60):
        (root / f"clip_{index:02}.mpg").write_bytes(clip)
    process = subprocess.Popen([sys.executable, "-c", SLOW_BUILD, str(root), str(cache_dir)])
    progress = cache_dir / "progress.jsonl"
    deadline = time.monotonic() + 30
    while not progress.exists() or len(progress.read_bytes().splitlines()) < 10:
        assert process.poll() is None, "the build ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    workers = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (cache_dir / "cache.json").exists()
    clips = list_clips(root)[["clip", "path"]]
    cache = build_frame_cache(clips, root, cache_dir, frames_cached=3, num_workers=1)
    assert 0 < len(decoded) <= 51
    whole = build_frame_cache(clips, root, tmp_path / "whole", frames_cached=3, num_workers=1)
    assert (cache.frames == whole.frames).all()
    pd.testing.assert_frame_equal(cache.table, whole.table)
    while any(Path(f"/proc/{pid}").exists() for pid in workers):  # they end by themselves
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_builders_do_not_disturb_each_other(root: Path, tmp_path: Path) -> None:
    for path in root.iterdir():
        path.rename(path.with_stem(path.stem.replace("_", "")))
    command = [sys.executable, "-c", SLOW_BUILD, str(root), str(tmp_path / "cache")]
    builders = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [builder.communicate()[1] for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0], errors
    whole = build(root, tmp_path / "whole")
    clips = list_clips(root)[["clip", "path"]]
    cache = build_frame_cache(clips, root, tmp_path / "cache", frames_cached=3)
    assert (cache.frames == whole.frames).all()


def test_of_many_jobs_that_start_together_one_decodes(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        caches = list(pool.map(lambda _: build(root, tmp_path / "cache"), range(8)))
    assert len(decoded) == len(set(decoded)) == 6
    for cache in caches:
        np.testing.assert_array_equal(cache.frames, caches[0].frames)


def test_a_full_disk_is_a_clear_error_and_leaves_nothing_half_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, start: int, size: int) -> None:
        os.truncate(file, size // 2)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match=r"disk full: frames.partial needs 1 MB.*choose another") as raised:
            build(root, tmp_path / "cache")
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("frames*"))
    assert (build(root, tmp_path / "cache").frames == build(root, tmp_path / "whole").frames).all()


def add_bad_files(root: Path, clip_bytes: dict[int, bytes], num_clips: int) -> list[str]:
    """Put one file of each bad kind at the start, in the middle and at the end of a list of good clips."""
    for index in range(num_clips):
        (root / f"clip_{index:03}.mpg").write_bytes(clip_bytes[2])
    (root / "clip_000a.mpg").touch()
    (root / "clip_100a.mpg").write_bytes(np.random.default_rng(0).bytes(9_000))
    write_audio(root / "clip_200a.mpg")
    write_clip(root / "zlip.avi", 0, codec="mpeg4")
    return ["clip_000a", "clip_100a", "clip_200a", "zlip"]


def test_a_few_bad_files_are_left_out_and_listed(
    tmp_path: Path, clip_bytes: dict[int, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    bad = add_bad_files(root, clip_bytes, 196)
    clips = list_clips(root)
    cache = build_frame_cache(clips, root, tmp_path / "cache", frames_cached=2, num_workers=1)
    assert cache.table["clip"].tolist() == [clip for clip in clips["clip"] if clip not in bad]
    assert cache.frames.shape == (196, 2, 57_600)
    assert (positions_shown(cache.frames.reshape(392, -1)).reshape(196, 2) == [0, 1]).all()
    report = json.loads((tmp_path / "cache" / "report.json").read_text())
    assert report["num_clips"] == 200
    assert report["num_undecodable"] == 4
    assert report["num_under_6_frames"] == 196
    reasons = {item["clip"]: item["reason"] for item in report["undecodable"]}
    assert list(reasons) == bad
    for clip, reason in zip(bad, ("zero bytes", "not a video", "audio only", "no frame decoded"), strict=True):
        assert reason in reasons[clip]
    assert "Left out: clip_000a.mpg: zero bytes." in caplog.text
    assert not (tmp_path / "cache" / "frames.partial").exists()
    assert len(build_frame_cache(clips, root, tmp_path / "cache", frames_cached=2).table) == 196


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.EIO])
def test_what_the_machine_cannot_read_just_now_is_not_taken_for_a_bad_clip(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    opened = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "clip_1.mpg":
            raise OSError(number, "refused", str(path))
        return opened(path, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        with pytest.raises(OSError, match="clip_1") as caught:
            build(root, tmp_path / "cache")
    assert caught.value.errno == number
    assert len(build(root, tmp_path / "cache").table) == 6


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_clip_whose_decoder_raises_is_left_out_and_named(
    tmp_path: Path, clip_bytes: dict[int, bytes], caplog: pytest.LogCaptureFixture, num_workers: int
) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    for index in range(50):
        (root / f"clip_{index:02}.mpg").write_bytes(clip_bytes[2])
    python = tmp_path / "python"
    code = (
        "from btrnn.data.video import decoding; open_file = decoding.av.open\n"
        "def fail(path, *a, **k):\n"
        "    if 'clip_07' in path: raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'no text')\n"
        "    return open_file(path, *a, **k)\n"
        "decoding.av.open = fail\n"
    )
    (tmp_path / "failing.py").write_text(
        f"{code}\nimport sys; from pathlib import Path\n"
        "from btrnn.data.video import decode_pool; decode_pool._serve(Path(sys.argv[-1]))\n"
    )
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "failing.py"} "$@"\n')
    python.chmod(0o755)
    with pytest.MonkeyPatch.context() as context:
        context.setattr(sys, "executable", str(python))
        context.setattr(video.av, "open", video.av.open)  # put back after the next line
        if num_workers == 1:
            exec(code, {})
        cache = build(root, tmp_path / "cache", num_workers=num_workers)
    assert len(cache.table) == 49
    assert "Left out: clip_07.mpg: cannot be decoded (UnicodeDecodeError" in caplog.text


def test_too_many_bad_files_are_an_error_that_names_them(
    root: Path, tmp_path: Path, clip_bytes: dict[int, bytes], decoded: list[str]
) -> None:
    (root / "clip_1.mpg").write_bytes(b"")
    message = r"(?s)1 of 6 files cannot be decoded; at most 2% .*clip_1.mpg: zero bytes"
    with pytest.raises(VideoError, match=message):
        build(root, tmp_path / "cache")
    assert json.loads((tmp_path / "cache" / "report.json").read_text())["num_undecodable"] == 1
    decoded.clear()
    with pytest.raises(VideoError, match=message):  # known at once, and never taken for a finished cache
        build(root, tmp_path / "cache")
    assert decoded == []
    (root / "clip_1.mpg").write_bytes(clip_bytes[40])
    assert len(build(root, tmp_path / "cache").table) == 6


def test_the_report_counts_short_clips(root: Path, tmp_path: Path) -> None:
    build(root, tmp_path / "cache")
    report = json.loads((tmp_path / "cache" / "report.json").read_text())
    assert report["num_under_6_frames"] == 2
    assert report["under_6_frames"] == {"clip_2": 2, "clip_4": 1}


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGSYS])
def test_a_decoder_that_crashes_costs_its_clip_alone(root: Path, tmp_path: Path, number: signal.Signals) -> None:
    crash = crashing_worker(tmp_path, number)
    results = decode_with(crash, root, tmp_path)
    reasons = {result.clip: result.reason for result in results}
    assert reasons.pop("clip_1") == f"the decoder crashed ({number.name})"
    assert set(reasons.values()) == {None}
    assert len(reasons) == 5


def test_a_worker_that_is_killed_stops_the_build(root: Path, tmp_path: Path) -> None:
    crash = crashing_worker(tmp_path, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=r"SIGKILL at .*clip_1.mpg"):
        decode_with(crash, root, tmp_path)


def crashing_worker(folder: Path, number: int) -> Path:
    """Write a stand-in for Python that runs the worker with a decoder that dies at clip_1."""
    script = folder / "python"
    code = (
        "import os, sys; from pathlib import Path; from btrnn.data.video import decode_pool as pool; "
        "decode = pool.decode_clip; "
        "pool.decode_clip = lambda task, file: "
        f"os.kill(os.getpid(), {int(number)}) if task.clip == 'clip_1' else decode(task, file); "
        "pool._serve(Path(sys.argv[-1]))"
    )
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    script.chmod(0o755)
    return script


def decode_with(python: Path, root: Path, folder: Path) -> list[decode_pool.DecodedClip]:
    (folder / "array").write_bytes(b"")
    tasks = [DecodeTask(row, path.stem, str(path), 1, 0, "pyav") for row, path in enumerate(sorted(root.iterdir()))]
    with pytest.MonkeyPatch.context() as context:
        context.setattr(sys, "executable", str(python))
        return list(decode_clips(tasks, folder / "array", num_workers=2))


def test_a_failing_worker_says_why(root: Path, tmp_path: Path) -> None:
    (tmp_path / "array").touch()
    tasks = [DecodeTask(0, "clip_0", str(root / "clip_0.mpg"), 0, 0, "pyav")] * 2
    with pytest.raises(RuntimeError, match=r"clip_0.mpg failed: ValueError: count is 0"):
        list(decode_clips(tasks, tmp_path / "array", num_workers=2))


def test_a_worker_loads_no_torch() -> None:
    code = "import sys; import btrnn.data.video.frame_cache; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_a_terminal_progress_is_logged(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        build(root, tmp_path / "cache")
    assert "decoding clips: 6 of 6" in caplog.text


def test_missing_ffmpeg_is_told_before_anything_is_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DecoderMissingError, match="apt-get install ffmpeg"):
        build(root, tmp_path / "cache", decoder="skvideo")
    assert not (tmp_path / "cache").exists()


def test_wrong_arguments_are_named(root: Path, tmp_path: Path) -> None:
    clips = list_clips(root)

    def build_from(table: pd.DataFrame, frames_cached: int = 3, sampling_seed: int = 0) -> None:
        folder = tmp_path / "cache"
        build_frame_cache(table, root, folder, frames_cached=frames_cached, sampling_seed=sampling_seed)

    with pytest.raises(ValueError, match=r"lacks \['path'\]"):
        build_from(clips.drop(columns="path"))
    with pytest.raises(ValueError, match="table of clips is empty"):
        build_from(clips.iloc[:0])
    with pytest.raises(ValueError, match="'clip_0' stands in the table more than once"):
        build_from(pd.concat([clips, clips.iloc[:1]]))
    with pytest.raises(ValueError, match="frames_cached is 0"):
        build_from(clips, frames_cached=0)
    with pytest.raises(ValueError, match="sampling_seed is -1"):
        build_from(clips, sampling_seed=-1)
    (root / "clip_3.mpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"clip_3.mpg"):
        build_from(clips)
