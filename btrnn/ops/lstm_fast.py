"""The recurrence of an LSTM over whole sequences, with the numbers and gradients of `btrnn.ops.lstm` in less time.

The activations of all steps go into a few buffers, the backward is written by hand, and the gradient of U is one matrix
product over all steps rather than a sum of one product a step. The steps themselves are done by a native kernel where
it serves, else one operation of torch after the other.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.ops.dispatch import is_eager
from btrnn.ops.lstm import HARD_SLOPE, ActivationName, Operands, Unrolled, plain_unroll
from btrnn.ops.lstm_backward import backward, backward_by_kernel, backward_through_plain_loop, sequences_of
from btrnn.ops.matmul import repeated_linear
from btrnn.ops.native import recurrence as native_recurrence
from btrnn.ops.native.recurrence import Kept
from btrnn.ops.private_torch import is_batched
from btrnn.ops.steps import Steps


def unroll(
    gates: Float[Tensor, "rows gates"],
    batch_sizes: list[int],
    hidden_0: Float[Tensor, "batch hidden"],
    cell_0: Float[Tensor, "batch hidden"],
    weight: Float[Tensor, "gates hidden"],
    mask: Float[Tensor, "batch hidden"] | None,
    activation: ActivationName,
    reverse: bool,
) -> Unrolled:
    """Run the recurrence over whole sequences, ragged or not, in the cheapest way that gives `plain_unroll`'s numbers.

    The same inputs give the same bits. The gradients can be differentiated again: a backward with create_graph runs
    `plain_unroll`. So does everything under torch.compile, torch.export, tracing, autocast, torch.func and forward-mode
    differentiation, on the meta device, and with tensors of several dtypes or a mask that requires a gradient.

    Args:
        gates: (sum of batch_sizes, 4 H), W x + b of every step, step below step; gate order i, f, g, o.
        batch_sizes: How many rows each step has: see `Steps`.
        hidden_0: h before the first step, (B, H).
        cell_0: c before the first step, (B, H).
        weight: U, (4 H, H).
        mask: Multiplied with h_{t-1} where it enters U, at every step; None for no mask.
        activation: Of the gates i, f and o.
        reverse: Whether to read from the end.

    Returns:
        h of every step, (sum of batch_sizes, H), rows as in `gates`; h and c after each sequence's last step, (B, H).
    """
    steps, operands = Steps(batch_sizes, reverse), Operands(gates, hidden_0, cell_0, weight, mask)
    tensors = [operand for operand in operands if operand is not None]
    same = all(tensor.dtype == gates.dtype for tensor in tensors)
    if not (same and is_eager(*tensors)) or (mask is not None and mask.requires_grad):
        return plain_unroll(steps, operands, activation)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        results: Unrolled = _Recurrence.apply(gates, hidden_0, cell_0, weight, mask, steps, activation)
        return results
    if native_recurrence.serves(len(batch_sizes), weight, tensors):
        return native_recurrence.forward(sequences_of(steps, activation), *operands, kept=None)
    cell = torch.empty_like(cell_0)
    return _forward(steps, operands, activation, {t: cell[:size] for t, size in enumerate(batch_sizes)})


def _forward(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    cells: Mapping[int, Tensor],
    activations: Mapping[int, Tensor] | None = None,
) -> Unrolled:
    """Run the recurrence in place, unseen by autograd.

    `cells` is where each step's cell (size, H) goes: a place for each step if the backward needs them, else one for
    all. `activations` is where each step's activated gates (size, 4 H) are kept, if they are.
    """
    _, hidden_0, cell_0, weight, mask = operands
    activate = _hard_sigmoid_ if activation == "hard_sigmoid" else torch.sigmoid_
    outputs = hidden_0.new_empty(operands.gates.shape[0], weight.shape[1])
    gates, hidden, linear = steps.split(operands.gates), steps.split(outputs), repeated_linear(weight, steps.sizes)
    for t in steps.order():
        seen = steps.before(hidden, t, hidden_0)
        if mask is not None:
            seen = seen * mask[: steps.sizes[t]]
        active = linear(seen, gates[t])
        input_gate, forget_gate, candidate, output_gate = active.chunk(4, dim=1)
        activate(input_gate)
        activate(forget_gate)
        candidate.tanh_()
        activate(output_gate)
        torch.mul(forget_gate, steps.before(cells, t, cell_0), out=cells[t]).addcmul_(input_gate, candidate)
        torch.tanh(cells[t], out=hidden[t]).mul_(output_gate)
        if activations is not None:
            activations[t].copy_(active)
    return outputs, steps.final(hidden), steps.final(cells)


def _hard_sigmoid_(x: Tensor) -> Tensor:
    """Compute `hard_sigmoid` in place."""
    return x.mul_(HARD_SLOPE).add_(0.5).clamp_(0.0, 1.0)


class _Recurrence(torch.autograd.Function):
    """The recurrence with a backward written by hand."""

    @staticmethod
    def forward(
        ctx: Any,
        gates: Tensor,
        hidden_0: Tensor,
        cell_0: Tensor,
        weight: Tensor,
        mask: Tensor | None,
        steps: Steps,
        activation: ActivationName,
    ) -> Unrolled:
        operands = Operands(gates, hidden_0, cell_0, weight, mask)
        tensors = [tensor for tensor in operands if tensor is not None]
        ctx.native = native_recurrence.serves(len(steps.sizes), weight, tensors)
        kept = Kept(gates.new_empty(gates.shape[0], weight.shape[1]), gates.new_empty(gates.shape))
        if ctx.native:
            results = native_recurrence.forward(sequences_of(steps, activation), *operands, kept)
        else:
            results = _forward(steps, operands, activation, *map(steps.split, kept))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*operands, *kept)
        ctx.steps, ctx.activation = steps, activation
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *operands, cells, activations = ctx.saved_tensors
        operands, kept, needed = Operands(*operands), Kept(cells, activations), ctx.needs_input_grad[:4]
        with torch.autocast(activations.device.type, enabled=False):  # it may be on where backward is called
            if torch.is_grad_enabled() or any(grad is not None and is_batched(grad) for grad in grads):
                found = backward_through_plain_loop(ctx.steps, operands, ctx.activation, grads, needed)
            else:
                back = backward_by_kernel if ctx.native else backward
                found = back(ctx.steps, operands, ctx.activation, kept, grads, needed)
        return *found, None, None, None
