"""Motions: video files of eleven motions, a stand-in for UCF11 that can be drawn anywhere.

A patch hops over a ground. A class is a motion and nothing else: a direction, and whether the patch goes on steadily,
there and back, or stops on its way. Shape, texture and colours of every clip are drawn from one pool, whatever its
class and group. There are three rows and three columns of places; the patch begins at one of the nine, drawn at random,
and what leaves the frame at one edge comes in at the opposite one. So in any single frame, of whatever class and at
whatever time, it is at each place equally often, and one frame tells nothing. As in UCF11 the clips of a class are in
25 groups; here groups say nothing either, so that random clips and whole groups are equally hard to tell.
"""

import io
from functools import partial
from itertools import product
from pathlib import Path

import av
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from btrnn.data import generator
from btrnn.data.standins import check_numbers, claim, make_in_parallel, refuse_foreign
from btrnn.data.video.clips import clips_per_group
from btrnn.storage.atomic import locked, remove_leftovers, replacing

__all__ = ["INFO_FILE", "MOTION_CLASSES", "VERSION", "clip_path", "draw_clip", "make_motions", "write_video"]

VERSION = 1  # to be raised with every change that alters a pixel
INFO_FILE = "motions.json"
HEIGHT, WIDTH = 240, 320
FRAMES_PER_SECOND = 30
BIT_RATE = 1_600_000  # bits per second

DIRECTIONS = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0)}  # rows and columns
# How many places from its beginning a patch is in each of a clip's six frames: as many as a model is shown, so all.
MANNERS = {"steady": (0, 0, 1, 1, 2, 2), "there_and_back": (0, 1, 2, 2, 1, 0), "stop_and_go": (0, 1, 1, 1, 1, 2)}
# Eleven, as UCF11 has: the twelfth, up with a stop, is left out. The label is the position.
MOTION_CLASSES = {f"{way}_{manner}": f"v_{way}_{manner}" for manner, way in list(product(MANNERS, DIRECTIONS))[:11]}

NUM_FRAMES = 6
PLACES = 3  # rows, and columns
# The dial of how hard it is: standard deviation of the patch's place in each frame, in frame heights and widths. In
# 20 epochs (550 clips, random split, normalised input, rate 3e-3, seed 0) TT-LSTM gets 0.92 and BT-LSTM 0.84; with 0.08
# TT-LSTM gets 0.65.
JITTER = 0.06

PALETTES = [  # ground, patch; the patch is the brighter one
    ((35, 60, 90), (210, 190, 120)),
    ((85, 35, 45), (185, 215, 220)),
    ((40, 80, 50), (230, 210, 200)),
    ((75, 65, 50), (150, 220, 190)),
    ((60, 45, 95), (225, 180, 170)),
    ((30, 30, 35), (205, 205, 195)),
    ((20, 80, 85), (220, 205, 110)),
    ((95, 60, 25), (200, 205, 230)),
]
COLOUR_SPREAD = 6.0  # grey levels, standard deviation of a clip's colours around its palette's
TEXTURES = ("plain", "stripes", "bands", "checks")
GROUND_CONTRAST, PATCH_CONTRAST = 6, 12  # grey levels from a texture's mean
SHAPES = ("disc", "square", "diamond", "bar", "pole")

Part = tuple[int, int, list[int]]  # class index, group, clip numbers


def clip_path(root: Path, class_name: str, group: int, clip: int) -> Path:
    """Return the path of a clip in UCF11's layout."""
    stem = f"{MOTION_CLASSES[class_name]}_{group:02d}"
    return root / class_name / stem / f"{stem}_{clip:02d}.mpg"


def draw_clip(seed: int, class_index: int, group: int, clip: int) -> UInt8[np.ndarray, "6 240 320 3"]:
    """Draw a clip, a function of its numbers alone."""
    rng = generator(seed, class_index, group, clip)
    colours = np.array(PALETTES[rng.integers(len(PALETTES))]) + rng.normal(0, COLOUR_SPREAD, (2, 3))
    ground, patch = (
        np.clip(colour + contrast * _texture(rng)[..., None], 0, 255).astype(np.uint8)
        for colour, contrast in zip(colours, (GROUND_CONTRAST, PATCH_CONTRAST), strict=True)
    )
    mask = _shape(rng)
    frames = np.empty((NUM_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for frame, (down, right) in zip(frames, _places(class_index, rng).tolist(), strict=True):
        moved_mask, moved = (np.roll(picture, (down, right), axis=(0, 1)) for picture in (mask, patch))
        frame[:] = np.where(moved_mask[..., None], moved, ground)
    return frames


def _places(class_index: int, rng: np.random.Generator) -> Int[np.ndarray, "6 2"]:
    """Draw where the patch is in each frame, rows and columns of pixels; the frame's edges are joined."""
    way, manner = list(MOTION_CLASSES)[class_index].split("_", 1)
    hops = np.array(MANNERS[manner])
    places = (rng.integers(0, PLACES, 2) + hops[:, None] * DIRECTIONS[way] + 0.5) / PLACES
    places = places + rng.normal(0, JITTER, places.shape)
    pixels: Int[np.ndarray, "6 2"] = np.rint(places * (HEIGHT, WIDTH)).astype(np.int64)
    return pixels


def _texture(rng: np.random.Generator) -> Float[np.ndarray, "240 320"]:
    """Draw a pattern of -1 and 1, or of 0 where it is plain; its period divides the frame."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] // rng.choice([10, 20])
    kind = rng.choice(TEXTURES)
    odd = {"plain": rows, "stripes": columns, "bands": rows, "checks": rows + columns}[kind] % 2
    pattern: Float[np.ndarray, "240 320"] = (2.0 * odd - 1) * (kind != "plain")
    return pattern


def _shape(rng: np.random.Generator) -> Bool[np.ndarray, "240 320"]:
    """Draw the mask of a patch whose middle is the frame's upper left corner, so that it can be rolled to its place."""
    size = rng.uniform(44, 56)  # pixels from the middle to the edge
    y, x = np.abs(np.mgrid[:HEIGHT, :WIDTH] - np.array([HEIGHT // 2, WIDTH // 2])[:, None, None]) / size
    masks = {
        "disc": np.hypot(x, y) < 1,
        "square": np.maximum(x, y) < 0.9,
        "diamond": x + y < 1.25,
        "bar": (x < 1.1) & (y < 0.7),
        "pole": (x < 0.7) & (y < 1.1),
    }
    mask: Bool[np.ndarray, "240 320"] = np.roll(masks[rng.choice(SHAPES)], (HEIGHT // 2, WIDTH // 2), axis=(0, 1))
    return mask


def write_video(path: Path, frames: UInt8[np.ndarray, "T 240 320 3"]) -> None:
    """Write frames as MPEG-1 video, 30 frames a second; the file appears whole or not at all."""
    # Encoded in memory first: the encoder's own file output may pass over a disk that is full.
    content = io.BytesIO()
    with av.open(content, "w", format="mpeg") as container:
        stream = container.add_stream("mpeg1video", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = BIT_RATE
        stream.codec_context.thread_count = 1  # the bytes must not depend on the number of cores
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    with replacing(path) as part:
        part.write_bytes(content.getvalue())


def _write_group(root: Path, seed: int, part: Part) -> int:
    """Draw and write some clips of one group; return how many."""
    class_index, group, clips = part
    class_name = list(MOTION_CLASSES)[class_index]
    for clip in clips:
        write_video(clip_path(root, class_name, group, clip), draw_clip(seed, class_index, group, clip))
    return len(clips)


def make_motions(root: str | Path, num_clips: int, *, seed: int = 0, num_workers: int | None = None) -> None:
    """Write the video files that are missing, as `<root>/<class>/v_<class>_<gg>/v_<class>_<gg>_<cc>.mpg`.

    Which clips make up a set of `num_clips` is the rule of `clips_per_group`. A call that was stopped is
    repeated to go on; of several processes that make the same set at once one works, and the others wait.

    Args:
        root: Folder; made if it does not exist.
        num_clips: Clips wanted, at least 1; fewer than 55 give 55, five of each class.
        seed: Of everything that is drawn, not negative.
        num_workers: Processes; all cores by default.

    Raises:
        ValueError: A number is out of range, or `root` holds videos of another seed or origin.
    """
    root = Path(root)
    check_numbers(seed, num_workers)
    ours = {"generator": "btrnn motions", "version": VERSION, "seed": seed}
    refuse_foreign(root / INFO_FILE, ours, MOTION_CLASSES)
    if not _missing(root, num_clips):  # nor need the folder be one that may be written to
        return
    with locked(root):
        claim(root / INFO_FILE, ours, MOTION_CLASSES)
        remove_leftovers(root, *root.glob("*/*"))
        if parts := _missing(root, num_clips):  # another process may have made them meanwhile
            total = sum(len(clips) for _, _, clips in parts)
            make = partial(_write_group, root, seed)
            make_in_parallel(make, parts, title="drawing clips", total=total, num_workers=num_workers)


def _missing(root: Path, num_clips: int) -> list[Part]:
    """List class index, group and clip numbers of the files that are not there."""
    counts = clips_per_group(num_clips, len(MOTION_CLASSES))
    missing = []
    for class_index, class_name in enumerate(MOTION_CLASSES):
        for group, count in enumerate(counts[class_index].tolist(), start=1):
            clips = [n for n in range(1, count + 1) if not clip_path(root, class_name, group, n).is_file()]
            if clips:
                missing.append((class_index, group, clips))
    return missing
