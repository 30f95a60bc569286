r"""One learning rate for dense and factorised layers: parameter groups for Adam and its like.

Adam moves every entry of a parameter by about the learning rate, whatever the entry's size. How far a layer's output
moves then depends on the layer. In a dense map I small changes add up, so that one step of an LSTM that reads 57,600
pixels moves its gates hundreds of times as far as a step of a small layer does; in a factorised map the same step moves
them much less. A rate that suits the one is too high or too low for the other.

The rule. A step of an ordinary layer, one of 256 inputs, moves its output by 256 lr: inputs of unit size, all changes
pulling one way. Every other matrix W gets the rate at which its output moves as far:

    dense, of fan-in I            lr 256 / I
    factor A, one of K tensors    lr 256 / K  rms(A) / (sqrt(F) rms(W x)),   F = I_A (1 + (2 / pi) (R_A - 1) / J_A)

with I_A the product of A's input modes, R_A that of its ranks (blocks included), J_A that of the output modes which A
does not have, and rms(W x) = ||W|| / sqrt(J), the size of the output for white inputs of unit size.

Where it comes from. The first line is the maximal-update parametrisation (Yang and Hu, "Tensor Programs IV", ICML 2021;
Yang et al., "Tensor Programs V", 2022): Adam's rate of a matrix goes with the inverse of its fan-in. Qiu et al.
("Compute Better Spent: Replacing Dense Layers with Structured Matrices", ICML 2024) apply it to each factor of a
structured matrix, with the fan-in of the factor's own contraction; what stands between two factors has unit size there.

Ours is the second line, for any tensor network at any initial size. Output j is a sum of entries of A, each times a
number T that the other tensors and x make. The signs of the terms are random at first, so the output's size is rms(A)
rms(T) times the root of their number. A step gives each entry the sign of its gradient, which is a sum over the J_A
outputs that share the entry. Along A's input modes the T are alike, as neighbouring pixels are, so I_A changes pull one
way. Along its ranks they are not: of R_A terms each pulls the way of one output by sqrt(2 / (pi J_A)) of its size, and
the rest adds up at random. That is rms(W x) sqrt(F) / rms(A) for a step of unit size; each of the K tensors, which all
step at once, may move the output a K-th of the way. Where one output alone decides a sign (J_A = 1), F is the fan-in of
Qiu et al. but for the 2 / pi.

The rule is meant for inputs of about unit size, and for optimisers whose steps have the size of the rate: Adam, AdamW,
Lion, but not plain SGD. Decoupled weight decay, as AdamW's, acts in proportion to each group's rate.
"""

import re
from collections.abc import Iterator
from math import pi, prod, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from btrnn.nn.dense_map import DenseMap
from btrnn.nn.factorised import FactorisedLinear
from btrnn.nn.recurrent import Recurrent

ORDINARY_FAN_IN = 256  # of the layer that a rate is meant for: the hidden size of the paper's networks
_DENSE = (nn.Linear, DenseMap, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, Recurrent)
_MATRICES = (*_DENSE, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MATRIX_NAME = re.compile(r"(in_proj_|[qkv]_proj_)?weight(_(ih|hh|hr))?(_l\d+(_reverse)?)?")


class _Multiple(NamedTuple):
    """What a parameter's rate is a multiple of lr by; `factor` names a factor of a map, whose group is its own."""

    value: float
    factor: str = ""


def parameter_groups(model: nn.Module, lr: float, *, fan_in: int = ORDINARY_FAN_IN) -> list[dict[str, Any]]:
    """Return parameter groups in which one step moves the output of every layer as far.

    The rule, its source and what is ours stand at the top of this module. It is applied to the matrices of nn.Linear,
    of convolutions (not transposed ones), of attention, of torch's recurrent layers and this library's, and to every
    factorised map; biases, norms, embeddings and all other parameters keep `lr`. The rates of factors follow from the
    numbers that they have, so call it after the initialisation, `from_dense` or `load_state_dict`.

    Args:
        model: A layer or a whole network; parametrised, pruned or compiled ones too.
        lr: The rate of an ordinary layer, such as 1e-3.
        fan_in: How many inputs the ordinary layer has: a dense layer of so many keeps `lr`.

    Returns:
        Groups with `params` and `lr`, each parameter in one of them, for Adam, AdamW and the like. The first has those
        that keep `lr`, if there are any; each factor has its own, so that a new call for the same network, whatever
        its numbers are by then, gives groups into which a saved optimiser's state fits. Schedulers of torch multiply
        every group's rate, so the ratios stay.

    Raises:
        ValueError: `lr` or `fan_in` is not positive, or a factorised map is zero or has no numbers yet.

    Examples:
        >>> model = nn.Sequential(nn.Linear(1024, 256), nn.Linear(256, 10))
        >>> [group["lr"] for group in parameter_groups(model, 1e-3)]  # of all the rest, and of the first matrix
        [0.001, 0.00025]
    """
    if not (lr > 0 and fan_in > 0):
        raise ValueError(f"lr and fan_in must be positive, got lr={lr} and fan_in={fan_in}")
    found: dict[nn.Parameter, _Multiple] = {}
    for path, module in model.named_modules():
        for owner, name, multiple in _multiples(path, module, fan_in):
            for parameter in _stored(owner, name):  # a matrix that two layers share takes the smaller step
                found[parameter] = min(multiple, found.get(parameter, multiple))
    groups: dict[_Multiple, list[nn.Parameter]] = {_Multiple(1.0): []}
    for parameter in model.parameters():
        groups.setdefault(found.get(parameter, _Multiple(1.0)), []).append(parameter)
    return [{"params": some, "lr": lr * multiple.value} for multiple, some in groups.items() if some]


def _multiples(path: str, module: nn.Module, fan_in: int) -> Iterator[tuple[nn.Module, str, _Multiple]]:
    """Yield the tensors of a module that have a rate of their own: who holds it, its name, and its multiple."""
    if isinstance(module, FactorisedLinear):
        for place, (owner, name, value) in enumerate(_of_factors(path, module, fan_in)):
            yield owner, name, _Multiple(value, f"{path}.{place}")
    elif isinstance(module, _MATRICES):
        parametrised: Any = getattr(module, "parametrizations", ())
        names = dict.fromkeys([*(name.removesuffix("_orig") for name in module._parameters), *parametrised])
        for name in filter(_MATRIX_NAME.fullmatch, names):
            tensor: Tensor | None = getattr(module, name)
            if tensor is not None:  # attention has one matrix for queries, keys and values, or three
                yield module, name, _Multiple(fan_in / tensor[0].numel())


@torch.no_grad()
def _of_factors(path: str, layer: FactorisedLinear, fan_in: int) -> Iterator[tuple[nn.Module, str, float]]:
    """Yield the multiples of the tensors of a factorised map."""
    network, operands = layer.network, layer.operands()
    size = 0.0 if operands[0].is_meta else layer.output_size()
    if not size > 0:
        what = "has no numbers yet" if operands[0].is_meta else f"stands for a W of size {size:g}"
        raise ValueError(
            f"{path or type(layer).__name__} {what}, so that how far a step moves its output cannot be said: "
            "fill it first, by reset_parameters() for instance"
        )
    for (owner, name), operand, axes in zip(layer.weight_places(), operands, network.operands, strict=True):
        in_modes, out_modes, ranks = (prod(network.sizes[axis] for axis in axes if axis[0] == kind) for kind in "ijr")
        sharing = layer.out_features / out_modes  # the outputs that share an entry
        pulls = in_modes * (1 + 2 / pi * (network.num_blocks * ranks - 1) / sharing)
        rms = float(operand.detach().double().square().mean().sqrt())
        yield owner, name, fan_in / len(operands) * rms / (sqrt(pulls) * size)


def _stored(owner: nn.Module, name: str) -> list[nn.Parameter]:
    """List the parameters behind a tensor that have its shape: itself, or what pruning and the like compute it from."""
    known: list[Any] = [owner._parameters.get(key) for key in (name, f"{name}_orig")]
    if is_parametrized(owner, name):
        known += owner.get_submodule(f"parametrizations.{name}").parameters()
    shape = getattr(owner, name).shape
    return [parameter for parameter in known if parameter is not None and parameter.shape == shape]
