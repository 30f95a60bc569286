"""A cell's recurrence over whole sequences: by its plain loop, or in less time with a backward written by hand.

Which of the two serves is decided here, for every cell alike. A cell brings its operands, its plain loop, which is its
definition, and a forward and a backward pass in place, which autograd does not follow.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from btrnn.ops.dispatch import is_eager, is_plain
from btrnn.ops.steps import Steps

CHUNK_ROWS = 256  # a backward prepares so many rows at a time, few enough to stay in the processor's cache

Tensors = tuple[Tensor, ...]
Gradients = tuple[Tensor | None, ...]


class ForwardPass(NamedTuple):
    """What a forward pass in place gives.

    results: h of every step, and the state after each sequence's last step.
    kept: What the backward pass needs; empty where there will be none.
    backward: Computes from the steps, the operands, the activation, `kept`, the gradients of `results` (None where
        nothing follows from one), and whether each operand but the mask has need of its gradient, those gradients; what
        it returns for one that has none is None, or means nothing.
    """

    results: Tensors
    kept: Tensors
    backward: Callable[[Steps, Any, Any, Tensors, Sequence[Tensor | None], Sequence[bool]], Gradients]


class Cell(NamedTuple):
    """The ways in which a kind of cell goes through its steps.

    operands: The class of its tensors, of which the last is the mask of h.
    plain: From the steps, the operands and the activation to the results, by operations that autograd follows.
    forward: The same in place, and whether to keep what the backward pass needs.
    """

    operands: Callable[..., Any]
    plain: Callable[[Steps, Any, Any], Tensors]
    forward: Callable[[Steps, Any, Any, bool], ForwardPass]


def unroll(cell: Cell, steps: Steps, operands: tuple[Tensor | None, ...], activation: str) -> Tensors:
    """Run a recurrence over whole sequences, ragged or not, in the cheapest way that gives the plain loop's numbers.

    The same inputs give the same bits. The gradients can be differentiated again: a backward with create_graph runs
    the plain loop. So does everything under torch.compile, torch.export, tracing, autocast, torch.func and forward-mode
    differentiation, on the meta device, and with tensors of several dtypes or a mask that requires a gradient.

    Args:
        cell: Its ways.
        steps: Which rows each step has.
        operands: Its tensors; None where there is none.
        activation: Of its gates.

    Returns:
        h of every step, and the state after each sequence's last step.
    """
    tensors, mask = [operand for operand in operands if operand is not None], operands[-1]
    same = all(tensor.dtype == tensors[0].dtype for tensor in tensors)
    if not (same and is_eager(*tensors)) or (mask is not None and mask.requires_grad):
        return cell.plain(steps, operands, activation)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        results: Tensors = _Recurrence.apply(cell, steps, activation, *operands)
        return results
    return cell.forward(steps, operands, activation, False).results


class _Recurrence(torch.autograd.Function):
    """The recurrence with a backward written by hand."""

    @staticmethod
    def forward(ctx: Any, cell: Cell, steps: Steps, activation: str, *operands: Tensor | None) -> Tensors:
        forward = cell.forward(steps, cell.operands(*operands), activation, True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*operands, *forward.kept)
        ctx.cell, ctx.steps, ctx.activation, ctx.back = cell, steps, activation, forward.backward
        ctx.num_operands = len(operands)
        return forward.results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Gradients:
        count, saved = ctx.num_operands, ctx.saved_tensors
        operands, kept = ctx.cell.operands(*saved[:count]), saved[count:]
        needed = ctx.needs_input_grad[3:-1]
        with torch.autocast(operands[0].device.type, enabled=False):  # it may be on where backward is called
            given = [grad for grad in grads if grad is not None]
            if torch.is_grad_enabled() or not is_plain(operands[0], *given):
                found = _through_plain_loop(ctx.cell, ctx.steps, operands, ctx.activation, grads, needed)
            else:
                found = ctx.back(ctx.steps, operands, ctx.activation, kept, grads, needed)
        return None, None, None, *found, None


def _through_plain_loop(
    cell: Cell,
    steps: Steps,
    operands: tuple[Tensor | None, ...],
    activation: str,
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> Gradients:
    """Return what a cell's backward does, in a graph that can be differentiated again if gradients are enabled."""
    # Each operand under a new name, so that no gradient goes on from one of them into another that it was made of.
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        named = [None if tensor is None else tensor.view_as(tensor) for tensor in operands[:-1]]
        results = cell.plain(steps, cell.operands(*named, operands[-1]), activation)
    reached = [k for k, grad in enumerate(grads) if grad is not None]
    sources = [tensor for tensor, need in zip(named, needed, strict=True) if tensor is not None and need]
    found = iter(
        torch.autograd.grad([results[k] for k in reached], sources, [grads[k] for k in reached], create_graph=again)
    )
    return tuple(next(found) if need else None for need in needed)


# ---- what the backward passes share


def chunks_from_the_end(steps: Steps) -> Iterator[tuple[range, slice]]:
    """Cut the steps into chunks of few rows, the last that was read first.

    Returns:
        For each chunk its steps' numbers, in the order in which a backward pass takes them, and its rows.
    """
    starts, order = [0, *accumulate(steps.sizes)], steps.order()[::-1]
    count = max(1, CHUNK_ROWS // max(1, max(steps.sizes)))
    for chunk in (order[k : k + count] for k in range(0, len(order), count)):
        yield chunk, slice(starts[min(chunk)], starts[max(chunk) + 1])


def gradient_buffer(grad: Tensor | None, like: Tensor) -> Tensor:
    """Return a buffer that holds the gradient of a final state, row-major, to go back through the steps in it."""
    if grad is None:
        return torch.zeros_like(like, memory_format=torch.contiguous_format)
    return grad.clone(memory_format=torch.contiguous_format)


def recurrent_input_at(
    steps: Steps, hidden: Mapping[int, Tensor], t: int, hidden_0: Tensor, mask: Tensor | None
) -> Tensor:
    """Return what U multiplies at a step, from the hidden states of the steps before it."""
    before = steps.before(hidden, t, hidden_0)
    return before if mask is None else before * mask[: steps.sizes[t]]


def recurrent_inputs(steps: Steps, hidden: Mapping[int, Tensor], hidden_0: Tensor, mask: Tensor | None) -> Tensor:
    """Return what U multiplied at every step, (rows, H), from the hidden states of every step."""
    before = torch.cat([steps.before(hidden, t, hidden_0) for t in range(len(steps.sizes))])
    return before if mask is None else before.mul_(torch.cat([mask[:size] for size in steps.sizes]))


# ---- steps in few calls: a matrix product and a kernel for all else, as on a GPU, which waits for calls


def fused_backward(
    steps: Steps,
    weight: Tensor,
    mask: Tensor | None,
    wanted: Tensor | None,
    into: Sequence[Tensor],
    back: Callable[[int, list[Tensor]], tuple[Tensor, Tensor | None, list[Tensor]]],
    to_hidden_0: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Go back through the steps.

    Args:
        steps: Which rows each step has.
        weight: U.
        mask: Of h_{t-1}.
        wanted: The gradient of h of every step; None where nothing follows from it.
        into: Those of the state after each sequence's last step, h first, (B, H) each.
        back: From a step's number and the gradients of its state to those of its product with U; of h_{t-1} beside U's,
            if there is one; and of the rest of the state before it.
        to_hidden_0: Whether the gradient of the first h is wanted.

    Returns:
        The gradients of the products of all steps, step below step, and of the first state.
    """
    order, of_output = steps.order()[::-1], None if wanted is None else steps.split(wanted)
    products: dict[int, Tensor] = {}
    later: list[list[Tensor]] = []  # of sequences that begin at a later step, read from the end
    rows = steps.sizes[order[0]]
    state = [part[:rows] for part in into]
    if of_output is not None:
        state[0] = state[0] + of_output[order[0]]
    for t, following in zip(order, [*order[1:], None], strict=True):
        products[t], beside, rest = back(t, state)
        if following is None:
            state = [_through(products[t], weight, mask, beside) if to_hidden_0 else state[0], *rest]
            break
        before, output = steps.sizes[following], None if of_output is None else of_output[following]
        at_once = output is not None and beside is None and before == rows  # the next sum, in the product's own call
        state = [_through(products[t], weight, mask, output if at_once else beside), *rest]
        if before > rows:
            state = [torch.cat([part, end[rows:before]]) for part, end in zip(state, into, strict=True)]
        elif before < rows:
            later.insert(0, [part[before:] for part in state])
            state = [part[:before] for part in state]
        if output is not None and not at_once:
            state[0] = state[0] + output
        rows = before
    first = [torch.cat(parts) for parts in zip(state, *later, strict=True)] if later else state
    return torch.cat([products[t] for t in range(len(products))]), first


def _through(product: Tensor, weight: Tensor, mask: Tensor | None, addend: Tensor | None) -> Tensor:
    """Compute product U * mask + addend, each of the two if there is one."""
    if mask is None:
        return torch.mm(product, weight) if addend is None else torch.addmm(addend, product, weight)
    multiplied = torch.mm(product, weight)
    factors = mask[: len(product)]
    return multiplied.mul_(factors) if addend is None else torch.addcmul(addend, multiplied, factors)
