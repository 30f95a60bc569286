"""What this package takes from torch under private names, each tried once: where one has gone, the plain path serves.

A newer torch may drop such a name or change what it does. So at import all of them are called on tiny tensors; if one
is missing, fails or gives another answer than it should, `KNOWS_CONTEXT` or `HAS_ONEDNN` is False, and everything is
computed by torch's public operations: the same numbers up to rounding, in more time.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def transforms_are_active() -> bool:
    """Say whether a transform of torch.func is at work, such as vmap."""
    return torch._C._are_functorch_transforms_active()


def dispatch_modes_are_active() -> bool:
    """Say whether a mode sees all operations, such as one that counts them."""
    return torch._C._len_torch_dispatch_stack() > 0


def is_batched(tensor: Tensor) -> bool:
    """Say whether this stands for many tensors, as gradients do in torch.autograd.grad with is_grads_batched."""
    return torch._C._functorch.is_legacy_batchedtensor(tensor)


def onednn_linear(x: Tensor, weight: Tensor) -> Tensor:
    """Compute x weight^T by oneDNN, of (M, K) and (N, K); either may be a transposed view."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return result


def onednn_linear_add(x: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """Compute x weight^T + other by oneDNN."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, weight, None, "add")
    return result


def onednn_layout(weight: Tensor, rows: int) -> Tensor:
    """Lay a weight out for calls of `onednn_linear` and `onednn_linear_add` with so many rows."""
    result: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return result


def _answers(test: Callable[[], Any]) -> bool:
    """Say whether a test passes; a name that is missing fails it in whatever way torch says so."""
    with torch.autocast("cpu", enabled=False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bool(test())
        except Exception:
            return False


def _context_is_known() -> bool:
    seen: list[bool] = []

    def watch(row: Tensor) -> Tensor:
        seen.append(transforms_are_active())
        return row

    tensor = torch.ones(2, 2, device="cpu")
    idle = not (transforms_are_active() or dispatch_modes_are_active() or is_batched(tensor))
    torch.func.vmap(watch)(tensor)
    return idle and seen == [True]


def _onednn_is_right() -> bool:
    x = torch.arange(12.0, dtype=torch.float32, device="cpu").reshape(3, 4)
    weight = torch.arange(-4.0, 4.0, dtype=torch.float32, device="cpu").reshape(2, 4)
    other = torch.ones(3, 2, dtype=torch.float32, device="cpu")
    wanted = (x.unsqueeze(1) * weight).sum(dim=2)
    added = onednn_linear_add(x, other, onednn_layout(weight, 3))
    return torch.equal(onednn_linear(x, weight), wanted) and torch.equal(added, wanted + other)


KNOWS_CONTEXT = _answers(_context_is_known)
HAS_ONEDNN = bool(torch.backends.mkldnn.is_available()) and _answers(_onednn_is_right)  # type: ignore[no-untyped-call]
