"""Images, captions and splits, from annotation files in COCO's format."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pycocotools import coco

from btrnn.data.loading import SPLIT_STREAM, generator
from btrnn.data.vocabulary import words_of

Source = Literal["coco", "scenes"]

PARTS = {"coco": ("train2014", "val2014"), "scenes": ("train", "val", "test")}  # files and folders of a source
KARPATHY_FILE = "dataset_coco.json"
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
    """

    table: pd.DataFrame
    captions: list[list[str]]
    split: str
    no_words: int


def read_annotations(source: Source, root: Path) -> Annotations:
    """Read the caption files of a source, and assign its images to splits.

    COCO's train2014 and val2014 are split as Karpathy did where his file dataset_coco.json stands beside; else val2014
    gives 5,000 images for validation and 5,000 for test, drawn once for all, and what is left goes to training as with
    his. The scenes have a file for each split.

    Args:
        source: "coco" or "scenes".
        root: Folder that holds the folders of images and `annotations`.

    Raises:
        AnnotationError: A file is missing, truncated or of another kind, or two do not fit together.
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
    if table["image_id"].duplicated().any():
        twice = table["image_id"][table["image_id"].duplicated()].iloc[0]
        raise AnnotationError(f"image {twice} stands in the annotations of {root} more than once")
    if source == "scenes":
        return Annotations(table, captions, "held-out pairs of looks in test", no_words)
    karpathy = root / KARPATHY_FILE
    if karpathy.is_file():
        table["split"] = _karpathy_split(karpathy, table["image_id"])
        return Annotations(table, captions, "karpathy", no_words)
    table["split"] = _seeded_split(table["split"])
    return Annotations(table, captions, "seeded, in the sizes of Karpathy's", no_words)


def _read_captions(path: Path, remedy: str) -> tuple[dict[str, list[Any]], list[list[str]], int]:
    """Return ids and file names of a file's images, their captions, and how many captions have no word."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how long it took
            content = coco.COCO(str(path))
        images: dict[str, list[Any]] = {
            "image_id": [int(image["id"]) for image in content.dataset["images"]],
            "file": [str(image["file_name"]) for image in content.dataset["images"]],
        }
        captions = {key: [str(found["caption"]) for found in content.imgToAnns[key]] for key in images["image_id"]}
        strangers = content.imgToAnns.keys() - captions.keys()
    except FileNotFoundError:
        raise AnnotationError(f"{path} is missing; {remedy}") from None
    except (ValueError, KeyError, TypeError, AssertionError, AttributeError) as error:
        raise AnnotationError(
            f"{path} is not a whole file of COCO captions ({type(error).__name__}: {error}); {remedy}"
        ) from error
    if strangers:
        raise AnnotationError(f"{path} has captions of image {min(strangers)}, which is not among its images; {remedy}")
    if not captions:
        raise AnnotationError(f"{path} names no images; {remedy}")
    worded = [[caption for caption in captions[key] if words_of(caption)] for key in images["image_id"]]
    return images, worded, sum(map(len, captions.values())) - sum(map(len, worded))


def _karpathy_split(path: Path, image_ids: pd.Series) -> pd.Series:
    """Read the split of each image from Karpathy's file."""
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        split_of = {int(image["cocoid"]): KARPATHY_SPLITS[image["split"]] for image in images}
    except (ValueError, KeyError, TypeError) as error:
        raise AnnotationError(
            f"{path} is not a whole file of Karpathy's split ({type(error).__name__}: {error}); replace it, or delete "
            "it for a seeded split in its sizes"
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
