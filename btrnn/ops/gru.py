r"""The GRU by its definition: one step of the cell, and the loop over the steps that autograd follows.

    (r', z', n') = gates_t,  (u_r, u_z, u_n) = U h_{t-1}
    r = s(r' + u_r),  z = s(z' + u_z),  s the gates' activation
    n = tanh(n' + r * (u_n + b_hn))
    h_t = (1 - z) * n + z * h_{t-1}

As in nn.GRU the reset gate r scales U's product and not h_{t-1} (Cho et al., 2014, have it the other way), so that the
bias b_hn, which it scales too, cannot be added to that of the input.
`btrnn.ops.gru_fast` gives the same numbers and gradients in less time, and is tested against this.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.ops.steps import ActivationName, Steps, activation_of

Unrolled: TypeAlias = tuple[Float[Tensor, "rows hidden"], Float[Tensor, "batch hidden"]]


def gru_cell(gates: Tensor, product: Tensor, hidden: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Do one step of the cell.

    Args:
        gates: (B, 3 H), W x + b, in the order r, z, n.
        product: (B, 3 H), U h_{t-1}, with b_hn in its last part.
        hidden: (B, H), h_{t-1}.
        activation: Of the gates r and z.

    Returns:
        h_t, (B, H).
    """
    of_reset, of_update, of_new = gates.chunk(3, dim=-1)
    u_reset, u_update, u_new = product.chunk(3, dim=-1)
    reset, update = activation(of_reset + u_reset), activation(of_update + u_update)
    new = torch.tanh(of_new + reset * u_new)
    return ((1 - update) * new + update * hidden).to(hidden.dtype)  # autocast's gates may be of a wider type


class Operands(NamedTuple):
    """The tensors of a recurrence.

    gates: (sum of the steps' sizes, 3 H), W x + b of every step, step below step; gate order r, z, n.
    hidden_0: h before the first step, (B, H).
    weight: U, (3 H, H).
    bias: b_hn, (H,); None where there is none.
    mask: (B, H), multiplied with h_{t-1} where it enters U, at every step; None for no mask.
    """

    gates: Tensor
    hidden_0: Tensor
    weight: Tensor
    bias: Tensor | None
    mask: Tensor | None


def plain_unroll(steps: Steps, operands: Operands, activation: ActivationName) -> Unrolled:
    """Run the recurrence over whole sequences, step after step.

    Args:
        steps: Which rows each step has.
        operands: The gates of all steps, the first state, U, b_hn and the mask.
        activation: Of the gates r and z.

    Returns:
        h of every step, rows as in `gates`, (rows, H); h after each sequence's last step, (B, H).
    """
    _, hidden_0, weight, bias, mask = operands
    gate = activation_of(activation)
    gates, weight_t = steps.split(operands.gates), weight.t()
    size = weight.shape[1]
    hidden: dict[int, Tensor] = {}
    for t in steps.order():
        before = steps.before(hidden, t, hidden_0)
        product = (before if mask is None else before * mask[: steps.sizes[t]]) @ weight_t
        if bias is not None:
            product = torch.cat([product[:, : 2 * size], product[:, 2 * size :] + bias], dim=1)
        hidden[t] = gru_cell(gates[t], product, before, gate)
    return torch.cat([hidden[t] for t in range(len(hidden))]), steps.final(hidden)
