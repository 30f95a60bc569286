"""Small video files for tests. The grey level of a frame tells its position."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LEVEL_STEP = 3


def write_clip(
    path: Path,
    num_frames: int,
    *,
    codec: str = "mpeg1video",
    size: tuple[int, int] = (64, 48),
    noise: int = 20,
    title: str = "",
) -> Path:
    """Write a clip of at most 76 frames, in which frame i is grey at 20 + 3 i, with a fixed pattern."""
    width, height = size
    pattern = np.random.default_rng(0).integers(-noise, noise + 1, (height // 8, width // 8))
    pattern = np.kron(pattern - round(pattern.mean()), np.ones((8, 8), dtype=int))[:, :, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 2_000_000
        container.metadata["title"] = title
        container.start_encoding()  # so that a clip without frames has a header too
        for position in range(num_frames):
            grey = np.clip(pattern + 20 + LEVEL_STEP * position, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(grey.repeat(3, axis=2), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        if num_frames:
            for packet in stream.encode():
                container.mux(packet)
    return path


def write_audio(path: Path) -> Path:
    """Write half a second of sound under the name of a video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp2", rate=44_100)
        assert isinstance(stream, av.AudioStream)
        samples = np.random.default_rng(0).integers(-9_000, 9_000, (1, 1152), dtype=np.int16)
        for index in range(20):
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44_100, index * 1152, Fraction(1, 44_100)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def positions_shown(frames: np.ndarray) -> np.ndarray:
    """Read the positions off the grey levels of frames of any size; the first axis counts frames."""
    grey: np.ndarray = frames.reshape(len(frames), -1).mean(axis=1)
    return np.rint((grey - 20) / LEVEL_STEP).astype(int)
