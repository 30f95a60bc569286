"""Factorised maps of every kind, for tests that all of them must pass, and the W of each by its definition."""

from math import prod

import numpy as np
import torch
from hypothesis import strategies as st

from btrnn import (
    BTLinear,
    CPLinear,
    HTLinear,
    KroneckerLinear,
    LowRankLinear,
    TRLinear,
    TTLinear,
    TuckerLinear,
)
from btrnn.complexity import balanced_tree

MAPS = {  # of 12 features to 12
    "bt": lambda **options: BTLinear((2, 3, 2), (3, 2, 2), tucker_rank=2, num_blocks=2, **options),
    "tt": lambda **options: TTLinear((2, 3, 2), (3, 2, 2), tt_rank=2, **options),
    "tr": lambda **options: TRLinear((2, 3, 2), (3, 4), tr_rank=(2, 3, 2, 1, 3), **options),
    "cp": lambda **options: CPLinear((2, 3, 2), (3, 2, 2), cp_rank=3, **options),
    "tucker": lambda **options: TuckerLinear((2, 3, 2), (3, 2, 2), tucker_rank=(2, 3, 1), **options),
    "ht": lambda **options: HTLinear((2, 3, 2), (3, 2, 2), ht_rank=3, leaf_rank=2, **options),
    "kronecker": lambda **options: KroneckerLinear((4, 3), (2, 6), num_terms=2, **options),
    "low_rank": lambda **options: LowRankLinear(12, 12, rank=3, **options),
}


@st.composite
def layers(draw, dtype=torch.float64):
    """Draw a map of any kind, order, modes, ranks and number of terms, small enough to rebuild."""
    options = {"bias": draw(st.booleans()), "dtype": dtype}
    kind, rank = draw(st.sampled_from(list(MAPS))), draw(st.integers(1, 3))
    if kind == "low_rank":
        return LowRankLinear(draw(st.integers(1, 9)), draw(st.integers(1, 9)), rank=rank, **options)

    def numbers(count, largest):
        return draw(st.lists(st.integers(1, largest), min_size=count, max_size=count))

    if kind == "tr":
        orders = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        return TRLinear(numbers(orders[0], 4), numbers(orders[1], 4), tr_rank=numbers(sum(orders), 3), **options)
    order = draw(st.integers(2 if kind in ("ht", "kronecker") else 1, 6))
    modes = [numbers(order, 4 if order < 5 else 2) for _ in range(2)]
    match kind:
        case "bt":
            return BTLinear(*modes, tucker_rank=rank, num_blocks=draw(st.integers(1, 3)), **options)
        case "tt":
            return TTLinear(*modes, tt_rank=numbers(order - 1, 4), **options)
        case "cp":
            return CPLinear(*modes, cp_rank=rank, **options)
        case "tucker":
            return TuckerLinear(*modes, tucker_rank=numbers(order, 3), **options)
        case "ht":
            return HTLinear(*modes, ht_rank=rank, leaf_rank=draw(st.integers(1, 3)), **options)
        case _:
            return KroneckerLinear(*modes, num_terms=rank, **options)


def reference_dense(layer) -> np.ndarray:
    """Rebuild W in NumPy by the definition of its kind."""
    weights = [weight.detach().double().numpy() for weight in layer.weights()]
    features = (prod(layer.out_modes), prod(layer.in_modes))
    match layer:
        case LowRankLinear():
            return weights[0] @ weights[1]
        case TRLinear():
            return _ring(weights).reshape(features[::-1]).T
        case BTLinear():
            core, *factors = weights
            terms = [_tucker(core[n], [factor[n] for factor in factors]) for n in range(len(core))]
        case TuckerLinear():
            terms = [_tucker(weights[0], weights[1:])]
        case TTLinear():
            terms = []
            for ranks in np.ndindex(*layer.tt_ranks[1:-1]):
                full = (0, *ranks, 0)
                terms.append(_outer([core[full[k], :, :, full[k + 1]] for k, core in enumerate(weights)]))
        case HTLinear():
            terms = [_tree(layer.order, weights)]
        case _:  # CP, Kronecker
            terms = [_outer([factor[n] for factor in weights]) for n in range(len(weights[0]))]
    order = layer.order
    axes = [2 * k + 1 for k in range(order)] + [2 * k for k in range(order)]
    return sum(terms).transpose(axes).reshape(features)


def _outer(factors) -> np.ndarray:
    """Multiply matrices (I_k, J_k) to (I_1, J_1, I_2, J_2, ..)."""
    term = np.array(1.0)
    for factor in factors:
        term = np.multiply.outer(term, factor)
    return term


def _tucker(core, factors) -> np.ndarray:
    """Add up the entries of a core, each times its columns of the factors."""
    result = 0.0
    for ranks in np.ndindex(*core.shape):
        chosen = [factor[..., rank] for factor, rank in zip(factors, ranks, strict=True)]
        result = result + core[ranks] * _outer(chosen)
    return result


def _ring(cores) -> np.ndarray:
    """Take the trace of the product of a matrix of each core, for every index."""
    entries = np.empty([core.shape[1] for core in cores])
    for place in np.ndindex(*entries.shape):
        product = np.eye(len(cores[0]))
        for core, index in zip(cores, place, strict=True):
            product = product @ core[:, index]
        entries[place] = np.trace(product)
    return entries


def _tree(order, weights) -> np.ndarray:
    """Make the basis of every node of a hierarchical Tucker tensor, (.., r), from the leaves up."""
    tree, factors = balanced_tree(0, order), weights[-order:]
    bases = {(k, k + 1): factor for k, factor in enumerate(factors)}
    for (first, middle, last), transfer in reversed(list(zip(tree, weights, strict=False))):
        left, right = bases[first, middle], bases[middle, last]
        own = transfer if transfer.ndim == 3 else transfer[None]
        bases[first, last] = sum(
            np.multiply.outer(np.multiply.outer(left[..., s], right[..., q]), own[:, s, q])
            for s, q in np.ndindex(*own.shape[1:])
        )
    return bases[0, order][..., 0]
