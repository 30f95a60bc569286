"""The recurrence of a GRU in the native kernel of `gru.cpp`; `btrnn.ops.gru_fast` says what is computed."""

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from btrnn.ops import native
from btrnn.ops.native.recurrence import Sequences


class Kept(NamedTuple):
    """What the backward pass needs of every step: h (rows, H); r, z and u_n + b_hn (rows, 3 H); and n (rows, H)."""

    hidden: Tensor
    sums: Tensor
    new: Tensor


def forward(
    sequences: Sequences,
    gates: Tensor,
    hidden_0: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    kept: Kept | None,
) -> tuple[Tensor, Tensor]:
    """Run the recurrence over all steps.

    Args:
        sequences: Which rows each step has.
        gates: As in `btrnn.ops.gru_fast.unroll`, like the next four.
        hidden_0: The first h.
        weight: U.
        bias: b_hn.
        mask: Of h_{t-1}.
        kept: Filled for the backward pass, unless it is None.

    Returns:
        h of every step, (rows, H); h after each sequence's last step, (B, H).
    """
    operands = [None if tensor is None else tensor.contiguous() for tensor in (gates, weight, bias, mask)]
    hidden = hidden_0.clone(memory_format=torch.contiguous_format)
    outputs = gates.new_empty(gates.shape[0], weight.shape[1])
    sums, new = (kept.sums, kept.new) if kept else (None, None)
    native.function("gru_forward", gates.dtype)(
        sequences.argument(weight.shape[1]),
        *map(native.address, (*operands, hidden, outputs, sums, new)),
        ctypes.c_int(torch.get_num_threads()),
    )
    if kept:
        kept.hidden.copy_(outputs)  # which may be changed in place by who gets them
    return outputs, hidden


def backward(
    sequences: Sequences,
    kept: Kept,
    hidden_0: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    d_outputs: Tensor | None,
    d_hidden: Tensor,
    *,
    to_hidden_0: bool,
) -> tuple[Tensor, Tensor]:
    """Go back through all steps.

    Args:
        sequences: Which rows each step has.
        kept: What `forward` filled.
        hidden_0: As for `forward`, like the next two.
        weight: U.
        mask: Of h_{t-1}.
        d_outputs: The gradient of h of every step.
        d_hidden: That of the last h; becomes that of the first one.
        to_hidden_0: Whether that is wanted; else it means nothing.

    Returns:
        The gradients of r', z' and u_n, (rows, 3 H), and of n', (rows, H).
    """
    before, u, factors, wanted = (
        None if tensor is None else tensor.contiguous() for tensor in (hidden_0, weight, mask, d_outputs)
    )
    d_sums, d_new = torch.empty_like(kept.sums), torch.empty_like(kept.new)
    native.function("gru_backward", weight.dtype)(
        sequences.argument(weight.shape[1]),
        *map(native.address, (*kept, before, u, factors, wanted, d_hidden, d_sums, d_new)),
        ctypes.c_int(to_hidden_0),
        ctypes.c_int(torch.get_num_threads()),
    )
    return d_sums, d_new
