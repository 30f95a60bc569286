"""The gradients of a recurrence by hand: the backward passes of `btrnn.ops.lstm_fast`, in three ways that agree."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from btrnn.ops.lstm import HARD_SLOPE, ActivationName, Operands, plain_unroll
from btrnn.ops.matmul import repeated_linear, sum_of_outer_products
from btrnn.ops.native import recurrence as native_recurrence
from btrnn.ops.native.recurrence import Kept
from btrnn.ops.steps import Steps

CHUNK_ROWS = 256  # the backward prepares so many rows at a time, few enough to stay in the processor's cache


def backward(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: Kept,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Compute the gradients of the gates, hidden_0, cell_0 and U, in place and without a graph.

    Args:
        steps: Which rows each step has.
        operands: As the forward pass had them.
        activation: Of the gates i, f and o.
        kept: What the forward pass kept.
        grads: Of the three results of `btrnn.ops.lstm_fast.unroll`; None where nothing follows from one.
        needed: Which of the four are wanted; what is returned for another is None, or means nothing.
    """
    _, hidden_0, cell_0, weight, mask = operands
    cells, activations = kept
    size = weight.shape[1]
    wanted, into_hidden, into_cell = grads
    grad_hidden, grad_cell = _started(into_hidden, hidden_0), _started(into_cell, cell_0)
    grad_outputs = None if wanted is None else steps.split(wanted)
    grad_gates, hidden = torch.empty_like(activations), torch.empty_like(cells)
    cell_by_step, gates_by_step = steps.split(cells), steps.split(grad_gates)
    starts = [0, *accumulate(steps.sizes)]
    order, linear = steps.order()[::-1], repeated_linear(weight.t(), steps.sizes)
    count = max(1, CHUNK_ROWS // max(1, max(steps.sizes)))
    for chunk in (order[k : k + count] for k in range(0, len(order), count)):
        low, high = min(chunk), max(chunk) + 1
        rows = slice(starts[low], starts[high])
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
            if grad_outputs is not None:
                grad_h.add_(grad_outputs[t])
            grad_c.addcmul_(grad_h, slopes[k])
            cell_part[k].mul_(grad_c.unsqueeze(1))
            output_part[k].mul_(grad_h)
            grad_c.mul_(forgets[k])
            if t != order[-1] or needed[1]:
                grad_h.copy_(linear(gates_by_step[t], None))
                if mask is not None:
                    grad_h.mul_(mask[:rows_t])
    grad_weight = None
    if needed[3]:
        seen = _seen(steps, hidden, hidden_0, mask)
        grad_weight = sum_of_outer_products(grad_gates, seen, weight, steps.sizes)
    return grad_gates if needed[0] else None, grad_hidden, grad_cell, grad_weight


def backward_by_kernel(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: Kept,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Return what `backward` does, with the steps done by the native kernel."""
    _, hidden_0, cell_0, weight, mask = operands
    sequences = sequences_of(steps, activation)
    found = native_recurrence.backward(sequences, kept, cell_0, weight, mask, grads, to_hidden_0=needed[1])
    grad_weight = None
    if needed[3]:
        grad_weight = sum_of_outer_products(
            found.gates, _seen(steps, found.hidden, hidden_0, mask), weight, steps.sizes
        )
    return found.gates if needed[0] else None, found.hidden_0, found.cell_0, grad_weight


def backward_through_plain_loop(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Return the gradients as `backward` does, in a graph that can be differentiated again if they are enabled."""
    # Each operand under a new name, so that no gradient goes on from one of them into another that it was made of.
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        gates, hidden_0, cell_0, weight = named = [tensor.view_as(tensor) for tensor in operands[:4]]
        results = plain_unroll(steps, Operands(gates, hidden_0, cell_0, weight, operands.mask), activation)
    reached = [k for k, grad in enumerate(grads) if grad is not None]
    sources = [tensor for tensor, need in zip(named, needed, strict=True) if need]
    found = iter(
        torch.autograd.grad([results[k] for k in reached], sources, [grads[k] for k in reached], create_graph=again)
    )
    return tuple(next(found) if need else None for need in needed)


def sequences_of(steps: Steps, activation: ActivationName) -> native_recurrence.Sequences:
    """Return the steps as the native kernel is told them."""
    return native_recurrence.Sequences(steps.sizes, reverse=steps.reverse, hard=activation == "hard_sigmoid")


def _started(grad: Tensor | None, like: Tensor) -> Tensor:
    """Return a buffer that holds the gradient of a final state, to go back through the steps in it."""
    return torch.zeros_like(like) if grad is None else grad.clone(memory_format=torch.contiguous_format)


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
        if activation == "hard_sigmoid":
            torch.ops.aten.hardtanh_backward.grad_input(factor, gate, 0.0, 1.0, grad_input=place)
            place.mul_(HARD_SLOPE)
        else:
            torch.ops.aten.sigmoid_backward.grad_input(factor, gate, grad_input=place)
    torch.ops.aten.tanh_backward.grad_input(input_gate, candidate, grad_input=to_candidate)
    torch.mul(output_gate, tanh_cells, out=hidden)
    slope: Tensor = torch.ops.aten.tanh_backward(output_gate, tanh_cells)
    return slope


def _seen(steps: Steps, hidden: Tensor, hidden_0: Tensor, mask: Tensor | None) -> Tensor:
    """Return what U multiplied at every step, (rows, H), from the hidden states of every step."""
    by_step = steps.split(hidden)
    before = [steps.before(by_step, t, hidden_0) for t in range(len(by_step))]
    if mask is None:
        return torch.cat(before)
    return torch.cat([part * mask[:size] for part, size in zip(before, steps.sizes, strict=True)])
