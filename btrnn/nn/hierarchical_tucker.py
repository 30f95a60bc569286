"""W as a hierarchical Tucker tensor over a balanced binary tree: the map, its fit to a dense W, its object, its LSTM.

A leaf of the tree is a pair of modes with a factor A^(k) (I_k, J_k, r); a node with children t and u has a transfer
tensor B (r_node, r_t, r_u) that makes its basis of theirs, and that of the root (r_t, r_u) makes W:

    W_node[r] = sum_{s, q} B[r, s, q] W_t[s] W_u[q]                       (Yin et al., 2020; Hackbusch and Kuehn, 2009)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.complexity import balanced_tree
from btrnn.nn.factorised import FactorisedLinear, filled
from btrnn.nn.input_map import FactorisedMap
from btrnn.nn.lstm import LSTM, LSTMOptions
from btrnn.nn.parameters import CalledParameters
from btrnn.nn.tensors import leading_vectors, multiply, project, share_scale, tensorise, unfold
from btrnn.sizes import check_count, check_modes


class HTLinear(FactorisedLinear):
    """A linear map whose weight is a hierarchical Tucker tensor.

    Args:
        in_modes: I_1 .. I_d, at least two; their product is `in_features`.
        out_modes: J_1 .. J_d; their product is `out_features`.
        ht_rank: The rank of every node that has children, except the root, whose rank is 1.
        leaf_rank: The rank of the leaves; `ht_rank` if None.
        bias, device, dtype: As in nn.Linear.

    Attributes:
        transfers: A tensor for each node that has children, from the root down as in
            `btrnn.complexity.balanced_tree`: (r_left, r_right) of the root, (r_node, r_left, r_right) of the others.
        factors: d tensors (I_k, J_k, r).

    Raises:
        ValueError: Modes of different length, fewer than two, or a mode or rank below 1.

    Examples:
        >>> layer = HTLinear((8, 10, 10, 9, 8), (16, 4, 2, 4, 2), ht_rank=5, leaf_rank=4)
        >>> layer(torch.zeros(2, 57_600)).shape, layer.num_weights, int(layer.compression_ratio)
        (torch.Size([2, 1024]), 1245, 47375)
    """

    rank_names = ("ht_rank", "leaf_rank")

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        ht_rank: int,
        leaf_rank: int | None = None,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(*check_modes(in_modes, out_modes, fewest=2), bias, device, dtype)
        self.ht_rank, self.leaf_rank = _ranks(ht_rank, leaf_rank)
        tree = balanced_tree(0, self.order)
        names = {(k, k + 1): f"r{k}" for k in range(self.order)}
        names |= {(first, last): f"r{self.order + n}" for n, (first, _, last) in enumerate(tree[1:])}
        sizes = {name: self.leaf_rank if last - first == 1 else self.ht_rank for (first, last), name in names.items()}
        axes = [
            (*([names[first, last]] if last - first < self.order else []), names[first, middle], names[middle, last])
            for first, middle, last in tree
        ]
        self.transfers = CalledParameters.empty(([sizes[name] for name in own] for own in axes), device, dtype)
        pairs = zip(self.in_modes, self.out_modes, strict=True)
        self.factors = CalledParameters.empty(((i, j, self.leaf_rank) for i, j in pairs), device, dtype)
        self._set_network([*axes, *((f"i{k}", f"j{k}", f"r{k}") for k in range(self.order))], sizes)

    @classmethod
    def from_dense(
        cls,
        weight: Float[Tensor, "out_features in_features"],
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        ht_rank: int,
        leaf_rank: int | None = None,
        bias: Float[Tensor, " out_features"] | None = None,
    ) -> "HTLinear":
        """Make the map that is close to a trained dense layer; see `hierarchical_tucker`.

        The arguments are those of the class, and `weight` and `bias` as in `BTLinear.from_dense`.

        Returns:
            The map; `relative_error(weight)` says how close it is.

        Raises:
            ValueError: The modes do not multiply to W's shape, or a rank is below 1.
        """
        values = hierarchical_tucker(weight, *check_modes(in_modes, out_modes, fewest=2), ht_rank, leaf_rank)
        return filled(cls, weight, bias, values, in_modes, out_modes, ht_rank=ht_rank, leaf_rank=leaf_rank)

    def weights(self) -> list[Tensor]:
        """Return the transfer tensors from the root down, then the factors."""
        return [*self.transfers(), *self.factors()]


def _ranks(ht_rank: int, leaf_rank: int | None) -> tuple[int, int]:
    inner = check_count("ht_rank", ht_rank)
    return inner, inner if leaf_rank is None else check_count("leaf_rank", leaf_rank)


def hierarchical_tucker(
    weight: Float[Tensor, "out_features in_features"],
    in_modes: Sequence[int],
    out_modes: Sequence[int],
    ht_rank: int,
    leaf_rank: int | None = None,
) -> list[Tensor]:
    """Compute transfer tensors and factors by the hierarchical singular value decomposition, from the leaves up.

    Each node's basis is that of the leading singular vectors of what its children have kept (Grasedyck, 2010). The
    error is at most sqrt(2 d - 2) times the smallest there is.

    Args:
        weight: W, laid out as nn.Linear.weight.
        in_modes: I_1 .. I_d.
        out_modes: J_1 .. J_d.
        ht_rank: The rank of every node that has children.
        leaf_rank: The rank of the leaves; `ht_rank` if None.

    Returns:
        The transfer tensors from the root down, then d factors (I_k, J_k, r), of float64.

    Raises:
        ValueError: The modes do not multiply to W's shape, or a rank is below 1.
    """
    inner, leaf = _ranks(ht_rank, leaf_rank)
    tensor = tensorise(weight, in_modes, out_modes)
    factors = [leading_vectors(unfold(tensor, axis), leaf) for axis in range(tensor.dim())]
    rest = project(tensor, factors)  # an axis for each node without a basis above it yet, in the order of the modes
    starts = list(range(len(factors)))
    transfers: list[Tensor] = []
    for first, middle, _ in reversed(balanced_tree(0, len(factors))):
        axis = starts.index(first)
        left, right = rest.shape[axis : axis + 2]
        starts.remove(middle)
        if len(starts) == 1:
            transfers.append(rest)
            break
        rest = rest.flatten(axis, axis + 1)
        basis = leading_vectors(unfold(rest, axis), inner)
        rest = multiply(rest, axis, basis.mT)
        transfers.append(basis.mT.reshape(inner, left, right))
    pairs = zip(factors, in_modes, out_modes, strict=True)
    return share_scale([*reversed(transfers), *(factor.reshape(i, j, leaf) for factor, i, j in pairs)])


@dataclass(frozen=True)
class HierarchicalTucker(FactorisedMap):
    """A hierarchical Tucker tensor: `HTLinear` in every layer and direction.

    Args:
        in_modes: I_1 .. I_d, at least two, whose product is the input size.
        hidden_modes: J_1 .. J_d, whose product is the hidden size.
        rank: The rank of every node that has children.
        leaf_rank: The rank of the leaves; `rank` if None.

    Raises:
        ValueError: Modes of different length, fewer than two, or a mode or rank below 1.
    """

    rank: int
    leaf_rank: int | None = None
    linear = HTLinear
    fewest = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        rank, leaf_rank = _ranks(self.rank, self.leaf_rank)
        object.__setattr__(self, "rank", rank)
        object.__setattr__(self, "leaf_rank", leaf_rank)

    @property
    def ranks(self) -> dict[str, Any]:
        """The ranks of nodes and of leaves."""
        return {"ht_rank": self.rank, "leaf_rank": self.leaf_rank}


class HTLSTM(LSTM):
    """An LSTM whose input-to-hidden matrix is a hierarchical Tucker tensor (Yin et al., 2020).

    Args:
        in_modes: I_1 .. I_d, at least two, whose product is the input size.
        hidden_modes: J_1 .. J_d, whose product is the hidden size.
        ht_rank: The rank of every node that has children.
        leaf_rank: The rank of the leaves; `ht_rank` if None.
        options: As for `LSTM`.

    Attributes:
        input_maps: An `HTLinear` for each layer and direction, with 4 J_1 in place of J_1.

    Raises:
        ValueError: As `HTLinear` and `LSTM`.
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        ht_rank: int,
        leaf_rank: int | None = None,
        **options: Unpack[LSTMOptions],
    ) -> None:
        input_map = HierarchicalTucker(in_modes, hidden_modes, ht_rank, leaf_rank)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)
