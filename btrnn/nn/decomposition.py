"""From a dense W to the numbers of a factorised map: TT-SVD, and block terms by alternating least squares.

Both read W of shape (J, I) as a tensor of order d whose axis k has the I_k J_k pairs of one input and one output mode.
In this reading a tensor-train map is the tensor train of Oseledets (2011), and a block-term map the sum of Tucker
tensors of De Lathauwer (2008); with one term it is a Tucker tensor, with terms of rank 1 the canonical polyadic form.
Everything is computed in float64.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.nn.tensors import leading_vectors, multiply, project, resize, share_scale, tensorise, unfold
from btrnn.sizes import all_ranks, check_count, full_tt_ranks

_LEAST_GAIN = 1e-5  # share of the error that a sweep must take away for another one to follow
_LAST_SWEEPS = 20  # on W itself
_EXACT = 1e-12  # relative error at which there is nothing left to gain


def tensor_train(
    weight: Float[Tensor, "out_features in_features"],
    in_modes: Sequence[int],
    out_modes: Sequence[int],
    tt_rank: int | Sequence[int],
) -> list[Tensor]:
    """Compute TT-cores of W by TT-SVD: one truncated singular value decomposition after each mode.

    The error is at most sqrt(d - 1) times that of the best tensor train of these ranks (Oseledets, 2011, theorem 2.2).
    A rank that no tensor of these modes can have is filled with zeros.

    Args:
        weight: W, laid out as nn.Linear.weight.
        in_modes: I_1 .. I_d.
        out_modes: J_1 .. J_d.
        tt_rank: One inner rank for all places, or r_1 .. r_{d-1}.

    Returns:
        d TT-cores (r_{k-1}, I_k, J_k, r_k) of float64.

    Raises:
        ValueError: The modes do not multiply to W's shape, or the ranks do not fit the modes.
    """
    rest = tensorise(weight, in_modes, out_modes)
    ranks, sizes = full_tt_ranks(rest.dim(), tt_rank), rest.shape
    cores = []
    for size, left, right in zip(sizes[:-1], ranks[:-2], ranks[1:-1], strict=True):
        left_vectors, values, right_vectors = torch.linalg.svd(rest.reshape(left * size, -1), full_matrices=False)
        cores.append(resize(left_vectors, 1, right))
        rest = resize(values[:, None] * right_vectors, 0, right)
    cores.append(rest)
    shapes = zip(ranks[:-1], in_modes, out_modes, ranks[1:], strict=True)
    return share_scale([core.reshape(shape) for core, shape in zip(cores, shapes, strict=True)])


def block_terms(
    weight: Float[Tensor, "out_features in_features"],
    in_modes: Sequence[int],
    out_modes: Sequence[int],
    tucker_rank: int | Sequence[int],
    num_blocks: int = 1,
    *,
    num_starts: int = 4,
    max_sweeps: int = 100,
) -> tuple[Tensor, list[Tensor]]:
    """Fit a core tensor and factors to W by alternating least squares.

    A sweep solves for the factors of all blocks at one mode, mode after mode, and then for the core tensor of each
    block; each step is a least-squares problem, so the error never grows. The first start is by deflation: each block
    is the truncated higher-order SVD of what the blocks before it leave. That is the best there is at d = 2 and nearly
    so at N = 1 (at most sqrt(d) times the smallest error); with several blocks sweeps can end in a local minimum, so
    further starts are random, and the best is kept. All starts work on W projected to its N R leading directions of
    each mode, which is small however large W is (Bro and Andersson, 1998); the best is then improved on W itself. The
    same W gives the same result. Takes the memory of several W.

    Args:
        weight: W, laid out as nn.Linear.weight.
        in_modes: I_1 .. I_d.
        out_modes: J_1 .. J_d.
        tucker_rank: R, or R_1 .. R_d.
        num_blocks: N.
        num_starts: How many starts, where N > 1.
        max_sweeps: Of each start; it ends earlier where a sweep takes away less than 1e-5 of the error.

    Returns:
        The best start's core (N, R_1, .., R_d), and d factors (N, I_k, J_k, R_k), of float64.

    Raises:
        ValueError: The modes do not multiply to W's shape, or a rank or a count is below 1.
    """
    ranks = all_ranks("tucker_rank", tucker_rank, len(in_modes))
    starts = check_count("num_starts", num_starts) if check_count("num_blocks", num_blocks) > 1 else 1
    tensor = tensorise(weight, in_modes, out_modes)
    norm = tensor.norm()
    if norm > 0:
        tensor = tensor / norm
    bases = [
        leading_vectors(unfold(tensor, axis), min(rank * num_blocks, size))
        for axis, (rank, size) in enumerate(zip(ranks, tensor.shape, strict=True))
    ]
    small = project(tensor, bases)
    draw = torch.Generator().manual_seed(0)
    best, error = _sweep(small, _deflate(small, ranks, num_blocks), max_sweeps)
    for _ in range(starts - 1):
        if error < _EXACT:
            break
        found = _sweep(small, _random(small, ranks, num_blocks, draw), max_sweeps)
        if found[1] < error:
            best, error = found
    lifted = [
        _Block(core, [basis @ factor for basis, factor in zip(bases, factors, strict=True)]) for core, factors in best
    ]
    blocks, _ = _sweep(tensor, lifted, _LAST_SWEEPS)
    scaled = [share_scale([norm * block.core, *block.factors]) for block in blocks]
    core, *factors = (torch.stack(operands) for operands in zip(*scaled, strict=True))
    shapes = zip(in_modes, out_modes, ranks, strict=True)
    return core, [factor.reshape(num_blocks, *shape) for factor, shape in zip(factors, shapes, strict=True)]


class _Block(NamedTuple):
    """A Tucker tensor: core (R_1, .., R_d), d factors (M_k, R_k)."""

    core: Tensor
    factors: list[Tensor]

    def expand(self, without: int | None = None) -> Tensor:
        """Multiply the core with all factors, or all but one."""
        tensor = self.core
        for axis, factor in enumerate(self.factors):
            if axis != without:
                tensor = multiply(tensor, axis, factor)
        return tensor


def _orthonormal(factor: Tensor) -> Tensor:
    """Return orthonormal columns that span at least the factor's, zeros where there is no room for as many."""
    return resize(torch.linalg.qr(factor).Q, 1, factor.shape[1])


def _deflate(tensor: Tensor, ranks: Sequence[int], num_blocks: int) -> list[_Block]:
    """Take block after block out of a tensor, each by a higher-order SVD of what is left, refined once."""
    blocks = []
    for _ in range(num_blocks):
        factors = [leading_vectors(unfold(tensor, axis), rank) for axis, rank in enumerate(ranks)]
        for axis, rank in enumerate(ranks):
            factors[axis] = leading_vectors(unfold(project(tensor, factors, axis), axis), rank)
        blocks.append(_Block(project(tensor, factors), factors))
        tensor = tensor - blocks[-1].expand()
    return blocks


def _random(tensor: Tensor, ranks: Sequence[int], num_blocks: int, draw: torch.Generator) -> list[_Block]:
    """Draw blocks: random orthonormal factors, each with the core tensor that fits what the blocks before it leave."""
    blocks = []
    for _ in range(num_blocks):
        shapes = zip(tensor.shape, ranks, strict=True)
        normal = [torch.randn(shape, generator=draw, dtype=tensor.dtype, device="cpu") for shape in shapes]
        factors = [_orthonormal(factor.to(tensor.device)) for factor in normal]
        blocks.append(_Block(project(tensor, factors), factors))
        tensor = tensor - blocks[-1].expand()
    return blocks


def _sum(blocks: Sequence[_Block]) -> Tensor:
    total = blocks[0].expand()
    for block in blocks[1:]:
        total = total + block.expand()
    return total


def _sweep(tensor: Tensor, blocks: list[_Block], max_sweeps: int) -> tuple[list[_Block], float]:
    """Improve blocks until that is no longer worth it; return them and their error of a tensor of norm 1."""
    least = float((tensor - _sum(blocks)).norm())
    for _ in range(max_sweeps):
        improved = _fit_cores(tensor, _fit_factors(tensor, blocks))
        error = float((tensor - _sum(improved)).norm())
        if error >= least:  # rounding
            break
        blocks, before, least = improved, least, error
        if error > (1 - _LEAST_GAIN) * before or error < _EXACT:
            break
    return blocks, least


def _fit_factors(tensor: Tensor, blocks: Sequence[_Block]) -> list[_Block]:
    """Solve, mode after mode, for the factors of all blocks together."""
    blocks = list(blocks)
    for axis in range(tensor.dim()):
        rank = blocks[0].factors[axis].shape[1]
        design = torch.cat([unfold(block.expand(without=axis), axis) for block in blocks])
        solved = unfold(tensor, axis) @ torch.linalg.pinv(design)
        for n, factor in enumerate(solved.split(rank, dim=1)):
            factors = [*blocks[n].factors]
            factors[axis] = factor
            blocks[n] = _Block(blocks[n].core, factors)
    return blocks


def _fit_cores(tensor: Tensor, blocks: Sequence[_Block]) -> list[_Block]:
    """Solve, block after block, for the core tensor, with factors made orthonormal."""
    fitted = []
    rest = tensor - _sum(blocks)
    for block in blocks:
        own = rest + block.expand()
        factors = [_orthonormal(factor) for factor in block.factors]
        fitted.append(_Block(project(own, factors), factors))
        rest = own - fitted[-1].expand()
    return fitted
