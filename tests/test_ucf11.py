"""Drawing and scaling of frames, the data module, and the whole on real files."""

from pathlib import Path
from typing import Any

import av
import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch

from btrnn.data.module import VideoBatch
from btrnn.data.standins.motions import MOTION_CLASSES
from btrnn.data.video import dataset as module
from btrnn.data.video.clips import UCF11_CLASSES
from btrnn.data.video.dataset import VideoClips
from btrnn.data.video.frame_cache import FrameCache
from btrnn.data.video.frames import CachedClips, channel_statistics
from btrnn.data.video.protocols import split_clips


def test_class_order_and_labels() -> None:
    assert next(iter(UCF11_CLASSES)) == "basketball"
    assert UCF11_CLASSES["walking"] == "v_walk_dog"
    assert len(UCF11_CLASSES) == len(MOTION_CLASSES) == 11


def test_unknown_protocol(unchecked: None) -> None:
    unknown: Any = "random"
    with pytest.raises(ValueError, match="paper, paper_validated, grouped, group_folds; got 'random'"):
        split_clips(pd.DataFrame({"label": [0], "group": ["a/1"]}), unknown, 0)


# Drawing frames


def small_cache(num_cached: list[int]) -> FrameCache:
    """Frame k of clip r is filled with 20 r + k + 1; frames that are not there with 255."""
    frames = np.full((len(num_cached), 12, 57_600), 255, dtype=np.uint8)
    for row, count in enumerate(num_cached):
        frames[row, :count] = (20 * row + np.arange(1, count + 1))[:, None]
    labels = np.arange(len(num_cached)) % 11
    return FrameCache(frames, np.array(num_cached), pd.DataFrame({"label": labels}))


def test_short_clips_have_zero_frames_in_front() -> None:
    clips = CachedClips(small_cache([12, 1, 4]), 6, seed=0, sampling="fixed")
    batch = clips[[(2, 0), (0, 0), (1, 0)]]
    assert batch.frames.shape == (3, 6, 57_600)
    assert batch.frames.dtype == torch.uint8
    assert batch.mask.tolist() == [[False] * 2 + [True] * 4, [True] * 6, [False] * 5 + [True]]
    assert batch.frames[0, :, 0].tolist() == [0, 0, 41, 42, 43, 44]
    assert batch.frames[2, :, 0].tolist() == [0, 0, 0, 0, 0, 21]
    values = batch.frames[1, :, 0].tolist()
    assert values == sorted(set(values))
    assert 1 <= values[0] <= values[-1] <= 12
    assert batch.labels.tolist() == [2, 0, 1]
    assert batch.clips.tolist() == [2, 0, 1]
    assert batch.labels.dtype == batch.clips.dtype == torch.int64


def test_draws_depend_on_seed_row_and_for_resampled_on_the_epoch() -> None:
    cache = small_cache([12] * 12)

    def draws(seed: int, sampling: Any, epoch: int) -> list[list[int]]:
        clips = CachedClips(cache, 6, seed, sampling)
        return [clips.positions(row, epoch).tolist() for row in range(12)]

    fixed = draws(0, "fixed", 0)
    assert draws(0, "fixed", 5) == fixed
    assert draws(1, "fixed", 0) != fixed
    assert len({tuple(positions) for positions in fixed}) > 6
    resampled = draws(0, "resampled", 3)
    assert draws(0, "resampled", 3) == resampled
    assert draws(0, "resampled", 4) != resampled
    assert draws(1, "resampled", 3) != resampled
    clips = CachedClips(cache, 6, 0, "resampled")
    alone, among = clips[[(7, 3)]], clips[[(1, 3), (7, 3)]]
    assert torch.equal(alone.frames[0], among.frames[1])


def test_statistics_count_the_frames_that_are_drawn() -> None:
    rng = np.random.default_rng(0)
    cache = small_cache([12, 3, 12])
    frames = rng.integers(0, 256, cache.frames.shape, dtype=np.uint8)
    cache = FrameCache(frames, cache.num_cached, cache.table)
    fixed = CachedClips(cache, 6, 0, "fixed")
    drawn = np.concatenate([frames[row, fixed.positions(row, 0)] for row in (1, 2)]).reshape(-1, 3)
    mean, sd = channel_statistics(fixed, np.array([1, 2]))
    assert mean.dtype == sd.dtype == np.float64
    np.testing.assert_allclose(mean, drawn.mean(0), rtol=1e-12)
    np.testing.assert_allclose(sd, drawn.std(0), rtol=1e-12)
    cached = np.concatenate([frames[1, :3], frames[2]]).reshape(-1, 3)
    mean, sd = channel_statistics(CachedClips(cache, 6, 0, "resampled"), np.array([1, 2]))
    np.testing.assert_allclose(mean, cached.mean(0), rtol=1e-12)
    np.testing.assert_allclose(sd, cached.std(0), rtol=1e-12)


# The whole, on real files


def write_video(path: Path, num_frames: int, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scene = rng.integers(40, 200, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg1video", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(scene, index, 1)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 groups a class, one clip in each; one clip has 4 frames."""
    root = tmp_path_factory.mktemp("videos") / "UCF11_updated_mpg"
    rng = np.random.default_rng(0)
    for class_name, stem in UCF11_CLASSES.items():
        for group in (1, 2, 3):
            num_frames = 4 if (class_name, group) == ("basketball", 1) else 14
            name = f"{stem}_{group:02d}"
            write_video(root / class_name / name / f"{name}_01.mpg", num_frames, rng)
    return root


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def data_module(videos: Path, cache_dir: Path, **options: Any) -> VideoClips:
    all_options: dict[str, Any] = {"protocol": "grouped", "batch_size": 4, **options}
    data = VideoClips(source="ucf11", root=videos, cache_dir=cache_dir, **all_options)
    data.prepare_data()
    data.setup("fit")
    return data


def test_loaders_hold_their_splits(videos: Path, cache_dir: Path) -> None:
    data = data_module(videos, cache_dir)
    assert (data.input_size, data.num_classes, data.class_names) == (57_600, 11, list(UCF11_CLASSES))
    assert list(data.splits.columns) == ["clip", "group", "label", "split"]
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    for split, loader in loaders.items():
        batches = list(loader)
        assert len(batches) == len(loader) == 3
        rows = torch.cat([batch.clips for batch in batches])
        assert (data.splits["split"].iloc[rows.numpy()] == split).all()
        assert sorted(rows.tolist()) == np.flatnonzero(data.splits["split"] == split).tolist()
        labels = torch.cat([batch.labels for batch in batches])
        assert labels.tolist() == data.splits["label"].iloc[rows.numpy()].tolist()
        assert batches[0].frames.shape == (4, 6, 57_600)
    short = data.splits.index[data.splits["clip"] == "v_shooting_01_01"][0]
    everything = [batch for loader in loaders.values() for batch in loader]
    masks = {
        int(row): mask.sum().item() for batch in everything for row, mask in zip(batch.clips, batch.mask, strict=True)
    }
    assert masks.pop(short) == 4
    assert set(masks.values()) == {6}


def test_paper_protocol_chooses_on_the_test_split(videos: Path, cache_dir: Path) -> None:
    data = data_module(videos, cache_dir, protocol="paper")
    assert data.splits["split"].value_counts().to_dict() == {"train": 26, "test": 7}
    val, test = (
        [batch.clips.tolist() for batch in loader] for loader in (data.val_dataloader(), data.test_dataloader())
    )
    assert val == test


def test_setup_twice_changes_nothing(videos: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_module(videos, cache_dir, scaling="normalized")
    splits, mean = data.splits, data.channel_mean
    monkeypatch.setattr(module, "build_frame_cache", None)  # would fail if it were called
    data.prepare_data()
    data.setup("test")
    assert data.splits is splits
    assert data.channel_mean is mean


def test_channel_that_never_changes_gives_no_nan(
    videos: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "channel_statistics", lambda *arguments: (np.full(3, 9.0), np.zeros(3)))
    batch = transferred(data_module(videos, cache_dir, scaling="normalized"), "train")
    assert batch.frames.isfinite().all()


def transferred(data: VideoClips, split: str) -> VideoBatch:
    loader = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}[split]()
    batches = [data.on_after_batch_transfer(batch, 0) for batch in loader]
    return VideoBatch(*(torch.cat(part) for part in zip(*(batch[:4] for batch in batches), strict=True)))


@pytest.mark.parametrize("options", [{}, {"scaling": "normalized", "pixel_order": "random", "sampling": "resampled"}])
def test_frames_kept_on_the_device_make_the_loaders_batches(
    videos: Path, cache_dir: Path, options: dict[str, Any]
) -> None:
    loaded, kept = (data_module(videos, cache_dir, on_device=on_device, **options) for on_device in (False, True))
    for split in ("train", "test"):
        for one, other in zip(transferred(kept, split)[:4], transferred(loaded, split)[:4], strict=True):
            assert torch.equal(one, other)
    numbers = next(iter(kept.train_dataloader())).frames
    assert (numbers.dtype, numbers.dim()) == (torch.int64, 2)


def test_raw_scaling(videos: Path, cache_dir: Path) -> None:
    data = data_module(videos, cache_dir)
    for raw in data.train_dataloader():
        before = raw.frames.clone()
        scaled = data.on_after_batch_transfer(raw, 0)
        assert torch.equal(raw.frames, before)
        assert scaled.frames.dtype == torch.float32
        assert torch.equal(scaled.frames[raw.mask], before[raw.mask].float() - 128)
        assert not scaled.frames[~raw.mask].any()
        assert scaled.frames.min() >= -128
        assert scaled.frames.max() <= 127


@pytest.mark.parametrize("protocol", ["paper", "grouped"])
def test_normalized_training_frames_have_mean_0_and_sd_1(videos: Path, cache_dir: Path, protocol: Any) -> None:
    data = data_module(videos, cache_dir, scaling="normalized", protocol=protocol)
    batch = transferred(data, "train")
    pixels = batch.frames[batch.mask].double().reshape(-1, 3)
    assert pixels.mean(0).abs().max() < 1e-5
    assert (pixels.std(0, correction=0) - 1).abs().max() < 1e-5
    for split in ("train", "val", "test"):
        batch = transferred(data, split)
        assert not batch.frames[~batch.mask].any()


def test_resampled_training_frames_change_and_test_frames_do_not(videos: Path, cache_dir: Path) -> None:
    data = data_module(videos, cache_dir, sampling="resampled", frames_cached=12)

    def frames_of(loader: Any, epoch: int) -> dict[int, torch.Tensor]:
        loader.sampler.set_epoch(epoch)
        return {int(row): frames for batch in loader for row, frames in zip(batch.clips, batch.frames, strict=True)}

    train, test = data.train_dataloader(), data.test_dataloader()
    first, again, next_epoch = (frames_of(train, epoch) for epoch in (0, 0, 1))
    assert all(torch.equal(first[row], again[row]) for row in first)
    assert any(not torch.equal(first[row], next_epoch[row]) for row in first)
    early, late = frames_of(test, 0), frames_of(test, 9)
    assert all(torch.equal(early[row], late[row]) for row in early)


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec.*", "ignore:.*does not have many workers.*")
def test_lightning_gives_the_model_scaled_frames(videos: Path, cache_dir: Path) -> None:
    seen: list[VideoBatch] = []

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def validation_step(self, batch: VideoBatch, batch_idx: int) -> None: ...

        def training_step(self, batch: VideoBatch, batch_idx: int) -> torch.Tensor:
            seen.append(batch)
            return self.weight * batch.frames.mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = VideoClips(source="ucf11", root=videos, cache_dir=cache_dir, protocol="grouped", batch_size=4)
    trainer.fit(Model(), data)
    assert len(seen) == 3
    assert isinstance(seen[0], VideoBatch)
    assert seen[0].frames.dtype == torch.float32
    assert min(batch.frames.min().item() for batch in seen) < 0


def test_stand_in_is_made_where_it_is_missing(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, int]] = []

    def make(root: Path, num_clips: int) -> None:
        asked.append((root, num_clips))
        rng = np.random.default_rng(0)
        for class_name, stem in MOTION_CLASSES.items():
            write_video(root / class_name / f"{stem}_01" / f"{stem}_01_01.mpg", 2, rng)

    monkeypatch.setattr("btrnn.data.standins.motions.make_motions", make)
    data = VideoClips(source="motions", root=tmp_path / "motions", cache_dir=tmp_path / "cache", num_clips=11)
    data.prepare_data()
    data.setup()
    assert asked == [(tmp_path / "motions", 11)]
    assert data.class_names == list(MOTION_CLASSES)
    assert len(data.splits) == 11
    assert VideoClips(source="motions", root=tmp_path, cache_dir=tmp_path).num_clips is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "ucf50"}, "source must be one of ucf11, ucf101, weizmann, motions; got 'ucf50'"),
        ({"protocol": "random"}, "protocol must be one of paper, paper_validated, grouped, group_folds; got 'random'"),
        ({"scaling": "none"}, "scaling must be one of"),
        ({"sampling": "all"}, "sampling must be one of"),
        ({"decoder": "opencv"}, "decoder must be one of pyav, skvideo"),
        ({"num_frames": 0}, "num_frames=0"),
        ({"num_frames": 13}, "frames_cached=12"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"grid": 0}, "grid=0"),
        ({"encoder": "vgg16", "scaling": "normalized"}, "encoder must be one of efficientnet_lite0, .*; got 'vgg16'"),
        ({"encoder": "resnet50", "source": "motions"}, "features are of photographs"),
        ({"encoder": "resnet50"}, "scaling must be normalized and pixel_order rows; got raw and rows"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_options(unchecked: None, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    all_options: dict[str, Any] = {"source": "ucf11", "root": tmp_path, "cache_dir": tmp_path, **options}
    with pytest.raises(ValueError, match=message):
        VideoClips(**all_options)


def test_missing_videos_and_early_loader(tmp_path: Path) -> None:
    data = VideoClips(source="ucf11", root=tmp_path / "UCF11_updated_mpg", cache_dir=tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match="make data-ucf11"):
        data.prepare_data()
    with pytest.raises(RuntimeError, match="prepare_data"):
        data.train_dataloader()
