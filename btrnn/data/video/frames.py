"""Which frames of a cached clip are read, in which order of time and of pixels, and what they are like."""

from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from btrnn.data import FRAME_ORDER_STREAM, FRAME_STREAM, PIXEL_STREAM, generator
from btrnn.data.module import Item, VideoBatch
from btrnn.data.video.decoding import VALUES_PER_FRAME
from btrnn.data.video.frame_cache import FrameCache

Sampling = Literal["fixed", "resampled"]
FrameOrder = Literal["time", "shuffled"]
PixelOrder = Literal["rows", "channels", "random"]
NUM_COLORS = 3


class CachedClips(Dataset[VideoBatch]):
    """Batches of frames read from a frame cache.

    Args:
        cache: the frames.
        num_frames: frames a clip, T.
        seed: seed of the run.
        sampling: "fixed" draws a clip's frames once, from (seed, row); "resampled" from (seed, epoch, row).
        frame_order: "time", or "shuffled": each clip has a random order of its own, drawn with its frames. One order
            for all clips could be learnt, and a new one in every epoch would be an augmentation beside the shuffling.
        numbered: give the numbers of the frames in the cache, (B, T) int64, in place of what they show.
    """

    def __init__(
        self,
        cache: FrameCache,
        num_frames: int,
        seed: int,
        sampling: Sampling,
        frame_order: FrameOrder = "time",
        *,
        numbered: bool = False,
    ) -> None:
        self.cache = cache
        self.num_frames = num_frames
        self.seed = seed
        self.sampling = sampling
        self.frame_order = frame_order
        self.numbered = numbered
        self._fixed: dict[int, np.ndarray] = {}  # positions that were drawn once for all
        self.labels = cache.table["label"].to_numpy(dtype=np.int64)

    def positions(self, row: int, epoch: int) -> np.ndarray:
        """Draw which cached frames of a clip are used, in their order: ascending unless shuffled, int (at most T,)."""
        if row in self._fixed:
            return self._fixed[row]
        num_cached = int(self.cache.num_cached[row])
        # The two kinds of draw have keys of different lengths, so their streams differ.
        keys = (row,) if self.sampling == "fixed" else (epoch, row)
        rng = generator(self.seed, FRAME_STREAM, *keys)
        positions = np.sort(rng.choice(num_cached, size=min(num_cached, self.num_frames), replace=False))
        if self.frame_order == "shuffled":  # from a stream of its own, so that the frames are those of the ordered clip
            positions = generator(self.seed, FRAME_ORDER_STREAM, *keys).permutation(positions)
        if self.sampling == "fixed":
            self._fixed[row] = positions
        return positions

    def __getitem__(self, items: list[Item]) -> VideoBatch:
        """Read a batch, given as a list of (row, pass), see `BatchOrder`."""
        shape, cached = (len(items), self.num_frames), self.cache.frames.shape[1]
        if self.numbered:
            frames: np.ndarray = np.zeros(shape, dtype=np.int64)
        else:
            frames = np.zeros((*shape, self.cache.frames.shape[2]), dtype=self.cache.frames.dtype)
        mask = np.zeros((len(items), self.num_frames), dtype=bool)
        for index, (row, epoch) in enumerate(items):
            positions = self.positions(row, epoch)
            first = self.num_frames - len(positions)
            frames[index, first:] = row * cached + positions if self.numbered else self.cache.frames[row, positions]
            mask[index, first:] = True
        rows = np.array([row for row, _ in items], dtype=np.int64)
        return VideoBatch(
            torch.from_numpy(frames),
            torch.from_numpy(mask),
            torch.from_numpy(self.labels[rows]),
            torch.from_numpy(rows),
            bool(mask.all()),
        )


def order_of_values(pixel_order: PixelOrder, seed: int) -> torch.Tensor | None:
    """Return in which order the numbers of all frames are given, int64 (57600,): place k has the number of that place.

    Args:
        pixel_order: "rows": as they are cached, row by row, a pixel's colours side by side (None is returned);
            "channels": row by row too, but a whole channel after the other; "random": one random order of the pixels,
            whose colours stay side by side.
        seed: seed of the run, which draws the random order.
    """
    numbers = torch.arange(VALUES_PER_FRAME).view(-1, NUM_COLORS)
    if pixel_order == "channels":
        return numbers.T.flatten()
    if pixel_order == "random":
        return numbers[torch.from_numpy(generator(seed, PIXEL_STREAM).permutation(len(numbers)))].flatten()
    return None


def channel_statistics(
    clips: CachedClips, rows: np.ndarray, num_channels: int = NUM_COLORS
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over the training frames.

    "fixed" counts the frames that are drawn, "resampled" all cached ones, as each may be drawn. Sums are taken clip by
    clip, so that little memory is used; those of grey levels are of integers, and exact.

    Args:
        clips: With all frames.
        rows: Of the training clips.
        num_channels: The fastest axis of a frame.

    Returns:
        mean and sd, each float64 (num_channels,), in grey levels or in the units of the features.
    """
    count, total, squares = 0, np.zeros(num_channels), np.zeros(num_channels)
    for row in rows:
        if clips.sampling == "fixed":
            positions = clips.positions(int(row), 0)
        else:
            positions = np.arange(clips.cache.num_cached[row])
        # a channel's values side by side, as a sum along the other axis takes four times as long
        values = clips.cache.frames[row, positions].reshape(-1, num_channels).T.astype(np.float64, order="C")
        count += values.shape[1]
        total += values.sum(axis=1)
        squares += np.einsum("ij,ij->i", values, values)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))
