"""The recurrence of an LSTM over whole sequences, with the numbers and gradients of `btrnn.ops.lstm` in less time.

The activations of all steps go into a few buffers, the backward is written by hand, and the gradient of U is one matrix
product over all steps rather than a sum of one product a step. The steps themselves are done by a native kernel where
it serves, on a GPU by CUDA's kernel for a step, else one operation of torch after the other.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from btrnn.ops import dispatch, native, recurrence
from btrnn.ops.lstm import Operands, Unrolled, plain_unroll
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


class LSTMKept(NamedTuple):
    """What the backward pass needs of every step: c (rows, H) and the activated gates (rows, 4 H)."""

    cells: Tensor
    activations: Tensor


def _forward_pass(steps: Steps, operands: Operands, activation: ActivationName, keep: bool) -> ForwardPass:
    """Run the recurrence by kernels, of CUDA's or of this package, where they serve, else in place."""
    gates, weight, size = operands.gates, operands.weight, operands.weight.shape[1]
    if activation == "sigmoid" and dispatch.has_fused_steps(weight):
        return _fused_forward(steps, operands, keep)
    kept = LSTMKept(gates.new_empty(gates.shape[0], size), gates.new_empty(gates.shape)) if keep else None
    served = serves(len(steps.sizes), weight, [tensor for tensor in operands if tensor is not None])
    results = (_forward_by_kernel if served else _forward)(steps, operands, activation, kept)
    return ForwardPass(results, kept or (), partial(_backward, _back_by_kernel if served else _back))


def _forward_by_kernel(steps: Steps, operands: Operands, activation: ActivationName, kept: LSTMKept | None) -> Unrolled:
    """Do what `_forward` does by the native kernel of `native/recurrence.cpp`."""
    gates, hidden_0, cell_0, weight, mask = operands
    read = [None if tensor is None else tensor.contiguous() for tensor in (gates, weight, mask)]
    hidden, cell = (state.clone(memory_format=torch.contiguous_format) for state in (hidden_0, cell_0))
    outputs = gates.new_empty(gates.shape[0], weight.shape[1])
    native.function("recurrence_forward", gates.dtype)(
        sequences_of(steps, weight.shape[1], activation),
        *map(native.address, (*read, hidden, cell, outputs, *(kept or (None, None)))),
        ctypes.c_int(torch.get_num_threads()),
    )
    return outputs, hidden, cell


def _forward(steps: Steps, operands: Operands, activation: ActivationName, kept: LSTMKept | None) -> Unrolled:
    """Run the recurrence in place, unseen by autograd."""
    _, hidden_0, cell_0, weight, mask = operands
    if kept is None:
        cell, activations = torch.empty_like(cell_0), None
        cells = {t: cell[:rows] for t, rows in enumerate(steps.sizes)}  # one place for all steps
    else:
        cells, activations = map(steps.split, kept)
    activate = activation_in_place(activation)
    outputs = hidden_0.new_empty(operands.gates.shape[0], weight.shape[1])
    gates, hidden, linear = steps.split(operands.gates), steps.split(outputs), repeated_linear(weight, steps.sizes)
    for t in steps.order():
        active = linear(recurrence.recurrent_input_at(steps, hidden, t, hidden_0, mask), gates[t])
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


def _fused_forward(steps: Steps, operands: Operands, keep: bool) -> ForwardPass:
    """Run the recurrence by CUDA's kernel of a step, which torch's own cells call."""
    gates, hidden_0, cell_0, weight, mask = operands
    by_step, weight_t = steps.split(gates), weight.t()
    hidden: dict[int, Tensor] = {}
    cell: dict[int, Tensor] = {}
    active: dict[int, Tensor] = {}
    for t in steps.order():
        product = torch.mm(recurrence.recurrent_input_at(steps, hidden, t, hidden_0, mask), weight_t)
        hidden[t], cell[t], activated = dispatch.lstm_step(by_step[t], product, steps.before(cell, t, cell_0))
        if keep:
            active[t] = activated
    outputs = torch.cat([hidden[t] for t in range(len(hidden))])
    kept = [by_number[t] for by_number in (hidden, cell, active) for t in range(len(by_number))] if keep else []
    return ForwardPass((outputs, steps.final(hidden), steps.final(cell)), tuple(kept), _fused_backward)


# ---- the backward pass, in three ways that agree


def _backward(
    back: Callable[..., tuple[Tensor, Tensor]],
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: Tensors,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> Gradients:
    """Compute the gradients of the gates, hidden_0, cell_0 and U, in place and without a graph."""
    _, hidden_0, cell_0, _, mask = operands
    grad_outputs, into_hidden, into_cell = grads
    first = gradient_buffer(into_hidden, hidden_0), gradient_buffer(into_cell, cell_0)
    grad_gates, hidden = back(steps, operands, activation, LSTMKept(*kept), grad_outputs, first, needed[1])
    grad_weight = None
    if needed[3]:
        grad_weight = torch.mm(grad_gates.t(), recurrent_inputs(steps, steps.split(hidden), hidden_0, mask))
    return grad_gates if needed[0] else None, *first, grad_weight


def _back_by_kernel(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: LSTMKept,
    grad_outputs: Tensor | None,
    grad_state: tuple[Tensor, Tensor],
    to_hidden_0: bool,
) -> tuple[Tensor, Tensor]:
    """Do what `_back` does by the native kernel."""
    _, _, cell_0, weight, mask = operands
    read = [None if tensor is None else tensor.contiguous() for tensor in (cell_0, weight, mask, grad_outputs)]
    grad_gates, hidden = torch.empty_like(kept.activations), torch.empty_like(kept.cells)
    native.function("recurrence_backward", weight.dtype)(
        sequences_of(steps, weight.shape[1], activation),
        *map(native.address, (kept.activations, kept.cells, *read, *grad_state, grad_gates, hidden)),
        ctypes.c_int(to_hidden_0),
        ctypes.c_int(torch.get_num_threads()),
    )
    return grad_gates, hidden


def _back(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: LSTMKept,
    grad_outputs: Tensor | None,
    grad_state: tuple[Tensor, Tensor],
    to_hidden_0: bool,
) -> tuple[Tensor, Tensor]:
    """Go back through the steps; `grad_state` becomes the gradients of the first h and c.

    Returns:
        The gradient of the gates, (rows, 4 H), and h of every step, (rows, H), computed again.
    """
    _, _, cell_0, weight, mask = operands
    cells, activations = kept
    size = weight.shape[1]
    grad_hidden, grad_cell = grad_state
    wanted = None if grad_outputs is None else steps.split(grad_outputs)
    grad_gates, hidden = torch.empty_like(activations), torch.empty_like(cells)
    cell_by_step, gates_by_step = steps.split(cells), steps.split(grad_gates)
    first_step, linear = steps.order()[0], repeated_linear(weight.t(), steps.sizes)
    for chunk, rows in chunks_from_the_end(steps):
        low, high = min(chunk), max(chunk) + 1
        cell_before = torch.cat([steps.before(cell_by_step, t, cell_0) for t in range(low, high)])
        # The slopes of the whole chunk, which its steps turn into gradients in place.
        slope = _slopes(activations[rows], cells[rows], cell_before, activation, grad_gates[rows], hidden[rows])
        parts = grad_gates[rows].view(-1, 4, size)
        forget_gate = activations[rows, size : 2 * size]
        sizes = steps.sizes[low:high]
        cell_part, output_part = parts[:, :3].split_with_sizes(sizes), parts[:, 3].split_with_sizes(sizes)
        slopes, forgets = slope.split_with_sizes(sizes), forget_gate.split_with_sizes(sizes)
        for t in chunk:
            k, rows_t = t - low, steps.sizes[t]
            grad_h, grad_c = grad_hidden[:rows_t], grad_cell[:rows_t]
            if wanted is not None:
                grad_h.add_(wanted[t])
            grad_c.addcmul_(grad_h, slopes[k])
            cell_part[k].mul_(grad_c.unsqueeze(1))
            output_part[k].mul_(grad_h)
            grad_c.mul_(forgets[k])
            if t != first_step or to_hidden_0:
                grad_h.copy_(linear(gates_by_step[t], None))
                if mask is not None:
                    grad_h.mul_(mask[:rows_t])
    return grad_gates, hidden


def _fused_backward(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,  # noqa: ARG001
    kept: Tensors,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> Gradients:
    """Return what `_backward` does, after `_fused_forward`."""
    _, hidden_0, cell_0, weight, mask = operands
    count = len(steps.sizes)
    hidden, cell, active = (dict(enumerate(kept[k * count : (k + 1) * count])) for k in range(3))
    into = [gradient_buffer(grad, first) for grad, first in zip(grads[1:], (hidden_0, cell_0), strict=True)]

    def back(t: int, state: list[Tensor]) -> tuple[Tensor, None, list[Tensor]]:
        before = steps.before(cell, t, cell_0)
        to_gates, to_cell = dispatch.lstm_step_back(state[0], state[1], before, cell[t], active[t])
        return to_gates, None, [to_cell]

    grad_gates, first = recurrence.fused_backward(steps, weight, mask, grads[0], into, back, needed[1])
    grad_weight = torch.mm(grad_gates.t(), recurrent_inputs(steps, hidden, hidden_0, mask)) if needed[3] else None
    return grad_gates if needed[0] else None, *first, grad_weight


def _slopes(
    activations: Tensor,
    cells: Tensor,
    cells_before: Tensor,
    activation: ActivationName,
    out: Tensor,
    hidden: Tensor,
) -> Tensor:
    """Compute all that the gradients of some steps need and that does not depend on later steps.

    Writes to `out` (rows, 4 H) how c_t changes with i', f' and g' and h_t with o', and h_t to `hidden` (rows, H).

    Returns:
        How h_t changes with c_t, (rows, H).
    """
    input_gate, forget_gate, candidate, output_gate = activations.chunk(4, dim=1)
    to_input, to_forget, to_candidate, to_output = out.chunk(4, dim=1)
    tanh_cells = torch.tanh(cells)
    for factor, gate, place in (
        (candidate, input_gate, to_input),
        (cells_before, forget_gate, to_forget),
        (tanh_cells, output_gate, to_output),
    ):
        gate_slopes(factor, gate, activation, place)
    torch.ops.aten.tanh_backward.grad_input(input_gate, candidate, grad_input=to_candidate)
    torch.mul(output_gate, tanh_cells, out=hidden)
    slope: Tensor = torch.ops.aten.tanh_backward(output_gate, tanh_cells)
    return slope


CELL = Cell(Operands, plain_unroll, _forward_pass)
