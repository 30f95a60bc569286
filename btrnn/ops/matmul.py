"""Matrix products: oneDNN's where they are faster than torch's own.

For float32 on a CPU, torch multiplies with MKL, which leaves half of the vector unit of AMD's processors unused.
oneDNN, which torch brings along too, does not. Its operations are those that torch.compile calls; where they are
missing, or would be looked into, torch's own serve. The same inputs give the same bits.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from btrnn.ops import dispatch
from btrnn.ops.dispatch import is_eager

FEWEST_OPERATIONS = 2e7  # below, the longer call costs more than the product gains
STEP_ROWS, ALL_ROWS, MATRIX_NUMBERS = 4, 256, 2**16  # see `repays_onednn`


def has_onednn(tensor: Tensor) -> bool:
    """Return whether oneDNN multiplies tensors of this kind: float32 on the CPU."""
    return (
        dispatch.HAS_ONEDNN
        and tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and bool(torch.backends.mkldnn.enabled)
    )


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """Multiply two matrices, (M, K) and (K, N); differentiable any number of times."""
    if not (is_eager(left, right) and has_onednn(left) and has_onednn(right)):
        return left @ right
    if 2 * left.shape[0] * right.numel() < FEWEST_OPERATIONS:  # asked last: traced, it would fix the sizes
        return left @ right
    result: Tensor = _Matmul.apply(left, right)
    return result


class _Matmul(torch.autograd.Function):
    """The product by oneDNN, and its gradients; those of a backward that is differentiated again by torch."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return dispatch.onednn_linear(left, right.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        (d_out,) = grads
        need_left, need_right = ctx.needs_input_grad
        if torch.is_grad_enabled() or not is_eager(d_out):
            return d_out @ right.t() if need_left else None, left.t() @ d_out if need_right else None
        d_left = dispatch.onednn_linear(d_out, right) if need_left else None
        # left^T d_out, the matrix's gradient, is torch's on every processor: oneDNN takes up to a fifth longer for it.
        return d_left, torch.mm(d_out.t(), left).t() if need_right else None


# ---- one matrix at every step of a recurrence


def repays_onednn(matrix: Tensor, rows: Sequence[int]) -> bool:
    """Return whether oneDNN multiplies faster: it lays the matrix out once for all steps, but is slower to call."""
    large = sum(rows) >= ALL_ROWS and matrix.numel() >= MATRIX_NUMBERS
    return large and max(rows) >= STEP_ROWS and has_onednn(matrix)


def repeated_linear(matrix: Tensor, rows: Sequence[int]) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Return a function of x and y that computes x matrix^T, plus y unless it is None, unseen by autograd.

    Args:
        matrix: (N, K).
        rows: How many rows x has in each of the calls to come.
    """
    if repays_onednn(matrix, rows):
        packed = dispatch.onednn_layout(matrix.detach().contiguous(), max(rows))
        linear, linear_add = dispatch.onednn_linear, dispatch.onednn_linear_add
        return lambda x, y: linear(x, packed) if y is None else linear_add(x, y, packed)
    matrix_t = matrix.t()
    return lambda x, y: torch.mm(x, matrix_t) if y is None else torch.addmm(y, x, matrix_t)
