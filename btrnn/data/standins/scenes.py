"""Scenes: pictures with captions in COCO's file format, a stand-in for COCO that can be drawn anywhere.

Two or three flat shapes on a plain ground, and five captions of a small grammar, all of them true.

Files:

- `<split>/000000000001.jpg`: the pictures, named by their ids.
- `annotations/captions_<split>.json`: as COCO's captions_train2014.json.
- `scenes.json`: what the files were made from.
"""

import io
import json
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from btrnn.data import generator
from btrnn.data.captions.annotations import SPLITS
from btrnn.data.standins import check_numbers, claim, make_in_parallel, refuse_foreign
from btrnn.storage.atomic import locked, remove_leftovers, replace_file, replacing

__all__ = ["INFO_FILE", "NUM_TRAIN", "SPLITS", "describe", "draw_scene", "make_scenes", "sample_scene", "split_sizes"]

VERSION = 4  # to be raised with every change that alters a pixel or a word
INFO_FILE = "scenes.json"
NUM_TRAIN, NUM_HELD_OUT = 2000, 500
NUM_CAPTIONS = 5
IMAGE_SIZE = 224  # pixels a side
_SMOOTH = 2  # pictures are drawn so many times as large, then made smaller
_IDS_A_SPLIT = 1_000_000
_SCENES_A_PART = 50
_DRAWING, _TELLING = 1, 2  # random streams of a scene

COLOURS = {
    "red": (215, 45, 40),
    "orange": (245, 140, 30),
    "yellow": (245, 220, 50),
    "green": (50, 160, 70),
    "blue": (45, 90, 205),
    "purple": (130, 60, 165),
    "pink": (245, 150, 185),
    "brown": (125, 80, 45),
}
GROUNDS = {"white": (245, 245, 240), "grey": (150, 150, 150), "black": (25, 25, 30)}
# Corners in the square from (-1, -1), left above, to (1, 1); a circle is none.
_STAR = [(r * np.sin(k * np.pi / 5), -r * np.cos(k * np.pi / 5)) for k, r in enumerate([1.0, 0.42] * 5)]
_THIRD = 0.33
CORNERS: dict[str, list[tuple[float, float]]] = {
    "circle": [],
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -0.95), (1, 0.8), (-1, 0.8)],
    "diamond": [(0, -1), (0.75, 0), (0, 1), (-0.75, 0)],
    "star": _STAR,
    "cross": [
        *((-_THIRD, -1), (_THIRD, -1), (_THIRD, -_THIRD), (1, -_THIRD), (1, _THIRD), (_THIRD, _THIRD)),
        *((_THIRD, 1), (-_THIRD, 1), (-_THIRD, _THIRD), (-1, _THIRD), (-1, -_THIRD), (-_THIRD, -_THIRD)),
    ],
}
SIZES = {"small": 0.09, "large": 0.16}  # half the side, in picture sides
NUMBER_WORDS = {2: "two", 3: "three"}
_APART = 0.05  # picture sides that two shapes leave between them
_BESIDE = 0.2  # picture sides by which one is left of another, or above it, at least

Part = tuple[int, list[int]]  # split, scenes


class Shape(NamedTuple):
    """A shape of a scene; `x` and `y` are its middle's place, from (0, 0) left above to (1, 1)."""

    kind: str
    colour: str
    size: str
    x: float
    y: float

    @property
    def name(self) -> str:
        """Colour and kind, which no other shape of the scene has both."""
        return f"{self.colour} {self.kind}"


class Scene(NamedTuple):
    """What is in a picture."""

    ground: str
    shapes: tuple[Shape, ...]


def sample_scene(seed: int, split: int, number: int) -> Scene:
    """Draw a scene, a function of its numbers alone: shapes of different names that do not touch."""
    rng = generator(seed, split, number, _DRAWING)
    wanted = int(rng.integers(2, 4))
    shapes: list[Shape] = []
    while len(shapes) < wanted:
        kind, colour, size = (str(rng.choice(list(names))) for names in (CORNERS, COLOURS, SIZES))
        reach = SIZES[size]
        new = Shape(kind, colour, size, *rng.uniform(reach, 1 - reach, 2).round(3).tolist())
        near = (max(abs(new.x - s.x), abs(new.y - s.y)) < reach + SIZES[s.size] + _APART for s in shapes)
        if not any(near) and new.name not in [s.name for s in shapes]:
            shapes.append(new)
    return Scene(str(rng.choice(list(GROUNDS))), tuple(shapes))


def draw_scene(scene: Scene) -> Image.Image:
    """Draw a scene's picture, 224 x 224 pixels."""
    side = IMAGE_SIZE * _SMOOTH
    picture = Image.new("RGB", (side, side), GROUNDS[scene.ground])
    pen = ImageDraw.Draw(picture)
    for shape in scene.shapes:
        corners = np.array(CORNERS[shape.kind] or [(-1, -1), (1, 1)]) * SIZES[shape.size] + (shape.x, shape.y)
        draw = pen.polygon if CORNERS[shape.kind] else pen.ellipse
        draw([(x, y) for x, y in (side * corners).tolist()], fill=COLOURS[shape.colour])
    return picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX)


def describe(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Draw five captions of a scene, all different and true."""
    return [str(caption) for caption in rng.permutation(_sentences(scene))[:NUM_CAPTIONS]]


def _sentences(scene: Scene) -> list[str]:
    """List all that the grammar says of a scene, at least eight sentences."""
    where = f"on a {scene.ground} background"
    named = [_with_article(shape.name) for shape in scene.shapes]
    sized = [f"a {shape.size} {shape.name}" for shape in scene.shapes]
    number = NUMBER_WORDS[len(named)]
    sentences = [
        f"{_enumerated(named)} {where}",
        f"{_enumerated(sized)} {where}",
        f"{number} shapes {where}: {_enumerated(named)}",
        f"the picture shows {_enumerated(named)}",
        f"{sized[0]} and {'another shape' if len(named) == 2 else 'two other shapes'} {where}",
        f"a picture of {_enumerated(sized)}",
    ]
    for (one, first), (other, second) in permutations(zip(scene.shapes, named, strict=True), 2):
        if other.x - one.x > _BESIDE:
            sentences += [f"{first} to the left of {second}", f"{second} is to the right of {first} {where}"]
        if other.y - one.y > _BESIDE:
            sentences += [f"{first} above {second}", f"{second} is below {first} {where}"]
    return sentences


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _enumerated(things: list[str]) -> str:
    return f"{', '.join(things[:-1])} and {things[-1]}"


def split_sizes(num_train: int) -> dict[str, int]:
    """Return how many scenes each split has: 500 for validation and for test, or a quarter of `num_train` if less."""
    held_out = min(NUM_HELD_OUT, max(num_train // 4, 1))
    return {"train": num_train, "val": held_out, "test": held_out}


def image_id(split: int, number: int) -> int:
    """Return the id of a scene, counted from 0 in its split; ids of different splits differ."""
    return split * _IDS_A_SPLIT + number + 1


def image_path(root: Path, split: int, number: int) -> Path:
    """Return the file of a scene."""
    return root / SPLITS[split] / f"{image_id(split, number):012d}.jpg"


def make_scenes(root: str | Path, num_train: int = NUM_TRAIN, *, seed: int = 0, num_workers: int | None = None) -> None:
    """Write the files that are missing.

    A scene is a function of the seed, its split and its number, so a smaller set is a part of a larger one. A call
    that was stopped is repeated to go on; of several processes that make the same set at once one works, and the others
    wait.

    Args:
        root: Folder; made if it does not exist.
        num_train: Training scenes wanted, at least 1; see `split_sizes` for the others.
        seed: Of everything that is drawn, not negative.
        num_workers: Processes; all cores by default.

    Raises:
        ValueError: A number is out of range, or `root` holds pictures of another seed or origin.
    """
    root = Path(root)
    check_numbers(seed, num_workers)
    if not 1 <= num_train < _IDS_A_SPLIT:
        raise ValueError(f"num_train must be from 1 to {_IDS_A_SPLIT - 1:,}, got {num_train}")
    ours, folders = {"generator": "btrnn scenes", "version": VERSION, "seed": seed}, (*SPLITS, "annotations")
    refuse_foreign(root / INFO_FILE, ours, folders)
    sizes = [split_sizes(num_train)[name] for name in SPLITS]
    if not _missing(root, sizes) and all(_is_told(root, *of_split) for of_split in enumerate(sizes)):
        return  # nor need the folder be one that may be written to
    with locked(root):
        claim(root / INFO_FILE, ours, folders)
        remove_leftovers(root, *(root / folder for folder in folders))
        if parts := _missing(root, sizes):  # another process may have made them meanwhile
            total = sum(len(numbers) for _, numbers in parts)
            make = partial(_write_pictures, root, seed)
            make_in_parallel(make, parts, title="drawing scenes", total=total, num_workers=num_workers)
        for split, size in enumerate(sizes):
            if not _is_told(root, split, size):
                _write_annotations(root, seed, split, size)


def _missing(root: Path, sizes: list[int]) -> list[Part]:
    """List the scenes whose pictures are not there, in small portions."""
    parts = []
    for split, size in enumerate(sizes):
        numbers = [number for number in range(size) if not image_path(root, split, number).is_file()]
        parts += [(split, numbers[k : k + _SCENES_A_PART]) for k in range(0, len(numbers), _SCENES_A_PART)]
    return parts


def _write_pictures(root: Path, seed: int, part: Part) -> int:
    """Draw and write some scenes; return how many."""
    split, numbers = part
    for number in numbers:
        content = io.BytesIO()
        draw_scene(sample_scene(seed, split, number)).save(content, "JPEG", quality=92)
        with replacing(image_path(root, split, number)) as file:
            file.write_bytes(content.getvalue())
    return len(numbers)


def _write_annotations(root: Path, seed: int, split: int, size: int) -> None:
    """Write the captions of a split."""
    images, annotations = [], []
    for number in range(size):
        key, name = image_id(split, number), image_path(root, split, number).name
        images.append({"id": key, "file_name": name, "width": IMAGE_SIZE, "height": IMAGE_SIZE, "license": 1})
        captions = describe(sample_scene(seed, split, number), generator(seed, split, number, _TELLING))
        annotations += [{"id": 10 * key + k, "image_id": key, "caption": caption} for k, caption in enumerate(captions)]
    info = {"description": "Scenes, a stand-in for COCO made by btrnn", "version": str(VERSION), "seed": seed}
    content = {"info": info, "licenses": [{"id": 1, "name": "MIT"}], "images": images, "annotations": annotations}
    replace_file(_annotations_path(root, split), json.dumps(content) + "\n")


def _annotations_path(root: Path, split: int) -> Path:
    return root / "annotations" / f"captions_{SPLITS[split]}.json"


def _is_told(root: Path, split: int, size: int) -> bool:
    """Return whether the captions of as many scenes of a split, or of more, are there."""
    return _scenes_in(_annotations_path(root, split)) >= size


def _scenes_in(path: Path) -> int:
    """Return of how many scenes a file is, 0 where it is missing or damaged."""
    try:
        return len(json.loads(path.read_text())["images"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
