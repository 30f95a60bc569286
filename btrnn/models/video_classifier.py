"""Task 1's network: one recurrent layer over raw frames, its last state to the classes (Ye et al., section 4.1)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from btrnn.nn.recurrent import Recurrent


class VideoClassifier(nn.Module):
    """Classify a clip from the state that a recurrent layer has after its last frame.

    Args:
        recurrent: The layer that reads the frames, an LSTM or a GRU; its kind is all that differs between the models.
        num_classes: How many classes there are.
    """

    def __init__(self, recurrent: Recurrent, num_classes: int) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.classifier = nn.Linear(recurrent.hidden_size * recurrent.num_directions, num_classes)

    def forward(
        self, frames: Float[Tensor, "batch time features"], mask: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Compute the class scores before softmax.

        Args:
            frames: (B, T, I), T frames a clip. A shorter clip has padding in front.
            mask: (B, T), true where a frame is real. Each clip has at least one; None where all are.
        """
        batch_axis = 0 if self.recurrent.batch_first else 1
        if mask is None or bool(mask.all()):
            _, state = self.recurrent(frames if batch_axis == 0 else frames.transpose(0, 1))
        else:  # a masked step leaves the state as it is, so the real frames are moved to the front and the rest is cut
            lengths = mask.sum(dim=1)
            time = frames.shape[1]
            order = (torch.arange(time, device=mask.device) + (time - lengths).unsqueeze(1)) % time
            moved = frames.gather(1, order.unsqueeze(-1).expand_as(frames))
            _, state = self.recurrent(
                pack_padded_sequence(moved, lengths.cpu(), batch_first=True, enforce_sorted=False)
            )
        hidden = state if isinstance(state, Tensor) else state.hidden
        last = hidden[-self.recurrent.num_directions :]
        scores: Tensor = self.classifier(last.transpose(0, 1).flatten(1))
        return scores
