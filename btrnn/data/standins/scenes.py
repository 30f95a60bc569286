"""Scenes: pictures with captions in COCO's file format, a stand-in that can be made anywhere.

Two to four solids on a textured ground (`layout.py`, drawn by `rendering.py`), five true captions each (`grammar.py`).
Fourteen shapes, ten colours, three sizes, five materials. Some pairs of colour and shape, of colour and material and of
shape and material are in no training and no validation scene, and one of them is in every test scene
(`layout.held_out`): who only remembers pairs fails.

Files:

- `<split>/000000000001.jpg`: the pictures, named by their ids.
- `annotations/captions_<split>.json`: as COCO's captions_train2014.json.
- `annotations/objects_<split>.json`: for each picture its ground and its solids, with what is true of them.
- `scenes.json`: what the files were made from.
"""

import io
import json
from functools import partial
from pathlib import Path

from PIL import Image

from btrnn.data.loading import generator
from btrnn.data.standins.grammar import describe
from btrnn.data.standins.layout import IMAGE_SIZE, Scene, sample_scene
from btrnn.data.standins.making import check_numbers, claim, make_in_parallel, remove_leftovers
from btrnn.data.standins.rendering import draw_scene
from btrnn.storage.atomic import replace_file, replacing

VERSION = 3  # to be raised with every change that alters a pixel or a word
INFO_FILE = "scenes.json"
SPLITS = ("train", "val", "test")
NUM_TRAIN, NUM_HELD_OUT = 6000, 500
JPEG_QUALITY = 92
_IDS_A_SPLIT = 1_000_000
_SCENES_A_TASK = 20
_DRAWING, _TELLING = 3, 4  # random streams of a scene, beside those of its splits

Task = tuple[int, list[int]]  # split, scenes


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
    that was stopped is repeated to go on; several processes may make the same set at once.

    Args:
        root: Folder; made if it does not exist.
        num_train: Training scenes wanted, at least 1; see `split_sizes` for the others.
        seed: Of everything that is drawn, not negative.
        num_workers: Processes; all cores by default.

    Raises:
        ValueError: A number is out of range, or `root` holds pictures of another seed, version or origin.
    """
    root = Path(root)
    check_numbers(seed, num_workers)
    if not 1 <= num_train < _IDS_A_SPLIT:
        raise ValueError(f"num_train must be from 1 to {_IDS_A_SPLIT - 1:,}, got {num_train}")
    claim(root / INFO_FILE, {"generator": "btrnn scenes", "version": VERSION, "seed": seed}, (*SPLITS, "annotations"))
    sizes = [split_sizes(num_train)[name] for name in SPLITS]
    tasks = _missing(root, sizes)
    if tasks:
        remove_leftovers(root, "*")
        total = sum(len(numbers) for _, numbers in tasks)
        make = partial(_write_pictures, root, seed)
        make_in_parallel(make, tasks, title="drawing scenes", total=total, num_workers=num_workers)
    for split, size in enumerate(sizes):
        _write_annotations(root, seed, split, size)


def _missing(root: Path, sizes: list[int]) -> list[Task]:
    """List the scenes whose pictures are not there, in small portions."""
    tasks = []
    for split, size in enumerate(sizes):
        numbers = [number for number in range(size) if not image_path(root, split, number).is_file()]
        tasks += [(split, numbers[k : k + _SCENES_A_TASK]) for k in range(0, len(numbers), _SCENES_A_TASK)]
    return tasks


def _write_pictures(root: Path, seed: int, task: Task) -> int:
    """Draw and write some scenes; return how many."""
    split, numbers = task
    for number in numbers:
        picture = draw_scene(sample_scene(seed, split, number), generator(seed, split, number, _DRAWING))
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "JPEG", quality=JPEG_QUALITY)
        with replacing(image_path(root, split, number)) as part:
            part.write_bytes(content.getvalue())
    return len(numbers)


def _write_annotations(root: Path, seed: int, split: int, size: int) -> None:
    """Write captions and objects of a split, unless files of as many scenes or more are there."""
    paths = [root / "annotations" / f"{kind}_{SPLITS[split]}.json" for kind in ("objects", "captions")]
    if all(_scenes_in(path) >= size for path in paths):
        return
    images, objects = [], []
    annotations: list[dict[str, object]] = []
    for number in range(size):
        scene, key = sample_scene(seed, split, number), image_id(split, number)
        name = image_path(root, split, number).name
        images.append({"id": key, "file_name": name, "width": IMAGE_SIZE, "height": IMAGE_SIZE, "license": 1})
        captions = describe(scene, generator(seed, split, number, _TELLING))
        annotations += [{"id": 10 * key + k, "image_id": key, "caption": caption} for k, caption in enumerate(captions)]
        objects.append({"image_id": key, "ground": scene.ground, "objects": _true_objects(scene)})
    info = {"description": "Scenes, a stand-in for COCO made by btrnn", "version": str(VERSION), "seed": seed}
    licences = [{"id": 1, "name": "MIT"}]
    contents = (
        {"info": info, "images": objects},
        {"info": info, "licenses": licences, "images": images, "annotations": annotations},
    )
    for path, content in zip(paths, contents, strict=True):
        replace_file(path, json.dumps(content) + "\n")


def _scenes_in(path: Path) -> int:
    """Return of how many scenes a file is, 0 where it is missing or damaged."""
    try:
        return len(json.loads(path.read_text())["images"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _true_objects(scene: Scene) -> list[dict[str, object]]:
    """Return what is true of each solid; positions from (0, 0) left above to (1, 1), `on` counts in this list."""
    return [
        {
            "shape": thing.shape,
            "colour": thing.colour,
            "size": thing.size,
            "material": thing.material,
            "position": [round(float(value), 4) for value in position],
            "place": [round(value, 4) for value in thing.place],
            "on": thing.on,
        }
        for thing, position in zip(scene.objects, scene.picture_positions(), strict=True)
    ]
