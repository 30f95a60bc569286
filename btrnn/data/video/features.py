"""The features of cached frames: what a network trained on ImageNet sees of each, in an array beside the frames.

Files in the frame cache's folder, for each encoder and grid:

- `<encoder>-<grid>x<grid>.npy`: (clips, frames_cached, values) float16, a row for each row of the frames.
- `<encoder>-<grid>x<grid>.json`: of which frames they are, and how many rows are there: all, or those of a call that
  was stopped, from which the next one goes on. It is written after the rows that it counts.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16
from PIL import Image

from btrnn.data.encoders import EncoderName, load_encoder
from btrnn.data.pictures import scale_to_square
from btrnn.data.progress import show_progress
from btrnn.data.video.decoding import FRAME_HEIGHT, FRAME_WIDTH
from btrnn.data.video.frame_cache import FrameCache
from btrnn.storage.atomic import locked, remove_leftovers, replace_file, replacing, reserve

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1  # raise it when scaling or the layout changes: old features are then made anew
Mark = dict[str, Any]


def encode_frames(
    cache: FrameCache, cache_dir: Path, encoder: EncoderName, grid: int
) -> Float16[np.ndarray, "clips frames values"]:
    """Open the features of all cached frames; make those that are missing.

    Two processes may call this at once: one works, the other waits.

    Args:
        cache: The frames.
        cache_dir: Their folder, with the mark that says which they are.
        encoder: Which network.
        grid: Cells along each side of a frame.

    Returns:
        (clips, frames_cached, grid² x channels), memory-mapped, read-only; of a frame cell by cell from the top, each
        with its channels. Where a short clip has no frame there is zero.

    Raises:
        ValueError: The encoder is unknown.
        EncoderError: Its weights cannot be had.
        OSError: The disk is full (errno ENOSPC) or cannot be written.
    """
    frames = hashlib.sha256((cache_dir / "cache.json").read_bytes()).hexdigest()
    mark: Mark = {"format version": FORMAT_VERSION, "frames": frames, "encoder": encoder, "grid": grid}
    array, index = (cache_dir / f"{encoder}-{grid}x{grid}.{ending}" for ending in ("npy", "json"))
    if _num_made(array, index, mark) < len(cache.frames):
        with locked(cache_dir):  # another process may have made them meanwhile, which `_make` sees
            _make(cache, array, index, mark)
    found: np.ndarray = np.load(array, mmap_mode="r")
    return found


def _num_made(array: Path, index: Path, mark: Mark) -> int:
    """Return how many rows are there of these very features."""
    if not (array.exists() and index.exists()):
        return 0
    try:
        found = json.loads(index.read_text())
        num_made: int = found.pop("rows")
        if not isinstance(num_made, int) or num_made < 0:
            raise ValueError(f"its number of rows is {num_made}")
        if found == mark:
            return min(num_made, len(np.load(array, mmap_mode="r")))
        reason = f"they are of {found}, not of {mark}"
    except (ValueError, TypeError, KeyError, AttributeError, OSError, EOFError) as error:
        reason = f"{index.name} or {array.name} is damaged ({error})"
    logger.warning("The features in %s are made anew: %s.", array, reason)
    return 0


def _make(cache: FrameCache, array: Path, index: Path, mark: Mark) -> None:
    """Make the rows that are missing, a clip after the other; the caller holds the folder."""
    num_made, num_rows = _num_made(array, index, mark), len(cache.frames)
    if num_made == num_rows:
        return
    remove_leftovers(array.parent)
    encoder = load_encoder(mark["encoder"])
    if num_made == 0:
        index.unlink(missing_ok=True)  # what it says is not of the array that is made now
        with replacing(array) as part:
            shape = (*cache.frames.shape[:2], mark["grid"] ** 2 * encoder.channels)
            np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
            reserve(part, part.stat().st_size)
    features = np.lib.format.open_memmap(array, mode="r+")
    with show_progress("extracting features of clips", num_rows) as advance:
        advance(num_made)
        for row in range(num_made, num_rows):
            frames = cache.frames[row, : cache.num_cached[row]].reshape(-1, FRAME_HEIGHT, FRAME_WIDTH, 3)
            pixels = np.stack([scale_to_square(Image.fromarray(frame), encoder.input_size) for frame in frames])
            features[row, : len(frames)] = encoder.encode(pixels, mark["grid"]).reshape(len(frames), -1)
            features.flush()
            replace_file(index, json.dumps(mark | {"rows": row + 1}))
            advance(1)
