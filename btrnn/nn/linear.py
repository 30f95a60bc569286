r"""The two factorised linear maps: block-term (`BTLinear`) and tensor-train (`TTLinear`).

Both stand for a dense W of shape (J, I) with I = I_1 ... I_d and J = J_1 ... J_d. The input vector is read as a tensor
of shape I_1 x ... x I_d, row-major: i = ((i_1 I_2 + i_2) I_3 + ...); the output likewise. Then

    block-term    W[j, i] = sum_n sum_{r_1 .. r_d} G_n[r_1, .., r_d] A_n^(1)[i_1, j_1, r_1] ... A_n^(d)[i_d, j_d, r_d]
    tensor train  W[j, i] = sum_{r_1 .. r_{d-1}} C^(1)[1, i_1, j_1, r_1] ... C^(d)[r_{d-1}, i_d, j_d, 1]

with core tensors G_n and factors A_n^(k) (Ye et al., CVPR 2018, equation 4 of their poster), or TT-cores C^(k) (Novikov
et al., NeurIPS 2015). W x is computed from the factors by `btrnn.ops.contraction.apply_map`; W itself is built by
`to_dense()`, and for a product only where that is cheaper.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from btrnn.nn.decomposition import block_terms, tensor_train
from btrnn.nn.factorised import FactorisedLinear, filled
from btrnn.nn.parameters import CalledParameters
from btrnn.sizes import check_count, check_modes, full_tt_ranks


class BTLinear(FactorisedLinear):
    """A linear map whose weight is a sum of N block terms (Tucker tensors) of rank R.

    Args:
        in_modes: I_1 .. I_d; their product is `in_features`.
        out_modes: J_1 .. J_d; their product is `out_features`.
        tucker_rank: R, the size of every axis of the core tensors.
        num_blocks: N, the number of block terms (the paper's CP-rank).
        bias: Whether to add a learnt vector of J numbers.
        device, dtype: Of the parameters.

    Attributes:
        core: (N, R, ..., R), d axes of size R.
        factors: d tensors (N, I_k, J_k, R).

    Raises:
        ValueError: Modes of different length, or a mode, rank or block count below 1.

    Examples:
        >>> layer = BTLinear((8, 20, 20, 18), (16, 4, 4, 4), tucker_rank=4, num_blocks=2)
        >>> layer(torch.zeros(2, 57_600)).shape, layer.num_weights
        (torch.Size([2, 1024]), 3392)
    """

    rank_names = ("tucker_rank", "num_blocks")

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        tucker_rank: int,
        num_blocks: int = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(*check_modes(in_modes, out_modes), bias, device, dtype)
        self.tucker_rank = check_count("tucker_rank", tucker_rank)
        self.num_blocks = check_count("num_blocks", num_blocks)
        blocks, rank = self.num_blocks, self.tucker_rank
        self.core = nn.Parameter(torch.empty(blocks, *[rank] * self.order, device=device, dtype=dtype))
        pairs = zip(self.in_modes, self.out_modes, strict=True)
        self.factors = CalledParameters.empty(((blocks, i, j, rank) for i, j in pairs), device, dtype)
        axes = [(f"i{k}", f"j{k}", f"r{k}") for k in range(self.order)]
        ranks = tuple(f"r{k}" for k in range(self.order))
        self._set_network([ranks, *axes], dict.fromkeys(ranks, rank), blocks)

    @classmethod
    def from_dense(
        cls,
        weight: Float[Tensor, "out_features in_features"],
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        tucker_rank: int,
        num_blocks: int = 1,
        bias: Float[Tensor, " out_features"] | None = None,
    ) -> "BTLinear":
        """Make the map that is close to a trained dense layer; see `btrnn.nn.decomposition.block_terms`.

        Args:
            weight: W, laid out as nn.Linear.weight; it gives the new parameters' device and type.
            in_modes: I_1 .. I_d.
            out_modes: J_1 .. J_d.
            tucker_rank: R.
            num_blocks: N.
            bias: Taken over as it is; without one the map has none.

        Returns:
            The map; `relative_error(weight)` says how close it is.

        Raises:
            ValueError: The modes do not multiply to W's shape, or a rank or block count is below 1.

        Examples:
            >>> weight = torch.kron(torch.ones(2, 2), torch.arange(6.0).reshape(2, 3))
            >>> made = BTLinear.from_dense(weight, (2, 3), (2, 2), tucker_rank=1)
            >>> made.num_weights, made.relative_error(weight) < 1e-5
            (11, True)
        """
        core, factors = block_terms(weight, in_modes, out_modes, tucker_rank, num_blocks)
        ranks = {"tucker_rank": tucker_rank, "num_blocks": num_blocks}
        return filled(cls, weight, bias, [core, *factors], in_modes, out_modes, **ranks)

    def weights(self) -> list[Tensor]:
        """Return the core, then the factors."""
        return [self.core, *self.factors()]


class TTLinear(FactorisedLinear):
    """A linear map whose weight is a tensor train.

    Args:
        in_modes: I_1 .. I_d; their product is `in_features`.
        out_modes: J_1 .. J_d; their product is `out_features`.
        tt_rank: One inner rank for all places, or the d - 1 inner ranks r_1 .. r_{d-1}.
        bias: Whether to add a learnt vector of J numbers.
        device, dtype: Of the parameters.

    Attributes:
        cores: d TT-cores (r_{k-1}, I_k, J_k, r_k), with r_0 = r_d = 1.

    Raises:
        ValueError: Modes of different length, a mode or rank below 1, or a wrong number of ranks.

    Examples:
        >>> layer = TTLinear((8, 20, 20, 18), (16, 4, 4, 4), tt_rank=4)
        >>> layer(torch.zeros(2, 57_600)).shape, layer.num_weights
        (torch.Size([2, 1024]), 3360)
    """

    rank_names = ("tt_ranks",)

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        tt_rank: int | Sequence[int],
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(*check_modes(in_modes, out_modes), bias, device, dtype)
        self.tt_ranks = full_tt_ranks(self.order, tt_rank)
        shapes = zip(self.tt_ranks[:-1], self.in_modes, self.out_modes, self.tt_ranks[1:], strict=True)
        self.cores = CalledParameters.empty(shapes, device, dtype)
        ranks = {f"r{k}": self.tt_ranks[k] for k in range(1, self.order)}  # the outer ones of 1 are no axes
        names = [(f"r{k}", f"i{k}", f"j{k}", f"r{k + 1}") for k in range(self.order)]
        self._set_network([tuple(name for name in axes if name[0] != "r" or name in ranks) for axes in names], ranks)

    @classmethod
    def from_dense(
        cls,
        weight: Float[Tensor, "out_features in_features"],
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        tt_rank: int | Sequence[int],
        bias: Float[Tensor, " out_features"] | None = None,
    ) -> "TTLinear":
        """Make the map that is close to a trained dense layer; see `btrnn.nn.decomposition.tensor_train`.

        Args:
            weight: W, laid out as nn.Linear.weight; it gives the new parameters' device and type.
            in_modes: I_1 .. I_d.
            out_modes: J_1 .. J_d.
            tt_rank: One inner rank for all places, or r_1 .. r_{d-1}.
            bias: Taken over as it is; without one the map has none.

        Returns:
            The map; `relative_error(weight)` says how close it is.

        Raises:
            ValueError: The modes do not multiply to W's shape, or the ranks do not fit the modes.

        Examples:
            >>> weight = torch.kron(torch.ones(2, 2), torch.arange(6.0).reshape(2, 3))
            >>> made = TTLinear.from_dense(weight, (2, 3), (2, 2), tt_rank=1)
            >>> made.num_weights, made.relative_error(weight) < 1e-5
            (10, True)
        """
        cores = tensor_train(weight, in_modes, out_modes, tt_rank)
        return filled(cls, weight, bias, cores, in_modes, out_modes, tt_rank=tt_rank)

    def weights(self) -> list[Tensor]:
        """Return the TT-cores."""
        return list(self.cores())
