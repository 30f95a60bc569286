r"""The two factorised linear maps: block-term (`BTLinear`) and tensor-train (`TTLinear`).

Both stand for a dense W of shape (J, I) with I = I_1 ... I_d and J = J_1 ... J_d. The input vector is read as a tensor
of shape I_1 x ... x I_d, row-major: i = ((i_1 I_2 + i_2) I_3 + ...); the output likewise. Then

    block-term    W[j, i] = sum_n sum_{r_1 .. r_d} G_n[r_1, .., r_d] A_n^(1)[i_1, j_1, r_1] ... A_n^(d)[i_d, j_d, r_d]
    tensor train  W[j, i] = sum_{r_1 .. r_{d-1}} C^(1)[1, i_1, j_1, r_1] ... C^(d)[r_{d-1}, i_d, j_d, 1]

with core tensors G_n and factors A_n^(k) (Ye et al., CVPR 2018, equations 3 and 4), or TT-cores C^(k) (Novikov et al.,
NeurIPS 2015). W x is computed from the factors in `btrnn.contraction`; W itself is built by `to_dense()` alone.
"""

from collections.abc import Sequence
from math import prod, sqrt
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from btrnn.complexity import check_count, check_modes, full_tt_ranks
from btrnn.contraction import contract

InitName = Literal["default", "paper"]
DENSE_PAPER_STD = 0.1  # the released code's initial standard deviation of a dense input-to-hidden matrix
TT_PAPER_STD = 0.08  # and of its TT-cores


def bt_paper_std(tucker_rank: int) -> float:
    """Give the released code's initial standard deviation of a block-term map's core and factors.

    Raises:
        ValueError: The rank is above 4, where the formula .05 (5 - R) is no longer positive.
    """
    if tucker_rank > 4:
        raise ValueError(
            f"init='paper' draws with standard deviation .05 (5 - R), so tucker_rank must be at most 4, "
            f"got {tucker_rank}; use init='default'"
        )
    return 0.05 * (5 - tucker_rank)


def truncated_normal_(parameter: Tensor, std: float) -> None:
    """Fill `parameter` with normal numbers of this standard deviation, redrawn where beyond two of it."""
    nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)


class _FactorisedLinear(nn.Module):
    """What both maps share: modes, bias, reshaping, and an initialisation of known scale."""

    bias: nn.Parameter | None

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.in_modes, self.out_modes = check_modes(in_modes, out_modes)
        self.in_features, self.out_features = prod(self.in_modes), prod(self.out_modes)
        self.order = len(self.in_modes)
        parameter = nn.Parameter(torch.empty(self.out_features, device=device, dtype=dtype)) if bias else None
        self.register_parameter("bias", parameter)
        self._in_axes = [f"i{k}" for k in range(self.order)]
        self._out_axes = [f"j{k}" for k in range(self.order)]

    def _operands(self) -> tuple[list[Tensor], list[list[str]]]:
        """Return the tensors whose contraction is W, and the names of their axes."""
        raise NotImplementedError

    def _paper_std(self) -> float:
        raise NotImplementedError

    @property
    def num_weights(self) -> int:
        """The number of parameters that stand for W, bias not counted."""
        return sum(operand.numel() for operand in self._operands()[0])

    @property
    def compression_ratio(self) -> float:
        """Entries of the dense W over the parameters that stand for it."""
        return self.in_features * self.out_features / self.num_weights

    @torch.no_grad()
    def reset_parameters(self, init: InitName = "default") -> None:
        """Draw all parameters anew.

        Args:
            init: "default" gives W exactly the norm that nn.Linear's W has on average, so that W x has a root mean
                square of 1/sqrt(3) for white x of unit variance, whatever the rank and the number of blocks;
                "paper" draws as the authors' released code, at whatever scale results.
        """
        operands, _ = self._operands()
        if operands[0].is_meta:  # shapes without numbers, as nn.Linear allows
            return
        if init == "paper":
            for operand in operands:
                truncated_normal_(operand, self._paper_std())
        else:
            for operand in operands:
                operand.normal_()
                operand.div_(operand.square().mean().sqrt())
            # Rescaled after drawing: a single draw's norm may be far from its mean (at R = 1 the core is one number).
            # Every operand takes an equal share, so that one learning rate suits them all.
            target = sqrt(self.out_features / 3)
            scale = float(target / self._dense_norm()) ** (1 / len(operands))
            for operand in operands:
                operand.mul_(scale)
        if self.bias is not None:
            bound = 1 / sqrt(self.in_features)  # as nn.Linear
            self.bias.uniform_(-bound, bound)

    def _dense_norm(self) -> Tensor:
        """Compute the Frobenius norm of W in float64 without W: the factors contracted with themselves."""
        operands, axes = self._operands()
        kept = {*self._in_axes, *self._out_axes}  # shared by both copies; the rank axes are each copy's own
        again = [[name if name in kept else f"{name}'" for name in names] for names in axes]
        doubles = [operand.double() for operand in operands]
        return contract([*doubles, *doubles], [*axes, *again], []).clamp_min(0).sqrt()

    def to_dense(self) -> Float[Tensor, "out_features in_features"]:
        """Reconstruct W, laid out as nn.Linear.weight: (J, I). Differentiable. Costs the memory of W."""
        operands, axes = self._operands()
        dense = contract(operands, axes, [*self._out_axes, *self._in_axes])
        return dense.reshape(self.out_features, self.in_features)

    def forward(self, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """Compute W x + b for every vector of `x`.

        Raises:
            ValueError: The last axis of `x` does not have `in_features` entries.
        """
        if x.shape[-1] != self.in_features:
            raise ValueError(
                f"{type(self).__name__} takes vectors of {self.in_features} = {_product(self.in_modes)} features on "
                f"the last axis, got an input of shape {tuple(x.shape)}"
            )
        operands, axes = self._operands()
        tensor = x.reshape(-1, *self.in_modes)
        product = contract([tensor, *operands], [["batch", *self._in_axes], *axes], ["batch", *self._out_axes])
        product = product.reshape(*x.shape[:-1], self.out_features)
        return product if self.bias is None else product + self.bias


class BTLinear(_FactorisedLinear):
    """A linear map whose weight is a sum of N block terms (Tucker tensors) of rank R.

    Args:
        in_modes: I_1 .. I_d; their product is `in_features`.
        out_modes: J_1 .. J_d; their product is `out_features`.
        tucker_rank: R, the size of every axis of the core tensors.
        num_blocks: N, the number of block terms (the paper's CP-rank).
        bias: Whether to add a learnt vector of J numbers.
        init: See `reset_parameters`.
        device, dtype: Of the parameters.

    Attributes:
        core: (N, R, ..., R), d axes of size R.
        factors: d tensors (N, I_k, J_k, R).

    Raises:
        ValueError: Modes of different length, or a mode, rank or block count below 1.

    Example:
        >>> layer = BTLinear((8, 20, 20, 18), (16, 4, 4, 4), tucker_rank=4, num_blocks=2)
        >>> layer(torch.zeros(2, 57_600)).shape, layer.num_weights
        (torch.Size([2, 1024]), 3392)
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        tucker_rank: int,
        num_blocks: int = 1,
        bias: bool = True,
        init: InitName = "default",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_modes, out_modes, bias, device, dtype)
        self.tucker_rank = check_count("tucker_rank", tucker_rank)
        self.num_blocks = check_count("num_blocks", num_blocks)
        self.core = nn.Parameter(torch.empty(num_blocks, *[tucker_rank] * self.order, device=device, dtype=dtype))
        self.factors = nn.ParameterList(
            nn.Parameter(torch.empty(num_blocks, i, j, tucker_rank, device=device, dtype=dtype))
            for i, j in zip(self.in_modes, self.out_modes, strict=True)
        )
        self.reset_parameters(init)

    def _operands(self) -> tuple[list[Tensor], list[list[str]]]:
        rank_axes = [f"r{k}" for k in range(self.order)]
        axes = [["n", *rank_axes]]
        axes += [["n", f"i{k}", f"j{k}", f"r{k}"] for k in range(self.order)]
        return [self.core, *self.factors], axes

    def _paper_std(self) -> float:
        return bt_paper_std(self.tucker_rank)

    def extra_repr(self) -> str:
        """Describe the map as W's two shapes, ranks, and the compression of W."""
        return (
            f"{_product(self.in_modes)} -> {_product(self.out_modes)}, tucker_rank={self.tucker_rank}, "
            f"num_blocks={self.num_blocks}, bias={self.bias is not None}, "
            f"{int(self.compression_ratio):,}x fewer weights"
        )


class TTLinear(_FactorisedLinear):
    """A linear map whose weight is a tensor train.

    Args:
        in_modes: I_1 .. I_d; their product is `in_features`.
        out_modes: J_1 .. J_d; their product is `out_features`.
        tt_rank: One inner rank for all places, or the d - 1 inner ranks r_1 .. r_{d-1}.
        bias: Whether to add a learnt vector of J numbers.
        init: See `reset_parameters`.
        device, dtype: Of the parameters.

    Attributes:
        cores: d TT-cores (r_{k-1}, I_k, J_k, r_k), with r_0 = r_d = 1.

    Raises:
        ValueError: Modes of different length, a mode or rank below 1, or a wrong number of ranks.

    Example:
        >>> layer = TTLinear((8, 20, 20, 18), (16, 4, 4, 4), tt_rank=4)
        >>> layer(torch.zeros(2, 57_600)).shape, layer.num_weights
        (torch.Size([2, 1024]), 3360)
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        tt_rank: int | Sequence[int],
        bias: bool = True,
        init: InitName = "default",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_modes, out_modes, bias, device, dtype)
        self.tt_ranks = full_tt_ranks(self.order, tt_rank)
        shapes = zip(self.tt_ranks[:-1], self.in_modes, self.out_modes, self.tt_ranks[1:], strict=True)
        self.cores = nn.ParameterList(nn.Parameter(torch.empty(shape, device=device, dtype=dtype)) for shape in shapes)
        self.reset_parameters(init)

    def _operands(self) -> tuple[list[Tensor], list[list[str]]]:
        return list(self.cores), [[f"r{k}", f"i{k}", f"j{k}", f"r{k + 1}"] for k in range(self.order)]

    def _paper_std(self) -> float:
        return TT_PAPER_STD

    def extra_repr(self) -> str:
        """Describe the map as W's two shapes, ranks, and the compression of W."""
        return (
            f"{_product(self.in_modes)} -> {_product(self.out_modes)}, tt_ranks={self.tt_ranks}, "
            f"bias={self.bias is not None}, "
            f"{int(self.compression_ratio):,}x fewer weights"
        )


def _product(modes: Sequence[int]) -> str:
    return "x".join(map(str, modes))
