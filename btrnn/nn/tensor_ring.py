"""W as a tensor ring, with a core for each mode of input and output: the map, its fit to a dense W, and its LSTM.

    W[j, i] = trace(A_1[i_1] .. A_m[i_m] B_1[j_1] .. B_n[j_n])

with matrices A_k[i_k] (r_{k-1}, r_k) and B_k[j_k] (r_{m+k-1}, r_{m+k}) for each index of each mode, the ring closed by
r_{m+n} = r_0 (Pan et al., AAAI 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.nn.factorised import FactorisedLinear, filled
from btrnn.nn.input_map import FactorisedMap, MapPlace
from btrnn.nn.lstm import LSTM, LSTMOptions
from btrnn.nn.parameters import CalledParameters
from btrnn.nn.tensors import check_weight, resize, share_scale
from btrnn.sizes import all_ranks, check_modes, one_or_more_ranks

_LEAST_GAIN = 1e-4  # share of the error that a sweep must take away for another one to follow


class TRLinear(FactorisedLinear):
    """A linear map whose weight is a tensor ring.

    Args:
        in_modes: I_1 .. I_m; their product is `in_features`.
        out_modes: J_1 .. J_n; their product is `out_features`. There may be more or fewer of them.
        tr_rank: One rank for all places, or one for each core, r_0 first.
        bias, device, dtype: As in nn.Linear.

    Attributes:
        cores: The cores A_k (r_{k-1}, I_k, r_k) of the input modes, then B_k (r_{m+k-1}, J_k, r_{m+k}) of the output
            modes, with r_0 again behind the last.
        order: m.

    Raises:
        ValueError: No modes, a mode or rank below 1, or a wrong number of ranks.

    Examples:
        >>> layer = TRLinear((4, 2, 5, 8, 6, 5, 3, 2), (16, 4, 2, 4, 2), tr_rank=(10, *[5] * 12))
        >>> layer(torch.zeros(2, 57_600)).shape, layer.num_weights, int(layer.compression_ratio)
        (torch.Size([2, 1024]), 1725, 34192)
    """

    rank_names = ("tr_ranks",)
    largest_order = 24  # of each list: both together need a letter of einsum each

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        tr_rank: int | Sequence[int],
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(*check_modes(in_modes, out_modes, paired=False), bias, device, dtype)
        modes = (*self.in_modes, *self.out_modes)
        self.tr_ranks = all_ranks("tr_rank", tr_rank, len(modes))
        shapes = zip(self.tr_ranks, modes, (*self.tr_ranks[1:], self.tr_ranks[0]), strict=True)
        self.cores = CalledParameters.empty(shapes, device, dtype)
        names = [f"i{k}" for k in range(self.order)] + [f"j{k}" for k in range(len(self.out_modes))]
        ranks = {f"r{k}": rank for k, rank in enumerate(self.tr_ranks)}
        self._set_network([(f"r{k}", name, f"r{(k + 1) % len(modes)}") for k, name in enumerate(names)], ranks)

    @classmethod
    def from_dense(
        cls,
        weight: Float[Tensor, "out_features in_features"],
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        tr_rank: int | Sequence[int],
        bias: Float[Tensor, " out_features"] | None = None,
    ) -> "TRLinear":
        """Make the map that is close to a trained dense layer; see `tensor_ring`.

        The arguments are those of the class, and `weight` and `bias` as in `BTLinear.from_dense`.

        Returns:
            The map; `relative_error(weight)` says how close it is.

        Raises:
            ValueError: The modes do not multiply to W's shape, or the ranks do not fit the modes.
        """
        cores = tensor_ring(weight, in_modes, out_modes, tr_rank)
        return filled(cls, weight, bias, cores, in_modes, out_modes, tr_rank=tr_rank)

    def weights(self) -> list[Tensor]:
        """Return the cores."""
        return list(self.cores())


def tensor_ring(
    weight: Float[Tensor, "out_features in_features"],
    in_modes: Sequence[int],
    out_modes: Sequence[int],
    tr_rank: int | Sequence[int],
    *,
    num_starts: int = 3,
    max_sweeps: int = 100,
) -> list[Tensor]:
    """Fit the cores of a tensor ring to W: TR-SVD, then alternating least squares (Zhao et al., 2016).

    Least squares for one core after another never makes the error larger, but may end in a local minimum, so beside
    the singular vectors random cores are a start, and the best result is kept. The same W gives the same cores.

    Args:
        weight: W, laid out as nn.Linear.weight.
        in_modes: I_1 .. I_m.
        out_modes: J_1 .. J_n.
        tr_rank: One rank for all places, or one for each core, r_0 first.
        num_starts: How many starts.
        max_sweeps: Of each; it ends earlier where a sweep takes away less than 1e-4 of the error.

    Returns:
        The cores A_k (r_{k-1}, I_k, r_k) and B_k (r_{m+k-1}, J_k, r_{m+k}), of float64.

    Raises:
        ValueError: The modes do not multiply to W's shape, or the ranks do not fit the modes.
    """
    in_modes, out_modes = check_modes(in_modes, out_modes, paired=False)
    check_weight(weight, in_modes, out_modes)
    ranks = all_ranks("tr_rank", tr_rank, len(in_modes) + len(out_modes))
    tensor = weight.detach().double().mT.reshape(*in_modes, *out_modes)
    norm = tensor.norm()
    if norm == 0:
        return [tensor.new_zeros(shape) for shape in _shapes(tensor, ranks)]
    tensor = tensor / norm
    best, least = _improve(tensor, _singular_cores(tensor, ranks), max_sweeps)
    draw = torch.Generator().manual_seed(0)
    for _ in range(num_starts - 1):
        normal = [
            torch.randn(shape, generator=draw, dtype=torch.float64, device="cpu") for shape in _shapes(tensor, ranks)
        ]
        cores, error = _improve(tensor, [core.to(tensor.device) for core in normal], max_sweeps)
        if error < least:
            best, least = cores, error
    return share_scale([best[0] * norm, *best[1:]])


def _shapes(tensor: Tensor, ranks: Sequence[int]) -> list[tuple[int, int, int]]:
    return list(zip(ranks, tensor.shape, (*ranks[1:], ranks[0]), strict=True))


def _singular_cores(tensor: Tensor, ranks: Sequence[int]) -> list[Tensor]:
    """Take the cores off one after the other, each by a truncated singular value decomposition (TR-SVD).

    The first one splits r_0 r_1 singular vectors; ranks that are not there are zeros.
    """
    cores: list[Tensor] = []
    rest = tensor.reshape(1, -1)
    for k, (left, size, right) in enumerate(_shapes(tensor, ranks)[:-1]):
        kept = right if k else left * right
        vectors, values, others = torch.linalg.svd(rest.reshape(rest.shape[0] * size, -1), full_matrices=False)
        vectors, rest = resize(vectors, 1, kept), resize(values[:, None] * others, 0, kept)
        if k == 0:  # r_0 goes to the end of what is left
            cores.append(vectors.reshape(size, left, right).movedim(1, 0))
            rest = rest.reshape(left, right, -1).movedim(0, 2).reshape(right, -1)
        else:
            cores.append(vectors.reshape(left, size, right))
    return [*cores, rest.reshape(ranks[-1], tensor.shape[-1], ranks[0])]


def _improve(tensor: Tensor, cores: list[Tensor], max_sweeps: int) -> tuple[list[Tensor], float]:
    """Solve for one core after another until that is no longer worth it; the error is relative to a norm of 1."""
    error = float("inf")
    for _ in range(max_sweeps):
        before = error
        for k in range(len(cores)):
            cores = share_scale(cores)
            cores[k], error = _solve(tensor, cores, k)
        if error > (1 - _LEAST_GAIN) * before:
            break
    return cores, error


def _solve(tensor: Tensor, cores: Sequence[Tensor], k: int) -> tuple[Tensor, float]:
    """Return the core k that fits best beside the others, and the relative error that is left.

    The others are multiplied in two halves, each small beside the tensor: P behind core k, and Q before it.
    """
    others = [(k + step) % len(cores) for step in range(1, len(cores))]
    half = next(
        n
        for n in range(len(cores))
        if prod(tensor.shape[m] for m in others[:n]) ** 2 >= tensor.numel() or n == len(others)
    )
    one = cores[k].new_ones(1)
    behind = _chain([cores[m] for m in others[:half]], cores[k].shape[2], one)
    before = _chain([cores[m] for m in others[half:]], behind.shape[2], one)
    turned = tensor.permute(k, *others).reshape(tensor.shape[k], behind.shape[1], before.shape[1])
    part = torch.tensordot(turned, before, dims=([2], [1]))  # (n, P, s, r_k)
    wanted = torch.einsum("npsk,aps->kna", part, behind)
    of_behind = torch.einsum("aps,bpt->asbt", behind, behind)
    of_before = torch.einsum("sqk,tql->sktl", before, before)
    gram = torch.einsum("asbt,sktl->kalb", of_behind, of_before).flatten(0, 1).flatten(1)
    left, size, right = cores[k].shape
    solved = wanted.movedim(1, 0).reshape(size, -1) @ torch.linalg.pinv(gram, hermitian=True)
    core = solved.reshape(size, left, right).movedim(1, 0)
    explained = 2 * (core * wanted).sum() - ((solved @ gram) * solved).sum()
    return core, float((1 - explained).clamp_min(0).sqrt())


def _chain(cores: Sequence[Tensor], rank: int, like: Tensor) -> Tensor:
    """Multiply neighbouring cores to (first rank, product of the modes, last rank); of none it is the identity."""
    if not cores:
        return torch.eye(rank, dtype=like.dtype, device=like.device)[:, None]
    result = cores[0]
    for core in cores[1:]:
        result = torch.tensordot(result, core, dims=([2], [0])).flatten(1, 2)
    return result


@dataclass(frozen=True)
class TensorRing(FactorisedMap):
    """A tensor ring: `TRLinear` in every layer and direction.

    The cores of the input of the layers above the first have the ranks of the hidden modes' cores, but r_0 at first.

    Args:
        in_modes: I_1 .. I_m, whose product is the input size.
        hidden_modes: J_1 .. J_n, whose product is the hidden size; there may be more or fewer of them.
        rank: One rank for all places, or one for each core of the first layer, r_0 first.

    Raises:
        ValueError: No modes, a mode or rank below 1, or a wrong number of ranks.
    """

    rank: int | Sequence[int]
    linear, paired = TRLinear, False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rank", one_or_more_ranks(self.rank, "tr_rank"))
        all_ranks("tr_rank", self.rank, len(self.in_modes) + len(self.hidden_modes))

    @property
    def ranks(self) -> dict[str, Any]:
        """The ranks."""
        return {"tr_rank": self.rank}

    def ranks_of(self, place: MapPlace) -> dict[str, Any]:
        """Return the ranks, above the lowest layer those of as many cores as there are."""
        rank = self.rank
        if place.layer > 0 and not isinstance(rank, int):
            of_hidden = rank[len(self.in_modes) :]
            rank = (rank[0], *of_hidden[1:], *of_hidden)
        return {"tr_rank": rank}


class TRLSTM(LSTM):
    """An LSTM whose input-to-hidden matrix is a tensor ring (Pan et al., AAAI 2019).

    Args:
        in_modes: I_1 .. I_m, whose product is the input size.
        hidden_modes: J_1 .. J_n, whose product is the hidden size; there may be more or fewer of them.
        tr_rank: One rank for all places, or one for each core, r_0 first.
        options: As for `LSTM`.

    Attributes:
        input_maps: A `TRLinear` for each layer and direction, with 4 J_1 in place of J_1.

    Raises:
        ValueError: As `TRLinear` and `LSTM`.

    Examples:
        >>> lstm = TRLSTM((4, 2, 5, 8, 6, 5, 3, 2), (4, 4, 2, 4, 2), tr_rank=(10, *[5] * 12))
        >>> lstm.num_input_parameters
        1725
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        tr_rank: int | Sequence[int],
        **options: Unpack[LSTMOptions],
    ) -> None:
        input_map = TensorRing(in_modes, hidden_modes, tr_rank)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)
