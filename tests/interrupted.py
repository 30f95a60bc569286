"""A piece of work, done again and again, each time in a process of its own, which is stopped while it writes.

Words: the work, and a file of JSON lines, one each time: its folder, how it ends ("watch", "kill" or "full"), at which
point, as a share of those that are left, and a file for what came out. All are forked from this process, which has
imported what the work needs, and has computed nothing.

A point is a file opened for writing, a file or folder made, renamed or deleted, a wait for the disk, or the reservation
of space. "kill" ends the process there, as `kill -9` does; with "full" the system refuses everything from there on for
want of space, and what needs none is no point; "watch" goes to the end, and notes what was renamed before it was on
disk. How many points are left is counted first: the work is done to its end, and its folder put back as it was.
"""

import errno
import json
import math
import os
import runpy
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from btrnn.engine.command import exit_status

ROOT = Path(__file__).resolve().parent.parent
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Points:
    """Counts the points below a folder, and stops the process at one of them."""

    def __init__(self, folder: Path, how: str, stop_at: float) -> None:
        self.folder, self.how, self.stop_at = f"{folder}{os.sep}", how, stop_at
        self.passed = 0
        self.refused = False
        self.on_disk: set[int] = set()  # inodes
        self.too_early: list[str] = []

    def watch(self) -> None:
        """Look at all that this process does from here on."""
        for name in ("fsync", "sync", "posix_fallocate"):
            setattr(os, name, self._told(name, getattr(os, name)))
        sys.addaudithook(self._on_event)

    def _told(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any) -> Any:
            self._pass(refusable=True)
            result = function(*words)
            if name == "fsync":
                self.on_disk.add(os.fstat(words[0]).st_ino)
            elif name == "sync":
                self.on_disk |= {path.stat().st_ino for path in Path(self.folder).rglob("*")}
            return result

        return call

    def _on_event(self, event: str, words: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.mkdir", "os.remove") or isinstance(words[0], int):
            return
        path = os.path.abspath(os.fsdecode(words[0]))  # noqa: PTH100  (a link is what is renamed, not its goal)
        if not path.startswith(self.folder) or (event == "open" and not words[2] & WRITING):
            return
        inode = os.lstat(path).st_ino if os.path.lexists(path) else None
        if event == "open" and inode is not None:
            self.on_disk.discard(inode)
        if event == "os.rename" and inode not in self.on_disk:
            self.too_early.append(path)
        there = event == "os.mkdir" and inode is not None
        self._pass(refusable=event != "os.remove" and not there and not path.endswith("lock"))

    def _pass(self, *, refusable: bool) -> None:
        if self.how == "full" and not refusable:
            return
        self.passed += 1
        if self.how == "kill" and self.passed == self.stop_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "full" and self.passed >= self.stop_at:
            self.refused = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def draw(folder: Path) -> None:
    """Draw both stand-ins: few scenes, and clips of one class alone."""
    import numpy as np

    from btrnn.data.standins import motions, scenes

    motions.clips_per_group = lambda num_clips, num_classes: np.eye(num_classes, 1, dtype=np.int64) * num_clips
    scenes.make_scenes(folder / "scenes", 8, num_workers=1)
    motions.make_motions(folder / "motions", 4, num_workers=1)


def cache(folder: Path) -> Any:
    """Cache the frames of the clips in `videos`, and return the cache."""
    import pandas as pd

    from btrnn.data.video.frame_cache import build_frame_cache

    clips = pd.DataFrame({"clip": sorted(path.stem for path in (folder / "videos").iterdir())})
    clips["path"] = clips["clip"] + ".mpg"
    return build_frame_cache(clips, folder / "videos", folder / "cache", frames_cached=3, num_workers=1)


def clip_features(folder: Path) -> None:
    """Cache the frames of the clips in `videos`, and make features of them."""
    from btrnn.data.video.features import encode_frames

    encode_frames(cache(folder), folder / "cache", "efficientnet_lite0", 1)


def features(folder: Path) -> None:
    """Make the features of the pictures in `pictures`."""
    from btrnn.data.captions.features import extract_features

    names = sorted(path.name for path in (folder / "pictures").iterdir())
    extract_features(folder / "pictures", names, folder / "cache", "efficientnet_lite0", 2, batch_size=3)


def publish(folder: Path) -> None:
    """Collect the runs in `results`, publish them, and write the user's pages and the published table."""
    from btrnn.reports import publishing, writing

    publishing.collect(folder / "results")
    publishing.publish(folder / "results")
    writing.write(writing.own_report(folder / "results"), folder / "results" / "local")


def train(folder: Path) -> None:
    """Train on the clips in `data`, at a rate at which the best epoch is neither the first nor the last."""
    words = [f"data_dir={folder / 'data'}", f"results_dir={folder / 'results'}", "logger=none", "model=bt_lstm"]
    words += ["resume_every_seconds=0", "scale.video.max_epochs=3", "data.protocol=grouped", "task.learning_rate=0.02"]
    sys.argv = ["train.py", *words]
    runpy.run_path(str(ROOT / "experiments" / "train.py"), run_name="__main__")


WORKS = {  # and what they import
    "draw": (draw, ("btrnn.data.standins.motions", "btrnn.data.standins.scenes")),
    "cache": (cache, ("btrnn.data.video.frame_cache",)),
    "clip_features": (clip_features, ("btrnn.data.video.features", "efficientnet_lite_pytorch")),
    "features": (features, ("btrnn.data.captions.features", "efficientnet_lite_pytorch")),
    "publish": (publish, ("btrnn.reports.publishing", "btrnn.reports.writing")),
    "train": (train, ("btrnn.engine.run", "btrnn.tasks", "btrnn.models", "btrnn.data.video.dataset")),
}


def once(name: str, place: Path, how: str, stop_at: float, notes: Path) -> dict[str, Any]:
    """Do the work in a process of its own; return how it ended and what it saw."""
    said, seen = notes.with_suffix(".said"), notes.with_suffix(".seen")
    seen.unlink(missing_ok=True)
    if (child := os.fork()) == 0:
        with said.open("wb") as file:
            os.dup2(file.fileno(), 2)
        points = Points(place, how, stop_at)
        points.watch()
        try:
            status: object = exit_status(lambda: WORKS[name][0](place), OSError)
        except SystemExit as error:
            status = error.code
            if isinstance(status, str):
                print(status, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            status = 70
        points.how = "watch"
        found = {"points": points.passed, "refused": points.refused, "too_early": points.too_early}
        seen.write_text(json.dumps(found))
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    noted = json.loads(seen.read_text()) if seen.exists() else {}
    return {"status": status, "stderr": said.read_text(errors="replace"), **noted}


def points_left(name: str, place: Path, how: str, notes: Path) -> int:
    """Count the points that are left of the work, in the folder as it is, and leave it so."""
    aside = place.with_name(f"{place.name}_aside")
    shutil.copytree(place, aside, symlinks=True)
    whole = once(name, place, how, math.inf, notes)
    assert whole["status"] == 0, whole["stderr"]
    shutil.rmtree(place)
    aside.rename(place)
    return int(whole["points"])


def main(name: str, requests: str) -> None:
    """Do the work as often as is asked for."""
    for module in ("btrnn.engine.command", *WORKS[name][1]):
        import_module(module)
    for line in Path(requests).read_text().splitlines():
        folder, how, share, out = json.loads(line)
        place, notes = Path(folder), Path(out)
        left = 0 if how == "watch" else points_left(name, place, how, notes)
        part = notes.with_suffix(".part")
        part.write_text(json.dumps(once(name, place, how, math.ceil(share * left), notes) | {"left": left}))
        part.rename(notes)


if __name__ == "__main__":
    main(*sys.argv[1:])
