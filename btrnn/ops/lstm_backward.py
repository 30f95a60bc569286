"""The gradients of an LSTM's recurrence by hand: the backward of `btrnn.ops.lstm_fast`, in two ways that agree."""

from collections.abc import Sequence

import torch
from torch import Tensor

from btrnn.ops.activations import ActivationName, gate_slopes
from btrnn.ops.lstm import Operands
from btrnn.ops.matmul import repeated_linear
from btrnn.ops.native import recurrence as native_recurrence
from btrnn.ops.native.recurrence import Kept
from btrnn.ops.recurrence import Gradients, Tensors, chunks_from_the_end, seen, sequences_of, started
from btrnn.ops.steps import Steps


def backward(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: Tensors,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> Gradients:
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
    grad_hidden, grad_cell = started(into_hidden, hidden_0), started(into_cell, cell_0)
    grad_outputs = None if wanted is None else steps.split(wanted)
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
            if grad_outputs is not None:
                grad_h.add_(grad_outputs[t])
            grad_c.addcmul_(grad_h, slopes[k])
            cell_part[k].mul_(grad_c.unsqueeze(1))
            output_part[k].mul_(grad_h)
            grad_c.mul_(forgets[k])
            if t != first_step or needed[1]:
                grad_h.copy_(linear(gates_by_step[t], None))
                if mask is not None:
                    grad_h.mul_(mask[:rows_t])
    grad_weight = None
    if needed[3]:
        grad_weight = torch.mm(grad_gates.t(), seen(steps, hidden, hidden_0, mask))
    return grad_gates if needed[0] else None, grad_hidden, grad_cell, grad_weight


def backward_by_kernel(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: Tensors,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> Gradients:
    """Return what `backward` does, with the steps done by the native kernel."""
    _, hidden_0, cell_0, weight, mask = operands
    sequences = sequences_of(steps, activation)
    found = native_recurrence.backward(sequences, Kept(*kept), cell_0, weight, mask, grads, to_hidden_0=needed[1])
    grad_weight = None
    if needed[3]:
        grad_weight = torch.mm(found.gates.t(), seen(steps, found.hidden, hidden_0, mask))
    return found.gates if needed[0] else None, found.hidden_0, found.cell_0, grad_weight


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
