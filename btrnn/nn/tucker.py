"""W as one Tucker tensor over the paired modes, each mode with a rank of its own: the map, its object and its LSTM.

    W[j, i] = sum_{r_1 .. r_d} G[r_1, .., r_d] A^(1)[i_1, j_1, r_1] .. A^(d)[i_d, j_d, r_d]

With equal ranks it is a block-term map of one block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from btrnn.nn.decomposition import block_terms
from btrnn.nn.factorised import FactorisedLinear, filled
from btrnn.nn.input_map import FactorisedMap
from btrnn.nn.lstm import LSTM, LSTMOptions
from btrnn.nn.parameters import CalledParameters
from btrnn.sizes import all_ranks, check_modes, one_or_more_ranks


class TuckerLinear(FactorisedLinear):
    """A linear map whose weight is a Tucker tensor (Tjandra et al., 2018).

    Args:
        in_modes: I_1 .. I_d; their product is `in_features`.
        out_modes: J_1 .. J_d; their product is `out_features`.
        tucker_rank: One rank for all modes, or R_1 .. R_d.
        bias, device, dtype: As in nn.Linear.

    Attributes:
        core: (R_1, .., R_d).
        factors: d tensors (I_k, J_k, R_k).

    Raises:
        ValueError: Modes of different length, a mode or rank below 1, or a wrong number of ranks.

    Examples:
        >>> layer = TuckerLinear((8, 20, 20, 18), (16, 4, 4, 4), tucker_rank=4)
        >>> layer(torch.zeros(2, 57_600)).shape, layer.num_weights
        (torch.Size([2, 1024]), 1696)
    """

    rank_names = ("tucker_ranks",)

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        tucker_rank: int | Sequence[int],
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(*check_modes(in_modes, out_modes), bias, device, dtype)
        self.tucker_ranks = all_ranks("tucker_rank", tucker_rank, self.order)
        self.core = nn.Parameter(torch.empty(self.tucker_ranks, device=device, dtype=dtype))
        shapes = zip(self.in_modes, self.out_modes, self.tucker_ranks, strict=True)
        self.factors = CalledParameters.empty(shapes, device, dtype)
        ranks = {f"r{k}": rank for k, rank in enumerate(self.tucker_ranks)}
        self._set_network([tuple(ranks), *((f"i{k}", f"j{k}", f"r{k}") for k in range(self.order))], ranks)

    @classmethod
    def from_dense(
        cls,
        weight: Float[Tensor, "out_features in_features"],
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        tucker_rank: int | Sequence[int],
        bias: Float[Tensor, " out_features"] | None = None,
    ) -> "TuckerLinear":
        """Make the map that is close to a trained dense layer, by higher-order SVD and alternating least squares.

        The arguments are those of the class, and `weight` and `bias` as in `BTLinear.from_dense`.

        Returns:
            The map; `relative_error(weight)` says how close it is: at most sqrt(d) times the smallest there is.

        Raises:
            ValueError: The modes do not multiply to W's shape, or the ranks do not fit the modes.
        """
        core, factors = block_terms(weight, in_modes, out_modes, tucker_rank)
        values = [core[0], *(factor[0] for factor in factors)]
        return filled(cls, weight, bias, values, in_modes, out_modes, tucker_rank=tucker_rank)

    def weights(self) -> list[Tensor]:
        """Return the core, then the factors."""
        return [self.core, *self.factors()]


@dataclass(frozen=True)
class Tucker(FactorisedMap):
    """A Tucker tensor: `TuckerLinear` in every layer and direction.

    Args:
        in_modes, hidden_modes: I_1 .. I_d and J_1 .. J_d; their products are the input size and the hidden size.
        rank: One rank for all modes, or R_1 .. R_d.

    Raises:
        ValueError: Modes of different length, a mode or rank below 1, or a wrong number of ranks.
    """

    rank: int | Sequence[int]
    linear = TuckerLinear

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rank", one_or_more_ranks(self.rank, "tucker_rank"))
        all_ranks("tucker_rank", self.rank, len(self.in_modes))

    @property
    def ranks(self) -> dict[str, Any]:
        """The rank of each mode."""
        return {"tucker_rank": self.rank}


class TuckerLSTM(LSTM):
    """An LSTM whose input-to-hidden matrix is a Tucker tensor.

    Args:
        in_modes, hidden_modes: I_1 .. I_d and J_1 .. J_d; their products are the input size and the hidden size.
        tucker_rank: One rank for all modes, or R_1 .. R_d.
        options: As for `LSTM`.

    Attributes:
        input_maps: A `TuckerLinear` for each layer and direction, with 4 J_1 in place of J_1.

    Raises:
        ValueError: As `TuckerLinear` and `LSTM`.
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        tucker_rank: int | Sequence[int],
        **options: Unpack[LSTMOptions],
    ) -> None:
        input_map = Tucker(in_modes, hidden_modes, tucker_rank)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)
