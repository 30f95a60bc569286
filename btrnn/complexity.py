"""Closed forms of the maps: how many parameters each has, and a dense one in its place; balanced modes.

Plain integers in, plain numbers out; nothing here needs torch. The block-term count is P_BTD of Ye et al., CVPR 2018,
the tensor-train count that of Yang et al., ICML 2017, the tensor-ring count that of Pan et al., AAAI 2019, the
hierarchical Tucker count that of Yin et al., 2020.
"""

from collections.abc import Sequence
from itertools import count
from math import isqrt, prod

from btrnn.sizes import all_ranks, check_count, check_modes, full_tt_ranks


def bt_parameters(in_modes: Sequence[int], out_modes: Sequence[int], tucker_rank: int, num_blocks: int) -> int:
    """Count the parameters of a block-term map: N (sum_k I_k J_k R + R^d), without bias (Ye et al., section 3).

    >>> bt_parameters((8, 20, 20, 18), (16, 4, 4, 4), tucker_rank=4, num_blocks=2)
    3392
    """
    in_modes, out_modes = check_modes(in_modes, out_modes)
    rank, blocks = check_count("tucker_rank", tucker_rank), check_count("num_blocks", num_blocks)
    factors = sum(i * j * rank for i, j in zip(in_modes, out_modes, strict=True))
    return blocks * (factors + prod([rank] * len(in_modes)))


def tt_parameters(in_modes: Sequence[int], out_modes: Sequence[int], tt_rank: int | Sequence[int]) -> int:
    """Count the parameters of a tensor-train map: sum_k r_{k-1} I_k J_k r_k, without bias.

    >>> tt_parameters((8, 20, 20, 18), (16, 4, 4, 4), tt_rank=4)
    3360
    """
    in_modes, out_modes = check_modes(in_modes, out_modes)
    ranks = full_tt_ranks(len(in_modes), tt_rank)
    return sum(
        left * i * j * right for left, i, j, right in zip(ranks[:-1], in_modes, out_modes, ranks[1:], strict=True)
    )


def tr_parameters(in_modes: Sequence[int], out_modes: Sequence[int], tr_rank: int | Sequence[int]) -> int:
    """Count the parameters of a tensor-ring map: sum_k r_k n_k r_{k+1} over the modes n of input and output.

    >>> tr_parameters((4, 2, 5, 8, 6, 5, 3, 2), (16, 4, 2, 4, 2), (10, *[5] * 12))
    1725
    """
    modes = sum(check_modes(in_modes, out_modes, paired=False), ())
    ranks = all_ranks("tr_rank", tr_rank, len(modes))
    return sum(left * mode * right for left, mode, right in zip(ranks, modes, (*ranks[1:], ranks[0]), strict=True))


def cp_parameters(in_modes: Sequence[int], out_modes: Sequence[int], cp_rank: int) -> int:
    """Count the parameters of a map in the canonical polyadic form: R sum_k I_k J_k.

    >>> cp_parameters((8, 20, 20, 18), (16, 4, 4, 4), cp_rank=9)
    3240
    """
    in_modes, out_modes = check_modes(in_modes, out_modes)
    return check_count("cp_rank", cp_rank) * sum(i * j for i, j in zip(in_modes, out_modes, strict=True))


def kronecker_parameters(in_modes: Sequence[int], out_modes: Sequence[int], num_terms: int) -> int:
    """Count the parameters of a sum of N Kronecker products of matrices (J_k, I_k): N sum_k I_k J_k.

    >>> kronecker_parameters((160, 360), (64, 16), num_terms=1)
    16000
    """
    return check_count("num_terms", num_terms) * cp_parameters(in_modes, out_modes, 1)


def tucker_parameters(in_modes: Sequence[int], out_modes: Sequence[int], tucker_rank: int | Sequence[int]) -> int:
    """Count the parameters of a Tucker map: sum_k I_k J_k R_k + R_1 ... R_d.

    >>> tucker_parameters((8, 20, 20, 18), (16, 4, 4, 4), tucker_rank=4)
    1696
    """
    in_modes, out_modes = check_modes(in_modes, out_modes)
    ranks = all_ranks("tucker_rank", tucker_rank, len(in_modes))
    return sum(i * j * rank for i, j, rank in zip(in_modes, out_modes, ranks, strict=True)) + prod(ranks)


def low_rank_parameters(in_features: int, out_features: int, rank: int) -> int:
    """Count the parameters of two thin matrices: r (I + J).

    >>> low_rank_parameters(57_600, 1024, rank=1)
    58624
    """
    sizes = check_count("in_features", in_features) + check_count("out_features", out_features)
    return check_count("rank", rank) * sizes


def balanced_tree(first: int, last: int) -> list[tuple[int, int, int]]:
    """List the nodes of a balanced binary tree over modes first .. last - 1 that have children, from the root down.

    A node (a, b, c) stands for modes a .. c - 1, its children for a .. b - 1 and b .. c - 1; a leaf is one mode.

    >>> balanced_tree(0, 5)
    [(0, 3, 5), (0, 2, 3), (0, 1, 2), (3, 4, 5)]
    """
    if last - first < 2:
        return []
    middle = (first + last + 1) // 2
    return [(first, middle, last), *balanced_tree(first, middle), *balanced_tree(middle, last)]


def ht_parameters(in_modes: Sequence[int], out_modes: Sequence[int], ht_rank: int, leaf_rank: int | None = None) -> int:
    """Count the parameters of a hierarchical Tucker map over a balanced binary tree (Yin et al., 2020).

    The leaves, one a mode, have the rank `leaf_rank`, or `ht_rank` if None; the other nodes `ht_rank`, the root 1.

    >>> ht_parameters((8, 10, 10, 9, 8), (16, 4, 2, 4, 2), ht_rank=5, leaf_rank=4)
    1245
    """
    inner = check_count("ht_rank", ht_rank)
    leaf = inner if leaf_rank is None else check_count("leaf_rank", leaf_rank)
    count = cp_parameters(in_modes, out_modes, leaf)
    sizes = [(b - a, c - b) for a, b, c in balanced_tree(0, len(in_modes))]
    children = [prod(leaf if size == 1 else inner for size in pair) for pair in sizes]
    return count + sum(children[:1]) + inner * sum(children[1:])


def dense_parameters(in_modes: Sequence[int], out_modes: Sequence[int]) -> int:
    """Count the entries of the dense matrix that a factorised map stands for, without bias.

    >>> dense_parameters((8, 20, 20, 18), (16, 4, 4, 4))
    58982400

    Raises:
        ValueError: A mode is below 1.
    """
    return prod(map(prod, check_modes(in_modes, out_modes, paired=False)))


def factorize(size: int, order: int) -> tuple[int, ...]:
    """Split a size into modes that are as equal as possible, largest first.

    Of all lists of `order` factors of at least 2 it is the one with the smallest sum; of equal sums the one with the
    smallest largest mode, then the smallest second. Block terms of these modes have the fewest parameters when one of
    the two lists is reversed, `factorize(4096, 5)` with `factorize(256, 5)[::-1]`; of a tensor train the order counts.

    Args:
        size: The product of the modes.
        order: d, how many modes.

    Raises:
        ValueError: The size has fewer than `order` prime factors, as a prime has; the message names sizes to pad to.

    >>> factorize(57_600, 4), factorize(4096, 5)
    ((16, 16, 15, 15), (8, 8, 4, 4, 4))
    """
    if check_count("order", order) == 1:
        return (check_count("size", size),)
    modes = _most_equal(check_count("size", size), order, _divisors(size))
    if modes is None:
        raise ValueError(
            f"{size} is no product of {order} modes of at least 2: it has too few prime factors. Pad it with zeros to "
            f"{' or '.join(_padded(size, order))}, or take a lower order"
        )
    return modes


def _divisors(size: int) -> list[int]:
    """List the divisors of `size` from 2 on, ascending."""
    low = [divisor for divisor in range(1, isqrt(size) + 1) if size % divisor == 0]
    return sorted({*low, *(size // divisor for divisor in low)} - {1})


def _most_equal(size: int, order: int, divisors: Sequence[int]) -> tuple[int, ...] | None:
    """Return the most equal descending modes out of `divisors`; None if there are none."""
    if order == 1:
        return (size,) if size in divisors else None
    best: tuple[int, ...] | None = None
    for k, mode in enumerate(divisors):
        if size % mode or mode**order < size:  # the largest mode is at least the root
            continue
        rest = size // mode
        smallest_sum = mode + (order - 1) * rest ** (1 / (order - 1))  # grows with the mode from here on
        if best is not None and smallest_sum > sum(best) + 1e-9:
            break
        others = _most_equal(rest, order - 1, divisors[: k + 1])
        if others is not None and (best is None or (mode + sum(others), mode, *others) < (sum(best), *best)):
            best = (mode, *others)
    return best


def _has_prime_factors(size: int, fewest: int) -> bool:
    """Return whether a size is a product of so many primes, or of more."""
    factor = 2
    while fewest > 0 and factor**fewest <= size:
        if size % factor:
            factor += 1
        else:
            size, fewest = size // factor, fewest - 1
    return fewest <= 0


def _padded(size: int, order: int) -> list[str]:
    """Describe the next size that can be split, and the next whose largest mode is at most twice its smallest."""
    described: list[str] = []
    for padded in count(max(size, 2**order)):  # ends at the latest at an integer to the power of `order`
        modes = _most_equal(padded, order, _divisors(padded)) if _has_prime_factors(padded, order) else None
        if modes is None:
            continue
        equal = modes[0] <= 2 * modes[-1]
        if equal or not described:
            described.append(f"{padded} = {' x '.join(map(str, modes))}")
        if equal:
            break
    return described
