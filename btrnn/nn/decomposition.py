"""From a dense W to the numbers of a factorised map: TT-SVD, and block terms by alternating least squares.

Both read W of shape (J, I) as a tensor of order d whose axis k has the I_k J_k pairs of one input and one output mode.
In this reading a tensor-train map is the tensor train of Oseledets (2011), and a block-term map the sum of Tucker
tensors of De Lathauwer (2008). Everything is computed in float64.
"""

from collections.abc import Sequence
from math import hypot, prod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.complexity import check_count, check_modes, full_tt_ranks

_LEAST_GAIN = 1e-5  # share of the error that a sweep must take away for another one to follow
_LAST_SWEEPS = 20  # on W itself
_EXACT = 1e-12  # relative error at which there is nothing left to gain


class BlockTerms(NamedTuple):
    """A sum of Tucker tensors.

    core: (N, R, .., R).
    factors: d tensors (N, I_k, J_k, R).
    errors: The relative error of the start and after each sweep; it never grows.
    """

    core: Tensor
    factors: list[Tensor]
    errors: list[float]


def _tensorise(
    weight: Float[Tensor, "out_features in_features"], in_modes: Sequence[int], out_modes: Sequence[int]
) -> Tensor:
    """Read W as a tensor (I_1 J_1, .., I_d J_d) in float64.

    Raises:
        ValueError: The modes do not multiply to W's shape, or W holds NaN or infinity.
    """
    in_modes, out_modes = check_modes(in_modes, out_modes)
    if weight.shape != (prod(out_modes), prod(in_modes)):
        raise ValueError(
            f"out_modes {out_modes} and in_modes {in_modes} stand for a weight of shape "
            f"({prod(out_modes)}, {prod(in_modes)}), got {tuple(weight.shape)}"
        )
    if not weight.isfinite().all():
        raise ValueError(f"the weight of shape {tuple(weight.shape)} holds NaN or infinity, which no factors stand for")
    order = len(in_modes)
    pairs = [axis for k in range(order) for axis in (order + k, k)]
    tensor = weight.detach().double().reshape(*out_modes, *in_modes).permute(pairs)
    return tensor.reshape([i * j for i, j in zip(in_modes, out_modes, strict=True)])


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
    rest = _tensorise(weight, in_modes, out_modes)
    ranks, sizes = full_tt_ranks(rest.dim(), tt_rank), rest.shape
    cores = []
    for size, left, right in zip(sizes[:-1], ranks[:-2], ranks[1:-1], strict=True):
        left_vectors, values, right_vectors = torch.linalg.svd(rest.reshape(left * size, -1), full_matrices=False)
        cores.append(_resize(left_vectors, 1, right))
        rest = _resize(values[:, None] * right_vectors, 0, right)
    cores.append(rest)
    shapes = zip(ranks[:-1], in_modes, out_modes, ranks[1:], strict=True)
    return _share_scale([core.reshape(shape) for core, shape in zip(cores, shapes, strict=True)])


def _resize(tensor: Tensor, axis: int, size: int) -> Tensor:
    """Cut an axis to `size` entries, or fill it up with zeros."""
    kept = tensor.narrow(axis, 0, min(size, tensor.shape[axis]))
    missing = list(kept.shape)
    missing[axis] = size - kept.shape[axis]
    return torch.cat([kept, kept.new_zeros(missing)], dim=axis)


def _share_scale(operands: Sequence[Tensor]) -> list[Tensor]:
    """Give all operands of a product the same root mean square, so that one learning rate suits them all."""
    scales = torch.stack([operand.square().mean().sqrt() for operand in operands])
    if (scales == 0).any():
        return list(operands)
    shared = scales.log().mean().exp()
    return [operand * (shared / scale) for operand, scale in zip(operands, scales, strict=True)]


def block_terms(
    weight: Float[Tensor, "out_features in_features"],
    in_modes: Sequence[int],
    out_modes: Sequence[int],
    tucker_rank: int,
    num_blocks: int = 1,
    *,
    num_starts: int = 4,
    max_sweeps: int = 100,
) -> BlockTerms:
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
        tucker_rank: R.
        num_blocks: N.
        num_starts: How many starts, where N > 1.
        max_sweeps: Of each start; it ends earlier where a sweep takes away less than 1e-5 of the error.

    Returns:
        The best start's core, factors (float64) and errors.

    Raises:
        ValueError: The modes do not multiply to W's shape, or a rank or a count is below 1.
    """
    check_count("tucker_rank", tucker_rank)
    starts = check_count("num_starts", num_starts) if check_count("num_blocks", num_blocks) > 1 else 1
    tensor = _tensorise(weight, in_modes, out_modes)
    norm = tensor.norm()
    if norm > 0:
        tensor = tensor / norm
    bases = [
        _leading_vectors(_unfold(tensor, axis), min(tucker_rank * num_blocks, size))
        for axis, size in enumerate(tensor.shape)
    ]
    small = _project(tensor, bases)
    lost = float((tensor - _Block(small, bases).expand()).norm())  # at a right angle to all that `small` can be
    draw = torch.Generator().manual_seed(0)
    best, errors = _sweep(small, _deflate(small, tucker_rank, num_blocks), max_sweeps)
    for _ in range(starts - 1):
        if errors[-1] < _EXACT:
            break
        found = _sweep(small, _random(small, tucker_rank, num_blocks, draw), max_sweeps)
        if found[1][-1] < errors[-1]:
            best, errors = found
    lifted = [
        _Block(core, [basis @ factor for basis, factor in zip(bases, factors, strict=True)]) for core, factors in best
    ]
    blocks, last_errors = _sweep(tensor, lifted, _LAST_SWEEPS)
    scaled = [_share_scale([norm * block.core, *block.factors]) for block in blocks]
    core, *factors = (torch.stack(operands) for operands in zip(*scaled, strict=True))
    shapes = zip(in_modes, out_modes, strict=True)
    return BlockTerms(
        core,
        [factor.reshape(num_blocks, i, j, tucker_rank) for factor, (i, j) in zip(factors, shapes, strict=True)],
        [*(hypot(lost, error) for error in errors[:-1]), *last_errors],
    )


class _Block(NamedTuple):
    """A Tucker tensor: core (R, .., R), d factors (M_k, R)."""

    core: Tensor
    factors: list[Tensor]

    def expand(self, without: int | None = None) -> Tensor:
        """Multiply the core with all factors, or all but one."""
        tensor = self.core
        for axis, factor in enumerate(self.factors):
            if axis != without:
                tensor = _multiply(tensor, axis, factor)
        return tensor


def _multiply(tensor: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Multiply an axis of a tensor with a matrix (new size, old size): the mode product."""
    product: Tensor = torch.tensordot(tensor, matrix, dims=([axis], [1]))
    return product.movedim(-1, axis)


def _project(tensor: Tensor, factors: Sequence[Tensor], without: int | None = None) -> Tensor:
    """Multiply every axis, or all but one, with its transposed factor."""
    for axis, factor in enumerate(factors):
        if axis != without:
            tensor = _multiply(tensor, axis, factor.mT)
    return tensor


def _unfold(tensor: Tensor, axis: int) -> Tensor:
    """Flatten all axes but one: (size of the axis, all others)."""
    return tensor.movedim(axis, 0).flatten(1) if tensor.dim() > 1 else tensor[:, None]


def _leading_vectors(matrix: Tensor, rank: int) -> Tensor:
    """Return the first left singular vectors of a matrix as columns, zeros where it has fewer."""
    if matrix.shape[1] > matrix.shape[0]:  # the same left vectors, without the long right ones
        matrix = torch.linalg.qr(matrix.mT, mode="r").R.mT
    return _resize(torch.linalg.svd(matrix, full_matrices=False).U, 1, rank)


def _orthonormal(factor: Tensor) -> Tensor:
    """Return orthonormal columns that span at least the factor's, zeros where there is no room for as many."""
    return _resize(torch.linalg.qr(factor).Q, 1, factor.shape[1])


def _deflate(tensor: Tensor, rank: int, num_blocks: int) -> list[_Block]:
    """Take block after block out of a tensor, each by a higher-order SVD of what is left, refined once."""
    blocks = []
    for _ in range(num_blocks):
        factors = [_leading_vectors(_unfold(tensor, axis), rank) for axis in range(tensor.dim())]
        for axis in range(tensor.dim()):
            factors[axis] = _leading_vectors(_unfold(_project(tensor, factors, axis), axis), rank)
        blocks.append(_Block(_project(tensor, factors), factors))
        tensor = tensor - blocks[-1].expand()
    return blocks


def _random(tensor: Tensor, rank: int, num_blocks: int, draw: torch.Generator) -> list[_Block]:
    """Draw blocks: random orthonormal factors, each with the core tensor that fits what the blocks before it leave."""
    blocks = []
    for _ in range(num_blocks):
        normal = [torch.randn(size, rank, generator=draw, dtype=tensor.dtype) for size in tensor.shape]
        factors = [_orthonormal(factor.to(tensor.device)) for factor in normal]
        blocks.append(_Block(_project(tensor, factors), factors))
        tensor = tensor - blocks[-1].expand()
    return blocks


def _sum(blocks: Sequence[_Block]) -> Tensor:
    return torch.stack([block.expand() for block in blocks]).sum(dim=0)


def _sweep(tensor: Tensor, blocks: list[_Block], max_sweeps: int) -> tuple[list[_Block], list[float]]:
    """Improve blocks until that is no longer worth it.

    Returns:
        The blocks, and the errors of the start and after each sweep, relative to a tensor of norm 1.
    """
    errors = [float((tensor - _sum(blocks)).norm())]
    for _ in range(max_sweeps):
        improved = _fit_cores(tensor, _fit_factors(tensor, blocks))
        error = float((tensor - _sum(improved)).norm())
        if error >= errors[-1]:  # rounding
            break
        blocks = improved
        errors.append(error)
        if error > (1 - _LEAST_GAIN) * errors[-2] or error < _EXACT:
            break
    return blocks, errors


def _fit_factors(tensor: Tensor, blocks: Sequence[_Block]) -> list[_Block]:
    """Solve, mode after mode, for the factors of all blocks together."""
    blocks = list(blocks)
    rank = blocks[0].factors[0].shape[1]
    for axis in range(tensor.dim()):
        design = torch.cat([_unfold(block.expand(without=axis), axis) for block in blocks])
        solved = _unfold(tensor, axis) @ torch.linalg.pinv(design)
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
        fitted.append(_Block(_project(own, factors), factors))
        rest = own - fitted[-1].expand()
    return fitted
