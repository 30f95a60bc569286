"""What all cells need at their steps: which rows each has, in which order they are read, and the gates' activations."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

ActivationName: TypeAlias = Literal["sigmoid", "hard_sigmoid"]

HARD_SLOPE = 0.2


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


# ---- activations: as autograd follows them, in place, and their slopes


def activation_of(name: ActivationName) -> Callable[[Tensor], Tensor]:
    """Return an activation as autograd follows it."""
    return hard_sigmoid if name == "hard_sigmoid" else torch.sigmoid


def activation_in_place(name: ActivationName) -> Callable[[Tensor], Tensor]:
    """Return what writes an activation over its argument, unseen by autograd."""
    return _hard_sigmoid_ if name == "hard_sigmoid" else torch.sigmoid_


def gate_slopes(factor: Tensor, gate: Tensor, name: ActivationName, out: Tensor) -> None:
    """Write `factor` times the derivative of a gate's activation, from the gate's value, to `out`."""
    if name == "hard_sigmoid":
        torch.ops.aten.hardtanh_backward.grad_input(factor, gate, 0.0, 1.0, grad_input=out)
        out.mul_(HARD_SLOPE)
    else:
        torch.ops.aten.sigmoid_backward.grad_input(factor, gate, grad_input=out)


def hard_sigmoid(x: Tensor) -> Tensor:
    """Compute clip(0.2 x + 0.5, 0, 1), the released code's gate (torch's own hardsigmoid has slope 1/6)."""
    return F.hardtanh(HARD_SLOPE * x + 0.5, 0.0, 1.0)  # unlike clamp's, its slope is 0 on the bounds


def _hard_sigmoid_(x: Tensor) -> Tensor:
    return x.mul_(HARD_SLOPE).add_(0.5).clamp_(0.0, 1.0)
