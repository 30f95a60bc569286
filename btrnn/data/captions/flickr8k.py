"""Flickr8k's photographs, captions and official splits, from the files that its authors gave out.

Hodosh, Young and Hockenmaier, "Framing image description as a ranking task", JAIR 47, 2013.
"""

import re
from pathlib import Path

import pandas as pd

from btrnn.data.captions.annotations import AnnotationError, Annotations
from btrnn.data.captions.vocabulary import words_of

FOLDER = "Flicker8k_Dataset"  # as it is spelt there
CAPTIONS_FILE = "Flickr8k.token.txt"
LISTS = {name: f"Flickr_8k.{part}Images.txt" for name, part in (("train", "train"), ("val", "dev"), ("test", "test"))}
_CAPTION = re.compile(r"(?P<file>[^#\t]+)#(?P<number>\d+)\t(?P<text>.*)")
_REMEDY = "`make data-flickr8k` gets it, or unpacks the archives that were put into the folder by hand"


def read_flickr8k(root: Path) -> Annotations:
    """Read the captions, and assign the photographs to the splits of the official lists.

    A line of captions whose file is not in the folder of photographs is passed over, and counted. Photographs in none
    of the lists are not used. The rows are in the order of the lists.

    Args:
        root: Folder that holds the folder of photographs, the captions and the lists.

    Raises:
        AnnotationError: A file or the folder is missing, a line is not as expected, or the files do not fit together.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        raise AnnotationError(f"{folder}, the folder of photographs, is missing; {_REMEDY}")
    there = {path.name for path in folder.iterdir()}
    captions, no_picture = _read_captions(root / CAPTIONS_FILE, there)
    split_of: dict[str, str] = {}
    for split, name in LISTS.items():
        path = root / name
        listed = [line.strip() for line in _lines(path) if line.strip()]
        if not listed:
            raise AnnotationError(f"{path} names no photograph; {_REMEDY}")
        for file in listed:
            if file in split_of:
                raise AnnotationError(
                    f"{path} names {file}, which stands in {LISTS[split_of[file]]} already; {_REMEDY}"
                )
            split_of[file] = split
        for lacking, what in ((there, f"is not in {folder}"), (captions, f"has no caption in {CAPTIONS_FILE}")):
            if absent := [file for file in listed if file not in lacking]:
                raise AnnotationError(
                    f"{path} names {len(listed):,} photographs; of {len(absent):,} of them the file {what}, such as "
                    f"{absent[0]}; {_REMEDY}"
                )
    files = [*split_of, *(file for file in captions if file not in split_of)]
    worded = [[text for text in captions[file] if words_of(text)] for file in files]
    table = pd.DataFrame(
        {
            "image_id": [Path(file).stem for file in files],
            "file": [f"{FOLDER}/{file}" for file in files],
            "split": [split_of.get(file, "unused") for file in files],
        }
    )
    no_words = sum(len(captions[file]) for file in files) - sum(map(len, worded))
    return Annotations(
        table, worded, "the official lists", no_words, root, (CAPTIONS_FILE, *LISTS.values()), no_picture
    )


def _read_captions(path: Path, there: set[str]) -> tuple[dict[str, list[str]], int]:
    """Return the captions of each photograph that is there, and how many lines are of others."""
    captions: dict[str, list[str]] = {}
    known: set[tuple[str, str]] = set()
    no_picture = 0
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        found = _CAPTION.fullmatch(line)
        if found is None:
            raise AnnotationError(
                f"{path}, line {number}: expected the photograph's file, #, the caption's number, a tabulator and the "
                f"caption, got {line[:60]!r}; {_REMEDY}"
            )
        key = (found["file"], found["number"])
        if key in known:
            raise AnnotationError(f"{path}, line {number}: caption {'#'.join(key)} stands there already; {_REMEDY}")
        known.add(key)
        if found["file"] in there:
            captions.setdefault(found["file"], []).append(found["text"])
        else:
            no_picture += 1
    if not captions:
        raise AnnotationError(f"{path} has no caption of a photograph in {path.parent / FOLDER}; {_REMEDY}")
    return captions, no_picture


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise AnnotationError(f"{path} is missing; {_REMEDY}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} cannot be read: {error}; {_REMEDY}") from error
