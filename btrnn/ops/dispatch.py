"""Which tensors a layer can compute with, and which may go to code that torch does not see into, such as a kernel.

`torch.library.custom_op` would leave the question to torch, but forward-mode differentiation through such an operation
gives wrong tangents without an error, modes that count operations see none of its arithmetic, and a call with its
backward takes longer.
"""

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from btrnn.ops.private_torch import KNOWS_CONTEXT, dispatch_modes_are_active, is_batched, transforms_are_active


def is_eager(*tensors: Tensor) -> bool:
    """Say whether these are plain tensors that are computed with at once.

    They are not under torch.compile, torch.export, tracing, torch.func, forward-mode differentiation, autocast, and
    within a dispatch mode (one that counts operations, say), nor if they have no numbers or a class of their own.
    Where torch does not say which of these is at work, none are taken for plain.
    """
    return KNOWS_CONTEXT and not (
        torch.compiler.is_compiling()
        or is_tracing()
        or transforms_are_active()
        or dispatch_modes_are_active()
        or tensors[0].is_meta
        or torch.is_autocast_enabled(tensors[0].device.type)
        or any(type(tensor) not in (Tensor, torch.nn.Parameter) for tensor in tensors)
        or any(is_batched(tensor) for tensor in tensors)
        or any(unpack_dual(tensor).tangent is not None for tensor in tensors)  # type: ignore[no-untyped-call]
    )


def is_tracing() -> bool:
    """Say whether torch.jit.trace records: sizes of tensors are tensors then, and comparing them fixes the answer."""
    return not torch.compiler.is_compiling() and bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def check_dtype(layer: str, x: Tensor, parameter: Tensor, name: str = "an input") -> None:
    """Check that this is a tensor of the type of a layer's parameters; autocast converts both by itself.

    Args:
        layer: The layer's name.
        x: What it was given.
        parameter: One of its parameters.
        name: What `x` is to the layer.

    Raises:
        ValueError: It is no tensor, or the types differ.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"{layer} takes {name} that is a tensor, got {type(x).__name__}")
    if x.dtype != parameter.dtype and not torch.is_autocast_enabled(x.device.type):
        raise ValueError(
            f"{layer} has parameters of {parameter.dtype} and takes {name} of that type, got {x.dtype}: convert the "
            f"tensor by .to({parameter.dtype})" + (f", or the layer by .to({x.dtype})" * x.dtype.is_floating_point)
        )
