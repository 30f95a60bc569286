"""The recurrence of a GRU over whole sequences, with the numbers and gradients of `btrnn.ops.gru` in less time.

As for the LSTM, the activations of all steps go into one buffer, the backward is written by hand, and the gradient of U
is one matrix product over all steps. All gradients of a step are multiples of that of h_t, so what they are multiplied
with is computed for many steps at once. The steps themselves are done by a native kernel where it serves, and on a GPU
by CUDA's kernel for a step.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from btrnn.ops import dispatch, native, recurrence
from btrnn.ops.gru import Operands, Unrolled, plain_unroll
from btrnn.ops.matmul import repeated_linear
from btrnn.ops.native.recurrence import sequences_of, serves
from btrnn.ops.recurrence import (
    Cell,
    ForwardPass,
    Gradients,
    Tensors,
    chunks_from_the_end,
    gradient_buffer,
    recurrent_inputs,
)
from btrnn.ops.steps import ActivationName, Steps, activation_in_place, gate_slopes


class GRUKept(NamedTuple):
    """What the backward pass needs of every step: h (rows, H); r, z and u_n + b_hn (rows, 3 H); and n (rows, H)."""

    hidden: Tensor
    sums: Tensor
    new: Tensor


def _forward_pass(steps: Steps, operands: Operands, activation: ActivationName, keep: bool) -> ForwardPass:
    """Run the recurrence by kernels, of CUDA's or of this package, where they serve, else in place."""
    if activation == "sigmoid" and dispatch.has_fused_steps(operands.weight):
        return _fused_forward(steps, operands, keep)
    gates, weight, rows, size = operands.gates, operands.weight, operands.gates.shape[0], operands.weight.shape[1]
    kept = GRUKept(*(gates.new_empty(rows, size * parts) for parts in (1, 3, 1))) if keep else None
    served = serves(len(steps.sizes), weight, [tensor for tensor in operands if tensor is not None])
    results = (_forward_by_kernel if served else _forward)(steps, operands, activation, kept)
    return ForwardPass(results, kept or (), partial(_backward, _back_by_kernel if served else _back))


def _forward_by_kernel(steps: Steps, operands: Operands, activation: ActivationName, kept: GRUKept | None) -> Unrolled:
    """Do what `_forward` does by the native kernel of `native/gru.cpp`."""
    gates, hidden_0, weight, bias, mask = operands
    read = [None if tensor is None else tensor.contiguous() for tensor in (gates, weight, bias, mask)]
    hidden = hidden_0.clone(memory_format=torch.contiguous_format)
    outputs = gates.new_empty(gates.shape[0], weight.shape[1])
    sums, new = (kept.sums, kept.new) if kept else (None, None)
    native.function("gru_forward", gates.dtype)(
        sequences_of(steps, weight.shape[1], activation),
        *map(native.address, (*read, hidden, outputs, sums, new)),
        ctypes.c_int(torch.get_num_threads()),
    )
    if kept:
        kept.hidden.copy_(outputs)  # which may be changed in place by who gets them
    return outputs, hidden


def _forward(steps: Steps, operands: Operands, activation: ActivationName, kept: GRUKept | None) -> Unrolled:
    """Run the recurrence in place, unseen by autograd."""
    gates, hidden_0, weight, bias, mask = operands
    size = weight.shape[1]
    activate, linear = activation_in_place(activation), repeated_linear(weight, steps.sizes)
    outputs, addends = gates.new_empty(gates.shape[0], size), gates.clone(memory_format=torch.contiguous_format)
    addends[:, 2 * size :] = 0 if bias is None else bias  # each step's product with U is added to these
    hidden, added, new_gates = steps.split(outputs), steps.split(addends), steps.split(gates[:, 2 * size :])
    kept_by_step = [steps.split(tensor) for tensor in kept or ()]
    for t in steps.order():
        before = steps.before(hidden, t, hidden_0)
        sums = linear(recurrence.recurrent_input_at(steps, hidden, t, hidden_0, mask), added[t])
        both = activate(sums[:, : 2 * size])
        new = torch.addcmul(new_gates[t], both[:, :size], sums[:, 2 * size :]).tanh_()
        torch.lerp(new, before, both[:, size:], out=hidden[t])
        for by_step, tensor in zip(kept_by_step, (hidden[t], sums, new), strict=False):
            by_step[t].copy_(tensor)
    return outputs, steps.final(hidden)


def _fused_forward(steps: Steps, operands: Operands, keep: bool) -> ForwardPass:
    """Run the recurrence by CUDA's kernel of a step, which torch's own cells call."""
    gates, hidden_0, weight, bias, mask = operands
    by_step, weight_t = steps.split(gates), weight.t()
    addend = None if bias is None else torch.cat([bias.new_zeros(2 * weight.shape[1]), bias])
    hidden: dict[int, Tensor] = {}
    slopes: dict[int, Tensor] = {}
    for t in steps.order():
        multiplied = recurrence.recurrent_input_at(steps, hidden, t, hidden_0, mask)
        product = torch.mm(multiplied, weight_t) if addend is None else torch.addmm(addend, multiplied, weight_t)
        hidden[t], slope = dispatch.gru_step(by_step[t], product, steps.before(hidden, t, hidden_0))
        if keep:
            slopes[t] = slope
    outputs = torch.cat([hidden[t] for t in range(len(hidden))])
    kept = [by_number[t] for by_number in (hidden, slopes) for t in range(len(by_number))] if keep else []
    return ForwardPass((outputs, steps.final(hidden)), tuple(kept), _fused_backward)


def _fused_backward(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,  # noqa: ARG001
    kept: Tensors,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> Gradients:
    """Return what `_backward` does, after `_fused_forward`."""
    _, hidden_0, weight, _, mask = operands
    count, to_gates = len(steps.sizes), dict[int, Tensor]()

    def back(t: int, state: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        to_gates[t], to_product, beside = dispatch.gru_step_back(state[0], kept[count + t])
        return to_product, beside, []

    into = [gradient_buffer(grads[1], hidden_0)]
    grad_sums, (first,) = recurrence.fused_backward(steps, weight, mask, grads[0], into, back, needed[1])
    grad_gates = torch.cat([to_gates[t] for t in range(count)]) if needed[0] else None
    hidden = dict(enumerate(kept[:count]))
    grad_weight = torch.mm(grad_sums.t(), recurrent_inputs(steps, hidden, hidden_0, mask)) if needed[2] else None
    return grad_gates, first, grad_weight, grad_sums[:, 2 * weight.shape[1] :].sum(0) if needed[3] else None


def _backward(
    back: Callable[..., tuple[Tensor, Tensor]],
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: Tensors,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> Gradients:
    """Compute the gradients of the gates, hidden_0, U and b_hn, in place and without a graph."""
    hidden_0, size = operands.hidden_0, operands.weight.shape[1]
    grad_outputs, into_hidden = grads
    grad_hidden = gradient_buffer(into_hidden, hidden_0)
    grad_sums, grad_new = back(steps, operands, activation, GRUKept(*kept), grad_outputs, grad_hidden, needed[1])
    grad_weight = None
    if needed[2]:
        multiplied = recurrent_inputs(steps, steps.split(kept[0]), hidden_0, operands.mask)
        grad_weight = torch.mm(grad_sums.t(), multiplied)
    grad_gates = torch.cat([grad_sums[:, : 2 * size], grad_new], dim=1) if needed[0] else None
    return grad_gates, grad_hidden, grad_weight, grad_sums[:, 2 * size :].sum(0) if needed[3] else None


def _back_by_kernel(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: GRUKept,
    grad_outputs: Tensor | None,
    grad_hidden: Tensor,
    to_hidden_0: bool,
) -> tuple[Tensor, Tensor]:
    """Do what `_back` does by the native kernel."""
    _, hidden_0, weight, _, mask = operands
    read = [None if tensor is None else tensor.contiguous() for tensor in (hidden_0, weight, mask, grad_outputs)]
    grad_sums, grad_new = torch.empty_like(kept.sums), torch.empty_like(kept.new)
    native.function("gru_backward", weight.dtype)(
        sequences_of(steps, weight.shape[1], activation),
        *map(native.address, (*kept, *read, grad_hidden, grad_sums, grad_new)),
        ctypes.c_int(to_hidden_0),
        ctypes.c_int(torch.get_num_threads()),
    )
    return grad_sums, grad_new


def _back(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: GRUKept,
    grad_outputs: Tensor | None,
    grad_hidden: Tensor,
    to_hidden_0: bool,
) -> tuple[Tensor, Tensor]:
    """Go back through the steps; `grad_hidden` becomes the gradient of the first h.

    Returns:
        The gradients of r', z' and u_n, (rows, 3 H), and of n', (rows, H).
    """
    _, hidden_0, weight, _, mask = operands
    outputs, sums, new = kept
    size = weight.shape[1]
    wanted = None if grad_outputs is None else steps.split(grad_outputs)
    grad_sums, grad_new = torch.empty_like(sums), torch.empty_like(new)
    hidden, updates = steps.split(outputs), steps.split(sums[:, size : 2 * size])
    sums_by_step, new_by_step = steps.split(grad_sums), steps.split(grad_new)
    first_step, linear = steps.order()[0], repeated_linear(weight.t(), steps.sizes)
    for chunk, rows in chunks_from_the_end(steps):
        before = torch.cat([steps.before(hidden, t, hidden_0) for t in sorted(chunk)])
        # The slopes of the whole chunk, which its steps turn into gradients in place.
        _slopes(sums[rows], new[rows], before, activation, grad_sums[rows], grad_new[rows])
        for t in chunk:
            grad_h = grad_hidden[: steps.sizes[t]]
            if wanted is not None:
                grad_h.add_(wanted[t])
            new_by_step[t].mul_(grad_h)
            sums_by_step[t].view(-1, 3, size).mul_(grad_h.unsqueeze(1))
            grad_h.mul_(updates[t])
            if t != first_step or to_hidden_0:
                through = linear(sums_by_step[t], None)
                grad_h.add_(through if mask is None else through.mul_(mask[: steps.sizes[t]]))
    return grad_sums, grad_new


def _slopes(
    sums: Tensor, new: Tensor, before: Tensor, activation: ActivationName, to_sums: Tensor, to_new: Tensor
) -> None:
    """Compute all that the gradients of some steps need and that does not depend on later steps.

    Writes how h_t changes with r', z' and u_n to `to_sums` (rows, 3 H), and with n' to `to_new` (rows, H).
    """
    reset, update, product = sums.chunk(3, dim=1)
    to_reset, to_update, to_product = to_sums.chunk(3, dim=1)
    torch.ops.aten.tanh_backward.grad_input(1 - update, new, grad_input=to_new)
    torch.mul(to_new, reset, out=to_product)
    gate_slopes(to_new * product, reset, activation, to_reset)
    gate_slopes(before - new, update, activation, to_update)


CELL = Cell(Operands, plain_unroll, _forward_pass)
