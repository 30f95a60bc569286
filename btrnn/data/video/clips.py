"""From folders of videos to a table of clips, or of fewer of them."""

import logging
import re
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

logger = logging.getLogger(__name__)

CLIPS_PER_GROUP = 5  # at least, in a smaller set
GROUPS_PER_CLASS = 25
UCF11_FOLDER = "UCF11_updated_mpg"
UCF11_CLASSES = {  # folder: stem of its files; the label is the position
    "basketball": "v_shooting",
    "biking": "v_biking",
    "diving": "v_diving",
    "golf_swing": "v_golf",
    "horse_riding": "v_riding",
    "soccer_juggling": "v_juggle",
    "swing": "v_swing",
    "tennis_swing": "v_tennis",
    "trampoline_jumping": "v_jumping",
    "volleyball_spiking": "v_spiking",
    "walking": "v_walk_dog",
}
VIDEO_SUFFIXES = (".mpg", ".mpeg", ".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".wmv", ".flv")
HOW_TO_GET = "`make data-ucf11` gets UCF11; `python scripts/make_motions.py` makes its stand-in"
# Eleven of the 101 classes of UCF101: six are UCF11's own, HorseRace is its horse riding in kind.
UCF101_CLASS_NAMES = (
    *("Basketball", "BasketballDunk", "Biking", "CricketShot", "Diving", "HorseRace"),
    *("JugglingBalls", "Surfing", "Swing", "TennisSwing", "WalkingWithDog"),
)
UCF101_CLASSES = {name: f"v_{name}" for name in UCF101_CLASS_NAMES}
WEIZMANN_CLASS_NAMES = ("bend", "jack", "jump", "pjump", "run", "side", "skip", "walk", "wave1", "wave2")
WEIZMANN_CLASSES = {name: name for name in WEIZMANN_CLASS_NAMES}


class Layout(NamedTuple):
    """How a data set names its clips.

    Attributes:
        example: Path of a clip, with {folder} and {stem} of its class.
        name: Of a clip, without its ending: {stem} of its class, <group> and <clip>.
        whole: Whether a class folder that is not asked for is a mistake.
        how_to_get: What to do where files are missing.
        group, clip: Patterns of what stands for these; a clip without a number is the only one of its group.
    """

    example: str
    name: str
    whole: bool
    how_to_get: str
    group: str = r"\d+"
    clip: str = r"\d+"


UCF11_LAYOUT = Layout("{folder}/{stem}_01/{stem}_01_01.mpg", "{stem}_<group>_<clip>", True, HOW_TO_GET)
UCF101_LAYOUT = Layout(
    "{folder}/{stem}_g01_c01.avi",
    "{stem}_g<group>_c<clip>",
    whole=False,
    how_to_get="`make data-ucf101` gets UCF101; or unpack the authors' archive so that its class folders stand there, "
    "or choose another data_dir",
)
WEIZMANN_LAYOUT = Layout(
    "{folder}/daria_{stem}.avi",
    "<group>_{stem}<clip>",
    whole=False,
    how_to_get="Unpack the archives of Weizmann's actions (https://www.wisdom.weizmann.ac.il/~vision/"
    "SpaceTimeActions.html), each into a folder of its own name, or choose another data_dir",
    group="[a-z]+",
    clip=r"\d*",
)


def index_clips(
    root: str | Path, classes: Mapping[str, str], num_clips: int | None = None, layout: Layout = UCF11_LAYOUT
) -> pd.DataFrame:
    """List the clips below `root`, laid out as UCF11, `<class>/<stem>_<gg>/<stem>_<gg>_<cc>.mpg`, or as another.

    Any of `VIDEO_SUFFIXES` will do in place of .mpg, in small or capital letters. Links are followed, also those
    of whole folders; a clip that is reached twice through them counts once. Folders named Annotation, and hidden
    files and folders, are passed over; what may have been meant as a clip and is none is named in the log.
    Group and clip number are read from the right, as a stem may hold underscores itself.

    Args:
        root: the folder that holds the class folders.
        classes: class folder -> stem of its files; the label is the position.
        num_clips: how many clips to keep, chosen as `clips_per_group` says; all without it.
        layout: of the data set.

    Returns:
        Columns clip (name, unique), class_name, label (int64), group ("<class>/<gg>", or a name in place of the
        number) and path (relative to `root`), sorted by label, group and clip number.

    Raises:
        FileNotFoundError: if `root`, or a class's clips, are not there.
        ValueError: if there is an unknown class folder, or two files of one clip.
    """
    root = Path(root)
    folders = _class_folders(root, classes, layout)
    rows: list[tuple[int, str, int, str, str, str]] = []
    for label, (class_name, stem) in enumerate(classes.items()):
        found = _clips_of_class(folders[class_name], stem, layout) if class_name in folders else []
        if not found:
            raise FileNotFoundError(
                f"no clips of class {class_name!r}: expected files like "
                f"{layout.example.format(folder=class_name, stem=stem)} below {root}. {layout.how_to_get}."
            )
        rows += [
            (label, f"{class_name}/{group}", number, path.stem, class_name, path.relative_to(root).as_posix())
            for group, number, path in found
        ]
    table = pd.DataFrame(sorted(rows), columns=["label", "group", "number", "clip", "class_name", "path"])
    twice = table[table.duplicated(["label", "group", "number"], keep=False)]
    if len(twice):
        raise ValueError(f"a clip must stand there once, but below {root} there are {', '.join(twice['path'])}")
    if num_clips is not None:
        table = _subset(table, num_clips, len(classes))
    return table[["clip", "class_name", "label", "group", "path"]].reset_index(drop=True)


def _class_folders(root: Path, classes: Mapping[str, str], layout: Layout) -> dict[str, Path]:
    """Find the class folders of `root`; raise if there are none, or another folder is among them."""
    if not root.is_dir():
        raise FileNotFoundError(f"no folder of videos at {root}. {layout.how_to_get}.")
    inside = [path for path in sorted(root.iterdir()) if not path.name.startswith(".")]
    folders = {path.name: path for path in inside if path.is_dir()}
    if broken := [path.name for path in inside if path.is_symlink() and not path.exists()]:
        logger.warning("%s: these links lead nowhere: %s", root, ", ".join(broken))
    if not folders:
        raise FileNotFoundError(f"the folder of videos {root} holds no class folder. {layout.how_to_get}.")
    unknown = sorted(folders.keys() - classes.keys())
    if unknown and layout.whole:
        raise ValueError(
            f"unknown class folder {', '.join(map(repr, unknown))} in {root}; known are {', '.join(classes)}"
        )
    return folders


def _clips_of_class(folder: Path, stem: str, layout: Layout) -> list[tuple[str, int, Path]]:
    """List (group, number, path) of the clips in a class folder, warning of what may have been meant as one."""
    clips: dict[tuple[str, int, Path], Path] = {}  # by group, number and the file behind all links
    strange, broken = [], []
    pattern = layout.name.format(stem=re.escape(stem))
    numbered = re.compile(pattern.replace("<group>", f"({layout.group})").replace("<clip>", f"({layout.clip})"))
    for path in _files_below(folder):
        name, _, suffix = path.name.partition(".")
        named = numbered.fullmatch(name)
        video = path.suffix.lower() in VIDEO_SUFFIXES
        if not path.is_file():
            if path.is_symlink() or named or video:
                broken.append(path)
        elif named and video and f".{suffix}" == path.suffix:
            group = f"{int(named[1]):02d}" if named[1].isdigit() else named[1]
            clips.setdefault((group, int(named[2] or 1), path.resolve()), path)
        elif named or video:
            strange.append(path)
    rule = f"named {layout.name.format(stem=stem)} and ending in one of {', '.join(VIDEO_SUFFIXES)}"
    for left_out, reason in (
        (strange, f"a clip must be {rule}"),
        (broken, "these are no files, or links that lead nowhere"),
    ):
        if left_out:
            names = ", ".join(path.relative_to(folder).as_posix() for path in sorted(left_out))
            logger.warning("%s: left out %d, as %s: %s", folder, len(left_out), reason, names)
    return [(group, number, path) for (group, number, _), path in clips.items()]


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a class folder and below it, and the links that lead nowhere; each folder is read once.

    Linked folders come last, so that a file which can be reached in two ways has the path without a link.
    """
    waiting, seen = deque([folder]), set()
    while waiting:
        current = waiting.popleft()
        real = current.resolve()
        if real in seen:
            continue
        seen.add(real)
        for path in sorted(current.iterdir()):
            if path.name.startswith(".") or (current == folder and path.name.lower() == "annotation"):
                continue
            if not path.is_dir():
                yield path
            elif not path.is_symlink():
                waiting.appendleft(path)
            elif folder.resolve().is_relative_to(path.resolve()):
                logger.warning("%s: not followed, as it leads back to a folder that holds it", path)
            else:
                waiting.append(path)


def _subset(table: pd.DataFrame, num_clips: int, num_classes: int) -> pd.DataFrame:
    """Keep the first clips of the first groups of each class, as `clips_per_group` shares them out."""
    # Positions within what is there, not the numbers in the names: a real group may lack clip 1.
    group_position = table.groupby("label")["group"].transform(lambda groups: pd.factorize(groups)[0]).astype(int)
    clip_position = table.groupby(["label", "group"]).cumcount()
    available = np.zeros((num_classes, int(group_position.max()) + 1), dtype=np.int64)
    np.add.at(available, (table["label"].to_numpy(), group_position.to_numpy()), 1)
    counts = clips_per_group(num_clips, num_classes, available)
    if counts.sum() < num_clips:
        logger.warning("%d clips were asked for, but there are only %d", num_clips, counts.sum())
    limit = np.zeros_like(available)
    limit[:, : counts.shape[1]] = counts
    return table[clip_position.to_numpy() < limit[table["label"], group_position]]


def clips_per_group(num_clips: int, num_classes: int = 11, available: np.ndarray | None = None) -> np.ndarray:
    """Share `num_clips` clips out over the groups of every class.

    Every class gets `num_clips // (5 num_classes)` groups, at least 1 and at most 25, and every group
    gets five clips: removing single clips instead would thin out the near-duplicates that make a random
    split easy.
    What is left is given out one by one: a sixth clip to group 1 of each class, then to group 2 of each
    class, and so on; then a seventh. So all classes stay within one clip of one another.

    Args:
        num_clips: clips wanted, at least 1. Fewer than `5 num_classes` give one group a class all the same.
        num_classes: number of classes, at least 1.
        available: clips that exist, int (num_classes, groups), groups in order; without it there is no
            limit. What one group lacks goes to the others.

    Returns:
        int64 (num_classes, groups): clips 1 to n of each group are used. The sum is `num_clips`, or more
        where `num_clips` is below the least, or less where fewer exist.

    A smaller set is a part of a larger one when both have the same number of groups, or when the smaller
    is a multiple of `5 num_classes`, or when both have all 25 groups.

    Raises:
        ValueError: if a number is below 1, or `available` does not have `num_classes` rows.
    """
    if num_clips < 1 or num_classes < 1:
        raise ValueError(
            f"num_clips and num_classes must be at least 1, got num_clips={num_clips}, num_classes={num_classes}"
        )
    if available is not None and (available.ndim != 2 or len(available) != num_classes):
        raise ValueError(f"available must have shape ({num_classes}, groups), got {available.shape}")
    num_groups = min(max(num_clips // (num_classes * CLIPS_PER_GROUP), 1), GROUPS_PER_CLASS)
    if available is None:
        limit = np.full((num_classes, num_groups), max(num_clips, CLIPS_PER_GROUP), dtype=np.int64)
    else:
        limit = available[:, :num_groups].astype(np.int64)
    counts = np.minimum(limit, CLIPS_PER_GROUP)
    left = num_clips - int(counts.sum())
    while left > 0 and (counts < limit).any():
        # Transposed, because the class runs fastest: one clip for each class before the next group's turn.
        group_index, class_index = np.nonzero((counts < limit).T)
        chosen = slice(0, left)
        counts[class_index[chosen], group_index[chosen]] += 1
        left -= len(group_index[chosen])
    return counts
