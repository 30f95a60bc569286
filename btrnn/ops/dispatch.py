"""Which tensors a layer can compute with, and which may go to code that torch does not see into, such as a kernel.

`torch.library.custom_op` would leave the question to torch, but forward-mode differentiation through such an operation
gives wrong tangents without an error, modes that count operations see none of its arithmetic, and a call with its
backward takes longer.

Below is what this package takes from torch under private names, each tried once. A newer torch may drop such a name or
change what it does. So all of them are called on tiny tensors, those for GPUs when they are first asked for, the others
at import; if one is missing, fails or gives another answer than it should, `KNOWS_CONTEXT`, `HAS_ONEDNN` or
`has_fused_steps` says so, and everything is computed by torch's public operations: the same numbers up to rounding, in
more time.
"""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from btrnn.ops.gru import gru_cell
from btrnn.ops.lstm import lstm_cell


def is_eager(*tensors: Tensor) -> bool:
    """Return whether these are plain tensors that are computed with at once.

    They are not under torch.compile, torch.export, tracing, torch.func, forward-mode differentiation, autocast, and
    within a dispatch mode (one that counts operations, say), nor if they have no numbers or a class of their own.
    Where torch does not say which of these is at work, none are taken for plain.
    """
    return is_plain(*tensors) and not is_autocasting(tensors[0].device.type)


def is_plain(*tensors: Tensor) -> bool:
    """Return the same, but for autocast: a backward pass computes in the types of its forward pass.

    A backward written by hand asks this of the gradients that it is given: a transform may be at work by then, or they
    may stand for more than their numbers, although the forward pass had plain tensors.
    """
    return KNOWS_CONTEXT and not (
        torch.compiler.is_compiling()
        or is_tracing()
        or transforms_are_active()
        or dispatch_modes_are_active()
        or tensors[0].is_meta
        or any(type(tensor) not in (Tensor, torch.nn.Parameter) for tensor in tensors)
        or any(is_batched(tensor) for tensor in tensors)
        or any(unpack_dual(tensor).tangent is not None for tensor in tensors)  # type: ignore[no-untyped-call]
    )


def is_autocasting(device: str) -> bool:
    """Return whether autocast is on for a kind of device, as torch names it; of "meta" torch cannot be asked."""
    return device != "meta" and torch.is_autocast_enabled(device)


def is_tracing() -> bool:
    """Return whether torch.jit.trace records: sizes are tensors then, and comparing them fixes the answer."""
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
    if x.dtype != parameter.dtype and not is_autocasting(x.device.type):
        raise ValueError(
            f"{layer} has parameters of {parameter.dtype} and takes {name} of that type, got {x.dtype}: convert the "
            f"tensor by .to({parameter.dtype})" + (f", or the layer by .to({x.dtype})" * x.dtype.is_floating_point)
        )


# ---- private names, and whether they answer


def transforms_are_active() -> bool:
    """Return whether a transform of torch.func is at work, such as vmap."""
    return torch._C._are_functorch_transforms_active()


def dispatch_modes_are_active() -> bool:
    """Return whether a mode sees all operations, such as one that counts them."""
    return torch._C._len_torch_dispatch_stack() > 0


def is_batched(tensor: Tensor) -> bool:
    """Return whether this stands for many tensors, as gradients do in torch.autograd.grad with is_grads_batched."""
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


def lstm_step(gates: Tensor, product: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Do a step of an LSTM's cell with sigmoid gates in one kernel of CUDA's.

    Args:
        gates: (B, 4 H), W x + b, in the order i, f, g, o.
        product: (B, 4 H), U h_{t-1}.
        cell: (B, H), c_{t-1}.

    Returns:
        h_t and c_t, (B, H) each, and the activated gates, (B, 4 H).
    """
    hidden, cell, active = torch.ops.aten._thnn_fused_lstm_cell(gates, product, cell)
    return hidden, cell, active


def lstm_step_back(
    grad_hidden: Tensor, grad_cell: Tensor, before: Tensor, cell: Tensor, active: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of the gates, (B, 4 H), and of c_{t-1}, from those of h_t and c_t."""
    found = torch.ops.aten._thnn_fused_lstm_cell_backward_impl(grad_hidden, grad_cell, before, cell, active, False)
    return found[0], found[1]


def gru_step(gates: Tensor, product: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Do a step of a GRU's cell with sigmoid gates in one kernel of CUDA's.

    Args:
        gates: (B, 3 H), W x + b, in the order r, z, n.
        product: (B, 3 H), U h_{t-1}, with b_hn in its last part.
        hidden: (B, H), h_{t-1}.

    Returns:
        h_t, (B, H), and what `gru_step_back` needs, (B, 5 H).
    """
    hidden, kept = torch.ops.aten._thnn_fused_gru_cell(gates, product, hidden)
    return hidden, kept


def gru_step_back(grad_hidden: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of the gates and the product, (B, 3 H) each, and of h_{t-1} beside U, from that of h_t."""
    found = torch.ops.aten._thnn_fused_gru_cell_backward(grad_hidden, kept, False)
    return found[0], found[1], found[2]


def has_fused_steps(tensor: Tensor) -> bool:
    """Return whether the four functions above serve tensors of this kind; tries them when it is first asked on a GPU.

    Within a capture they cannot be tried, and are not used if they were not before.
    """
    if not tensor.is_cuda or (
        torch.cuda.is_current_stream_capturing() and not _fused_steps_answer.cache_info().currsize
    ):
        return False
    return _fused_steps_answer()


def _answers(test: Callable[[], Any]) -> bool:
    """Return whether a test passes; a name that is missing fails it in whatever way torch says so."""
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


@cache
def _fused_steps_answer() -> bool:
    """Try the fused steps, not at import: that would begin to use the GPU in every process that imports this."""
    return _answers(_fused_steps_are_right)


@torch.inference_mode(mode=False)
def _fused_steps_are_right() -> bool:
    numbers = torch.linspace(-2, 2, 36, dtype=torch.float64, device="cuda").reshape(2, 18)
    gates, product, state = (part.contiguous().requires_grad_() for part in numbers.split_with_sizes([8, 8, 2], dim=1))
    grad = state.detach().flip(0)
    hidden, cell, active = lstm_step(gates, product, state)
    found = [hidden, cell, *lstm_step_back(grad, 2 * grad, state, cell, active)]
    few, few_product = (part[:, :6].contiguous() for part in (gates, product))
    new, kept = gru_step(few, few_product, state)
    found += [new, *gru_step_back(grad, kept)]
    with torch.enable_grad():
        results = lstm_cell(gates + product, state, torch.sigmoid)
        wanted = [*results, *torch.autograd.grad(results, (gates, state), (grad, 2 * grad))]
        few, few_product = few.requires_grad_(), few_product.requires_grad_()
        result = gru_cell(few, few_product, state, torch.sigmoid)
        wanted += [result, *torch.autograd.grad(result, (few, few_product, state), grad)]
    return all(torch.allclose(one, other) for one, other in zip(found, wanted, strict=True))


def _answers_by_itself(test: Callable[[], Any]) -> bool:
    """Return the same in a thread of its own: modes and transforms that are at work at import are not at work there."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_answers, test).result()


KNOWS_CONTEXT = _answers_by_itself(_context_is_known)
HAS_ONEDNN = bool(torch.backends.mkldnn.is_available()) and _answers_by_itself(_onednn_is_right)  # type: ignore[no-untyped-call]
