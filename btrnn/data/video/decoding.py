"""Reading frames from one video file: PyAV, or scikit-video behind a small adapter.

A file is decoded linearly, from its first frame to its last. Seeking in MPEG program streams lands on wrong
frames, so it is never used. Frames stay in the decoder's own pixel format until RGB is asked for, so that a
clip costs little more than its decoding when few of its frames are kept.

A file that is cut off or damaged gives the frames that can be decoded, as the `ffmpeg` program does. It is an
error only if there are none. An MPEG or AVI file that was cut gives the frames before the cut, of which the
last may be incomplete. An MP4 file that was cut has lost the index at its end, and gives none.
"""

import functools
import re
import shutil
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import av
import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from btrnn.choices import check_choice

Decoder = Literal["pyav", "skvideo"]

FRAME_HEIGHT = 120
FRAME_WIDTH = 160
VALUES_PER_FRAME = FRAME_HEIGHT * FRAME_WIDTH * 3


class VideoError(Exception):
    """A video file that cannot be used.

    Args:
        path: the file (or, for many files at once, their folder).
        reason: what is wrong with it, in words for a reader.
    """

    def __init__(self, path: Path | str, reason: str):
        super().__init__(path, reason)
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        """Return the path and the reason."""
        return f"{self.path}: {self.reason}"


class DecoderMissingError(RuntimeError):
    """A decoder that was asked for is not installed. This is no fault of the file."""


@dataclass(frozen=True)
class Frame:
    """One decoded frame, in the decoder's own form until it is asked for RGB."""

    decoded: av.VideoFrame | UInt8[np.ndarray, "height width 3"]

    def to_rgb(self) -> UInt8[np.ndarray, "height width 3"]:
        """Return the frame at its full size as RGB, upright: telephones write how they were held beside the frames."""
        if isinstance(self.decoded, av.VideoFrame):
            rgb = self.decoded.to_ndarray(format="rgb24")
            return np.rot90(rgb, round(self.decoded.rotation / 90)) if self.decoded.rotation else rgb
        return self.decoded


def resize(rgb: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "120 160 3"]:
    """Resize one RGB frame to 160x120 (width x height), bilinear with antialiasing, whatever the decoder."""
    image = Image.fromarray(rgb).resize((FRAME_WIDTH, FRAME_HEIGHT), Image.Resampling.BILINEAR)
    return np.asarray(image)


def iterate_frames(path: Path | str, *, decoder: Decoder = "pyav") -> Iterator[Frame]:
    """Decode a file frame by frame, in order of display.

    Args:
        path: the video file.
        decoder: "pyav", or "skvideo", which needs the ffmpeg programs.

    Raises:
        VideoError: the file cannot be used; the error says why.
        DecoderMissingError: scikit-video was asked for and the ffmpeg programs are missing.
        ValueError: there is no such decoder.
    """
    path = Path(path)
    require_decoder(decoder)
    # PyAV opens the file for either decoder, so that a bad file has the same reason with both.
    with _blamed_on(path), _open(path) as container:
        if not container.streams.video:
            kinds = sorted({stream.type for stream in container.streams})
            found = "audio only" if kinds == ["audio"] else f"found: {', '.join(kinds) or 'nothing'}"
            raise VideoError(path, f"no video stream ({found})")
        frames = _pyav_frames(container) if decoder == "pyav" else _skvideo_frames(path)
        first = next(frames, None)
        if first is None:
            raise VideoError(path, "no frame decoded (its video stream is empty or damaged)")
        yield first
        yield from frames


def read_sampled_frames(
    path: Path | str, count: int, rng: np.random.Generator, *, decoder: Decoder = "pyav"
) -> tuple[UInt8[np.ndarray, "frames 120 160 3"], Int[np.ndarray, " frames"], int]:
    """Draw `count` frames of a file at random, without repetition; all of them if the clip is shorter.

    Every frame is decoded, but only drawn ones are held and converted, so that a long file needs no more
    memory than a short one. Source: reservoir sampling, Vitter 1985, algorithm R.

    Args:
        path: the video file.
        count: how many frames to draw.
        rng: source of the draw. Its state and the number of frames alone decide which frames are drawn.
        decoder: "pyav", or "skvideo", which needs the ffmpeg programs.

    Returns:
        The frames in ascending order, 160x120 RGB; their positions in the file, from 0; the file's number of
        frames.

    Raises:
        VideoError, DecoderMissingError: as for `iterate_frames`.
        ValueError: `count` is under 1, or there is no such decoder.
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least 1 frame must be drawn")
    kept: list[tuple[int, Frame]] = []
    total = 0
    for position, frame in enumerate(iterate_frames(path, decoder=decoder)):
        total = position + 1
        if position < count:
            kept.append((position, frame))
        elif (slot := int(rng.integers(0, total))) < count:
            kept[slot] = (position, frame)
    kept.sort(key=lambda item: item[0])
    with _blamed_on(Path(path)):
        frames = np.stack([resize(frame.to_rgb()) for _, frame in kept])
    return frames, np.array([position for position, _ in kept], dtype=np.int64), total


def require_decoder(decoder: Decoder) -> None:
    """Check that a decoder can be used here.

    Raises:
        DecoderMissingError: it needs programs that are missing; the error names the package to install.
        ValueError: there is no such decoder.
    """
    check_choice("decoder", decoder, get_args(Decoder))
    missing = [name for name in ("ffmpeg", "ffprobe") if decoder == "skvideo" and shutil.which(name) is None]
    if missing:
        raise DecoderMissingError(
            f"decoder 'skvideo' needs the program(s) {' and '.join(missing)}, not found on PATH. "
            "Install the package ffmpeg (Debian, Ubuntu: apt-get install ffmpeg; "
            "conda: conda install -c conda-forge ffmpeg), or use decoder 'pyav', which needs none."
        )


@contextmanager
def _blamed_on(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into a VideoError of its file, but for what is no fault of the file."""
    try:
        yield
    except (VideoError, DecoderMissingError, MemoryError):
        raise
    except Exception as error:
        raise VideoError(path, f"cannot be decoded ({type(error).__name__}: {error})") from error


def _open(path: Path) -> av.container.InputContainer:
    """Open a file for reading, or say why it is no video."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise VideoError(path, f"cannot be read: {error.strerror}") from error
    if not start:
        raise VideoError(path, "zero bytes")
    try:
        # Absolute, as FFmpeg takes what stands before a colon for a protocol. Titles may be in any encoding.
        return av.open(str(path.absolute()), "r", metadata_errors="replace")
    except av.error.FFmpegError as error:
        container_format = _container_format(start)
        if container_format:
            reason = f"truncated or damaged: it begins as {container_format} but cannot be opened"
        else:
            reason = "not a video: no known container format"
        raise VideoError(path, f"{reason} ({error.strerror})") from error


def _container_format(start: bytes) -> str | None:
    """Name the container format that a file's first 12 bytes promise."""
    if start[4:8] == b"ftyp":
        return "MP4"
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "AVI"
    if start[:4] in (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"):
        return "MPEG"
    return None


def _pyav_frames(container: av.container.InputContainer) -> Iterator[Frame]:
    """Decode the first video stream from beginning to end, leaving out what is damaged."""
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1  # clips are decoded side by side, one a core
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # the rest cannot be read; what was decoded so far counts
            return
        if packet is None:
            return
        try:
            decoded = packet.decode()
        except av.error.FFmpegError:  # one damaged packet; the decoder finds its way at the next picture
            continue
        for frame in decoded:
            yield Frame(frame)


def _skvideo_frames(path: Path) -> Iterator[Frame]:
    """Decode with scikit-video, which reads RGB frames from a pipe of the ffmpeg program."""
    try:
        reader = _skvideo_reader()(str(path.absolute()))  # no option, also where its name begins with a dash
    except (AssertionError, KeyError, ValueError) as error:  # scikit-video's ways to say that it cannot
        raise VideoError(path, f"scikit-video cannot read it ({error})") from error
    try:
        for rgb in reader.nextFrame():
            yield Frame(rgb)
    finally:
        reader.close()


@functools.cache
def _skvideo_reader() -> Callable[[str], Any]:
    """Return scikit-video's FFmpegReader, made to work with NumPy 1.24 and above.

    scikit-video 1.1.11 uses `np.int` and `np.float`, which NumPy has removed. Neither NumPy nor scikit-video
    is changed here: the one function that needs the names is copied with globals of its own.
    """
    import skvideo  # here, as it is slow to import and seldom needed
    from skvideo.io import abstract, ffmpeg

    old_numpy = types.SimpleNamespace(**vars(np) | {"int": int, "float": float})
    original = abstract.VideoReaderAbstract.__init__
    initialise = types.FunctionType(
        original.__code__, vars(abstract) | {"np": old_numpy}, argdefs=original.__defaults__
    )
    # Left to itself, ffmpeg may repeat or drop frames to hold a constant rate.
    version = [int(number) for number in re.findall(r"\d+", skvideo.getFFmpegVersion())]  # of "b'5'.b'1'.b'9'"
    each_frame_once = {"-vsync": "0"} if [1] <= version < [5, 1] else {"-fps_mode": "passthrough"}

    class Reader(ffmpeg.FFmpegReader):  # type: ignore[misc]  # scikit-video has no types
        def __init__(self, filename: str):
            initialise(self, filename, outputdict=dict(each_frame_once))
            self.inputframenum = 0  # to scikit-video: read until the stream ends

        def _probCountFrames(self) -> int:  # noqa: N802 (scikit-video's name)
            return 0  # the original decodes the whole file once more to count

    return Reader
