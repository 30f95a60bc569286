"""Matrix products: oneDNN's where they are faster than torch's own.

For float32 on a CPU, torch multiplies with MKL, which leaves half of the vector unit of AMD's processors unused.
oneDNN, which torch brings along too, does not. Its operations are those that torch.compile calls; where they are
missing, or would be looked into, torch's own serve. The same inputs give the same bits.
"""

from typing import Any

import torch
from torch import Tensor

from btrnn.ops.dispatch import is_eager

FEWEST_OPERATIONS = 2e7  # below, the longer call costs more than the product gains


def has_onednn(tensor: Tensor) -> bool:
    """Say whether oneDNN multiplies tensors of this kind: float32 on the CPU."""
    return (
        tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and torch._C._has_mkldnn
        and bool(torch._C._get_mkldnn_enabled())
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


def product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply two matrices, (M, K) and (K, N); differentiable any number of times."""
    if not (is_eager(left, right) and has_onednn(left) and has_onednn(right)):
        return left @ right
    if 2 * left.shape[0] * right.numel() < FEWEST_OPERATIONS:  # asked last: traced, it would fix the sizes
        return left @ right
    result: Tensor = _Product.apply(left, right)
    return result


def onednn_product(left: Tensor, right_t: Tensor) -> Tensor:
    """Multiply (M, K) with the transpose of (N, K) by oneDNN, unseen by autograd; either may be a transposed view."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right_t, None, "none", [], "")
    return result


def onednn_outer_product(left: Tensor, right: Tensor) -> Tensor:
    """Compute left^T right of (M, K) and (M, N) by oneDNN, in the orientation in which it is fast."""
    return onednn_product(right.t(), left.t()).t()


class _Product(torch.autograd.Function):
    """The product by oneDNN, and its gradients; those of a backward that is differentiated again by torch."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return onednn_product(left, right.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        (d_out,) = grads
        need_left, need_right = ctx.needs_input_grad
        if torch.is_grad_enabled() or not is_eager(d_out):
            return d_out @ right.t() if need_left else None, left.t() @ d_out if need_right else None
        d_left = onednn_product(d_out, right) if need_left else None
        return d_left, onednn_outer_product(left, d_out) if need_right else None
