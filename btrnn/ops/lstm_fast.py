"""The recurrence of an LSTM over whole sequences, with the numbers and gradients of `btrnn.ops.lstm` in less time.

The activations of all steps go into a few buffers, the backward is written by hand, and the gradient of U is one matrix
product over all steps rather than a sum of one product a step. The steps themselves are done by a native kernel where
it serves, else one operation of torch after the other.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.ops import recurrence
from btrnn.ops.activations import ActivationName, activation_in_place
from btrnn.ops.lstm import Operands, Unrolled, plain_unroll
from btrnn.ops.lstm_backward import backward, backward_by_kernel
from btrnn.ops.matmul import repeated_linear
from btrnn.ops.native import recurrence as native_recurrence
from btrnn.ops.native.recurrence import Kept
from btrnn.ops.recurrence import Cell, Passed, sequences_of
from btrnn.ops.steps import Steps


def unroll(
    gates: Float[Tensor, "rows gates"],
    steps: Steps,
    hidden_0: Float[Tensor, "batch hidden"],
    cell_0: Float[Tensor, "batch hidden"],
    weight: Float[Tensor, "gates hidden"],
    mask: Float[Tensor, "batch hidden"] | None,
    activation: ActivationName,
) -> Unrolled:
    """Run the recurrence over whole sequences: see `btrnn.ops.recurrence.unroll`.

    Args:
        gates: (rows of all steps, 4 H), W x + b of every step, step below step; gate order i, f, g, o.
        steps: Which rows each step has.
        hidden_0: h before the first step, (B, H).
        cell_0: c before the first step, (B, H).
        weight: U, (4 H, H).
        mask: Multiplied with h_{t-1} where it enters U, at every step; None for no mask.
        activation: Of the gates i, f and o.

    Returns:
        h of every step, rows as in `gates`, (rows, H); h and c after each sequence's last step, (B, H).
    """
    hidden, *final = recurrence.unroll(CELL, steps, Operands(gates, hidden_0, cell_0, weight, mask), activation)
    return hidden, final[0], final[1]


def _forward_pass(steps: Steps, operands: Operands, activation: ActivationName, keep: bool) -> Passed:
    """Run the recurrence by the native kernel where it serves, else in place."""
    gates, weight, size = operands.gates, operands.weight, operands.weight.shape[1]
    kept = Kept(gates.new_empty(gates.shape[0], size), gates.new_empty(gates.shape)) if keep else None
    if native_recurrence.serves(len(steps.sizes), weight, [tensor for tensor in operands if tensor is not None]):
        results = native_recurrence.forward(sequences_of(steps, activation), *operands, kept)
        return Passed(results, kept or (), backward_by_kernel)
    if kept is not None:
        return Passed(_forward(steps, operands, activation, *map(steps.split, kept)), kept, backward)
    cell = torch.empty_like(operands.cell_0)
    results = _forward(steps, operands, activation, {t: cell[:rows] for t, rows in enumerate(steps.sizes)})
    return Passed(results, (), backward)


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
    activate = activation_in_place(activation)
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


CELL = Cell(Operands, plain_unroll, _forward_pass)
