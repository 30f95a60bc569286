"""W as the product of two thin matrices, W = L R: the map, its object and its LSTM."""

from dataclasses import dataclass
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from btrnn.nn.factorised import FactorisedLinear, filled
from btrnn.nn.input_map import InputMap, MapFacts, MapPlace
from btrnn.nn.lstm import LSTM, LSTMOptions
from btrnn.nn.tensors import check_weight, resize, share_scale
from btrnn.sizes import check_count


class LowRankLinear(FactorisedLinear):
    """A linear map whose weight has at most a given rank, W = L R (Sainath et al., 2013; Kuchaiev and Ginsburg, 2017).

    Args:
        in_features: I.
        out_features: J.
        rank: r, the inner size of the product; also above min(I, J).
        bias: Whether to add a learnt vector of J numbers.
        device, dtype: Of the parameters.

    Attributes:
        left: L, (J, r).
        right: R, (r, I).

    Raises:
        ValueError: A size or the rank is below 1.

    Examples:
        >>> layer = LowRankLinear(57_600, 1024, rank=2)
        >>> layer(torch.zeros(2, 57_600)).shape, layer.num_weights
        (torch.Size([2, 1024]), 117248)
    """

    rank_names = ("rank",)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rank: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        sizes = (check_count("in_features", in_features),), (check_count("out_features", out_features),)
        super().__init__(*sizes, bias, device, dtype)
        self.rank = check_count("rank", rank)
        self.left = nn.Parameter(torch.empty(self.out_features, self.rank, device=device, dtype=dtype))
        self.right = nn.Parameter(torch.empty(self.rank, self.in_features, device=device, dtype=dtype))
        self._set_network([("j0", "r0"), ("r0", "i0")], {"r0": self.rank})

    @classmethod
    def from_dense(
        cls,
        weight: Float[Tensor, "out_features in_features"],
        *,
        rank: int,
        bias: Float[Tensor, " out_features"] | None = None,
    ) -> "LowRankLinear":
        """Make the nearest map to a trained dense layer: its first r singular vectors (Eckart and Young, 1936).

        Args:
            weight: W, laid out as nn.Linear.weight; it gives the new parameters' device and type.
            rank: r.
            bias: Taken over as it is; without one the map has none.

        Returns:
            The map; `relative_error(weight)` says how close it is.

        Raises:
            ValueError: W is no matrix of real numbers, holds NaN or infinity, or the rank is below 1.

        Examples:
            >>> weight = torch.outer(torch.arange(4.0), torch.ones(3))
            >>> made = LowRankLinear.from_dense(weight, rank=1)
            >>> made.num_weights, made.relative_error(weight) < 1e-5
            (7, True)
        """
        check_count("rank", rank)
        if weight.dim() != 2:
            raise ValueError(f"the weight must have the shape (out_features, in_features), got {tuple(weight.shape)}")
        out_features, in_features = weight.shape
        check_weight(weight, (in_features,), (out_features,))
        left, scales, right = torch.linalg.svd(weight.detach().double(), full_matrices=False)
        values = share_scale([resize(left * scales, 1, rank), resize(right, 0, rank)])
        return filled(cls, weight, bias, values, in_features, out_features, rank=rank)

    def weights(self) -> list[Tensor]:
        """Return L and R."""
        return [self.left, self.right]


@dataclass(frozen=True)
class LowRank(InputMap):
    """Two thin matrices: `LowRankLinear` in every layer and direction.

    Args:
        rank: r, the inner size of their product.

    Raises:
        ValueError: The rank is below 1.
    """

    rank: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", check_count("rank", self.rank))  # the only way to complete what is frozen

    def build(self, place: MapPlace) -> LowRankLinear:
        """Make the matrices of the layer's sizes."""
        return LowRankLinear(place.in_features, place.out_features, rank=self.rank, bias=False, **place.factory)

    def from_dense(self, place: MapPlace, weight: Tensor, bias: Tensor | None = None) -> LowRankLinear:  # noqa: ARG002
        """Make the nearest matrices: see `LowRankLinear.from_dense`."""
        return LowRankLinear.from_dense(weight, rank=self.rank, bias=bias)

    def facts(self) -> MapFacts:
        """Return the rank."""
        return MapFacts(rank=self.rank)


class LowRankLSTM(LSTM):
    """An LSTM whose input-to-hidden matrix has a low rank.

    Args:
        input_size: I.
        hidden_size: H.
        rank: r, of all four gates together.
        options: As for `LSTM`.

    Attributes:
        input_maps: A `LowRankLinear` for each layer and direction.

    Raises:
        ValueError: As `LowRankLinear` and `LSTM`.

    Examples:
        >>> LowRankLSTM(16, 8, rank=2)(torch.zeros(5, 3, 16))[0].shape
        torch.Size([5, 3, 8])
    """

    def __init__(self, input_size: int, hidden_size: int, *, rank: int, **options: Unpack[LSTMOptions]) -> None:
        super().__init__(input_size, hidden_size, input_map=LowRank(rank), **options)
