"""A data set of one's own: noise, on which each class has a pattern."""

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from btrnn.data.module import ClipData, Item, VideoBatch

NUM_FRAMES, NUM_VALUES, NUM_CLASSES = 4, 24, 3


class _Clips(Dataset[VideoBatch]):
    def __init__(self, frames: torch.Tensor, labels: torch.Tensor) -> None:
        self.frames, self.labels = frames, labels

    def __getitem__(self, items: list[Item]) -> VideoBatch:
        rows = torch.tensor([row for row, _ in items])
        return VideoBatch(self.frames[rows], torch.ones(len(rows), NUM_FRAMES).bool(), self.labels[rows], rows)


class Waves(ClipData):
    """Clips of 4 frames of 24 values; a fifth of them is the test split.

    Args:
        source, protocol, scaling: What the rows of results call them.
        num_clips: Of all classes together.
        batch_size: Clips in a batch.
        seed: Of the frames and the order.
    """

    input_size = NUM_VALUES

    def __init__(
        self, *, source: str, protocol: str, scaling: str, num_clips: int, batch_size: int = 10, seed: int = 0
    ) -> None:
        super().__init__()
        self.source, self.protocol, self.scaling, self.num_clips = source, protocol, scaling, num_clips
        self.batch_size, self.seed = batch_size, seed
        self.class_names = [f"wave {label}" for label in range(NUM_CLASSES)]

    @property
    def last_tested(self) -> bool:
        return True

    def facts(self) -> dict[str, object]:
        names = ("source", "protocol", "scaling", "num_clips")
        return {name: getattr(self, name) for name in names} | {"stand_in": True, "sampling": "fixed"}

    def setup(self, stage: str | None = None) -> None:
        label = np.arange(self.num_clips) % NUM_CLASSES
        clip = [f"wave_{row:03d}" for row in range(self.num_clips)]
        split = np.where(np.arange(self.num_clips) % 5, "train", "test")
        self.splits = pd.DataFrame({"clip": clip, "group": "waves/1", "label": label, "split": split})
        generator = torch.Generator().manual_seed(self.seed)
        pattern = 2 * torch.eye(NUM_CLASSES).repeat_interleave(NUM_VALUES // NUM_CLASSES, dim=1)
        noise = torch.randn(self.num_clips, NUM_FRAMES, NUM_VALUES, generator=generator)
        self.clips = _Clips(noise + pattern[label].unsqueeze(1), torch.from_numpy(label))

    def _loader(self, split: str, *, shuffle: bool = False) -> DataLoader[VideoBatch]:
        rows = np.flatnonzero(self.splits["split"] == split)
        order = self.batches(rows, shuffle=shuffle)
        return DataLoader(self.clips, sampler=order, batch_size=None)

    def train_dataloader(self) -> DataLoader[VideoBatch]:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[VideoBatch]:
        return self._loader("test")

    def test_dataloader(self) -> DataLoader[VideoBatch]:
        return self._loader("test")
