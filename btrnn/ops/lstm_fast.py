r"""The recurrence of an LSTM over whole sequences, from the input's part of the gates to the hidden states.

    (i', f', g', o') = gates_t + U h_{t-1}
    c_t = s(f') * c_{t-1} + s(i') * tanh(g')
    h_t = s(o') * tanh(c_t),  s the gates' activation

`plain_unroll` says it as a loop that autograd follows: the definition. `unroll` gives the same numbers and gradients in
less time: it writes the activations of all steps into a few buffers, its backward is written by hand, and the gradient
of U is one matrix product over all steps rather than a sum of one product a step. The steps themselves are done by a
native kernel where it serves, else one operation of torch after the other.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from btrnn.ops.dispatch import is_batched, is_eager
from btrnn.ops.matmul import has_onednn, onednn_outer_product, onednn_product
from btrnn.ops.native import recurrence as native_recurrence
from btrnn.ops.native.recurrence import Kept

ActivationName: TypeAlias = Literal["sigmoid", "hard_sigmoid"]
Unrolled: TypeAlias = tuple[Float[Tensor, "rows hidden"], Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]

HARD_SLOPE = 0.2
ONEDNN_STEP_ROWS, ONEDNN_ROWS, ONEDNN_NUMEL = 4, 256, 2**16  # see `_use_onednn`
CHUNK_ROWS = 256  # the backward prepares so many rows at a time, few enough to stay in the processor's cache


def hard_sigmoid(x: Tensor) -> Tensor:
    """Compute clip(0.2 x + 0.5, 0, 1), the released code's gate (torch's own hardsigmoid has slope 1/6)."""
    return F.hardtanh(HARD_SLOPE * x + 0.5, 0.0, 1.0)  # unlike clamp's, its slope is 0 on the bounds: see `_slopes`


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


class Steps(NamedTuple):
    """Which rows each step has, and the order in which the steps are read.

    Attributes:
        sizes: How many rows each step has. As in PackedSequence, step t has a row for each sequence of at least t + 1
            steps, longest first; in a padded batch every step has all rows.
        reverse: Whether to read from the end.
    """

    sizes: list[int]
    reverse: bool

    def order(self) -> range:
        """Return the steps' numbers in the order in which they are read."""
        count = len(self.sizes)
        return range(count - 1, -1, -1) if self.reverse else range(count)

    def before(self, states: Mapping[int, Tensor], t: int, first: Tensor) -> Tensor:
        """Return the state that step t starts from; read from the end, the shorter sequences begin later."""
        size, neighbour = self.sizes[t], t + 1 if self.reverse else t - 1
        if not 0 <= neighbour < len(self.sizes):
            return first[:size]
        rows = self.sizes[neighbour]
        if _is_same(size, rows):
            return states[neighbour]
        if self.reverse:
            return torch.cat([states[neighbour], first[rows:size]])
        return states[neighbour][:size]

    def final(self, states: Mapping[int, Tensor]) -> Tensor:
        """Return the state of each sequence after its last step, in a tensor of its own."""
        if self.reverse:
            return states[0].clone()
        pairs = enumerate(zip(self.sizes, [*self.sizes[1:], 0], strict=True))
        ends = [(t, rest) for t, (size, rest) in pairs if t == len(self.sizes) - 1 or not _is_same(size, rest)]
        return torch.cat([states[t][rest:] for t, rest in reversed(ends)])

    def split(self, rows: Tensor) -> dict[int, Tensor]:
        """Return each step's view of a tensor that has the rows of all steps."""
        return dict(enumerate(rows.split_with_sizes(self.sizes)))


def _is_same(size: int, other: int) -> bool:
    """Compare two steps' sizes; those that tracing has made tensors are not, which would fix them for ever."""
    return size is other or (isinstance(size, int) and size == other)


class Operands(NamedTuple):
    """The tensors of a recurrence, as `unroll` takes them."""

    gates: Tensor
    hidden_0: Tensor
    cell_0: Tensor
    weight: Tensor
    mask: Tensor | None


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
        return native_recurrence.forward(_sequences(steps, activation), *operands, kept=None)
    cell = torch.empty_like(cell_0)
    return _forward(steps, operands, activation, {t: cell[:size] for t, size in enumerate(batch_sizes)})


def _sequences(steps: Steps, activation: ActivationName) -> native_recurrence.Sequences:
    return native_recurrence.Sequences(steps.sizes, reverse=steps.reverse, hard=activation == "hard_sigmoid")


def plain_unroll(steps: Steps, operands: Operands, activation: ActivationName) -> Unrolled:
    """Run the recurrence as a loop of differentiable operations; returns what `unroll` does."""
    _, hidden_0, cell_0, weight, mask = operands
    gate = hard_sigmoid if activation == "hard_sigmoid" else torch.sigmoid
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
    gates, hidden, linear = steps.split(operands.gates), steps.split(outputs), _linear(weight, steps)
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


def _use_onednn(matrix: Tensor, steps: Steps) -> bool:
    """Say whether oneDNN multiplies faster: it lays the matrix out once for all steps, but is slower to call."""
    large = sum(steps.sizes) >= ONEDNN_ROWS and matrix.numel() >= ONEDNN_NUMEL
    return large and max(steps.sizes) >= ONEDNN_STEP_ROWS and has_onednn(matrix)


def _linear(matrix: Tensor, steps: Steps) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Return a function of x and y that computes x matrix^T, plus y unless it is None, for one step at a time."""
    if _use_onednn(matrix, steps):
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix.detach().contiguous(), max(steps.sizes))
        add = torch.ops.mkldnn._linear_pointwise.binary
        return lambda x, y: onednn_product(x, packed) if y is None else add(x, y, packed, None, "add")
    matrix_t = matrix.t()
    return lambda x, y: torch.mm(x, matrix_t) if y is None else torch.addmm(y, x, matrix_t)


def _sum_of_products(left: Tensor, right: Tensor, like: Tensor, steps: Steps) -> Tensor:
    """Return left^T right, laid out as `like`."""
    if _use_onednn(like, steps):
        return onednn_outer_product(left, right).contiguous()
    return torch.mm(left.t(), right)


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
            results = native_recurrence.forward(_sequences(steps, activation), *operands, kept)
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
                found = _backward_through_plain_loop(ctx.steps, operands, ctx.activation, grads, needed)
            else:
                back = _native_backward if ctx.native else _backward
                found = back(ctx.steps, operands, ctx.activation, kept, grads, needed)
        return *found, None, None, None


def _backward(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: Kept,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the gates, hidden_0, cell_0 and U, of those that are needed."""
    _, hidden_0, cell_0, weight, mask = operands
    cells, activations = kept
    size = weight.shape[1]
    wanted, into_hidden, into_cell = grads
    grad_hidden, grad_cell = _started(into_hidden, hidden_0), _started(into_cell, cell_0)
    grad_outputs = None if wanted is None else steps.split(wanted)
    grad_gates, hidden = torch.empty_like(activations), torch.empty_like(cells)
    cell_by_step, gates_by_step = steps.split(cells), steps.split(grad_gates)
    starts = [0, *accumulate(steps.sizes)]
    order, linear = steps.order()[::-1], _linear(weight.t(), steps)
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
        grad_weight = _sum_of_products(grad_gates, _seen(steps, hidden, hidden_0, mask), weight, steps)
    return grad_gates if needed[0] else None, grad_hidden, grad_cell, grad_weight


def _native_backward(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    kept: Kept,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Return what `_backward` does, with the steps done by the native kernel."""
    _, hidden_0, cell_0, weight, mask = operands
    sequences = _sequences(steps, activation)
    found = native_recurrence.backward(sequences, kept, cell_0, weight, mask, grads, to_hidden_0=needed[1])
    grad_weight = None
    if needed[3]:
        grad_weight = _sum_of_products(found.gates, _seen(steps, found.hidden, hidden_0, mask), weight, steps)
    return found.gates if needed[0] else None, found.hidden_0, found.cell_0, grad_weight


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


def _backward_through_plain_loop(
    steps: Steps,
    operands: Operands,
    activation: ActivationName,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Return the gradients as `_backward` does, in a graph that can be differentiated again if they are enabled."""
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
