"""Images, captions and splits, from annotation files in COCO's format."""

import json
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from btrnn.data import SPLIT_STREAM, generator
from btrnn.data.captions.vocabulary import words_of

CocoSource = Literal["coco", "scenes"]  # those in COCO's format

PARTS = {"coco": ("train2014", "val2014"), "scenes": ("train", "val", "test")}  # files and folders of a source
KARPATHY_FILE = "dataset_coco.json"
SPLITS = ("train", "val", "test")
KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
NUM_HELD_OUT = 5000  # images for validation, and for test, as in Karpathy's split; the rest of val2014 is for training
_SPLIT_SEED = 0  # one split for all seeds of runs
_REMEDY = {
    "coco": "`make data-coco` gets it",
    "scenes": "delete its folder and run `python scripts/make_scenes.py`, which makes it anew",
}


class AnnotationError(ValueError):
    """An annotation file is missing or damaged; the message names it and says what to do."""


class Annotations(NamedTuple):
    """What is known of the images of a source.

    table: A row for each image: image_id, file (below the source's folder) and split ("train", "val" or "test").
    captions: Of each image.
    split: Which split that is, for a reader.
    no_words: Captions that were left out because there is no word in them.
    place: Where the captions stand, for errors.
    files: What was read, below the source's folder.
    no_picture: Captions that were left out because they are of no picture that is there.
    """

    table: pd.DataFrame
    captions: list[list[str]]
    split: str
    no_words: int
    place: Path
    files: tuple[str, ...]
    no_picture: int = 0


def read_annotations(source: CocoSource, root: Path) -> Annotations:
    """Read the caption files of a source, and assign its images to splits.

    COCO's train2014 and val2014 are split as Karpathy did where his file dataset_coco.json stands beside; else val2014
    gives 5,000 images for validation and 5,000 for test, drawn once for all, and what is left goes to training as with
    his. The scenes have a file for each split.

    Args:
        source: "coco" or "scenes".
        root: Folder that holds the folders of images and `annotations`.

    Raises:
        AnnotationError: A file is missing, truncated or of another kind, or has not one caption with a word; or two do
            not fit together.
    """
    tables, captions, no_words = [], [], 0
    for part in PARTS[source]:
        path = root / "annotations" / f"captions_{part}.json"
        images, part_captions, without = _read_captions(path, _REMEDY[source])
        tables.append(pd.DataFrame({**images, "split": part}))
        tables[-1]["file"] = f"{part}/" + tables[-1]["file"]
        captions += part_captions
        no_words += without
    table = pd.concat(tables, ignore_index=True)
    try:
        _check_unique("image", table["image_id"])
    except ValueError as error:
        raise AnnotationError(f"{root / 'annotations'}: {error}, in two files") from None
    files = tuple(f"annotations/captions_{part}.json" for part in PARTS[source])
    split, karpathy = "a file for each split", root / KARPATHY_FILE
    if source == "coco" and karpathy.is_file():
        table["split"], split = _karpathy_split(karpathy, table["image_id"]), "karpathy"
        files = (*files, KARPATHY_FILE)
    elif source == "coco":
        table["split"], split = _seeded_split(table["split"]), "seeded, in the sizes of Karpathy's"
    return Annotations(table, captions, split, no_words, root / "annotations", files)


def check_images(source: CocoSource, root: Path, annotations: Annotations) -> None:
    """Check that each captions file is of the images beside it.

    Raises:
        AnnotationError: Not one image of a file is there.
    """
    for part in PARTS[source]:
        files = [file for file in annotations.table["file"] if file.startswith(f"{part}/")]
        if not any((root / file).is_file() for file in files):
            raise AnnotationError(
                f"{root / 'annotations' / f'captions_{part}.json'} names {len(files):,} images, none of which is "
                f"there, not even {root / files[0]}; {_REMEDY[source]}"
            )


def _read_captions(path: Path, remedy: str) -> tuple[dict[str, list[Any]], list[list[str]], int]:
    """Return ids and file names of a file's images, their captions, and how many captions have no word."""
    try:
        content = _read(path)
        images = [
            (_value(image, f"images[{place}]", "id", int), _value(image, f"images[{place}]", "file_name", str))
            for place, image in enumerate(_value(content, "the file", "images", list))
        ]
        captions: dict[int, list[str]] = {key: [] for key, _ in images}
        numbers = []
        for place, found in enumerate(_value(content, "the file", "annotations", list)):
            entry = f"annotations[{place}]"
            numbers.append(_value(found, entry, "id", int))
            key, caption = _value(found, entry, "image_id", int), _value(found, entry, "caption", str)
            if key not in captions:
                raise ValueError(f"{entry} is a caption of image {key}, which is not among its images")
            # half of a pair, as a caption that was cut within an emoji has, could not be written to any file
            captions[key].append(caption.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        for what, values in (
            ("image", [key for key, _ in images]),
            ("file name", [file for _, file in images]),
            ("caption", numbers),
        ):
            _check_unique(what, values)
        worded = [[caption for caption in captions[key] if words_of(caption)] for key, _ in images]
        number = sum(map(len, captions.values()))
        if not images:
            raise ValueError("it names no images")
        if not any(worded):
            raise ValueError(f"none of its {number:,} captions has a word in it")
    except FileNotFoundError:
        raise AnnotationError(f"{path} is missing; {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(f"{path} is not a whole file of COCO captions: {error}; {remedy}") from error
    table = {"image_id": [key for key, _ in images], "file": [file for _, file in images]}
    return table, worded, number - sum(map(len, worded))


def _read(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON, or not in UTF-8.
    """
    return json.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors put a mark in front


def _value(owner: Any, place: str, name: str, kind: type) -> Any:
    """Return one value of an entry; raise ValueError where it is missing or of another kind."""
    if not isinstance(owner, dict):
        raise ValueError(f"{place} is not an object with names and values, but {_short(owner)}")
    if name not in owner:
        raise ValueError(f"{place} has no {name!r}")
    value = owner[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{place} has {_short(value)} as {name!r}, not a {kind.__name__}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _check_unique(what: str, values: Iterable[Hashable]) -> None:
    """Raise ValueError where something stands there twice."""
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]} stands there more than once")


def _karpathy_split(path: Path, image_ids: pd.Series) -> pd.Series:
    """Read the split of each image from Karpathy's file."""
    try:
        split_of, numbers = {}, []
        for place, image in enumerate(_value(_read(path), "the file", "images", list)):
            numbers.append(_value(image, f"images[{place}]", "cocoid", int))
            name = _value(image, f"images[{place}]", "split", str)
            if name not in KARPATHY_SPLITS:
                raise ValueError(f"images[{place}] is of split {name!r}; known are {', '.join(KARPATHY_SPLITS)}")
            split_of[numbers[-1]] = KARPATHY_SPLITS[name]
        _check_unique("image", numbers)
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(
            f"{path} is not a whole file of Karpathy's split: {error}; replace it, or delete it for a seeded split in "
            "its sizes"
        ) from error
    split = image_ids.map(split_of)
    if split.isna().any():
        raise AnnotationError(
            f"{path} says nothing of {int(split.isna().sum()):,} of {len(split):,} images, the first of them "
            f"{image_ids[split.isna()].iloc[0]}; replace it, or delete it for a seeded split in its sizes"
        )
    return split


def _seeded_split(parts: pd.Series) -> pd.Series:
    """Draw validation and test images from val2014, 5,000 each, or a quarter of it if it is smaller."""
    split = pd.Series("train", index=parts.index)
    candidates = np.flatnonzero(parts == "val2014")
    count = min(NUM_HELD_OUT, len(candidates) // 4)
    drawn = generator(_SPLIT_SEED, SPLIT_STREAM).permutation(candidates)
    split.iloc[drawn[:count]] = "val"
    split.iloc[drawn[count : 2 * count]] = "test"
    return split
