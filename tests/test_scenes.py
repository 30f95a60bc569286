"""Scenes: shapes where they should be, true captions, files that are whole."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import coco

from btrnn.data import generator
from btrnn.data.captions.vocabulary import Vocabulary, words_of
from btrnn.data.standins import scenes
from btrnn.data.standins.scenes import (
    COLOURS,
    CORNERS,
    GROUNDS,
    INFO_FILE,
    NUM_CAPTIONS,
    NUMBER_WORDS,
    SIZES,
    Scene,
    Shape,
    describe,
    draw_scene,
    image_path,
    make_scenes,
    sample_scene,
    split_sizes,
)

SCRIPT = Path(__file__).parent.parent / "scripts" / "make_scenes.py"
TRAIN, VAL, TEST = range(3)
NUMBERS = st.integers(0, 5000)


# Layout


@settings(max_examples=60)
@given(seed=st.integers(0, 3), split=st.integers(0, 2), number=NUMBERS)
def test_a_scene_keeps_its_rules(seed: int, split: int, number: int) -> None:
    scene = sample_scene(seed, split, number)
    assert scene == sample_scene(seed, split, number)
    assert scene != sample_scene(seed, split, number + 1)
    assert len(scene.shapes) in NUMBER_WORDS
    assert len({shape.name for shape in scene.shapes}) == len(scene.shapes)
    for place, shape in enumerate(scene.shapes):
        reach = SIZES[shape.size]
        assert reach - 0.001 <= min(shape.x, shape.y)
        assert max(shape.x, shape.y) <= 1 - reach + 0.001
        for other in scene.shapes[:place]:
            assert max(abs(shape.x - other.x), abs(shape.y - other.y)) >= reach + SIZES[other.size]


def test_everything_is_drawn_about_equally_often() -> None:
    drawn = [sample_scene(0, TRAIN, number) for number in range(400)]
    for names, found in (
        (CORNERS, [shape.kind for scene in drawn for shape in scene.shapes]),
        (COLOURS, [shape.colour for scene in drawn for shape in scene.shapes]),
        (SIZES, [shape.size for scene in drawn for shape in scene.shapes]),
        (GROUNDS, [scene.ground for scene in drawn]),
    ):
        assert min(found.count(name) for name in names) > 0.6 * len(found) / len(names)


# Pictures


@pytest.mark.parametrize("kind", CORNERS)
def test_a_shape_is_drawn_where_it_stands_in_its_colour(kind: str) -> None:
    scene = Scene("grey", (Shape(kind, "red", "large", 0.3, 0.6),))
    picture = np.asarray(draw_scene(scene)).astype(int)
    assert picture.shape == (224, 224, 3)
    red = (picture == COLOURS["red"]).all(axis=-1)
    rows, columns = np.nonzero(red)
    assert abs(columns.mean() / 224 - 0.3) < 0.02
    assert abs(rows.mean() / 224 - 0.6) < 0.04, "a triangle has more of itself below its middle"
    assert np.ptp(rows) <= 2 * SIZES["large"] * 224
    assert 0.25 < red.sum() / (2 * SIZES["large"] * 224) ** 2 < 0.85
    changed = (picture != GROUNDS["grey"]).any(axis=-1)
    assert red.sum() <= changed.sum() < 1.25 * red.sum(), "but for its edge, nothing else"


def test_shapes_differ() -> None:
    pictures = [np.asarray(draw_scene(Scene("white", (Shape(kind, "blue", "small", 0.5, 0.5),)))) for kind in CORNERS]
    for place, picture in enumerate(pictures):
        assert all((picture != other).any(axis=-1).sum() > 100 for other in pictures[:place])


# Captions

NAME = re.compile(f"(?:(small|large) )?({'|'.join(COLOURS)}) ({'|'.join(CORNERS)})")
BESIDE = {"to the left of": (1, 0), "is to the right of": (-1, 0), "above": (0, 1), "is below": (0, -1)}


def test_captions_are_true_and_distinct() -> None:
    counts = dict.fromkeys((*BESIDE, "shapes"), 0)
    for number in range(300):
        scene = sample_scene(0, number % 3, number)
        captions = describe(scene, generator(0, number))
        assert len(set(captions)) == NUM_CAPTIONS == 5
        shapes = {shape.name: shape for shape in scene.shapes}
        for caption in captions:
            assert caption == " ".join(caption.split())
            named = [shapes[f"{colour} {kind}"] for _, colour, kind in NAME.findall(caption)]
            assert named, caption
            assert all(size in ("", shapes[f"{c} {k}"].size) for size, c, k in NAME.findall(caption)), caption
            assert re.findall(r"(\w+) background", caption) in ([], [scene.ground]), caption
            if "shape" in caption:
                told = re.search(r"another shape|(two other|two|three) shapes", caption)
                assert told, caption
                number_of = {None: 2, "two other": 3, "two": 2, "three": 3}[told[1]]
                assert number_of == len(scene.shapes), caption
                counts["shapes"] += 1
            for words, (across, down) in BESIDE.items():
                if f" {words} " in caption:
                    one, other = named
                    assert across * (other.x - one.x) + down * (other.y - one.y) > 0.2, caption
                    counts[words] += 1
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption), caption
    assert min(counts.values()) >= 30, counts


def test_every_word_is_learnt_from_a_small_set() -> None:
    captions = [text for k in range(64) for text in describe(sample_scene(0, TRAIN, k), generator(0, TRAIN, k))]
    vocabulary = Vocabulary.from_captions(captions, 5)
    for names in (CORNERS, COLOURS, SIZES, GROUNDS):
        assert set(names) <= set(vocabulary.words)
    assert 6 < np.mean([len(words_of(text)) for text in captions]) < 18


# Files


@pytest.fixture(scope="module")
def real_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set, made by two processes."""
    root = tmp_path_factory.mktemp("scenes")
    make_scenes(root, 24, seed=5, num_workers=2)
    return root


@pytest.fixture
def quick_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain picture in place of a drawn one, in this process only."""
    monkeypatch.setattr(scenes, "draw_scene", lambda scene: Image.new("RGB", (8, 8), GROUNDS[scene.ground]))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_files_are_cocos_and_tell_the_truth(real_set: Path) -> None:
    sizes = {"train": 24, "val": 6, "test": 6}
    assert split_sizes(24) == sizes
    assert split_sizes(scenes.NUM_TRAIN) == {"train": 2000, "val": 500, "test": 500}
    image_ids: set[int] = set()
    caption_ids: set[int] = set()
    for split, (name, size) in enumerate(sizes.items()):
        captions = coco.COCO(str(real_set / "annotations" / f"captions_{name}.json"))
        assert len(captions.imgs) == len(list((real_set / name).iterdir())) == size
        assert len(captions.anns) == 5 * size
        image_ids |= captions.imgs.keys()
        caption_ids |= captions.anns.keys()
        for number, (key, image) in enumerate(captions.imgs.items()):
            scene = sample_scene(5, split, number)
            assert image["file_name"] == f"{key:012d}.jpg"
            assert real_set / name / image["file_name"] == image_path(real_set, split, number)
            names = {shape.name for shape in scene.shapes}
            for annotation in captions.imgToAnns[key]:
                said = {f"{colour} {kind}" for _, colour, kind in NAME.findall(annotation["caption"])}
                assert said
                assert said <= names
    assert (len(image_ids), len(caption_ids)) == (36, 180)
    picture = np.asarray(draw_scene(sample_scene(5, VAL, 3)))
    with Image.open(image_path(real_set, VAL, 3)) as image:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).astype(int) - picture).mean() < 6


def test_files_do_not_depend_on_the_processes(real_set: Path, tmp_path: Path) -> None:
    make_scenes(tmp_path, 2, seed=5, num_workers=1)
    ours, theirs = contents(tmp_path), contents(real_set)
    assert all(theirs[name] == content for name, content in ours.items() if name.endswith(".jpg"))
    assert sum(name.endswith(".jpg") for name in ours) == 4


@pytest.mark.usefixtures("quick_drawing")
def test_smaller_set_is_part_of_a_larger_and_is_left_alone(tmp_path: Path) -> None:
    make_scenes(tmp_path / "large", 12, num_workers=1)
    make_scenes(tmp_path / "grown", 4, num_workers=1)
    small = contents(tmp_path / "grown")
    make_scenes(tmp_path / "grown", 12, num_workers=1)
    grown = contents(tmp_path / "grown")
    assert grown == contents(tmp_path / "large")
    assert {name: grown[name] for name in small if "annotations" not in name} == {
        name: content for name, content in small.items() if "annotations" not in name
    }
    make_scenes(tmp_path / "large", 4, num_workers=1)
    assert contents(tmp_path / "large") == grown


@pytest.mark.usefixtures("quick_drawing")
def test_only_what_is_missing_or_damaged_is_made(tmp_path: Path) -> None:
    make_scenes(tmp_path, 8, num_workers=1)
    before = contents(tmp_path)
    gone = image_path(tmp_path, TRAIN, 3)
    gone.unlink()
    captions = tmp_path / "annotations" / "captions_val.json"
    captions.write_bytes(captions.read_bytes()[:-100])
    for whole in (gone, captions):
        whole.with_name(f".{whole.name}.1.part").write_bytes(b"half")
    kept = image_path(tmp_path, TRAIN, 4)
    touched = kept.stat().st_mtime_ns
    make_scenes(tmp_path, 8, num_workers=1)
    assert contents(tmp_path) == before
    assert kept.stat().st_mtime_ns == touched


@pytest.mark.usefixtures("quick_drawing")
def test_another_seed_or_origin_is_refused(tmp_path: Path) -> None:
    make_scenes(tmp_path / "ours", 4, seed=1, num_workers=1)
    with pytest.raises(ValueError, match=r"'seed': 1.*'seed': 2.*another folder"):
        make_scenes(tmp_path / "ours", 4, seed=2, num_workers=1)
    (tmp_path / "other" / "annotations").mkdir(parents=True)
    with pytest.raises(ValueError, match=INFO_FILE):
        make_scenes(tmp_path / "other", 4)


@pytest.mark.parametrize(
    ("arguments", "words"), [({"seed": -1}, "seed"), ({"num_workers": 0}, "num_workers"), ({"num_train": 0}, "got 0")]
)
def test_wrong_number_is_named(tmp_path: Path, arguments: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_scenes(tmp_path / "new", **({"num_train": 4} | arguments))
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        Path.touch(self)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Image.Image, "save", lambda self, file, *arguments, **options: file.write(b"picture"))
    with pytest.raises(OSError, match="No space"):
        make_scenes(tmp_path, 4, num_workers=1)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["lock", INFO_FILE]


def test_script_says_what_there_is_and_what_is_wrong(real_set: Path) -> None:
    def call(seed: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), "--root", str(real_set), "--num-train", "24", "--seed", str(seed)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    done = call(5)
    assert done.returncode == 0, done.stderr
    assert "24 / 6 / 6 scenes" in done.stdout
    refused = call(6)
    assert refused.returncode != 0
    assert "another folder" in refused.stderr
    assert "Traceback" not in refused.stderr
