"""Closed forms of the three input maps: how many parameters, and by how much that is fewer than dense; balanced modes.

Plain integers in, plain numbers out; nothing here needs torch. The formulas are those of Ye et al., CVPR 2018:
the block-term count is their P_BTD, the tensor-train count is that of Yang et al., ICML 2017.
"""

from collections.abc import Iterable, Sequence
from math import isqrt, prod
from operator import index


def check_modes(
    in_modes: Sequence[int], out_modes: Sequence[int], out_name: str = "out_modes"
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return both mode lists as tuples, after checking that they can belong to one factorised map.

    Args:
        in_modes: I_1 .. I_d, whose product is the input size.
        out_modes: J_1 .. J_d, whose product is the output size.
        out_name: What the caller knows them by.

    Raises:
        ValueError: The lists are empty, differ in length, or hold anything but positive integers.
    """
    in_modes, out_modes = _integers("in_modes", in_modes), _integers(out_name, out_modes)
    if len(in_modes) != len(out_modes) or not in_modes:
        raise ValueError(
            f"in_modes {in_modes} and {out_name} {out_modes} must have the same length, at least 1: "
            f"mode k of the input is contracted into mode k of the output; got {len(in_modes)} and {len(out_modes)}"
        )
    return in_modes, out_modes


def check_count(name: str, value: int) -> int:
    """Return `value` as Python's own integer if it is one of at least 1, as sizes and ranks must be.

    An integer of NumPy's or torch's is one too; as it is, its products could overflow.

    Raises:
        ValueError: It is not; the message gives `name` and the value.
    """
    try:
        count = index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    return count


def _integers(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return modes or ranks as Python's own integers, each of at least 1."""
    try:
        given = tuple(values)
    except TypeError:
        raise ValueError(f"{name} must be a sequence of integers, got {values!r}") from None
    try:
        return tuple(check_count(name, value) for value in given)
    except ValueError:
        raise ValueError(f"{name} must be integers of at least 1, got {given}") from None


def full_tt_ranks(order: int, tt_rank: int | Sequence[int]) -> tuple[int, ...]:
    """Write out the TT-ranks r_0 .. r_d of a tensor train of order d, with r_0 = r_d = 1.

    Args:
        order: d, the number of modes.
        tt_rank: One inner rank for all places, or the d - 1 inner ranks r_1 .. r_{d-1}.

    Raises:
        ValueError: A rank is below 1, or their number is not d - 1.
    """
    ranks = one_or_more_ranks(tt_rank)
    inner = (ranks,) * (order - 1) if isinstance(ranks, int) else ranks
    if len(inner) != order - 1:
        raise ValueError(
            f"tt_rank {list(inner)} has {len(inner)} ranks; order {order} needs one integer or {order - 1} inner ranks"
        )
    return (1, *inner, 1)


def one_or_more_ranks(tt_rank: int | Sequence[int]) -> int | tuple[int, ...]:
    """Return one TT-rank for all places, or one for each, as Python's own integers.

    Raises:
        ValueError: A rank is below 1 or no integer.
    """
    try:
        index(tt_rank)  # type: ignore[arg-type]
    except TypeError:
        if isinstance(tt_rank, Iterable) and not isinstance(tt_rank, str):
            return _integers("tt_rank", tt_rank)
    return check_count("tt_rank", tt_rank)  # type: ignore[arg-type]


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


def dense_parameters(in_modes: Sequence[int], out_modes: Sequence[int]) -> int:
    """Count the entries of the dense matrix that a factorised map stands for, without bias.

    >>> dense_parameters((8, 20, 20, 18), (16, 4, 4, 4))
    58982400
    """
    return prod(in_modes) * prod(out_modes)


def factorize(size: int, order: int) -> tuple[int, ...]:
    """Split a size into modes that are as equal as possible, largest first.

    Of all lists of `order` factors of at least 2 it is the one with the smallest sum; of equal sums the one with the
    smallest largest mode, then the smallest second. Input and output modes meet at the fewest parameters when one of
    the two lists is reversed: `factorize(4096, 5)` with `factorize(256, 5)[::-1]`.

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


def _padded(size: int, order: int) -> list[str]:
    """Describe the next size that can be split, and the next whose largest mode is at most twice its smallest."""
    described: list[str] = []
    padded = max(size, 2**order)
    while True:  # ends at the latest where `padded` is an integer to the power of `order`
        modes = _most_equal(padded, order, _divisors(padded))
        equal = modes is not None and modes[0] <= 2 * modes[-1]
        if modes is not None and (equal or not described):
            described.append(f"{padded} = {' x '.join(map(str, modes))}")
        if equal:
            return described
        padded += 1
