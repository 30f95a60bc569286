r"""The LSTM by its definition: one step of the cell, and the loop over the steps that autograd follows.

    (i', f', g', o') = gates_t + U h_{t-1}
    c_t = s(f') * c_{t-1} + s(i') * tanh(g')
    h_t = s(o') * tanh(c_t),  s the gates' activation

`btrnn.ops.lstm_fast` gives the same numbers and gradients in less time, and is tested against this.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.ops.steps import ActivationName, Steps, activation_of

Unrolled: TypeAlias = tuple[Float[Tensor, "rows hidden"], Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]


def lstm_cell(gates: Tensor, cell: Tensor, activation: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Do one step of the cell.

    Args:
        gates: (B, 4 H), the summed products and bias, in the order i, f, g, o.
        cell: (B, H), c_{t-1}.
        activation: Of the gates i, f and o.

    Returns:
        h_t and c_t, (B, H) each.
    """
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
    cell = activation(forget_gate) * cell + activation(input_gate) * torch.tanh(candidate)
    return activation(output_gate) * torch.tanh(cell), cell


class Operands(NamedTuple):
    """The tensors of a recurrence.

    gates: (sum of the steps' sizes, 4 H), W x + b of every step, step below step; gate order i, f, g, o.
    hidden_0: h before the first step, (B, H).
    cell_0: c before the first step, (B, H).
    weight: U, (4 H, H).
    mask: (B, H), multiplied with h_{t-1} where it enters U, at every step; None for no mask.
    """

    gates: Tensor
    hidden_0: Tensor
    cell_0: Tensor
    weight: Tensor
    mask: Tensor | None


def plain_unroll(steps: Steps, operands: Operands, activation: ActivationName) -> Unrolled:
    """Run the recurrence over whole sequences, step after step.

    Args:
        steps: Which rows each step has.
        operands: The gates of all steps, the first state, U and its mask.
        activation: Of the gates i, f and o.

    Returns:
        h of every step, rows as in `gates`, (rows, H); h and c after each sequence's last step, (B, H) each.
    """
    _, hidden_0, cell_0, weight, mask = operands
    gate = activation_of(activation)
    gates, weight_t = steps.split(operands.gates), weight.t()
    hidden: dict[int, Tensor] = {}
    cell: dict[int, Tensor] = {}
    for t in steps.order():
        seen = steps.before(hidden, t, hidden_0)
        if mask is not None:
            seen = seen * mask[: steps.sizes[t]]
        hidden[t], cell[t] = lstm_cell(torch.addmm(gates[t], seen, weight_t), steps.before(cell, t, cell_0), gate)
    outputs = torch.cat([hidden[t] for t in range(len(hidden))])
    return outputs, steps.final(hidden), steps.final(cell)
