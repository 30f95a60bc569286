"""Clips whose frames an image network has looked at: features that are made once, also after a stop; batches."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import nn

from btrnn.data.encoders import Encoder, load_encoder
from btrnn.data.video import features
from btrnn.data.video.clips import UCF101_CLASSES
from btrnn.data.video.dataset import VideoClips
from btrnn.data.video.frame_cache import FrameCache, build_frame_cache
from btrnn.engine import run
from btrnn.engine.baselines import add_baselines
from btrnn.results.store import read_run

from .clips import write_clip

LENGTHS = {f"v_{k}": length for k, length in enumerate((9, 2, 9, 9))}  # frames of the clips in `clips`


class Corners(nn.Module):
    """The pixels, many times over: a quick encoder of 320 channels. At one of its calls it may be stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.calls, self.stop_at = 0, 0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return self.weight * pixels.repeat(1, 107, 1, 1)[:, :320]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Corners:
    made = Corners()
    encoder = Encoder("efficientnet_lite0", made, 8, 320, (127.0,) * 3, (128.0,) * 3)
    monkeypatch.setattr(features, "load_encoder", lambda name: encoder)
    return made


@pytest.fixture
def cache(tmp_path: Path) -> FrameCache:
    for name, length in LENGTHS.items():
        write_clip(tmp_path / f"{name}.mpg", length)
    return opened(tmp_path)


def opened(folder: Path) -> FrameCache:
    clips = pd.DataFrame({"clip": list(LENGTHS), "path": [f"{name}.mpg" for name in LENGTHS], "label": 0})
    return build_frame_cache(clips, folder, folder / "cache", frames_cached=4, num_workers=1)


def test_each_cached_frame_has_the_features_of_the_picture_that_it_is(tmp_path: Path, cache: FrameCache) -> None:
    found = features.encode_frames(cache, tmp_path / "cache", "efficientnet_lite0", 2)
    assert (found.shape, found.dtype) == ((4, 4, 4 * 320), np.float16)
    assert not found.flags.writeable
    encoder = load_encoder("efficientnet_lite0")
    frame = Image.fromarray(cache.frames[2, 3].reshape(120, 160, 3)).resize((224, 224), Image.Resampling.BICUBIC)
    alone = encoder.encode(np.asarray(frame)[None], 2)[0].astype(float)
    np.testing.assert_allclose(found[2, 3].reshape(4, 320).astype(float), alone, rtol=0.02, atol=0.02)
    assert np.abs(alone).max() > 1
    assert found[1, :2].any(axis=1).all()
    assert not found[1, 2:].any()  # of a clip with two frames


def test_features_are_made_once_and_go_on_after_a_stop(tmp_path: Path, cache: FrameCache, network: Corners) -> None:
    network.stop_at = 3
    arguments = (cache, tmp_path / "cache", "efficientnet_lite0", 1)
    with pytest.raises(KeyboardInterrupt):
        features.encode_frames(*arguments)
    (tmp_path / "cache" / ".efficientnet_lite0-1x1.npy.1-ab.part").write_bytes(b"of a process that was killed")
    found = features.encode_frames(*arguments)
    assert not list((tmp_path / "cache").glob(".*.part"))
    assert network.calls == 5  # clips 0, 1, 2 (stopped), 2, 3
    assert found[:, 0].any(axis=1).all()
    assert np.array_equal(features.encode_frames(*arguments), found)
    assert network.calls == 5
    assert features.encode_frames(cache, tmp_path / "cache", "efficientnet_lite0", 2).shape == (4, 4, 1280)
    assert network.calls == 9


def test_features_that_are_made_anew_and_stopped_at_once_are_not_taken_for_finished(
    tmp_path: Path, cache: FrameCache, network: Corners
) -> None:
    arguments = (cache, tmp_path / "cache", "efficientnet_lite0", 1)
    before = np.array(features.encode_frames(*arguments))
    (array,) = (tmp_path / "cache").glob("efficientnet_lite0*.npy")
    array.write_bytes(array.read_bytes()[:100])
    network.stop_at = network.calls + 1
    with pytest.raises(KeyboardInterrupt):
        features.encode_frames(*arguments)
    assert np.array_equal(features.encode_frames(*arguments), before)


@pytest.mark.parametrize("damage", ["clips", "array", "index", "rows"])
def test_features_of_other_frames_and_damaged_ones_are_made_anew(
    tmp_path: Path, cache: FrameCache, network: Corners, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    features.encode_frames(cache, tmp_path / "cache", "efficientnet_lite0", 1)
    array, index = (tmp_path / "cache" / f"efficientnet_lite0-1x1.{ending}" for ending in ("npy", "json"))
    before, size = np.load(array), array.stat().st_size
    if damage == "clips":
        write_clip(tmp_path / "v_0.mpg", 40)
        cache = opened(tmp_path)
    elif damage == "array":
        array.write_bytes(array.read_bytes()[: size // 2])
    elif damage == "rows":
        index.write_text(index.read_text().replace('"rows": 4', '"rows": -1'))
    else:
        index.write_text(index.read_text()[:-9])
    with caplog.at_level(logging.WARNING):
        found = features.encode_frames(cache, tmp_path / "cache", "efficientnet_lite0", 1)
    assert network.calls == 8
    assert "are made anew" in caplog.text
    assert array.stat().st_size == size
    assert np.array_equal(found, before) == (damage != "clips")
    assert json.loads(index.read_text())["rows"] == 4


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir with a tiny UCF-101: 5 groups a class, one clip in each, one of them short."""
    root = tmp_path_factory.mktemp("data") / "UCF-101"
    for label, name in enumerate(UCF101_CLASSES):
        for group in range(1, 6):
            length = 3 if (label, group) == (0, 1) else 8 + label
            write_clip(root / name / f"v_{name}_g{group:02d}_c01.avi", length, noise=5 * label, codec="mpeg4")
    return root.parent


def module(videos: Path, cache_dir: Path, **options: Any) -> VideoClips:
    data = VideoClips(
        source="ucf101",
        root=videos / "UCF-101",
        cache_dir=cache_dir,
        protocol="group_folds",
        fold=0,
        scaling="normalized",
        **options,
    )
    data.prepare_data()
    data.setup("fit")
    return data


def test_batches_are_those_of_the_pixels_with_features_of_mean_0_and_sd_1(
    videos: Path, tmp_path: Path, network: Corners
) -> None:
    pixels = module(videos, tmp_path)
    options: dict[str, Any] = {"encoder": "efficientnet_lite0", "grid": 2}
    encoded, kept = (module(videos, tmp_path, on_device=on_device, **options) for on_device in (False, True))
    assert (encoded.input_size, encoded.facts()["source"]) == (1280, "ucf101_efficientnet_lite0_2x2")
    assert encoded.splits.equals(pixels.splits)
    seen = []
    loaders = [data.train_dataloader() for data in (pixels, encoded, kept)]
    for of_pixels, batch, on_device in zip(*loaders, strict=True):
        scaled, same = encoded.on_after_batch_transfer(batch, 0), kept.on_after_batch_transfer(on_device, 0)
        assert torch.equal(batch.clips, of_pixels.clips)
        assert torch.equal(batch.mask, of_pixels.mask)
        assert scaled.frames.dtype == torch.float32
        assert torch.equal(scaled.frames, same.frames)
        assert not scaled.frames[~batch.mask].any()
        seen.append(scaled.frames[batch.mask].double().reshape(-1, 320))
    values = torch.cat(seen)
    assert values.mean(0).abs().max() < 1e-4
    assert (values.std(0, correction=0) - 1).abs().max() < 1e-3


def test_a_run_reads_the_features_and_so_do_its_baselines(
    videos: Path, network: Corners, make_config: Callable[..., DictConfig]
) -> None:
    config = make_config("experiment=ucf101_features", "scale=smoke", "model=bt_lstm", f"data_dir={videos}")
    summary = run.train(config)
    assert (summary["source"], summary["in_modes"]) == ("ucf101_efficientnet_lite0", "4x4x4x5")
    assert summary["num_test"] == 11
    experiment_dir = Path(config.run_dir).parents[1]
    add_baselines(experiment_dir)
    for baseline in ("logistic_regression", "nearest_neighbour"):
        name = f"{baseline}-group_folds-normalized-smoke-ucf101_efficientnet_lite0-fold0"
        fitted = read_run(experiment_dir / name / "seed0").runs.iloc[0]
        assert (fitted["source"], fitted["precision"], fitted["start"]) == (summary["source"], "32-true", "")
        assert 0 <= fitted["test/accuracy"] <= 1


@pytest.mark.parametrize("experiment", ["ucf101_features", "ucf101_maps"])
def test_rates_are_those_of_the_experiment_not_of_pixels(
    make_config: Callable[..., DictConfig], experiment: str
) -> None:
    for model in ("lstm", "tt_lstm", "bt_lstm"):
        config = make_config(f"experiment={experiment}", f"model={model}", "scale=default")
        assert config.task.learning_rate == config.rates.default.normalized[model]
        assert config.task.scaled
    assert np.prod(config.modes.input) == config.data.grid**2 * 320
