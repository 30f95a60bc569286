"""The features of images, made once and kept in one memory-mapped array.

Files of a cache folder:

- `features.npy`: (rows, cells, channels) float16.
- `features.jsonl`: what made them, then a line for each image: its file, the file's size and time, and its row in the
  array, or why it has none. A line is written after its row is on disk, so what it says is always true, also after a
  kill or a power cut: work that was stopped goes on from there, and images that are added later are put behind.
- `report.json`: for a reader: which images were left out and why, and which were not plain red, green and blue.
"""

import errno
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Int

from btrnn.data.encoders import EncoderName, load_encoder
from btrnn.data.pictures import ImageError, read_image
from btrnn.data.progress import show_progress
from btrnn.storage.atomic import locked, remove_leftovers, replace_file, replacing, reserve
from btrnn.storage.files import read_json_lines

logger = logging.getLogger(__name__)

FORMAT_VERSION = 3  # raise it when reading, scaling or the layout changes: old features are then made anew
BATCH_SIZE = 32  # images that go through an encoder together
READERS = 2  # threads that read images while the encoder works
MANY_SKIPPED = 10  # named in the log; the report names all
Settings = dict[str, Any]  # what the features are made with, the first line of the index


class FeatureError(ValueError):
    """None of the images can be read."""


@dataclass(frozen=True)
class _Entry:
    """What is known of an image: `row` in the array, or None and a `reason`. `mode` is Pillow's name of its kind."""

    file: str
    size: int
    time: int
    row: int | None = None
    mode: str = "RGB"
    reason: str | None = None


@dataclass(frozen=True)
class Features:
    """The features of some images.

    Attributes:
        array: (rows, cells, channels), memory-mapped, read-only.
        rows: (images,) the row of each image in `array`, -1 where it was left out.
        skipped: Why, for each file that was left out.
    """

    array: Float16[np.ndarray, "rows cells channels"]
    rows: Int[np.ndarray, " images"]
    skipped: dict[str, str]


def extract_features(
    root: Path | str,
    files: Sequence[str],
    cache_dir: Path | str,
    encoder: EncoderName,
    grid: int,
    *,
    batch_size: int = BATCH_SIZE,
) -> Features:
    """Open the features of these images; make those that are missing, or whose file has changed.

    Two processes may call this at once: one works, the other waits.

    Args:
        root: Folder of the images.
        files: Their paths below it; no two alike.
        cache_dir: Folder of the features; made if missing. One encoder's and grid's: another makes all anew.
        encoder: Which network.
        grid: Cells along each side of a picture.
        batch_size: Images that go through it together.

    Raises:
        ValueError: There are no files, or the encoder is unknown.
        EncoderError: The encoder's weights cannot be had.
        FeatureError: Not one of the images can be read.
        OSError: The disk is full (errno ENOSPC) or cannot be written.
    """
    if not files:
        raise ValueError("no images to make features of")
    root, cache_dir = Path(root), Path(cache_dir)
    settings = {"format version": FORMAT_VERSION, "encoder": encoder, "grid": grid}
    signatures = {file: _signature(root / file) for file in files}
    wanted = {file: signature for file, signature in signatures.items() if signature is not None}
    known = _known(cache_dir, settings, wanted)
    if len(known) < len(wanted):
        with locked(cache_dir):
            known = _known(cache_dir, settings, wanted)  # another process may have made them meanwhile
            if len(known) < len(wanted):
                remove_leftovers(cache_dir)
                _make(root, cache_dir, settings, wanted, batch_size)
                known = _known(cache_dir, settings, wanted)
    skipped = {file: "no such file" for file in files if file not in wanted}
    skipped |= {entry.file: entry.reason for entry in known.values() if entry.reason is not None}
    if len(skipped) == len(files):
        file, reason = next(iter(skipped.items()))
        raise FeatureError(f"none of {len(files):,} images in {root} can be read; the first, {file}: {reason}")
    _report(cache_dir, known, skipped)
    rows = [-1 if file in skipped else known[file].row for file in files]
    array = np.load(cache_dir / "features.npy", mmap_mode="r")
    return Features(array, np.array(rows, dtype=np.int64), skipped)


def _signature(path: Path) -> tuple[int, int] | None:
    """Return what shows a change of a file: its size in bytes and time in nanoseconds; None if there is none."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link that leads to itself
            return None
        raise
    return status.st_size, status.st_mtime_ns


def _entries(cache_dir: Path, settings: Settings) -> list[_Entry]:
    """Return what the cache holds; nothing if it was made otherwise, or is damaged."""
    index, array = cache_dir / "features.jsonl", cache_dir / "features.npy"
    if not (index.exists() and array.exists()):
        return []
    lines = read_json_lines(index)
    found = lines[0] if lines else "nothing that can be read"
    if found != settings:
        logger.warning("The features in %s are made anew: they say %s, not %s.", index, found, settings)
        return []
    try:
        entries = [_Entry(**line) for line in lines[1:]]
        num_rows = len(np.load(array, mmap_mode="r"))
        return [entry for entry in entries if entry.row is None or 0 <= entry.row < num_rows]
    except (ValueError, TypeError, OSError, EOFError) as error:
        logger.warning("The features in %s are made anew: they or their index are damaged (%s)", array, error)
        return []


def _known(cache_dir: Path, settings: Settings, wanted: dict[str, tuple[int, int]]) -> dict[str, _Entry]:
    """Return the entries of wanted images whose files have not changed since."""
    entries = {entry.file: entry for entry in _entries(cache_dir, settings)}
    return {
        file: entry
        for file, signature in wanted.items()
        if (entry := entries.get(file)) is not None and (entry.size, entry.time) == signature
    }


def _make(root: Path, cache_dir: Path, settings: Settings, wanted: dict[str, tuple[int, int]], batch_size: int) -> None:
    """Make the features that are missing, batch by batch."""
    encoder, grid = load_encoder(settings["encoder"]), settings["grid"]
    entries = {entry.file: entry for entry in _entries(cache_dir, settings)}
    known = _known(cache_dir, settings, wanted)
    missing = [file for file in wanted if file not in known]
    made_anew = set(missing)
    kept = [entry for file, entry in entries.items() if file not in made_anew]
    # A changed image's old row is not used again: another process may be reading it.
    next_row = 1 + max((entry.row for entry in entries.values() if entry.row is not None), default=-1)
    if entries:
        logger.info("%s has the features of %d of %d images", cache_dir, len(known), len(wanted))
    index = cache_dir / "features.jsonl"
    if not entries:
        index.unlink(missing_ok=True)  # what it says is not of the array that is made now
    array = _with_rows(cache_dir / "features.npy", next_row, next_row + len(missing), (grid**2, encoder.channels))
    replace_file(index, "".join(json.dumps(line) + "\n" for line in [settings, *map(asdict, kept)]))
    with index.open("a") as lines, show_progress("extracting features", len(wanted)) as advance:
        advance(len(known))
        for batch, images in _read_ahead(root, missing, encoder.input_size, batch_size):
            good = [image for image in images if not isinstance(image, ImageError)]
            if good:
                array[next_row : next_row + len(good)] = encoder.encode(np.stack([pixels for pixels, _ in good]), grid)
                array.flush()
            for file, image in zip(batch, images, strict=True):
                if isinstance(image, ImageError):
                    entry = _Entry(file, *wanted[file], reason=str(image))
                else:
                    entry = _Entry(file, *wanted[file], row=next_row, mode=image[1])
                    next_row += 1
                lines.write(json.dumps(asdict(entry)) + "\n")
            lines.flush()
            advance(len(batch))


def _with_rows(path: Path, num_kept: int, num_rows: int, shape: tuple[int, int]) -> np.memmap[Any, Any]:
    """Open the array for writing, with room for `num_rows` rows, of which the first `num_kept` are the old ones."""
    with replacing(path) as part:
        array = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=(num_rows, *shape))
        reserve(part, part.stat().st_size)
        if num_kept:
            array[:num_kept] = np.load(path, mmap_mode="r")[:num_kept]
            array.flush()
    return array


_Image = tuple[np.ndarray, str] | ImageError


def _read_ahead(root: Path, files: list[str], size: int, batch_size: int) -> Iterator[tuple[list[str], list[_Image]]]:
    """Yield batches of files and their images, while the next batch is being read."""

    def read(file: str) -> _Image:
        try:
            return read_image(root / file, size)
        except ImageError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno is not None:  # the machine's fault, and gone the next time
                raise FeatureError(f"{root / file} cannot be read: {error}") from error
            return error

    batches = [files[k : k + batch_size] for k in range(0, len(files), batch_size)]
    pool = ThreadPoolExecutor(READERS)
    try:
        ahead: list[Future[_Image]] = [pool.submit(read, file) for file in batches[0]]
        for batch, following in zip(batches, [*batches[1:], []], strict=True):
            current, ahead = ahead, [pool.submit(read, file) for file in following]
            yield batch, [future.result() for future in current]
    finally:
        pool.shutdown(cancel_futures=True)


def _report(cache_dir: Path, known: dict[str, _Entry], skipped: dict[str, str]) -> None:
    """Write which images were left out, to a file that may be written and to the log, and how many have which kind."""
    modes = Counter(entry.mode for entry in known.values() if entry.row is not None and entry.mode != "RGB")
    report = {"num_images": len(known), "converted_to_rgb": dict(modes), "skipped": skipped}
    path = cache_dir / "report.json"
    content = json.dumps(report, indent=2) + "\n"
    if path.exists() and path.read_text() == content:
        return
    try:
        with locked(cache_dir):
            remove_leftovers(cache_dir)
            replace_file(path, content)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        logger.info("%s is not written (%s); the features are used as they are", path, error.strerror)
    for file, reason in list(skipped.items())[:MANY_SKIPPED]:
        logger.warning("Left out: %s: %s.", file, reason)
    if len(skipped) > MANY_SKIPPED:
        logger.warning("%d images are left out; %s names them all.", len(skipped), path)
