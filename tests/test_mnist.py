"""MNIST's files, MNIST-5k, and how grey images become binary batches."""

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from btrnn.data import mnist
from btrnn.data.mnist import IDX_FILES, MNIST, BinaryImages, MNISTError, read_idx, read_mnist_5k


def write_idx(folder: Path, num_train: int = 30, num_test: int = 8, *, packed: bool = False) -> None:
    """Write the four files of a small data set in MNIST's format."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", num_train), ("test", num_test)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        contents = (
            struct.pack(">HBBIII", 0, 8, 3, *images.shape) + images.tobytes(),
            struct.pack(">HBBI", 0, 8, 1, count) + labels.tobytes(),
        )
        for name, content in zip(IDX_FILES[part], contents, strict=True):
            path = folder / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content) if packed else content)


@pytest.fixture
def small_validation(monkeypatch):
    monkeypatch.setattr(mnist, "NUM_VALIDATION", 10)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read_whole(tmp_path, small_validation, packed):
    write_idx(tmp_path / "raw", packed=packed)
    if packed:
        (tmp_path / "raw" / f".{IDX_FILES['train'][0]}.1-ab.part").write_bytes(b"of a process that was killed")
    digits = read_idx(tmp_path / "raw")
    assert not list((tmp_path / "raw").glob(".*.part"))
    assert digits.images.shape == (38, 784)
    rng = np.random.default_rng(0)
    assert np.array_equal(digits.images[:30], rng.integers(0, 256, (30, 28, 28), dtype=np.uint8).reshape(30, 784))
    assert digits.split.tolist() == ["train"] * 20 + ["val"] * 10 + ["test"] * 8


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing", "gz", "flipped gz"])
def test_a_damaged_file_is_named(tmp_path, part, which, damage):
    folder = tmp_path / "raw"
    write_idx(folder, packed="gz" in damage)
    name = IDX_FILES[part][which]
    path = folder / name
    if damage == "missing":
        path.unlink()
    elif "gz" in damage:
        packed = path.with_name(f"{name}.gz")
        content = packed.read_bytes()
        packed.write_bytes(content[:-12] if damage == "gz" else content[:10] + b"\xff" * 8 + content[18:])
    else:
        content = path.read_bytes()
        path.write_bytes({"truncated": content[:-5], "empty": b"", "text": b"<html>not found</html>"}[damage])
    with pytest.raises(MNISTError, match=name):
        read_idx(folder)
    assert not list(folder.glob("*.part*"))


def test_the_digest_is_of_the_unpacked_files_whole(tmp_path, small_validation):
    digests = []
    for name, packed in (("one", False), ("two", True)):
        write_idx(tmp_path / name / "MNIST" / "raw", packed=packed)
        data = MNIST(source="mnist", root=tmp_path / name)
        assert "data_digest" not in data.facts()
        data.setup()
        digests.append(data.facts()["data_digest"])
    labels = tmp_path / "two" / "MNIST" / "raw" / IDX_FILES["test"][1]
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x0b")
    assert digests[0] == digests[1] != data.facts()["data_digest"]
    packaged = MNIST(source="mnist_5k", root=tmp_path)
    packaged.setup()
    assert packaged.facts()["data_digest"] not in digests


def test_mnist_5k_is_split_once_and_evenly():
    digits, again = read_mnist_5k(), read_mnist_5k()
    assert {name: int((digits.split == name).sum()) for name in ("train", "val", "test")} == mnist.MNIST_5K_SIZES
    assert np.array_equal(digits.split, again.split)
    for name, count in mnist.MNIST_5K_SIZES.items():
        assert np.bincount(digits.labels[digits.split == name]).tolist() == [count // 10] * 10
    assert digits.images.dtype == np.uint8
    assert digits.images.max() > 250


def test_pixels_are_one_as_often_as_they_are_bright():
    images = np.repeat(np.array([[0, 64, 128, 255]], dtype=np.uint8), 4000, axis=0)
    data = BinaryImages(images, seed=0, every_epoch=True)
    share = data[[(row, 0) for row in range(4000)]].images.mean(dim=0)
    torch.testing.assert_close(share, torch.tensor([0, 64, 128, 255]) / 255, atol=0.03, rtol=0)
    assert share[0] == 0
    assert share[3] == 1


def test_pixels_are_a_function_of_seed_epoch_and_row():
    images = np.full((6, 784), 128, dtype=np.uint8)
    data = BinaryImages(images, seed=0, every_epoch=True)
    first = data[[(0, 1), (5, 1)]]
    assert torch.equal(first.images[1], data[[(5, 1)]].images[0])
    assert first.rows.tolist() == [0, 5]
    others = [data[[(5, 2)]], data[[(4, 1)]], BinaryImages(images, 1, every_epoch=True)[[(5, 1)]]]
    fixed = BinaryImages(images, 0, every_epoch=False)
    assert torch.equal(fixed[[(5, 1)]].images, fixed[[(5, 2)]].images)
    for other in (*others, fixed[[(5, 1)]]):
        assert not torch.equal(other.images[0], first.images[1])


def test_validation_and_test_are_the_same_for_every_seed(tmp_path, small_validation):
    write_idx(tmp_path / "MNIST" / "raw")
    modules = [MNIST(source="mnist", root=tmp_path, batch_size=4, seed=seed, num_train=12) for seed in (0, 1)]
    for module in modules:
        module.prepare_data()
        module.setup("fit")
    for name in ("val_dataloader", "test_dataloader"):
        ours, others = ([batch.images for batch in getattr(module, name)()] for module in modules)
        assert all(torch.equal(a, b) for a, b in zip(ours, others, strict=True))
    assert modules[0].splits["split"].value_counts().to_dict() == {"train": 12, "unused": 8, "val": 10, "test": 8}
    rows = torch.cat([batch.rows for batch in modules[0].train_dataloader()])
    assert sorted(rows.tolist()) == list(range(12))


def test_each_pass_of_an_epoch_draws_its_pixels_anew_and_validation_has_one(tmp_path, small_validation):
    write_idx(tmp_path / "MNIST" / "raw")
    module = MNIST(source="mnist", root=tmp_path, batch_size=12, num_train=12, passes=2)
    module.setup("fit")
    first, second = (batch.images[batch.rows.argsort()] for batch in module.train_dataloader())
    assert first.shape == second.shape == (12, 784)
    assert not torch.equal(first, second)
    assert sum(len(batch.rows) for batch in module.val_dataloader()) == 10


def test_fashion_mnist_comes_from_debians_package(tmp_path, small_validation, monkeypatch):
    write_idx(tmp_path / "debian", packed=True)
    monkeypatch.setattr(mnist, "DEBIAN_FASHION", tmp_path / "debian")
    module = MNIST(source="fashion_mnist", root=tmp_path / "data")
    module.prepare_data()
    module.setup("fit")
    assert len(module.splits) == 38
    assert module.facts()["source"] == "fashion_mnist"


def test_wrong_choices_are_named(tmp_path, unchecked):
    for options, message in (
        ({"source": "digits"}, "source must be one of mnist, mnist_5k, fashion_mnist; got 'digits'"),
        ({"binarization": "dynamic"}, "binarization must be one of stochastic, static; got 'dynamic'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"passes": 0}, "passes=0"),
    ):
        with pytest.raises(ValueError, match=message):
            MNIST(**({"source": "mnist_5k", "root": tmp_path} | options))
    with pytest.raises(MNISTError, match=r"make data-mnist"):
        MNIST(source="mnist", root=tmp_path).setup()


def test_half_a_copy_of_debians_files_is_made_anew(tmp_path, monkeypatch):
    write_idx(tmp_path / "debian", packed=True)
    monkeypatch.setattr(mnist, "DEBIAN_FASHION", tmp_path / "debian")
    module, copy = MNIST(source="fashion_mnist", root=tmp_path / "data"), shutil.copy2

    def stop_at_the_third(source, target, **options):
        if len(list(Path(target).parent.iterdir())) == 2:
            raise KeyboardInterrupt
        return copy(source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copy2", stop_at_the_third)
        patch.setattr(shutil.copytree, "__defaults__", (False, None, stop_at_the_third, False, False))
        with pytest.raises(KeyboardInterrupt):
            module.prepare_data()
    module.prepare_data()
    assert len(list((tmp_path / "data" / "FashionMNIST" / "raw").iterdir())) == 4
