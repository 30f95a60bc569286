"""A map of one's own: W = U V, whose inner size is the rank."""

import torch
from torch import nn

from btrnn import LSTM


class LowRankLSTM(LSTM):
    """An LSTM whose W is a product of two thin matrices.

    Args:
        input_size: I.
        hidden_size: H.
        rank: R, the inner size of the product.
        batch_first: As in nn.LSTM.
    """

    def __init__(self, input_size: int, hidden_size: int, *, rank: int, batch_first: bool = False) -> None:
        self.rank = rank
        super().__init__(input_size, hidden_size, batch_first=batch_first)

    def _make_input_map(
        self, layer: int, init: str, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> nn.Module:
        assert (layer, init) == (0, "default")
        return nn.Sequential(
            nn.Linear(self.input_size, self.rank, bias=False, device=device, dtype=dtype),
            nn.Linear(self.rank, 4 * self.hidden_size, bias=False, device=device, dtype=dtype),
        )
