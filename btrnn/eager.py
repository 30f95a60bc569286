"""Whether tensors may go to code that torch does not see into: buffers filled in place, a kernel called by address."""

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual


def is_eager(*tensors: Tensor) -> bool:
    """Say whether these are plain tensors that are computed with at once.

    They are not under torch.compile, torch.export, tracing, torch.func, forward-mode differentiation, autocast, and
    within a dispatch mode (one that counts operations, say), nor if they have no numbers or a class of their own.
    """
    return not (
        torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or tensors[0].is_meta
        or torch.is_autocast_enabled(tensors[0].device.type)
        or any(type(tensor) not in (Tensor, torch.nn.Parameter) for tensor in tensors)
        or any(unpack_dual(tensor).tangent is not None for tensor in tensors)  # type: ignore[no-untyped-call]
    )
