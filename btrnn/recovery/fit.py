"""Many maps of one shape trained as one: every truth and restart is an entry of a batch of parameters."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.nn.factorised import FactorisedLinear
from btrnn.ops.contraction import BLOCK, contract

FIT = "fit"  # the axis of the batch
_SHOWN_EVERY = 500  # steps
Progress = Callable[[int, float], None]  # step, median of the relative errors on the pairs


class Fits(NamedTuple):
    """What training gave.

    weights: (fits, J, I).
    errors: (fits,), the Frobenius norm of what is missed over that of the truth.
    """

    weights: Tensor
    errors: Tensor


def dense_weights(
    layer: FactorisedLinear, operands: Sequence[Tensor]
) -> Float[Tensor, "fits out_features in_features"]:
    """Reconstruct W of every entry of a batch of operands, each (fits, blocks, its own axes)."""
    network = layer.network
    axes = [(FIT, BLOCK, *names) for names in network.operands]
    dense = contract(operands, axes, (FIT, *network.out_axes, *network.in_axes))
    return dense.reshape(-1, layer.out_features, layer.in_features)


def fit(
    layer: FactorisedLinear,
    truths: Float[Tensor, "fits out_features in_features"],
    *,
    num_pairs: int,
    num_steps: int,
    learning_rate: float,
    seed: int,
    show: Progress | None = None,
) -> Fits:
    """Train a map of a layer's shape for each truth, on pairs (x, y = W x), all of them as one batch.

    All fits see the same x, drawn as white normal noise, and all pairs at each step. The loss is the mean over pairs of
    |W' x - y|^2, divided by that of the answer 0. Its gradient with respect to W' is 2 (W' - W) M with the second
    moment M = sum x x^T / n, which is how it is computed: 64 columns instead of n. For many pairs M tends to the
    identity, and the loss to the square of the relative error that is reported; where the map can be W, both are 0 at
    the same place for any n of at least 64.

    Args:
        layer: Gives the shape and the initialisation; its parameters are drawn anew.
        truths: W of each fit; a truth that stands there several times has as many restarts.
        num_pairs: n.
        num_steps: Of Adam.
        learning_rate: At first; it falls to 0 along a cosine.
        seed: Of the pairs and the initialisations.
        show: Called now and then.
    """
    moment = second_moment(draw_inputs(num_pairs, layer.in_features, seed)).float()
    # the norm that the layer's initialisation has: learning a scale is not what is to be measured
    norms = truths.flatten(1).norm(dim=1)[:, None, None]
    scale = (layer.out_features / 3) ** 0.5 / norms
    targets = (scale * truths).float()
    answer_zero = ((targets @ moment) * targets).sum(dim=(1, 2), keepdim=True)
    operands = _initial(layer, len(targets), seed)
    optimizer = torch.optim.Adam(operands, lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for step in range(num_steps):
        optimizer.zero_grad()
        weights = dense_weights(layer, operands)
        missed = weights.detach() - targets
        gradients = (missed @ moment).div_(answer_zero)  # half of them: Adam does not see a factor
        torch.autograd.backward(weights, gradients)
        optimizer.step()
        schedule.step()
        if show is not None and (step + 1) % _SHOWN_EVERY == 0:
            losses = (gradients * missed).sum(dim=(1, 2))
            show(step + 1, float(losses.median().sqrt()))
    with torch.no_grad():
        learnt = dense_weights(layer, operands).double() / scale
    return Fits(learnt, (learnt - truths).flatten(1).norm(dim=1) / norms.flatten())


def draw_inputs(num_pairs: int, size: int, seed: int) -> Float[Tensor, "pairs size"]:
    """Draw white normal x, one a row, in float64."""
    return torch.randn(num_pairs, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def second_moment(x: Float[Tensor, "pairs size"]) -> Float[Tensor, "size size"]:
    """Give M = sum x x^T / n over the rows x: the mean of |W x|^2 is the sum of W M times W, for any W."""
    moment: Tensor = x.mT @ x / len(x)
    return moment


def _initial(layer: FactorisedLinear, count: int, seed: int) -> list[Tensor]:
    """Draw the layer's parameters `count` times: its operands with an axis of fits in front."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = []
        for _ in range(count):
            layer.reset_parameters()
            drawn.append([operand.detach().clone() for operand in layer.operands()])
    return [torch.stack(operand).requires_grad_() for operand in zip(*drawn, strict=True)]
