"""The stand-in for COCO: solids where they should be, true captions, files that are whole."""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import coco

from btrnn.data.captions.vocabulary import Vocabulary, words_of
from btrnn.data.loading import generator
from btrnn.data.standins import layout, lexicon, rendering, scenes, solids
from btrnn.data.standins.grammar import NUM_CAPTIONS, describe, relations
from btrnn.data.standins.layout import COLOURS, GROUNDS, MATERIALS, SHAPES, SIZES, UNSEEN_PAIRS, held_out, sample_scene
from btrnn.data.standins.lexicon import colour_shape_pairs
from btrnn.data.standins.rendering import draw_scene
from btrnn.data.standins.scenes import INFO_FILE, image_path, make_scenes, split_sizes

SCRIPT = Path(__file__).parent.parent / "scripts" / "make_scenes.py"
TRAIN, VAL, TEST = range(3)
NUMBERS = st.integers(0, 5000)


# Solids


def inside(shape: str, points: np.ndarray) -> np.ndarray:
    """Tell which points lie in a solid, from its definition."""
    x, y, z = points.T
    if shape == "ball":
        return x**2 + (y - 0.5) ** 2 + z**2 < 0.25
    if shape == "cube":
        return (np.abs(x) < 0.45) & (np.abs(z) < 0.45) & (y > 0) & (y < 1)
    if shape == "cylinder":
        return (np.hypot(x, z) < 0.5) & (y > 0) & (y < 1)
    if shape == "cone":
        return (np.hypot(x, z) < 0.5 * (1 - y)) & (y > 0)
    if shape == "pyramid":
        return (np.maximum(np.abs(x), np.abs(z)) < 0.5 * (1 - y)) & (y > 0)
    if shape == "ring":
        return (np.hypot(x, y - 0.5) - 0.35) ** 2 + z**2 < 0.15**2
    if shape == "cross":
        upright = (np.abs(x) < 0.16) & (y > 0) & (y < 1)
        return (np.abs(z) < 0.16) & (upright | ((np.abs(x) < 0.5) & (np.abs(y - 0.5) < 0.16)))
    if shape == "house":
        return (y > 0) & (np.abs(x) < 0.45) & (np.abs(z) < 0.4) & (y < 0.55) | (
            (y >= 0.55) & (np.abs(z) < 0.45) & (np.abs(x) / 0.5 < (1 - y) / 0.45)
        )
    if shape == "arch":
        opening = (np.abs(x) < 0.24) & (y < 0.7)
        return (np.abs(x) < 0.5) & (y > 0) & (y < 1) & (np.abs(z) < 0.2) & ~opening
    if shape == "chair":
        wide = (np.abs(x) < 0.4) & (np.abs(z) < 0.4)
        leg = (np.abs(np.abs(x) - 0.33) < 0.07) & (np.abs(np.abs(z) - 0.33) < 0.07)
        return wide & (y > 0) & (y < 1) & np.select([y < 0.4, y < 0.52], [leg, True], z < -0.26)
    if shape == "staircase":
        return (np.abs(x) < 0.45) & (np.abs(z) < 0.35) & (y > 0) & (y < np.ceil((x + 0.45) / 0.3) / 3)
    if shape == "arrow":
        width = np.where(y < 0.5, 0.16, 0.96 * (1 - y))
        return (np.abs(x) < width) & (np.abs(z) < 0.16) & (y > 0)
    if shape == "diamond":
        return np.abs(x) / 0.45 + np.abs(y - 0.5) / 0.5 + np.abs(z) / 0.45 < 1
    # a star: within the straight line from a tip to a notch, in each of ten equal sectors
    angle = np.abs((np.arctan2(x, y - 0.45) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    tip, notch = np.array([0.55, 0.0]), 0.2475 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    normal = np.array([notch[1] - tip[1], tip[0] - notch[0]])
    radius = np.hypot(x, y - 0.45)
    return (np.c_[radius * np.cos(angle), radius * np.sin(angle)] @ normal < tip @ normal) & (np.abs(z) < 0.15)


@pytest.mark.parametrize("shape", SHAPES)
def test_rays_stop_where_the_solid_begins(shape: str) -> None:
    rng = np.random.default_rng(SHAPES.index(shape))
    origins = rng.normal(size=(3000, 3))
    origins *= 3 / np.linalg.norm(origins, axis=1, keepdims=True)
    origins[:, 1] = 0.8 + np.abs(origins[:, 1])
    targets = rng.uniform([-0.6, -0.1, -0.6], [0.6, 1.1, 0.6], (3000, 3))
    directions = (targets - origins) * rng.uniform(0.2, 3, (3000, 1))
    t, normals = solids.intersect(shape, origins, directions)
    hit = np.isfinite(t)
    assert 0.15 < hit.mean() < 0.95
    points = origins[hit] + t[hit, None] * directions[hit]
    step = 5e-3 * normals[hit]
    assert (inside(shape, points - step) & ~inside(shape, points + step)).mean() > 0.99, "but for edges"
    np.testing.assert_allclose(np.linalg.norm(normals[hit], axis=1), 1, atol=0.03)
    assert (np.einsum("ni,ni->n", normals[hit], directions[hit]) < 1e-3).mean() > 0.995, "seen from outside"
    assert np.linalg.norm(points - [0, 0.5, 0], axis=1).max() <= solids.REACH[shape] + 0.01
    for share in np.linspace(0, 1, 200):
        ends = np.where(hit, 0.995 * t, 3.0)
        assert inside(shape, origins + (share * ends)[:, None] * directions).mean() < 0.004, "nothing before the hit"


# Layout


@settings(max_examples=60)
@given(seed=st.integers(0, 3), split=st.integers(0, 2), number=NUMBERS)
def test_a_scene_keeps_its_rules(seed: int, split: int, number: int) -> None:
    scene = sample_scene(seed, split, number)
    assert scene == sample_scene(seed, split, number)
    assert scene != sample_scene(seed, split, number + 1)
    assert 2 <= len(scene.objects) <= 4
    pairs = [(thing.colour, thing.shape) for thing in scene.objects]
    assert len(set(pairs)) == len(pairs)
    unseen = [held_out(thing.colour, thing.shape, thing.material) for thing in scene.objects]
    assert sorted(map(len, unseen)) == [0] * (len(unseen) - 1) + [int(split == TEST)]
    positions, scales = scene.camera.project(np.array([thing.centre for thing in scene.objects]))
    sizes = scales * [thing.height for thing in scene.objects]
    assert ((positions > sizes[:, None] / 2) & (positions < 1 - sizes[:, None] / 2)).all()
    assert (np.diff(sizes) <= 0).all(), "the largest in the picture first"
    for thing in scene.objects:
        if thing.on is None:
            assert thing.place[1] == 0
        else:
            below = scene.objects[thing.on]
            assert below.shape in layout.FLAT_TOPPED
            assert below.height > thing.height
            assert thing.place == (below.place[0], below.height, below.place[2])


def test_held_out_pairs_are_in_test_scenes_alone_and_leave_every_look_to_training() -> None:
    names = {"colour": COLOURS, "shape": SHAPES, "material": MATERIALS, "size": SIZES}
    solids = {split: [thing for k in range(1500) for thing in sample_scene(0, split, k).objects] for split in (0, 2)}
    for kind, number in zip(UNSEEN_PAIRS, (14, 5, 5), strict=True):
        first, other = kind.split(" and ")
        looks = list(itertools.product(COLOURS, SHAPES, MATERIALS))
        unseen = {
            (look[("colour", "shape").index(first)], look[("colour", "shape", "material").index(other)])
            for look in looks
            if kind in held_out(*look)
        }
        assert len(unseen) == number == len({one for _, one in unseen})
        pairs = {split: Counter((getattr(t, first), getattr(t, other)) for t in solids[split]) for split in solids}
        assert pairs[TRAIN].keys() == set(itertools.product(names[first], names[other])) - unseen
        assert 400 < sum(pairs[TEST][pair] for pair in unseen) < 600, "a third of 1,500 test scenes"
    for kind, values in names.items():
        seen = Counter(getattr(thing, kind) for thing in solids[TEST])
        assert min(seen[value] for value in values) > 100


# Pictures


def test_a_picture_depends_on_its_numbers_alone() -> None:
    scene = sample_scene(0, TRAIN, 0)
    first = draw_scene(scene, generator(1))
    draw_scene(sample_scene(0, TRAIN, 1), generator(1))
    np.testing.assert_array_equal(draw_scene(scene, generator(1)), first)
    assert (draw_scene(scene, generator(2)) != first).mean() > 0.3


@pytest.mark.parametrize("number", range(6))
def test_solids_are_drawn_where_they_stand_in_their_colour(number: int) -> None:
    scene = sample_scene(1, TRAIN, number)
    across, down = scene.picture_positions()[0]
    bare = layout.Scene(scene.ground, (), scene.camera, scene.light, scene.brightness)
    empty = draw_scene(bare, generator(0)).astype(int)
    for material in ("matte", "striped"):
        alone = scene.objects[0]._replace(material=material, on=None)
        one = layout.Scene(scene.ground, (alone,), scene.camera, scene.light, scene.brightness)
        directions = rendering._directions(one, 224)
        origin = rendering._to_local(alone, np.array([scene.camera.position]))
        rays = rendering._turned(alone, directions) / alone.height
        mask = np.isfinite(solids.intersect(alone.shape, np.repeat(origin, len(rays), 0), rays).t).reshape(224, 224)
        picture = draw_scene(one, generator(0)).astype(int)
        rows, columns = np.nonzero(mask)
        assert abs(rows.mean() / 224 - down) < 0.09, "a pyramid has more of itself below its middle"
        assert abs(columns.mean() / 224 - across) < 0.05
        changed = np.abs(picture - empty).max(axis=2) > 40
        assert changed[mask].mean() > 0.5
        if material == "matte":
            mean = picture[mask].mean(axis=0) / picture[mask].mean()
            true = np.array(rendering._RGB[alone.colour]) / np.mean(rendering._RGB[alone.colour])
            np.testing.assert_allclose(mean, true, atol=0.35)
            assert mean.argmax() == true.argmax() or np.ptp(true) < 0.3


def test_what_is_nearer_hides_what_is_behind() -> None:
    camera = layout.Camera((0.0, 4.5, 8.6), 0.43, 1.25)
    front = layout.SceneObject("cube", "red", "large", "matte", (0.0, 0.0, 2.0), 0.0)
    back = layout.SceneObject("ball", "blue", "small", "matte", (0.0, 0.0, 0.2), 0.0)
    for objects in ((front, back), (back, front)):
        picture = draw_scene(layout.Scene("sand", objects, camera, (0.1, 1.0, 0.5), 1.0), generator(0)).astype(int)
        across, down = (224 * camera.project(np.array([front.centre]))[0][0]).astype(int)
        red, _, blue = picture[down, across]
        assert red > 3 * blue
        assert (picture[..., 2] > picture[..., 0] + 60).sum() < 150, "the ball is mostly hidden"


@pytest.mark.parametrize("material", ["striped", "spotted", "checked"])
def test_patterns_show_two_colours(material: str) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (4000, 3))
    normals = np.repeat([[0.0, 0.0, 1.0]], 4000, axis=0)
    assert 0.2 < rendering._pattern(material, points, normals).mean() < 0.8


@pytest.mark.parametrize("ground", GROUNDS)
def test_grounds_have_texture_and_their_own_colour(ground: str) -> None:
    scene = layout.Scene(ground, (), sample_scene(0, TRAIN, 0).camera, (0.0, 1.0, 0.5), 1.0)
    lower = draw_scene(scene, generator(0))[120:].astype(float)
    assert lower.std(axis=(0, 1)).max() > 8
    others = [draw_scene(layout.Scene(g, (), scene.camera, scene.light, 1.0), generator(0))[120:] for g in GROUNDS]
    distances = [np.abs(lower.mean(axis=(0, 1)) - other.mean(axis=(0, 1))).max() for other in others]
    assert sorted(distances)[1] > 10


# Captions

PAIR = re.compile(
    "({}) ({})".format(
        "|".join(word for words in lexicon.COLOUR_WORDS.values() for word in words),
        "|".join(word for words in lexicon.SHAPE_WORDS.values() for word in words),
    )
)


def named(scene: layout.Scene, pair: tuple[str, str]) -> int:
    return [(thing.colour, thing.shape) for thing in scene.objects].index(pair)


def holds(scene: layout.Scene, relation: str, first: int, second: int) -> bool:
    """Check a relation from places alone, with none of the grammar's thresholds."""
    one, other = scene.objects[first], scene.objects[second]
    (left, _), (right, _) = scene.picture_positions()[[first, second]]
    distance = np.hypot(one.place[0] - other.place[0], one.place[2] - other.place[2])
    return {
        "left": left < right - 0.1,
        "right": left > right + 0.1,
        "front": one.place[2] > other.place[2] + 0.5,
        "behind": one.place[2] < other.place[2] - 0.5,
        "on": one.on == second,
        "under": other.on == first,
        "near": distance < 3.2,
        "far": distance > 3.2,
    }[relation]


RELATION_OF = {phrase: name for name, phrases in lexicon.RELATION_PHRASES.items() for phrase in phrases}


def test_captions_are_true_distinct_and_name_what_is_there() -> None:
    counts: Counter[str] = Counter()
    for number in range(300):
        split = number % 3
        scene = sample_scene(0, split, number)
        captions = describe(scene, generator(0, split, number))
        assert len(set(captions)) == NUM_CAPTIONS == 5
        pairs = [(thing.colour, thing.shape) for thing in scene.objects]
        for caption in captions:
            assert caption == " ".join(caption.split())
            assert 5 <= len(words_of(caption)) <= 40, caption
            said = colour_shape_pairs(caption)
            assert said, caption
            assert set(said) <= set(pairs), caption
            assert len(set(said)) == len(said) or "latter" in caption or " is " in caption, caption
            grounds = [
                name for name, phrases in lexicon.GROUND_PHRASES.items() if any(f"on {p}" in caption for p in phrases)
            ]
            assert grounds in ([], [scene.ground]), caption
            for number_of, word in lexicon.NUMBER_WORDS.items():
                assert word not in words_of(caption) or number_of == len(scene.objects), caption
            matches = list(PAIR.finditer(caption))
            for match, pair in zip(matches, said, strict=True):
                thing = scene.objects[named(scene, pair)]
                before = re.split(r"\b(?:a|an)\b", caption[: match.start()])[-1].split()
                assert set(before) <= {*lexicon.SIZE_WORDS[thing.size], *lexicon.MATERIAL_WORDS[thing.material]}, (
                    caption
                )
            for (left, first), (right, second) in zip(
                zip(matches, said, strict=True), zip(matches[1:], said[1:], strict=True), strict=False
            ):
                between = re.sub(r" (an?|one)\b.*$", "", caption[left.end() : right.start()]).strip()
                for phrase, relation in RELATION_OF.items():
                    if re.fullmatch(rf"((is|stands|sits|is standing|is placed) )?{phrase}", between):
                        assert holds(scene, relation, named(scene, first), named(scene, second)), caption
                        counts[relation] += 1
                        break
            if (place := re.search(r"^[^,]*\b(left|right)( side)?( of the (picture|scene))?$", caption)) and len(
                said
            ) == 1:
                position = scene.picture_positions()[named(scene, said[0]), 0]
                assert (position < 0.4) if place[1] == "left" else (position > 0.6), caption
            if found := re.search(r"between (.*) and (.*)", caption):
                ends = [scene.picture_positions()[named(scene, pair), 0] for pair in colour_shape_pairs(found[0])]
                assert ends[0] < scene.picture_positions()[named(scene, said[0]), 0] < ends[1]
                counts["between"] += 1
            if re.match("the (largest|biggest|tallest) of", caption):
                heights = [thing.height for thing in scene.objects]
                assert heights[named(scene, said[0])] == max(heights), caption
                counts["largest"] += 1
    assert min(counts[name] for name in (*lexicon.RELATION_PHRASES, "between", "largest")) >= 3, counts


@settings(max_examples=60)
@given(split=st.integers(0, 2), number=NUMBERS)
def test_relations_have_their_converses(split: int, number: int) -> None:
    scene = sample_scene(0, split, number)
    converse = {"left": "right", "front": "behind", "on": "under", "near": "near", "far": "far"}
    converse |= {other: name for name, other in converse.items()}
    for first in range(len(scene.objects)):
        for second in range(len(scene.objects)):
            if first != second:
                there, back = relations(scene, first, second), relations(scene, second, first)
                assert sorted(converse[name] for name in there) == sorted(back)
                assert all(holds(scene, name, first, second) for name in there)


def test_the_vocabulary_has_150_words_or_more() -> None:
    captions = [text for k in range(400) for text in describe(sample_scene(0, TRAIN, k), generator(0, TRAIN, k))]
    assert len(Vocabulary.from_captions(captions, 5)) >= 150 + 4
    assert 10 < np.mean([len(words_of(text)) for text in captions]) < 18


def test_words_are_those_of_what_can_be_drawn_and_mean_one_thing() -> None:
    for names, words in (
        (SHAPES, lexicon.SHAPE_WORDS),
        (COLOURS, lexicon.COLOUR_WORDS),
        (tuple(SIZES), lexicon.SIZE_WORDS),
        (MATERIALS, lexicon.MATERIAL_WORDS),
        (GROUNDS, lexicon.GROUND_PHRASES),
    ):
        assert tuple(words) == tuple(names)
    attributes = [lexicon.SHAPE_WORDS, lexicon.COLOUR_WORDS, lexicon.SIZE_WORDS, lexicon.MATERIAL_WORDS]
    everything = [word for words in attributes for synonyms in words.values() for word in synonyms]
    assert len(set(everything)) == len(everything)
    assert all(words_of(word) == [word] for word in everything)


def test_pairs_are_read_from_a_caption() -> None:
    text = "A tiny SCARLET box, near an orange striped star and a cyan hoop on a green meadow"
    assert colour_shape_pairs(text) == [("red", "cube"), ("turquoise", "ring")]
    assert colour_shape_pairs("nothing of it") == []


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
    monkeypatch.setattr(scenes, "draw_scene", lambda scene, rng: np.full((8, 8, 3), rng.integers(256), dtype=np.uint8))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_files_are_cocos_and_tell_the_truth(real_set: Path) -> None:
    sizes = {"train": 24, "val": 6, "test": 6}
    assert split_sizes(24) == sizes
    assert split_sizes(scenes.NUM_TRAIN) == {"train": 6000, "val": 500, "test": 500}
    image_ids: set[int] = set()
    caption_ids: set[int] = set()
    for split, (name, size) in enumerate(sizes.items()):
        captions = coco.COCO(str(real_set / "annotations" / f"captions_{name}.json"))
        objects = json.loads((real_set / "annotations" / f"objects_{name}.json").read_text())["images"]
        assert len(captions.imgs) == len(objects) == len(list((real_set / name).iterdir())) == size
        assert len(captions.anns) == 5 * size
        image_ids |= captions.imgs.keys()
        caption_ids |= captions.anns.keys()
        for number, (key, image) in enumerate(captions.imgs.items()):
            scene = sample_scene(5, split, number)
            assert image["file_name"] == f"{key:012d}.jpg"
            assert real_set / name / image["file_name"] == image_path(real_set, split, number)
            true = objects[number]
            assert true["image_id"] == key
            assert true["ground"] == scene.ground
            pairs = {(thing["colour"], thing["shape"]) for thing in true["objects"]}
            assert pairs == {(thing.colour, thing.shape) for thing in scene.objects}
            for annotation in captions.imgToAnns[key]:
                assert set(colour_shape_pairs(annotation["caption"])) <= pairs
    assert (len(image_ids), len(caption_ids)) == (36, 180)
    picture = draw_scene(sample_scene(5, VAL, 3), generator(5, VAL, 3, scenes._DRAWING))
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
    old = gone.with_name(f".{gone.name}.1.part")
    old.write_bytes(b"half")
    os.utime(old, (time.time() - 3600,) * 2)
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
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [INFO_FILE]


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
