r"""The two factorised linear maps: block-term (`BTLinear`) and tensor-train (`TTLinear`).

Both stand for a dense W of shape (J, I) with I = I_1 ... I_d and J = J_1 ... J_d. The input vector is read as a tensor
of shape I_1 x ... x I_d, row-major: i = ((i_1 I_2 + i_2) I_3 + ...); the output likewise. Then

    block-term    W[j, i] = sum_n sum_{r_1 .. r_d} G_n[r_1, .., r_d] A_n^(1)[i_1, j_1, r_1] ... A_n^(d)[i_d, j_d, r_d]
    tensor train  W[j, i] = sum_{r_1 .. r_{d-1}} C^(1)[1, i_1, j_1, r_1] ... C^(d)[r_{d-1}, i_d, j_d, 1]

with core tensors G_n and factors A_n^(k) (Ye et al., CVPR 2018, equations 3 and 4), or TT-cores C^(k) (Novikov et al.,
NeurIPS 2015). W x is computed from the factors by `btrnn.contraction.apply_map`; W itself is built by `to_dense()`,
and for a product only where that is cheaper.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod, sqrt
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from btrnn.complexity import check_count, check_modes, full_tt_ranks
from btrnn.contraction import BLOCK, apply_map, contract, plan_for
from btrnn.planning import make_plan
from btrnn.stages import Network, Plan

InitName = Literal["default", "paper"]
TRACED_BATCH_SIZE = 64  # for which the plan of torch.compile and torch.export is chosen
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
    network: Network

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

    def _set_network(self, operands: Sequence[tuple[str, ...]], ranks: dict[str, int], num_blocks: int) -> None:
        """Name the axes of the operands; `ranks` has the size of each that is not a mode."""
        sizes = {f"i{k}": mode for k, mode in enumerate(self.in_modes)} | ranks
        sizes |= {f"j{k}": mode for k, mode in enumerate(self.out_modes)}
        self.network = Network(tuple(operands), tuple(sizes.items()), self.order, num_blocks)
        # torch.compile and torch.export take one plan for all batch sizes, chosen before they trace
        self._traced_plan = make_plan(self.network, TRACED_BATCH_SIZE, 4, training=True, native=False)

    def _operands(self) -> list[Tensor]:
        """Return the tensors whose contraction is W: those of `network`, each with a first axis of blocks."""
        raise NotImplementedError

    def _paper_std(self) -> float:
        raise NotImplementedError

    @property
    def num_weights(self) -> int:
        """The number of parameters that stand for W, bias not counted."""
        return sum(operand.numel() for operand in self._operands())

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
        operands = self._operands()
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
        first, squared, last = [], [], []  # in this order no product is larger than one core tensor a pair of blocks
        for operand, names in zip(self._operands(), self.network.operands, strict=True):
            tensor = operand.double()
            ranks = tuple(name for name in names if name[0] == "r")
            axes, again = (BLOCK, *names), (f"{BLOCK}'", *(f"{name}'" if name in ranks else name for name in names))
            if ranks == names:  # a core tensor
                first.append((tensor, axes))
                last.append((tensor, again))
            else:
                own = (BLOCK, f"{BLOCK}'", *ranks, *(f"{name}'" for name in ranks))
                squared.append((contract((tensor, tensor), (axes, again), own), own))
        tensors, names_of_each = zip(*first, *squared, *last, strict=True)
        return contract(tensors, names_of_each, ()).clamp_min(0).sqrt()

    def to_dense(self) -> Float[Tensor, "out_features in_features"]:
        """Reconstruct W, laid out as nn.Linear.weight: (J, I). Differentiable. Costs the memory of W."""
        axes = [(BLOCK, *names) for names in self.network.operands]
        dense = contract(self._operands(), axes, (*self.network.out_axes, *self.network.in_axes))
        return dense.reshape(self.out_features, self.in_features)

    def plan(self, batch_size: int) -> Plan:
        """Say how W x is computed for this many vectors: `print(layer.plan(96))` lists the stages and their cost.

        Args:
            batch_size: How many vectors x has, B or for a sequence T B.

        Returns:
            The plan that `forward` follows for such an x, with gradients if they are enabled here.
        """
        operands = self._operands()
        plan = plan_for(self.network, batch_size, operands[0].new_empty(0), operands)
        return replace(plan, batch_size=batch_size)  # one plan serves many sizes; show this one's numbers

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
        rows, operands = x.reshape(-1, self.in_features), self._operands()
        traced = torch.compiler.is_compiling()
        plan = self._traced_plan if traced else plan_for(self.network, rows.shape[0], rows, operands)
        product = apply_map(plan, rows, operands).reshape(*x.shape[:-1], self.out_features)
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
        ranks = [f"r{k}" for k in range(self.order)]
        axes = [tuple(ranks), *((f"i{k}", f"j{k}", f"r{k}") for k in range(self.order))]
        self._set_network(axes, dict.fromkeys(ranks, tucker_rank), num_blocks)
        self.reset_parameters(init)

    def _operands(self) -> list[Tensor]:
        return [self.core, *self.factors]

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
        inner = [f"r{k}" for k in range(1, self.order)]
        axes = [
            tuple(name for name in (f"r{k}", f"i{k}", f"j{k}", f"r{k + 1}") if name[0] != "r" or name in inner)
            for k in range(self.order)
        ]
        self._set_network(axes, dict(zip(inner, self.tt_ranks[1:-1], strict=True)), 1)
        self.reset_parameters(init)

    def _operands(self) -> list[Tensor]:
        # the outer ranks of 1 are not axes of the network
        axes = self.network.operands
        return [core.reshape(1, *self.network.shape(names)) for core, names in zip(self.cores, axes, strict=True)]

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
