"""W as a sum of Kronecker products of small matrices, which is also the canonical polyadic form over paired modes.

    W = sum_n B_n^(1) (x) B_n^(2) (x) .. (x) B_n^(d),    W[j, i] = sum_n A_n^(1)[i_1, j_1] .. A_n^(d)[i_d, j_d]

with B the transpose of A, (J_k, I_k). With features read row-major, the Kronecker product of the B has exactly the
entries of the outer product of the A over the pairs of modes (i_k, j_k). So one class does the arithmetic of both, in
the words of each field: R, the CP-rank, or N terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.nn.decomposition import block_terms
from btrnn.nn.factorised import FactorisedLinear, filled
from btrnn.nn.input_map import FactorisedMap, MapFacts
from btrnn.nn.lstm import LSTM, LSTMOptions
from btrnn.nn.parameters import CalledParameters
from btrnn.sizes import check_count, check_modes


class _SumOfProducts(FactorisedLinear):
    """A sum of outer products over the paired modes: factors (N, I_k, J_k)."""

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        num_terms: int,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__(*check_modes(in_modes, out_modes), bias, device, dtype)
        pairs = zip(self.in_modes, self.out_modes, strict=True)
        self.factors = CalledParameters.empty(((num_terms, i, j) for i, j in pairs), device, dtype)
        self._set_network([(f"i{k}", f"j{k}") for k in range(self.order)], {}, num_terms)

    def weights(self) -> list[Tensor]:
        """Return the factors."""
        return list(self.factors())


def _nearest_terms(weight: Tensor, in_modes: Sequence[int], out_modes: Sequence[int], num_terms: int) -> list[Tensor]:
    """Fit factors (N, I_k, J_k): block terms of rank 1, whose core, a number each, goes into their factors."""
    core, factors = block_terms(weight, in_modes, out_modes, 1, num_terms)
    scale = core.reshape(num_terms, 1, 1)
    share = scale.abs() ** (1 / len(factors))
    first, *rest = [factor.squeeze(3) * share for factor in factors]
    return [first * scale.sign(), *rest]


class CPLinear(_SumOfProducts):
    """A linear map whose weight is a sum of R outer products over the paired modes (Tjandra et al., 2018).

    Args:
        in_modes: I_1 .. I_d; their product is `in_features`.
        out_modes: J_1 .. J_d; their product is `out_features`.
        cp_rank: R, the number of terms.
        bias, device, dtype: As in nn.Linear.

    Attributes:
        factors: d tensors (R, I_k, J_k).

    Raises:
        ValueError: Modes of different length, or a mode or the rank below 1.

    Examples:
        >>> layer = CPLinear((8, 20, 20, 18), (16, 4, 4, 4), cp_rank=9)
        >>> layer(torch.zeros(2, 57_600)).shape, layer.num_weights
        (torch.Size([2, 1024]), 3240)
    """

    rank_names = ("cp_rank",)

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        cp_rank: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.cp_rank = check_count("cp_rank", cp_rank)
        super().__init__(in_modes, out_modes, self.cp_rank, bias, device, dtype)

    @classmethod
    def from_dense(
        cls,
        weight: Float[Tensor, "out_features in_features"],
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        cp_rank: int,
        bias: Float[Tensor, " out_features"] | None = None,
    ) -> "CPLinear":
        """Make the map that is close to a trained dense layer: `btrnn.nn.decomposition.block_terms` of rank 1.

        The arguments are those of the class, and `weight` and `bias` as in `BTLinear.from_dense`.

        Returns:
            The map; `relative_error(weight)` says how close it is.

        Raises:
            ValueError: The modes do not multiply to W's shape, or the rank is below 1.
        """
        values = _nearest_terms(weight, in_modes, out_modes, check_count("cp_rank", cp_rank))
        return filled(cls, weight, bias, values, in_modes, out_modes, cp_rank=cp_rank)


class KroneckerLinear(_SumOfProducts):
    """A linear map whose weight is a sum of N Kronecker products of two or more matrices (Thakker et al., 2019).

    It is `CPLinear` in other words: see the module.

    Args:
        in_modes: I_1 .. I_d, the columns of the matrices; their product is `in_features`.
        out_modes: J_1 .. J_d, their rows; their product is `out_features`.
        num_terms: N.
        bias, device, dtype: As in nn.Linear.

    Attributes:
        factors: d tensors (N, I_k, J_k): the transposed matrices of all terms.

    Raises:
        ValueError: Modes of different length, fewer than two, or a mode or the number of terms below 1.

    Examples:
        >>> layer = KroneckerLinear((2, 3), (2, 1), num_terms=1, bias=False)
        >>> first, second = (factor[0].T.contiguous() for factor in layer.factors)
        >>> bool(torch.allclose(layer.to_dense(), torch.kron(first, second)))
        True
    """

    rank_names = ("num_terms",)

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        num_terms: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.num_terms = check_count("num_terms", num_terms)
        super().__init__(*check_modes(in_modes, out_modes, fewest=2), self.num_terms, bias, device, dtype)

    @classmethod
    def from_dense(
        cls,
        weight: Float[Tensor, "out_features in_features"],
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        num_terms: int,
        bias: Float[Tensor, " out_features"] | None = None,
    ) -> "KroneckerLinear":
        """Make the map that is close to a trained dense layer; of two matrices the nearest (Van Loan, Pitsianis, 1993).

        The arguments are those of the class, and `weight` and `bias` as in `BTLinear.from_dense`.

        Returns:
            The map; `relative_error(weight)` says how close it is.

        Raises:
            ValueError: The modes do not multiply to W's shape, or the number of terms is below 1.

        Examples:
            >>> weight = torch.kron(torch.ones(2, 2), torch.arange(6.0).reshape(2, 3))
            >>> made = KroneckerLinear.from_dense(weight, (2, 3), (2, 2), num_terms=1)
            >>> made.num_weights, made.relative_error(weight) < 1e-5
            (10, True)
        """
        values = _nearest_terms(weight, in_modes, out_modes, check_count("num_terms", num_terms))
        return filled(cls, weight, bias, values, in_modes, out_modes, num_terms=num_terms)


@dataclass(frozen=True)
class CanonicalPolyadic(FactorisedMap):
    """A sum of outer products: `CPLinear` in every layer and direction.

    Args:
        in_modes, hidden_modes: I_1 .. I_d and J_1 .. J_d; their products are the input size and the hidden size.
        rank: R, the number of terms.

    Raises:
        ValueError: Modes of different length, or a mode or the rank below 1.
    """

    rank: int
    linear = CPLinear

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rank", check_count("rank", self.rank))

    @property
    def ranks(self) -> dict[str, Any]:
        """R."""
        return {"cp_rank": self.rank}


@dataclass(frozen=True)
class Kronecker(FactorisedMap):
    """A sum of Kronecker products: `KroneckerLinear` in every layer and direction.

    Args:
        in_modes, hidden_modes: I_1 .. I_d and J_1 .. J_d; their products are the input size and the hidden size.
        num_terms: N.

    Raises:
        ValueError: Modes of different length, fewer than two, or a mode or the number of terms below 1.
    """

    num_terms: int
    linear = KroneckerLinear
    fewest = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "num_terms", check_count("num_terms", self.num_terms))

    @property
    def ranks(self) -> dict[str, Any]:
        """N."""
        return {"num_terms": self.num_terms}

    def facts(self) -> MapFacts:
        """Return modes and terms."""
        return MapFacts(self.in_modes, self.hidden_modes, num_blocks=self.num_terms)


class CPLSTM(LSTM):
    """An LSTM whose input-to-hidden matrix is a sum of outer products.

    Args:
        in_modes, hidden_modes: I_1 .. I_d and J_1 .. J_d; their products are the input size and the hidden size.
        cp_rank: R, the number of terms.
        options: As for `LSTM`.

    Attributes:
        input_maps: A `CPLinear` for each layer and direction, with 4 J_1 in place of J_1.

    Raises:
        ValueError: As `CPLinear` and `LSTM`.
    """

    def __init__(
        self, in_modes: Sequence[int], hidden_modes: Sequence[int], *, cp_rank: int, **options: Unpack[LSTMOptions]
    ) -> None:
        input_map = CanonicalPolyadic(in_modes, hidden_modes, cp_rank)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)


class KroneckerLSTM(LSTM):
    """An LSTM whose input-to-hidden matrix is a sum of Kronecker products.

    Args:
        in_modes, hidden_modes: I_1 .. I_d and J_1 .. J_d; their products are the input size and the hidden size.
        num_terms: N.
        options: As for `LSTM`.

    Attributes:
        input_maps: A `KroneckerLinear` for each layer and direction, with 4 J_1 in place of J_1.

    Raises:
        ValueError: As `KroneckerLinear` and `LSTM`.
    """

    def __init__(
        self, in_modes: Sequence[int], hidden_modes: Sequence[int], *, num_terms: int, **options: Unpack[LSTMOptions]
    ) -> None:
        input_map = Kronecker(in_modes, hidden_modes, num_terms)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)
