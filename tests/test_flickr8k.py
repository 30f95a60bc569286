"""Flickr8k in the files of its authors: its splits, what is passed over or damaged, a run, what is published."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from btrnn.data.captions.annotations import AnnotationError
from btrnn.data.captions.coco import CaptionedImages
from btrnn.data.captions.flickr8k import CAPTIONS_FILE, FOLDER, LISTS, read_flickr8k
from btrnn.reports.publishing import collect, publish
from btrnn.reports.writing import own_report, published_report
from btrnn.results.store import read_results
from btrnn.tasks.captioning import NUM_SHOWN
from tests.caption_folders import write_run
from tests.processes import Script
from tests.test_report import page_text, workspace

from .conftest import ROOT

EXPERIMENT = "captioning_flickr8k"
SIZES = {"train": 12, "val": 3, "test": 8}
NAMES = [f"{1_000 + 7 * k}_{k:02x}ab.jpg" for k in range(25)]  # two more than the lists have
LISTED = NAMES[22::-1]  # not as the captions are sorted
SENTENCES = ("A dog runs on grass .", "the brown dog runs", "a dog on the grass", "one dog , running", "A DOG on grass")


def write_lists(root: Path, listed: list[str]) -> None:
    ends = np.cumsum(list(SIZES.values()))
    for name, end in zip(SIZES, ends, strict=True):
        (root / LISTS[name]).write_text("".join(f"{file}\n" for file in listed[end - SIZES[name] : end]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small Flickr8k: a picture's red is its number; the fourth one's first caption has the real one's slip."""
    folder = tmp_path / "data" / "flickr8k"
    (folder / FOLDER).mkdir(parents=True)
    for k, name in enumerate(NAMES):
        Image.new("RGB", (16, 12), (10 * k, 0, 50)).save(folder / FOLDER / name)
    lines = [f"{name}#{k}\t{text}" for name in NAMES for k, text in enumerate(SENTENCES)]
    lines[15] = lines[15].replace(".jpg#", ".jpg.1#")
    (folder / CAPTIONS_FILE).write_text("\n".join(lines) + "\n")
    write_lists(folder, LISTED)
    return folder


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def ready(root: Path, **options: int) -> CaptionedImages:
    data = CaptionedImages(source="flickr8k", root=root, cache_dir=root.parent / "cache", word_threshold=1, **options)
    data.prepare_data()
    data.setup("fit")
    return data


def test_photographs_have_the_splits_of_the_official_lists_in_their_order(root: Path) -> None:
    found = read_flickr8k(root)
    assert found.table["file"].tolist() == [f"{FOLDER}/{name}" for name in (*LISTED, *NAMES[23:])]
    assert found.table["image_id"].tolist()[:2] == ["1154_16ab", "1147_15ab"]
    sizes = SIZES | {"unused": 2}
    assert found.table["split"].tolist() == [name for name, size in sizes.items() for _ in range(size)]
    assert found.split == "the official lists"
    assert found.captions[0] == list(SENTENCES)


def test_a_line_of_captions_that_names_no_photograph_is_passed_over_and_counted(root: Path) -> None:
    found = read_flickr8k(root)
    assert found.no_picture == 1
    assert found.captions[LISTED.index(NAMES[3])] == list(SENTENCES[1:])
    assert [len(captions) for captions in found.captions].count(5) == 24


def test_words_marks_and_empty_lines_are_read_as_they_stand(root: Path) -> None:
    change(root / CAPTIONS_FILE, f"{NAMES[5]}#1\tthe brown dog runs", f"{NAMES[5]}#1\tun\tgar\u00e7on #2")
    change(root / CAPTIONS_FILE, f"{NAMES[5]}#2\ta dog on the grass", f"\n{NAMES[5]}#2\t .")
    change(root / LISTS["val"], NAMES[8], f"  {NAMES[8]}  ")
    found = read_flickr8k(root)
    said = found.captions[LISTED.index(NAMES[5])]
    assert said == [SENTENCES[0], "un\tgar\u00e7on #2", *SENTENCES[3:]]
    assert found.no_words == 1


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda root: (root / FOLDER).rename(root / "elsewhere"), rf"{FOLDER}, the folder of .* is missing"),
    "no captions": (lambda root: (root / CAPTIONS_FILE).unlink(), rf"{CAPTIONS_FILE} is missing"),
    "no list": (lambda root: (root / LISTS["val"]).unlink(), r"Flickr_8k\.devImages\.txt is missing"),
    "an empty list": (lambda root: (root / LISTS["test"]).write_text("\n"), r"testImages\.txt names no photograph"),
    "a list of absent photographs": (
        lambda root: [(root / FOLDER / name).unlink() for name in LISTED[:2]],
        rf"trainImages\.txt names 12 photographs; of 2 of them the file is not in .*{FOLDER}, such as {LISTED[0]}",
    ),
    "a photograph in two lists": (
        lambda root: write_lists(root, [*LISTED[:12], LISTED[0], *LISTED[13:]]),
        rf"devImages\.txt names {LISTED[0]}, which stands in Flickr_8k\.trainImages\.txt already",
    ),
    "a photograph without captions": (
        lambda root: [change(root / CAPTIONS_FILE, f"{LISTED[20]}#", "other.jpg#") for _ in SENTENCES],
        rf"testImages\.txt names 8 .* of 1 of them the file has no caption in {CAPTIONS_FILE}, such as {LISTED[20]}",
    ),
    "a line without a number": (
        lambda root: change(root / CAPTIONS_FILE, f"{NAMES[1]}#2\t", f"{NAMES[1]}\t"),
        rf"{CAPTIONS_FILE}, line 8: expected .* got '{NAMES[1]}\\t.*",
    ),
    "a caption twice": (
        lambda root: change(root / CAPTIONS_FILE, f"{NAMES[1]}#2", f"{NAMES[1]}#1"),
        rf"line 8: caption {NAMES[1]}#1 stands there already",
    ),
    "captions of others": (
        lambda root: (root / CAPTIONS_FILE).write_text("other.jpg#0\ta dog\n"),
        rf"{CAPTIONS_FILE} has no caption of a photograph in .*{FOLDER}",
    ),
    "no text": (lambda root: (root / CAPTIONS_FILE).write_bytes(b"\xff\xd8\xff"), rf"{CAPTIONS_FILE} cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_missing_or_damaged_is_named_before_anything_is_made(root: Path, damage: str) -> None:
    spoil, message = DAMAGES[damage]
    spoil(root)
    with pytest.raises(AnnotationError, match=rf"{message}.*; `make data-flickr8k` gets it"):
        ready(root)
    assert not (root.parent / "cache").exists()


def test_captions_without_a_word_for_training_are_an_error_before_anything_is_made(root: Path) -> None:
    lines = (root / CAPTIONS_FILE).read_text().splitlines()
    (root / CAPTIONS_FILE).write_text("".join(f"{line.partition(chr(9))[0]}\t. .\n" for line in lines))
    with pytest.raises(AnnotationError, match=f"{root} has no image with a caption for test and train and val"):
        ready(root)
    assert not (root.parent / "cache").exists()


def test_a_damaged_photograph_is_left_out_and_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = root / FOLDER / LISTED[0]
    path.write_bytes(path.read_bytes()[:100])
    data = ready(root)
    assert data.splits["image_id"][data.splits["split"] == "skipped"].tolist() == [Path(LISTED[0]).stem]
    assert f"Left out: {FOLDER}/{LISTED[0]}" in caplog.text
    facts = data.facts()
    assert (facts["skipped_images"], facts["num_images"]) == (1, SIZES | {"train": 11})


def test_fewer_training_photographs_are_the_first_of_the_list(root: Path) -> None:
    data = ready(root, num_train=6)
    names = data.splits["image_id"][data.splits["split"] == "train"]
    assert names.tolist() == [Path(name).stem for name in LISTED[:6]]
    assert data.facts()["num_images"] == {"train": 6, "val": 1, "test": 1}


def test_a_run_by_the_command_line_says_what_it_read(root: Path, tmp_path: Path) -> None:
    small = ["data.word_threshold=1", "modes.input=[4,4,4]", "modes.hidden=[4,4,4]"]
    command = [f"experiment={EXPERIMENT}", "model=bt_lstm", "seed=0", "scale.captioning.max_epochs=1", *small]
    places = [f"data_dir={root.parent}", f"results_dir={tmp_path / 'results'}", "logger=none"]
    script = Script(ROOT / "experiments" / "train.py", *command, *places, environment={"PATH": ""})  # without Java
    output = script.communicate()
    assert script.returncode == 0, output
    (path,) = (tmp_path / "results" / "runs").glob(f"{EXPERIMENT}/*/seed0/summary.json")
    summary = json.loads(path.read_text())
    expected = {"source": "flickr8k", "stand_in": False, "split": "the official lists", "num_train": 12, "num_test": 8}
    expected |= {"captions_without_picture": 1, "captions_without_words": 0}
    assert {name: summary[name] for name in expected} == expected
    assert summary["num_captions"] == {"train": 60, "val": 15, "test": 39}  # the fourth photograph is for the test
    used = [*(f"{FOLDER}/{name}" for name in LISTED), CAPTIONS_FILE, *LISTS.values()]
    lines = [f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  flickr8k/{name}\n" for name in sorted(used)]
    assert summary["data_digest"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    said = pd.read_csv(path.with_name("captions.csv"), keep_default_na=False)
    assert said["image"].tolist() == [Path(name).stem for name in LISTED[15:]]
    pictures = dict(np.load(path.with_name("arrays.npz")))
    assert set(pictures["image_ids"].tolist()) < set(said["image"])
    assert pictures["images"].shape == (NUM_SHOWN, 160, 160, 3)
    collect(tmp_path / "results")
    assert read_results(tmp_path / "results" / "local", EXPERIMENT).runs["data_digest"].tolist() == [
        summary["data_digest"]
    ]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A results folder with two published runs, which are the user's as well."""
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    for model in ("lstm", "bt_lstm"):
        changes = {"source": "flickr8k", "split": "the official lists", "data_digest": "ab"}
        write_run(results_dir, model, 0, experiment=EXPERIMENT, changes=changes)
    collect(results_dir)
    publish(results_dir)
    return results_dir


def test_photographs_stay_with_the_user(published: Path) -> None:
    assert set(read_results(published / "local", EXPERIMENT).pictures) == {"images", "image_ids"}
    rows = read_results(published, EXPERIMENT)
    assert (rows.pictures, len(rows.predictions), rows.runs["data_digest"].tolist()) == ({}, 60, ["ab", "ab"])
    drawn = {
        "own": [figure.path.name for figure in own_report(published, [EXPERIMENT]).figures],
        "published": [figure.path.name for figure in published_report(published).figures],
    }
    assert {name: f"{EXPERIMENT}_captions.png" in figures for name, figures in drawn.items()} == {
        "own": True,
        "published": False,
    }
    assert f"{EXPERIMENT}_captions.png" not in page_text(published, EXPERIMENT)


def test_its_page_has_the_scores_that_others_report_on_it(published: Path) -> None:
    text = page_text(published, EXPERIMENT)
    assert "Flickr8k: scale `study`" in text
    assert "Show and Tell on Flickr8k itself: BLEU-1 reported 63 [M]; in Xu 2015, BLEU-1 / 2 / 3 reported 63" in text
    assert "stand-in" not in text
