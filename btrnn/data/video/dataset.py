"""A folder of video clips with classes and groups as a Lightning data module.

UCF11 (YouTube Action), its stand-in, eleven classes of UCF101 and Weizmann differ in classes and layout alone.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from btrnn.choices import check_choice
from btrnn.data.encoders import ENCODERS, NUM_CHANNELS, EncoderName
from btrnn.data.module import ClipData, VideoBatch, files_digest, stand_in
from btrnn.data.video.clips import (
    UCF11_CLASSES,
    UCF11_LAYOUT,
    UCF101_CLASSES,
    UCF101_LAYOUT,
    WEIZMANN_CLASSES,
    WEIZMANN_LAYOUT,
    index_clips,
)
from btrnn.data.video.decoding import VALUES_PER_FRAME
from btrnn.data.video.features import encode_frames
from btrnn.data.video.frame_cache import FrameCache, build_frame_cache
from btrnn.data.video.frames import (
    NUM_COLORS,
    CachedClips,
    FrameOrder,
    PixelOrder,
    Sampling,
    channel_statistics,
    order_of_values,
)
from btrnn.data.video.protocols import NUM_FOLDS, Protocol, check_fold, keep_training, split_clips
from btrnn.storage.stand_ins import STAND_INS

Source = Literal["ucf11", "ucf101", "weizmann", "motions"]
Scaling = Literal["raw", "normalized"]

CLASSES = {"ucf11": UCF11_CLASSES, "ucf101": UCF101_CLASSES, "weizmann": WEIZMANN_CLASSES}
LAYOUTS = {"ucf11": UCF11_LAYOUT, "ucf101": UCF101_LAYOUT, "weizmann": WEIZMANN_LAYOUT, "motions": UCF11_LAYOUT}
FOLDS = {"weizmann": 9}  # people, of whom each is left out in turn; `NUM_FOLDS` for the others
FULL_SIZE = 1600


class VideoClips(ClipData):
    """Clips with classes and groups as batches of a few frames a clip.

    Args:
        source: "ucf11", "ucf101", "weizmann" or "motions" (the stand-in, made where files are missing).
        root: the folder that holds the class folders.
        cache_dir: folder of the frame cache.
        num_clips: clips used; all without it, 1,600 of UCF11.
        num_train: training clips used, see `keep_training`; without it all that the split leaves.
        passes: how often an epoch goes over the training clips, so that few clips can get as many steps as many.
        protocol: "paper", "paper_validated", "grouped" or "group_folds", see `split_clips`.
        fold: which fold of "group_folds", from 0; none for the others.
        scaling: "raw" gives -128 to 127 (the paper), "normalized" mean 0 and sd 1 a colour channel over the
            training frames.
        sampling: "fixed" draws the training frames once (the paper), "resampled" in every epoch. Validation
            and test frames are always drawn once.
        frame_order: "time" or "shuffled", see `CachedClips`.
        pixel_order: "rows", "channels" or "random", see `order_of_values`.
        encoder: network trained on ImageNet whose features stand in place of the pixels, see `encode_frames`, scaled
            like them; None for the pixels themselves.
        grid: cells along each side of a frame that the features are means over.
        num_frames: frames a clip, T.
        frames_cached: frames a clip in the cache, K.
        decoder: "pyav" or "skvideo".
        on_device: keep all frames, as they are cached, on the device that trains, and take batches from there: for a
            GPU, which else waits for the loader.
        batch_size: clips in a batch.
        seed: seed of the run: draws the split, the frames and the order.

    Raises:
        ValueError: if a choice is unknown or a number does not fit.
    """

    def __init__(
        self,
        *,
        source: Source,
        root: str | Path,
        cache_dir: str | Path,
        num_clips: int | None = None,
        num_train: int | None = None,
        passes: int = 1,
        protocol: Protocol = "paper",
        fold: int | None = None,
        scaling: Scaling = "raw",
        sampling: Sampling = "fixed",
        frame_order: FrameOrder = "time",
        pixel_order: PixelOrder = "rows",
        encoder: EncoderName | None = None,
        grid: int = 1,
        num_frames: int = 6,
        frames_cached: int = 12,
        decoder: Literal["pyav", "skvideo"] = "pyav",
        on_device: bool = False,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_choice("source", source, list(LAYOUTS))
        self._num_folds = FOLDS.get(source, NUM_FOLDS)
        check_fold(protocol, fold, self._num_folds)
        check_choice("scaling", scaling, ("raw", "normalized"))
        check_choice("sampling", sampling, ("fixed", "resampled"))
        check_choice("frame_order", frame_order, ("time", "shuffled"))
        check_choice("pixel_order", pixel_order, get_args(PixelOrder))
        check_choice("decoder", decoder, ("pyav", "skvideo"))
        if encoder is not None:
            check_choice("encoder", encoder, ENCODERS)
            if source == "motions":
                raise ValueError("features are of photographs, and those of drawn clips tell nothing: name real data")
            if scaling != "normalized" or pixel_order != "rows":
                raise ValueError(
                    f"features (encoder={encoder}) are always normalized, and have no order of pixels: scaling must be "
                    f"normalized and pixel_order rows; got {scaling} and {pixel_order}"
                )
        if min(num_frames, batch_size, passes, grid) < 1 or frames_cached < num_frames or seed < 0:
            raise ValueError(
                "num_frames, batch_size, passes and grid must be at least 1, frames_cached at least num_frames, and "
                f"seed at least 0; got num_frames={num_frames}, batch_size={batch_size}, passes={passes}, grid={grid}, "
                f"frames_cached={frames_cached}, seed={seed}"
            )
        self.source = source
        self.root = Path(root)
        self.cache_dir = Path(cache_dir)
        self.num_clips, self.num_train, self.passes = num_clips, num_train, passes
        self.protocol, self.fold = protocol, fold
        self.scaling = scaling
        self.sampling = sampling
        self.frame_order, self.pixel_order = frame_order, pixel_order
        self._order = order_of_values(pixel_order, seed)
        self.encoder, self.grid = encoder, grid
        self._num_channels = NUM_COLORS if encoder is None else NUM_CHANNELS[encoder]
        self.input_size = VALUES_PER_FRAME if encoder is None else grid**2 * self._num_channels
        self.num_frames = num_frames
        self.frames_cached = frames_cached
        self.decoder = decoder
        self.on_device = on_device
        self._constants: tuple[torch.Tensor, ...] = ()  # mean, sd and order of a frame's numbers, where frames are
        self._frames: torch.Tensor | None = None  # all of them, (clips x K, I), where they are on the device
        self.batch_size = batch_size
        self.seed = seed
        self.classes: dict[str, str] = CLASSES.get(source) or stand_in("motions").MOTION_CLASSES
        self.class_names = list(self.classes)
        self.splits = pd.DataFrame(columns=["clip", "group", "label", "split"])
        self.channel_mean = torch.full((self._num_channels,), 128.0)
        self.channel_sd = torch.ones(self._num_channels)
        self._cache: FrameCache | None = None

    @property
    def last_tested(self) -> bool:
        """Whether the last weights are tested beside the chosen ones."""
        return self.protocol != "grouped"

    @property
    def _read(self) -> list[str]:
        """What is read in place of pixels, if anything: other inputs, so other data."""
        grid = [f"{self.grid}x{self.grid}"] if self.grid > 1 else []
        return [] if self.encoder is None else [self.encoder, *grid]

    def facts(self) -> dict[str, object]:
        """Return what a run's summary tells of its data; of real clips also which files were read."""
        digest = {}
        if self.source != "motions" and self._cache is not None:
            digest["data_digest"] = files_digest(self.root, self._cache.table["path"], self.cache_dir)
        return {
            "source": "_".join([self.source, *self._read]),
            "encoder": self.encoder,
            "stand_in": self.source in STAND_INS,
            **digest,
            "protocol": self.protocol,
            "fold": self.fold,
            "scaling": self.scaling,
            "sampling": self.sampling,
            "frame_order": self.frame_order,
            "pixel_order": self.pixel_order,
            "num_clips": self.num_clips or len(self.splits),
            "train_limit": self.num_train,
            "passes": self.passes,
            "num_groups": self.splits["group"].nunique(),
            "num_classes": self.splits["label"].nunique(),
        }

    def prepare_data(self) -> None:
        """Make the stand-in's missing files, and the frame cache, where they are not there yet."""
        if self._cache is None:
            if self.source == "motions":
                stand_in("motions").make_motions(self.root, self.num_clips or FULL_SIZE)
            self._open_cache()

    def _open_cache(self) -> FrameCache:
        """Open the frame cache, built where it does not fit the files; features in place of its frames, if asked."""
        cache = build_frame_cache(
            index_clips(self.root, self.classes, self.num_clips, LAYOUTS[self.source]),
            self.root,
            self.cache_dir,
            frames_cached=self.frames_cached,
            decoder=self.decoder,
        )
        if self.encoder is None:
            return cache
        return replace(cache, frames=encode_frames(cache, self.cache_dir, self.encoder, self.grid))

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002  (Lightning passes it)
        """Open the cache, split the clips, and take the training frames' mean and sd; once."""
        if self._cache is not None:
            return
        cache = self._open_cache()
        split = split_clips(cache.table, self.protocol, self.seed, self.fold, self._num_folds)
        if self.num_train is not None:
            split = keep_training(split, self.num_train, self.seed)
        self.splits = cache.table[["clip", "group", "label"]].assign(split=split)
        if self.scaling == "normalized":
            clips = CachedClips(cache, self.num_frames, self.seed, self.sampling)
            mean, sd = channel_statistics(clips, self.rows("train"), self._num_channels)
            self.channel_mean = torch.from_numpy(mean).float()
            # A channel that never changes carries nothing; dividing by 0 would make NaN of it.
            self.channel_sd = torch.from_numpy(np.where(sd > 0, sd, 1.0)).float()
        self._cache, self._constants = cache, ()

    def _loader(self, split: str, sampling: Sampling, *, shuffle: bool) -> DataLoader[VideoBatch]:
        if self._cache is None:
            raise RuntimeError("call prepare_data() and setup() before asking for a loader")
        clips = CachedClips(
            self._cache, self.num_frames, self.seed, sampling, self.frame_order, numbered=self.on_device
        )
        order = self.batches(self.rows(split), shuffle=shuffle)
        # No worker processes: a batch of frames from a memory-mapped file takes 2 to 5 ms, 1.6 % of BT-LSTM's training.
        return DataLoader(clips, sampler=order, batch_size=None)

    def train_dataloader(self) -> DataLoader[VideoBatch]:
        """Training clips, in a new order each epoch."""
        return self._loader("train", self.sampling, shuffle=True)

    def val_dataloader(self) -> DataLoader[VideoBatch]:
        """Clips that choose the checkpoint; under "paper" the test split, as the authors chose on it."""
        return self._loader("test" if self.protocol == "paper" else "val", "fixed", shuffle=False)

    def test_dataloader(self) -> DataLoader[VideoBatch]:
        """Test clips."""
        return self._loader("test", "fixed", shuffle=False)

    def on_after_batch_transfer(self, batch: VideoBatch, dataloader_idx: int) -> VideoBatch:  # noqa: ARG002
        """Scale the frames on the device, to float32, padding 0; first take them, if they are kept there."""
        frames = batch.frames
        if not self._constants or self._constants[0].device != frames.device:
            # Moved once, as a GPU is waited for meanwhile. A channel's numbers repeat, as it is a frame's fastest axis;
            # written out, they are subtracted ten times faster than broadcast along an axis of 3.
            repeats = self.input_size // self._num_channels
            repeated = [channel.repeat(repeats) for channel in (self.channel_mean, self.channel_sd)]
            if self._order is not None:
                repeated = [*(channel[self._order] for channel in repeated), self._order]
            self._constants = tuple(constant.to(frames.device) for constant in repeated)
        mean, sd, *orders = self._constants
        if self.on_device and self._cache is not None:
            if self._frames is None or self._frames.device != frames.device:
                self._frames = torch.tensor(self._cache.frames, device=frames.device).flatten(0, 1)
            frames = self._frames.index_select(0, frames.flatten()).view(*frames.shape, -1)
        for order in orders:
            frames = frames.gather(-1, order.expand(frames.shape))
        frames = frames.to(torch.float32).sub_(mean).div_(sd).mul_(batch.mask[..., None])
        return batch._replace(frames=frames)
