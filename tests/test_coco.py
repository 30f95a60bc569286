"""COCO's files, its splits and its batches; what is damaged is named, what cannot be used is reported."""

import codecs
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from btrnn.data.captions import annotations, features
from btrnn.data.captions.annotations import AnnotationError, read_annotations
from btrnn.data.captions.coco import MAX_WORDS, CaptionBatch, CaptionedImages
from btrnn.data.captions.features import FeatureError
from btrnn.data.captions.vocabulary import BOS, EOS, PAD, UNK
from btrnn.data.encoders import Encoder
from btrnn.data.module import files_digest
from btrnn.data.standins import scenes

SENTENCES = ("A dog runs on grass.", "the brown dog runs", "a dog on the grass", "one dog, running", "A DOG on grass")


class Colours(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.weight * pixels


@pytest.fixture(autouse=True)
def quick_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The colours of an image's cells as its features: no network to load."""
    quick = Encoder("efficientnet_lite0", Colours(), 8, 3, (0.0,) * 3, (1.0,) * 3)
    monkeypatch.setattr(features, "load_encoder", lambda name: quick)


def write_part(root: Path, part: str, ids: list[int], captions: Callable[[int], list[str]]) -> None:
    """Write one part of COCO 2014: pictures whose red is their id, and their captions."""
    (root / part).mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    images, found = [], []
    for key in ids:
        name = f"COCO_{part}_{key:012d}.png"
        Image.new("RGB", (8, 8), (key, 0, 50)).save(root / part / name)
        images.append({"id": key, "file_name": name, "height": 8, "width": 8, "license": 1})
        found += [{"id": 100 * key + k, "image_id": key, "caption": text} for k, text in enumerate(captions(key))]
    content = {"info": {}, "licenses": [], "images": images, "annotations": found[::-1]}
    (root / "annotations" / f"captions_{part}.json").write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small COCO 2014: images 1 to 20 in train2014, 21 to 36 in val2014, five captions each."""
    folder = tmp_path / "coco"
    write_part(folder, "train2014", list(range(1, 21)), lambda key: list(SENTENCES))
    write_part(folder, "val2014", list(range(21, 37)), lambda key: [f"{text} {key}" for text in SENTENCES])
    return folder


def module(root: Path, **options: Any) -> CaptionedImages:
    defaults = {
        "source": "coco",
        "root": root,
        "cache_dir": root.parent / "cache",
        "grid": 2,
        "word_threshold": 1,
        "batch_size": 8,
    }
    return CaptionedImages(**(defaults | options))


def ready(root: Path, **options: Any) -> CaptionedImages:
    data = module(root, **options)
    data.prepare_data()
    data.setup("fit")
    return data


def sentences(data: CaptionedImages, batches: list[CaptionBatch]) -> list[tuple[int, str]]:
    """Return (row, words) of every caption."""
    return [
        (int(row), data.vocabulary.decode(tokens[1:].tolist()))
        for batch in batches
        for row, tokens in zip(batch.rows, batch.tokens, strict=True)
    ]


def edit(root: Path, part: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = root / "annotations" / f"captions_{part}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# Splits


def test_without_karpathys_file_the_split_is_seeded_in_its_sizes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_annotations("coco", root)
    table = found.table
    assert table["split"].value_counts().to_dict() == {"train": 28, "val": 4, "test": 4}
    assert (table["split"][table["file"].str.startswith("train2014/")] == "train").all()
    assert read_annotations("coco", root).table.equals(table)
    assert found.split == "seeded, in the sizes of Karpathy's"
    monkeypatch.setattr(annotations, "NUM_HELD_OUT", 3)
    smaller = read_annotations("coco", root).table["split"]
    assert smaller.value_counts().to_dict() == {"train": 30, "val": 3, "test": 3}


def test_the_official_sizes_give_karpathys_numbers() -> None:
    parts = annotations.pd.Series(["train2014"] * 82_783 + ["val2014"] * 40_504)
    counts = annotations._seeded_split(parts).value_counts().to_dict()
    assert counts == {"train": 113_287, "val": 5_000, "test": 5_000}


def karpathy(split_of: Callable[[int], str], ids: Iterable[int] = range(1, 37)) -> str:
    return json.dumps(
        {"images": [{"cocoid": k, "split": split_of(k), "sentences": []} for k in ids], "dataset": "coco"}
    )


def test_karpathys_file_is_followed(root: Path) -> None:
    path = root / annotations.KARPATHY_FILE
    path.write_text(karpathy(lambda k: "train" if k < 21 else "restval" if k < 30 else "val" if k < 33 else "test"))
    data = ready(root)
    split = dict(zip(data.splits["image_id"], data.splits["split"], strict=True))
    assert Counter(split.values()) == {"train": 29, "val": 3, "test": 4}
    assert (split[25], split[31], split[36]) == ("train", "val", "test")
    assert data.facts()["split"] == "karpathy"


@pytest.mark.parametrize("damage", ["truncated", "split", "few", "null", "no list", "twice", "id"])
def test_a_damaged_karpathy_file_is_named(root: Path, damage: str) -> None:
    path = root / annotations.KARPATHY_FILE
    whole = karpathy(lambda k: "train")
    contents = {
        "truncated": whole[:-30],
        "split": karpathy(lambda k: "dev"),
        "few": karpathy(lambda k: "train", range(1, 30)),
        "null": "null",
        "no list": '{"images": {"cocoid": 1, "split": "train"}}',
        "twice": karpathy(lambda k: "train", [*range(1, 37), 5]),
        "id": whole.replace('"cocoid": 7', '"cocoid": "7"'),
    }
    path.write_text(contents[damage])
    with pytest.raises(AnnotationError, match=rf"{path.name} .*delete it for a seeded split"):
        read_annotations("coco", root)


def test_num_train_takes_the_first_and_a_quarter_of_it_elsewhere(root: Path) -> None:
    data = ready(root, num_train=8)
    assert data.splits["split"].value_counts().to_dict() == {"unused": 24, "train": 8, "val": 2, "test": 2}
    assert data.splits["image_id"][data.splits["split"] == "train"].tolist() == list(range(1, 9))
    assert data.facts()["num_images"] == {"train": 8, "val": 2, "test": 2}
    assert len(np.load(root.parent / "cache" / "features.npy")) == 12, "no features of images that are not used"


# Batches


def test_every_training_caption_comes_once_an_epoch_with_its_images_feature(root: Path) -> None:
    data = ready(root)
    batches = list(data.train_dataloader())
    assert [len(batch.rows) for batch in batches] == [8] * 17 + [4]
    seen = Counter(sentences(data, batches))
    rows = np.flatnonzero(data.splits["split"] == "train")
    assert len(rows) == 28
    said = [" ".join(annotations.words_of(text)) for text in SENTENCES]
    for row in rows:
        key = int(data.splits["image_id"][row])
        assert all(seen[(row, f"{text} {key}" if key > 20 else text)] == 1 for text in said)
    assert sum(seen.values()) == 140
    for batch in batches:
        assert batch.features.dtype == torch.float16
        keys = torch.tensor(data.splits["image_id"].to_numpy()[batch.rows.numpy()])
        colours = torch.stack([keys, 0 * keys, 0 * keys + 50], dim=1).half()
        torch.testing.assert_close(batch.features, colours.unsqueeze(1).expand(-1, 4, -1))


def test_tokens_are_bos_words_eos_padding(root: Path) -> None:
    data = ready(root)
    for batch in data.val_dataloader():
        assert batch.tokens.dtype == batch.lengths.dtype == batch.rows.dtype == torch.int64
        assert batch.tokens.shape[1] == batch.lengths.max()
        for tokens, length in zip(batch.tokens, batch.lengths.tolist(), strict=True):
            assert tokens[0] == BOS
            assert tokens[length - 1] == EOS
            assert (tokens[length:] == PAD).all()
            assert not {BOS, EOS, PAD} & set(tokens[1 : length - 1].tolist())


def test_the_order_is_a_function_of_seed_and_epoch(root: Path) -> None:
    def order(data: CaptionedImages, epoch: int) -> list[tuple[int, str]]:
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return sentences(data, list(loader))

    first = ready(root, seed=1)
    assert order(first, 0) == order(ready(root, seed=1), 0)
    assert order(first, 0) != order(first, 1)
    assert order(first, 0) != order(ready(root, seed=2), 0)
    assert sorted(order(first, 0)) == sorted(order(first, 1))


def test_validation_has_all_captions_in_order_and_test_one_an_image(root: Path) -> None:
    data = ready(root)
    rows = {name: np.flatnonzero(data.splits["split"] == name).tolist() for name in ("val", "test")}
    val = sentences(data, list(data.val_dataloader()))
    assert [row for row, _ in val] == [row for row in rows["val"] for _ in range(5)]
    test = sentences(data, list(data.test_dataloader()))
    assert [row for row, _ in test] == rows["test"]
    for row, words in test:
        known = [
            word if word in data.vocabulary.words else "<unk>"
            for word in annotations.words_of(data.references([row])[0][0])
        ]
        assert words.split() == known


def test_words_are_numbered_from_training_captions_alone(root: Path) -> None:
    path = root / annotations.KARPATHY_FILE
    path.write_text(karpathy(lambda k: "train" if k < 21 else "val" if k < 29 else "test"))
    data = ready(root, word_threshold=20)
    assert {"dog", "grass", "a"} <= set(data.vocabulary.words)
    assert not {"21", "36"} & set(data.vocabulary.words)
    tokens = next(iter(data.val_dataloader())).tokens
    assert (tokens == UNK).any(dim=1).all()
    rarer = ready(root, word_threshold=21)
    assert "brown" not in rarer.vocabulary.words
    assert "brown" in data.vocabulary.words
    assert len(rarer.vocabulary) < len(data.vocabulary) == data.facts()["vocabulary_size"]


def test_features_references_and_paths_go_by_rows(root: Path) -> None:
    data = ready(root)
    found = data.features(np.array([30, 2]))
    np.testing.assert_array_equal(found, np.array([[[31, 0, 50]] * 4, [[3, 0, 50]] * 4]))
    assert found.dtype == np.float16
    assert data.feature_shape == (4, 3)
    mean, sd = data.channel_statistics()
    reds = data.features(np.flatnonzero(data.splits["split"] == "train"))[:, 0, 0].astype(float)
    np.testing.assert_allclose(mean, [reds.mean(), 0, 50], rtol=1e-6)
    np.testing.assert_allclose(sd, [reds.std(), 0, 0], rtol=1e-6)
    assert set(data.references([0])[0]) == set(SENTENCES)
    assert data.image_path(30) == root / "val2014" / "COCO_val2014_000000000031.png"
    assert data.image_path(30).is_file()
    files = [f"annotations/captions_{part}.json" for part in ("train2014", "val2014")]
    assert data.facts() | {"vocabulary_size": 0} == {
        "source": "coco",
        "stand_in": False,
        "data_digest": files_digest(root, [*data.splits["file"], *files]),
        "encoder": "efficientnet_lite0",
        "grid": 2,
        "split": "seeded, in the sizes of Karpathy's",
        "num_images": {"train": 28, "val": 4, "test": 4},
        "num_captions": {"train": 140, "val": 20, "test": 20},
        "skipped_images": 0,
        "captions_without_words": 0,
        "captions_without_picture": 0,
        "captions_cut": 0,
        "word_threshold": 1,
        "vocabulary_size": 0,
    }


# Bad input


def test_captions_of_one_word_of_none_and_of_200(root: Path) -> None:
    odd = ["dog", "... !", "", " ".join(["dog"] * 200)]
    write_part(root, "train2014", list(range(1, 21)), lambda key: odd if key == 3 else list(SENTENCES))
    data = ready(root)
    batches = [batch for batch in data.train_dataloader() if (batch.rows == 2).any()]
    lengths = [int(n) for batch in batches for n, row in zip(batch.lengths, batch.rows, strict=True) if row == 2]
    assert sorted(lengths) == [3, MAX_WORDS + 2]
    assert data.facts()["captions_cut"] == 1
    assert data.facts()["captions_without_words"] == 2
    assert sorted(map(len, data.references([2])[0])) == [3, 799]


def test_a_mark_in_front_of_a_file_is_not_of_its_content(root: Path) -> None:
    path = root / "annotations" / "captions_train2014.json"
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert ready(root).references([0]) == [list(SENTENCES[::-1])]


def test_a_caption_that_ends_within_a_character_can_be_written(root: Path) -> None:
    write_part(root, "train2014", list(range(1, 21)), lambda key: ["a dog \U0001f436", "a dog \ud83d", "a dog\udc36s"])
    data = ready(root)
    assert data.references([0])[0] == ["a dog\ufffds", "a dog \ufffd", "a dog \U0001f436"]
    assert {"a", "dog", "dogs"}.intersection(data.vocabulary.words) == {"a", "dog"}


def test_an_image_without_a_file_or_a_caption_is_skipped_and_reported(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_part(root, "train2014", list(range(1, 21)), lambda key: [] if key == 5 else list(SENTENCES))
    (root / "train2014" / "COCO_train2014_000000000002.png").unlink()
    (root / "train2014" / "COCO_train2014_000000000007.png").write_bytes(b"no picture")
    data = ready(root)
    skipped = data.splits[data.splits["split"] == "skipped"]
    assert skipped["image_id"].tolist() == [2, 5, 7]
    assert data.facts()["skipped_images"] == 3
    assert "COCO_train2014_000000000002.png: no such file" in caplog.text
    assert not {1, 4, 6} & {int(row) for batch in data.train_dataloader() for row in batch.rows}


def image(content: dict[str, Any], **changes: Any) -> None:
    content["images"][3].update(changes)


def caption(content: dict[str, Any], **changes: Any) -> None:
    content["annotations"][3].update(changes)


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no images": lambda content: content.pop("images"),
    "no captions": lambda content: content.pop("annotations"),
    "images are no list": lambda content: content.update(images={"0": {}}),
    "captions are nothing": lambda content: content.update(annotations=None),
    "an image is a number": lambda content: content["images"].append(7),
    "a caption is a text": lambda content: content["annotations"].append("a dog"),
    "empty lists": lambda content: content.update(images=[], annotations=[]),
    "not one caption": lambda content: content.update(annotations=[]),
    "not one word": lambda content: [found.update(caption=" ... !") for found in content["annotations"]],
    "no caption": lambda content: content["annotations"][3].pop("caption"),
    "caption of nothing": lambda content: caption(content, caption=None),
    "caption of words": lambda content: caption(content, caption=["a", "dog"]),
    "caption of a number": lambda content: caption(content, caption=7),
    "image's id a text": lambda content: image(content, id="4"),
    "image's id true": lambda content: image(content, id=True),
    "image's id missing": lambda content: content["images"][3].pop("id"),
    "file name a number": lambda content: image(content, file_name=7),
    "caption's image a fraction": lambda content: caption(content, image_id=1.5),
    "caption of a stranger": lambda content: caption(content, image_id=999),
    "image twice": lambda content: content["images"].append(content["images"][0] | {"file_name": "again.png"}),
    "file twice": lambda content: content["images"].append(content["images"][0] | {"id": 999}),
    "caption twice": lambda content: content["annotations"].append(content["annotations"][0]),
}


@pytest.mark.parametrize("part", ["train2014", "val2014"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_captions_file_that_is_not_as_expected_is_named(root: Path, part: str, damage: str) -> None:
    edit(root, part, DAMAGES[damage])
    with pytest.raises(AnnotationError, match=rf"captions_{part}\.json .*make data-coco"):
        module(root).prepare_data()
    assert not (root.parent / "cache").exists()


@pytest.mark.parametrize(
    "content",
    [
        *(None, b"", b"null", b"[1, 2]", b'"a dog"', b"7", b"[" * 100_000),
        *('{"images": [], "ä": 1}'.encode("latin-1"), b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"{" + bytes(40)),
    ],
)
def test_a_file_that_is_no_captions_file_is_named(root: Path, content: bytes | None) -> None:
    path = root / "annotations" / "captions_val2014.json"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"{path.name} .*make data-coco"):
        module(root).prepare_data()
    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.raises(AnnotationError, match=rf"{path.name} .*make data-coco"):
        module(root).prepare_data()


def test_an_image_of_two_files_is_named(root: Path) -> None:
    edit(root, "val2014", lambda content: image(content, id=1, file_name="again.png"))
    edit(root, "val2014", lambda content: [one.update(image_id=1) for one in content["annotations"]])
    with pytest.raises(AnnotationError, match="image 1 stands there more than once, in two files"):
        module(root).prepare_data()


def test_words_that_cannot_be_learnt_are_an_error_before_anything_is_made(root: Path) -> None:
    with pytest.raises(AnnotationError, match=r"annotations.* occurs 999 times or more"):
        module(root, word_threshold=999).prepare_data()
    write_part(root, "val2014", list(range(21, 37)), lambda key: ["мальчик бежит"])
    path = root / annotations.KARPATHY_FILE
    path.write_text(karpathy(lambda k: "train" if k < 21 else "val" if k < 29 else "test"))
    with pytest.raises(AnnotationError, match="no word of the captions for val, such as 'мальчик бежит'"):
        module(root).prepare_data()
    assert not (root.parent / "cache").exists()


def test_captions_in_another_script_are_learnt(root: Path) -> None:
    for part, keys in (("train2014", range(1, 21)), ("val2014", range(21, 37))):
        write_part(root, part, list(keys), lambda key: ["Мальчик бежит.", "un garçon brûlé"])
    assert {"мальчик", "бежит", "garçon", "brûlé"} <= set(ready(root).vocabulary.words)


@pytest.mark.parametrize("part", ["train2014", "val2014"])
def test_captions_of_images_none_of_which_is_there_are_an_error(root: Path, part: str) -> None:
    for path in (root / part).iterdir():
        path.unlink()
    with pytest.raises(AnnotationError, match=rf"captions_{part}\.json names .* none of which is there"):
        module(root).prepare_data()


def test_a_split_without_an_image_that_can_be_read_is_an_error(root: Path) -> None:
    for path in (root / "val2014").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(AnnotationError, match="no image with a caption for test and val"):
        module(root).prepare_data()
    for path in (root / "train2014").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(FeatureError, match="none of 36 images"):
        module(root).prepare_data()


@pytest.mark.usefixtures("unchecked")
def test_wrong_choices_are_named(root: Path) -> None:
    for options, message in (
        ({"source": "flickr"}, "got 'flickr'"),
        ({"encoder": "vgg"}, "got 'vgg'"),
        ({"grid": 0}, "grid=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"word_threshold": 0}, "word_threshold=0"),
        ({"num_train": 0}, "num_train=0"),
        ({"seed": -1}, "seed=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            module(root, **options)
    with pytest.raises(RuntimeError, match="setup"):
        module(root).train_dataloader()


# The stand-in


def test_scenes_are_made_and_read_as_coco_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "draw_scene", lambda scene: Image.new("RGB", (8, 8), scenes.GROUNDS[scene.ground]))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    data = ready(tmp_path / "scenes", source="scenes", num_train=12)
    assert data.splits["split"].value_counts().to_dict() == {"train": 12, "val": 3, "test": 3}
    assert data.facts()["stand_in"]
    rows = np.flatnonzero(data.splits["split"] == "test")
    assert all(len(captions) == 5 for captions in data.references(rows))
    for row, captions in zip(rows, data.references(rows), strict=True):
        scene = scenes.sample_scene(0, 2, int(row) - 15)
        assert any(scene.shapes[0].name in caption for caption in captions)
        assert data.image_path(row).is_file()
    larger = ready(tmp_path / "scenes", source="scenes", num_train=16)
    again = ready(tmp_path / "scenes", source="scenes", num_train=12)
    used = [one.splits[one.splits["split"] != "unused"].reset_index(drop=True) for one in (data, again)]
    assert used[0].equals(used[1]), "a run's data do not depend on what else is on disk"
    assert len(larger.splits) == 16 + 4 + 4
