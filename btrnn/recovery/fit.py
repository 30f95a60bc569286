"""Many maps of one shape trained as one: every truth and restart is an entry of a batch of parameters."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from btrnn.contraction import BLOCK, contract
from btrnn.factorised import FactorisedLinear

FIT = "fit"  # the axis of the batch
_SHOWN_EVERY = 500  # steps
Progress = Callable[[int, float], None]  # step, median of the relative errors on the pairs


class Fits(NamedTuple):
    """What training gave, for each truth and restart.

    weights: (truths, restarts, J, I).
    errors: (truths, restarts), the Frobenius norm of what is missed over that of the truth.
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
    truths: Float[Tensor, "truths out_features in_features"],
    *,
    num_restarts: int,
    num_pairs: int,
    num_steps: int,
    learning_rate: float,
    seed: int,
    show: Progress | None = None,
) -> Fits:
    """Train maps of a layer's shape on pairs (x, y = W x), each from `num_restarts` initialisations of the layer.

    All fits see the same x, drawn as white normal noise. The loss is the mean squared error over all pairs, divided by
    that of the answer 0. With M = sum x x^T / n = L L^T it equals |(W' - W) L|^2 / |W L|^2, which is what is computed:
    64 columns instead of n. For many pairs L tends to the identity, and the loss to the square of the relative error
    that is reported; for a W that the map can be, both are 0 at the same place for any n of at least 64.

    Args:
        layer: Gives the shape and the initialisation; its parameters are drawn anew.
        truths: W of each.
        num_restarts: Of each truth.
        num_pairs: n.
        num_steps: Of Adam, over all pairs each.
        learning_rate: At first; it falls to 0 along a cosine.
        seed: Of the pairs and the initialisations.
        show: Called now and then.
    """
    root = moment_root(draw_inputs(num_pairs, layer.in_features, seed))
    # the norm that the layer's initialisation has: learning a scale is not what is to be measured
    scale = (layer.out_features / 3) ** 0.5 / truths.flatten(1).norm(dim=1)
    targets = (scale[:, None, None] * truths).repeat_interleave(num_restarts, dim=0)
    seen = (targets @ root).float()
    weight = seen.square().sum(dim=(1, 2)).reciprocal()
    operands = _initial(layer, len(targets), seed)
    optimizer = torch.optim.Adam(operands, lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    root = root.float()
    for step in range(num_steps):
        optimizer.zero_grad()
        losses = (dense_weights(layer, operands) @ root - seen).square().sum(dim=(1, 2)) * weight
        losses.sum().backward()
        optimizer.step()
        schedule.step()
        if show is not None and (step + 1) % _SHOWN_EVERY == 0:
            show(step + 1, float(losses.detach().median().sqrt()))
    with torch.no_grad():
        weights = dense_weights(layer, operands).double()
        errors = (weights - targets).flatten(1).norm(dim=1) / targets.flatten(1).norm(dim=1)
        weights = weights.reshape(len(truths), num_restarts, *truths.shape[1:]) / scale[:, None, None, None]
    return Fits(weights, errors.reshape(len(truths), num_restarts))


def draw_inputs(num_pairs: int, size: int, seed: int) -> Float[Tensor, "pairs size"]:
    """Draw white normal x, one a row, in float64."""
    return torch.randn(num_pairs, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moment_root(x: Float[Tensor, "pairs size"]) -> Float[Tensor, "size size"]:
    """Give L of the second moment sum x x^T / n = L L^T: the mean of |W x|^2 over the rows x is |W L|^2, for any W."""
    root: Tensor = torch.linalg.cholesky(x.mT @ x / len(x))
    return root


def _initial(layer: FactorisedLinear, count: int, seed: int) -> list[Tensor]:
    """Draw the layer's parameters `count` times: its operands with an axis of fits in front."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = []
        for _ in range(count):
            layer.reset_parameters()
            drawn.append([operand.detach().clone() for operand in layer.operands()])
    return [torch.stack(operand).requires_grad_() for operand in zip(*drawn, strict=True)]
