"""The activations of gates: as autograd follows them, in place, and their slopes."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

ActivationName: TypeAlias = Literal["sigmoid", "hard_sigmoid"]

HARD_SLOPE = 0.2


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
