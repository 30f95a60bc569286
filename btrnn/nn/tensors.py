"""What all ways from a dense W to a factorised map do with tensors, in float64."""

from collections.abc import Sequence
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.sizes import check_modes


def tensorise(
    weight: Float[Tensor, "out_features in_features"], in_modes: Sequence[int], out_modes: Sequence[int]
) -> Tensor:
    """Read W as a tensor (I_1 J_1, .., I_d J_d) in float64.

    Raises:
        ValueError: The modes do not multiply to W's shape, or W holds NaN or infinity.
    """
    in_modes, out_modes = check_modes(in_modes, out_modes)
    check_weight(weight, in_modes, out_modes)
    order = len(in_modes)
    pairs = [axis for k in range(order) for axis in (order + k, k)]
    tensor = weight.detach().double().reshape(*out_modes, *in_modes).permute(pairs)
    return tensor.reshape([i * j for i, j in zip(in_modes, out_modes, strict=True)])


def check_weight(weight: Tensor, in_modes: Sequence[int], out_modes: Sequence[int]) -> None:
    """Check that W can be read in these modes.

    Raises:
        ValueError: The modes do not multiply to W's shape, or W does not hold real numbers, or NaN or infinity.
    """
    if not weight.is_floating_point():
        raise ValueError(f"the weight must hold real numbers, as of torch.float32, got {weight.dtype}")
    if weight.shape != (prod(out_modes), prod(in_modes)):
        raise ValueError(
            f"out_modes {tuple(out_modes)} and in_modes {tuple(in_modes)} stand for a weight of shape "
            f"({prod(out_modes)}, {prod(in_modes)}), got {tuple(weight.shape)}"
        )
    if not weight.isfinite().all():
        raise ValueError(f"the weight of shape {tuple(weight.shape)} holds NaN or infinity, which no factors stand for")


def resize(tensor: Tensor, axis: int, size: int) -> Tensor:
    """Cut an axis to `size` entries, or fill it up with zeros."""
    kept = tensor.narrow(axis, 0, min(size, tensor.shape[axis]))
    missing = list(kept.shape)
    missing[axis] = size - kept.shape[axis]
    return torch.cat([kept, kept.new_zeros(missing)], dim=axis)


def share_scale(operands: Sequence[Tensor]) -> list[Tensor]:
    """Scale all operands of a product to the same root mean square, so that one learning rate suits them all."""
    scales = torch.stack([operand.square().mean().sqrt() for operand in operands])
    if (scales == 0).any():
        return list(operands)
    shared = scales.log().mean().exp()
    return [operand * (shared / scale) for operand, scale in zip(operands, scales, strict=True)]


def multiply(tensor: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Multiply an axis of a tensor with a matrix (new size, old size): the mode product."""
    product: Tensor = torch.tensordot(tensor, matrix, dims=([axis], [1]))
    return product.movedim(-1, axis)


def project(tensor: Tensor, factors: Sequence[Tensor], without: int | None = None) -> Tensor:
    """Multiply every axis, or all but one, with its transposed factor."""
    for axis, factor in enumerate(factors):
        if axis != without:
            tensor = multiply(tensor, axis, factor.mT)
    return tensor


def unfold(tensor: Tensor, axis: int) -> Tensor:
    """Flatten all axes but one: (size of the axis, all others)."""
    return tensor.movedim(axis, 0).flatten(1) if tensor.dim() > 1 else tensor[:, None]


def leading_vectors(matrix: Tensor, rank: int) -> Tensor:
    """Return the first left singular vectors of a matrix as columns, zeros where it has fewer."""
    if matrix.shape[1] > matrix.shape[0]:  # the same left vectors, without the long right ones
        matrix = torch.linalg.qr(matrix.mT, mode="r").R.mT
    return resize(torch.linalg.svd(matrix, full_matrices=False).U, 1, rank)
