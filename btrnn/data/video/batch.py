"""What the video task asks of its data: batches of clips, and their classes."""

from typing import NamedTuple

from torch import Tensor

from btrnn.data.module import DataModule


class VideoBatch(NamedTuple):
    """A batch of clips; short clips have zero frames in front.

    frames: (B, T, I), I values a frame; where the loader's are uint8, `on_after_batch_transfer` makes them float32.
    mask: (B, T) bool, True where a frame is real.
    labels: (B,) int64.
    clips: (B,) int64, row of the clip in the data's `splits`.
    """

    frames: Tensor
    mask: Tensor
    labels: Tensor
    clips: Tensor


class ClipData(DataModule):
    """Clips, each of one class; `splits` has the columns clip, group, label and split.

    Attributes:
        input_size: I, the values of a frame.
        class_names: Of label 0, 1, ..
    """

    input_size: int
    class_names: list[str]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)
