"""The frame cache: the sampled frames of all clips in one memory-mapped array of bytes.

Files of a cache folder:

- `frames.u8`: the finished array, (clips, frames_cached, 57600) unsigned bytes, row-major, without a header.
- `cache.json`: the finished mark, written last: what the array was made from, and each clip's frame counts.
- `report.json`: for a reader: which files were left out and why, and which clips are short.
- `frames.partial`, `progress.jsonl`: an unfinished build: the array at its full size, and a line with a
  checksum for each clip that is in it. A build that was stopped goes on from these.
"""

import json
import logging
import os
import zlib
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float16, Int, UInt8

from btrnn.data.progress import show_progress
from btrnn.data.video.decode_pool import DecodedClip, DecodeTask, decode_clips, row_bytes
from btrnn.data.video.decoding import VALUES_PER_FRAME, Decoder, VideoError, require_decoder
from btrnn.storage.atomic import locked, move_file, remove_leftovers, replace_file, reserve
from btrnn.storage.files import read_json_lines

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1  # raise it when decoding, resizing or the layout changes: old caches are then made anew
MAX_UNDECODABLE = 0.02  # of all files; more of them means that the data folder is broken
SHORT_CLIP = 6  # frames; the paper feeds 6 and pads clips that have fewer

_DAMAGED = (LookupError, TypeError, ValueError, AttributeError)  # what other JSON than ours raises where it is read
_UNFINISHED = ("progress.jsonl", "frames.partial", "frames.compact")
Settings = dict[str, Any]


@dataclass(frozen=True)
class FrameCache:
    """The cached frames of all clips that could be decoded.

    Attributes:
        frames: (clips, frames_cached, 57600) bytes, 0 to 255, memory-mapped read-only; a frame is row-major
            over height, width and channel. Rows of short clips end in zero frames.
            With an encoder (clips, frames_cached, values) float16, see `encode_frames`.
        num_cached: (clips,) how many leading frames of each row are real.
        table: one row a clip, in the array's order: the columns given, num_frames (in the file), num_cached.
    """

    frames: UInt8[np.ndarray, "clips frames 57600"] | Float16[np.ndarray, "clips frames values"]
    num_cached: Int[np.ndarray, " clips"]
    table: pd.DataFrame


def build_frame_cache(
    clips: pd.DataFrame,
    root: Path | str,
    cache_dir: Path | str,
    *,
    frames_cached: int,
    decoder: Decoder = "pyav",
    sampling_seed: int = 0,
    num_workers: int | None = None,
) -> FrameCache:
    """Open the frame cache of these clips; build it first if it is missing, unfinished or out of date.

    A clip's frames are drawn once, by a generator that depends on `sampling_seed` and the clip's name alone.
    The cache is out of date when the list of clips, the size or time of a source file, `frames_cached`,
    `decoder` or `sampling_seed` has changed; a logged line says which. Two processes may call this at once:
    one builds, the other waits.

    Args:
        clips: one row a clip, with at least the columns clip (a name of its own) and path (below `root`).
        root: folder of the video files.
        cache_dir: folder of the cache; made if missing.
        frames_cached: K, how many frames to keep of each clip; all frames of a shorter one.
        decoder: "pyav" or "skvideo".
        sampling_seed: seed of the draw of frames, not negative.
        num_workers: processes that decode; by default one a core.

    Raises:
        ValueError: no clips, a clip twice, a missing column, or a number that is too small.
        FileNotFoundError: a source file is not there.
        VideoError: more than 2 % of the files cannot be decoded, which it names. Up to 2 % are left out.
        DecoderMissingError: the decoder is not installed.
        OSError: the disk is full (errno ENOSPC) or cannot be written.
    """
    _check_arguments(clips, frames_cached, sampling_seed)
    root, cache_dir = Path(root), Path(cache_dir)
    names_and_paths = zip(clips["clip"], clips["path"], strict=True)
    settings: Settings = {
        "format version": FORMAT_VERSION,
        "frames_cached": frames_cached,
        "sampling_seed": sampling_seed,
        "decoder": decoder,
        "files": {clip: _signature(root, path) for clip, path in names_and_paths},
    }
    finished = _read_mark(cache_dir, settings)
    if finished is None:
        require_decoder(decoder)
        with locked(cache_dir):
            finished = _read_mark(cache_dir, settings)  # another process may have built it meanwhile
            if finished is None:
                finished = _build(root, cache_dir, settings, num_workers)
    elif any((cache_dir / name).exists() for name in _UNFINISHED) and os.access(cache_dir, os.W_OK):
        with locked(cache_dir):  # a build was killed when it had set its mark, or is about to end
            if _read_mark(cache_dir, settings):
                _remove_unfinished(cache_dir)
    table = clips.iloc[[clip.row for clip in finished]].reset_index(drop=True)
    table["num_frames"] = [clip.num_frames for clip in finished]
    table["num_cached"] = [clip.num_cached for clip in finished]
    shape = (len(finished), frames_cached, VALUES_PER_FRAME)
    frames = np.memmap(cache_dir / "frames.u8", dtype=np.uint8, mode="r", shape=shape)
    return FrameCache(frames, table["num_cached"].to_numpy(), table)


def _check_arguments(clips: pd.DataFrame, frames_cached: int, sampling_seed: int) -> None:
    if missing := {"clip", "path"} - set(clips.columns):
        raise ValueError(f"the table of clips has columns {list(clips.columns)}; it lacks {sorted(missing)}")
    if clips.empty:
        raise ValueError("the table of clips is empty; at least one clip is needed")
    if clips["clip"].duplicated().any():
        twice = clips["clip"][clips["clip"].duplicated()].iloc[0]
        raise ValueError(f"clip {twice!r} stands in the table more than once; names must differ")
    if frames_cached < 1:
        raise ValueError(f"frames_cached is {frames_cached}; at least 1 frame a clip must be kept")
    if sampling_seed < 0:
        raise ValueError(f"sampling_seed is {sampling_seed}; it must be 0 or more")


def _signature(root: Path, path: str) -> list[Any]:
    """Return what shows a change of a source file: its path, size in bytes and time in nanoseconds."""
    status = (root / path).stat()
    return [str(path), status.st_size, status.st_mtime_ns]


def _read_mark(cache_dir: Path, settings: Settings) -> list[DecodedClip] | None:
    """Return the clips of a finished cache in order, or None if there is none that fits."""
    mark, array = cache_dir / "cache.json", cache_dir / "frames.u8"
    if not mark.exists():
        return None
    try:
        found = json.loads(mark.read_text())
        reason = _difference(found["settings"], settings)
        clips = [DecodedClip(**clip) for clip in found["clips"]]
    except _DAMAGED as error:
        reason = f"{mark.name} is damaged ({type(error).__name__}: {error})"
    if reason is None:
        wanted = len(clips) * row_bytes(settings["frames_cached"])
        size = array.stat().st_size if array.exists() else 0
        if size == wanted:
            return clips
        reason = f"{array.name} has {size} bytes in place of {wanted}"
    logger.warning("The frame cache in %s is made anew: %s.", cache_dir, reason)
    return None


def _difference(old: Settings, new: Settings) -> str | None:
    """Return in what the settings differ; None where in nothing."""
    for key in new:
        if key != "files" and old[key] != new[key]:
            return f"{key} was {old[key]!r} and is {new[key]!r}"
    if list(old["files"]) != list(new["files"]):
        return f"the list of clips changed ({len(old['files'])} clips before, {len(new['files'])} now)"
    changed = [clip for clip in new["files"] if old["files"][clip] != new["files"][clip]]
    return f"{len(changed)} source file(s) changed, the first is {changed[0]}" if changed else None


def _build(root: Path, cache_dir: Path, settings: Settings, num_workers: int | None) -> list[DecodedClip]:
    """Decode what is not yet decoded, and finish the cache."""
    partial, progress = cache_dir / "frames.partial", cache_dir / "progress.jsonl"
    remove_leftovers(cache_dir)
    for name in ("cache.json", "frames.u8"):  # the mark goes first: without it no array counts
        (cache_dir / name).unlink(missing_ok=True)
    files, frames_cached = settings["files"], settings["frames_cached"]
    done = _read_progress(cache_dir, settings)
    if done:
        logger.warning("The frame cache in %s goes on: it has %d of %d clips.", cache_dir, len(done), len(files))
    else:
        partial.unlink(missing_ok=True)  # a new file: a worker left over from a killed build has the old one open
    reserve(partial, len(files) * row_bytes(frames_cached))
    replace_file(progress, "".join(json.dumps(line) + "\n" for line in [settings, *map(asdict, done.values())]))
    tasks = [
        DecodeTask(
            row=row,
            clip=clip,
            path=str((root / path).absolute()),
            frames_cached=frames_cached,
            sampling_seed=settings["sampling_seed"],
            decoder=settings["decoder"],
        )
        for row, (clip, (path, _, _)) in enumerate(files.items())
        if row not in done
    ]
    decoded = decode_clips(tasks, partial, num_workers=num_workers)
    # Closed at once, not when the traceback is dropped: else Ctrl-C would wait for the clips that are queued.
    with progress.open("a") as lines, show_progress("decoding clips", len(files)) as advance, closing(decoded):
        advance(len(done))
        for result in decoded:
            lines.write(json.dumps(asdict(result)) + "\n")
            lines.flush()
            done[result.row] = result
            advance(1)
    return _finish(root, cache_dir, settings, [done[row] for row in sorted(done)])


def _read_progress(cache_dir: Path, settings: Settings) -> dict[int, DecodedClip]:
    """Return the clips of a stopped build, by row, whose bytes are in the array as they were written."""
    partial, progress = cache_dir / "frames.partial", cache_dir / "progress.jsonl"
    if not (partial.exists() and progress.exists()):
        return {}
    lines = read_json_lines(progress)
    try:
        reason = _difference(lines[0], settings)
        clips = [DecodedClip(**line) for line in lines[1:]]
        if not all(0 <= clip.row < len(settings["files"]) for clip in clips):
            raise ValueError("a row of no clip")
    except _DAMAGED as error:
        reason = f"{progress.name} is damaged ({type(error).__name__}: {error})"
    if reason is not None:
        logger.warning("The unfinished frame cache in %s is made anew: %s.", cache_dir, reason)
        return {}
    size = row_bytes(settings["frames_cached"])
    done = {}
    with partial.open("rb") as array:
        for clip in clips:
            array.seek(clip.row * size)
            # After a power cut a line may be on disk and its row not: the checksum tells.
            if clip.reason is not None or zlib.crc32(array.read(size)) == clip.checksum:
                done[clip.row] = clip
    return done


def _finish(root: Path, cache_dir: Path, settings: Settings, results: list[DecodedClip]) -> list[DecodedClip]:
    """Write the report, drop the rows of clips without frames, and set the finished mark."""
    good = [clip for clip in results if clip.reason is None]
    paths = {clip: path for clip, (path, _, _) in settings["files"].items()}
    bad = [{"clip": c.clip, "path": paths[c.clip], "reason": c.reason} for c in results if c.reason is not None]
    short = {clip.clip: clip.num_frames for clip in good if clip.num_frames < SHORT_CLIP}
    report = {
        "num_clips": len(results),
        "num_undecodable": len(bad),
        "undecodable": bad,
        f"num_under_{SHORT_CLIP}_frames": len(short),
        f"under_{SHORT_CLIP}_frames": short,
    }
    replace_file(cache_dir / "report.json", json.dumps(report, indent=2) + "\n")
    if len(bad) > MAX_UNDECODABLE * len(results):
        listing = "".join(f"\n  {clip['path']}: {clip['reason']}" for clip in bad)
        raise VideoError(
            root,
            f"{len(bad)} of {len(results)} files cannot be decoded; at most {MAX_UNDECODABLE:.0%} may be "
            f"left out. Replace or remove:{listing}",
        )
    for clip in bad:
        logger.warning("Left out: %s: %s.", clip["path"], clip["reason"])
    array = cache_dir / "frames.partial"
    if bad:
        array = _copy_rows(array, [clip.row for clip in good], row_bytes(settings["frames_cached"]))
    move_file(array, cache_dir / "frames.u8")
    mark = {"settings": settings, "clips": [asdict(clip) for clip in good]}
    replace_file(cache_dir / "cache.json", json.dumps(mark))
    _remove_unfinished(cache_dir)
    return good


def _remove_unfinished(cache_dir: Path) -> None:
    """Delete what only an unfinished build needs."""
    for name in _UNFINISHED:
        (cache_dir / name).unlink(missing_ok=True)


def _copy_rows(source: Path, rows: list[int], size: int) -> Path:
    """Copy some rows of an array file to a new file beside it."""
    target = source.with_name("frames.compact")
    target.unlink(missing_ok=True)
    reserve(target, len(rows) * size)
    with source.open("rb") as old, target.open("r+b") as new:
        for row in rows:
            old.seek(row * size)
            new.write(old.read(size))
    return target
