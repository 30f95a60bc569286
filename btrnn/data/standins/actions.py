"""Actions: video files of eleven human actions, a stand-in for UCF11 that can be made anywhere.

The motion is real (`motion.py`), the picture is drawn (`figure.py`, `backgrounds.py`, put together in `clips.py`).
As in UCF11 the clips of a class are in 25 groups: a group fixes the person, the background, the light and the
camera; a clip varies the moment at which it starts, the speed, the place, the size, the heading and the noise.
Scenery goes with the action: each class takes its backgrounds from two palettes, most of which one
other class has too.

How hard it is was tuned once, on seed 99, which nothing else uses, and then frozen: two palettes a class, and
30 grey levels (standard deviation) between a group's colours and its palette's. Measured by a logistic
regression (scikit-learn's default, C = 1) on the mean of 8 frames a clip, each input standardised:

- 550 clips (10 groups a class), mean frame of 160x120 pixels: test accuracy 0.43 (sd 0.07 over 6 splits) with
  whole groups held out (60 / 20 / 20 % of a class's groups, fitted on the first part, tested on the last), and
  0.96 (3 splits) with clips drawn at random (80 / 20 %).
- 1,375 clips (25 groups a class), mean frame of 40x30 pixels, taken before encoding: 0.52 (sd 0.07 over 4
  splits) with whole groups held out, 0.91 (1 split) at random.
- Tried before: three palettes a class gave 0.31 (160x120 pixels, 550 clips) with 16 grey levels, and two gave
  0.52 (40x30 pixels, 550 clips) with 16 or 10. With three, the scenes alone gave 0.22, and the figures alone,
  on plain grey, 0.29 (chance: 0.09), so that both tell the class.
"""

import io
from functools import partial
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from btrnn.data.standins.clips import ACTION_CLASSES, FRAMES_PER_SECOND, draw_clip
from btrnn.data.standins.figure import HEIGHT, WIDTH
from btrnn.data.standins.making import check_numbers, claim, make_in_parallel, remove_leftovers
from btrnn.data.standins.motion import load_motion
from btrnn.data.video.subset import clips_per_group
from btrnn.storage.atomic import replacing

__all__ = ["ACTION_CLASSES", "INFO_FILE", "VERSION", "clip_path", "make_actions", "write_video"]

VERSION = 2  # to be raised with every change that alters a pixel
INFO_FILE = "actions.json"
BIT_RATE = 1_600_000  # bits per second, some 10 MB a minute

Task = tuple[int, int, list[int]]  # class index, group, clip numbers


def clip_path(root: Path, class_name: str, group: int, clip: int) -> Path:
    """Return the path of a clip in UCF11's layout."""
    stem = f"{ACTION_CLASSES[class_name]}_{group:02d}"
    return root / class_name / stem / f"{stem}_{clip:02d}.mpg"


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


def _write_group(root: Path, seed: int, task: Task) -> int:
    """Draw and write some clips of one group; return how many."""
    class_index, group, clips = task
    class_name = list(ACTION_CLASSES)[class_index]
    for clip in clips:
        path = clip_path(root, class_name, group, clip)
        write_video(path, draw_clip(seed, class_index, group, clip))
    return len(clips)


def make_actions(root: str | Path, num_clips: int, *, seed: int = 0, num_workers: int | None = None) -> None:
    """Write the video files that are missing, as `<root>/<class>/v_<class>_<gg>/v_<class>_<gg>_<cc>.mpg`.

    Which clips make up a set of `num_clips` is the rule of `subset.clips_per_group`. A call that was
    stopped is repeated to go on; several processes may make the same set at once.

    Args:
        root: folder; made if it does not exist.
        num_clips: clips wanted, at least 1; fewer than 55 give 55, five of each class.
        seed: of everything that is drawn, not negative.
        num_workers: processes; all cores by default.

    Raises:
        ValueError: if a number is out of range, or `root` holds videos of another seed, version or origin.
        FileNotFoundError: if the motion files are not installed.
    """
    root = Path(root)
    check_numbers(seed, num_workers)
    tasks = _missing(root, num_clips)
    for class_name in ACTION_CLASSES:
        load_motion(class_name)
    claim(root / INFO_FILE, {"generator": "btrnn actions", "version": VERSION, "seed": seed}, ACTION_CLASSES)
    if not tasks:
        return
    remove_leftovers(root, "*/*")
    total = sum(len(clips) for _, _, clips in tasks)
    make = partial(_write_group, root, seed)
    make_in_parallel(make, tasks, title="drawing clips", total=total, num_workers=num_workers)


def _missing(root: Path, num_clips: int) -> list[Task]:
    """List class index, group and clip numbers of the files that are not there."""
    counts = clips_per_group(num_clips, len(ACTION_CLASSES))
    missing = []
    for class_index, class_name in enumerate(ACTION_CLASSES):
        for group, count in enumerate(counts[class_index].tolist(), start=1):
            clips = [n for n in range(1, count + 1) if not clip_path(root, class_name, group, n).is_file()]
            if clips:
                missing.append((class_index, group, clips))
    return missing
