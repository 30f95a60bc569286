"""What sizes, modes and ranks must be; nothing here needs torch."""

from collections.abc import Iterable, Sequence
from operator import index


def check_modes(
    in_modes: Sequence[int],
    out_modes: Sequence[int],
    out_name: str = "out_modes",
    *,
    paired: bool = True,
    fewest: int = 1,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return both mode lists as tuples, after checking that they can belong to one factorised map.

    Args:
        in_modes: I_1 .. I_d, whose product is the input size.
        out_modes: J_1 .. J_d, whose product is the output size.
        out_name: What the caller knows them by.
        paired: Whether mode k of the input belongs to mode k of the output, as in all maps but the tensor ring.
        fewest: How many modes each list must have.

    Raises:
        ValueError: A list is too short or holds anything but positive integers, or paired ones differ in length.
    """
    in_modes, out_modes = _integers("in_modes", in_modes), _integers(out_name, out_modes)
    if not paired and min(len(in_modes), len(out_modes)) < fewest:
        raise ValueError(f"in_modes {in_modes} and {out_name} {out_modes} must each have at least {fewest} mode")
    if paired and (len(in_modes) != len(out_modes) or len(in_modes) < fewest):
        raise ValueError(
            f"in_modes {in_modes} and {out_name} {out_modes} must have the same length, at least {fewest}: "
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


def all_ranks(name: str, ranks: int | Sequence[int], count: int, kind: str = "ranks") -> tuple[int, ...]:
    """Write out one rank for each of `count` places.

    Args:
        name: What the caller knows them by.
        ranks: One for all places, or one for each.
        count: How many places there are: modes of a Tucker map, cores of a tensor ring (r_0 first).
        kind: What they are, in the plural.

    Raises:
        ValueError: A rank is below 1, or their number is not `count`.
    """
    given = one_or_more_ranks(ranks, name)
    every = (given,) * count if isinstance(given, int) else given
    if len(every) != count:
        raise ValueError(f"{name} {list(every)} has {len(every)} ranks; it needs one integer or {count} {kind}")
    return every


def full_tt_ranks(order: int, tt_rank: int | Sequence[int]) -> tuple[int, ...]:
    """Write out the TT-ranks r_0 .. r_d of a tensor train of order d, with r_0 = r_d = 1.

    Args:
        order: d, the number of modes.
        tt_rank: One inner rank for all places, or the d - 1 inner ranks r_1 .. r_{d-1}.

    Raises:
        ValueError: A rank is below 1, or their number is not d - 1.
    """
    return (1, *all_ranks("tt_rank", tt_rank, order - 1, "inner ranks"), 1)


def one_or_more_ranks(ranks: int | Sequence[int], name: str = "tt_rank") -> int | tuple[int, ...]:
    """Return one rank for all places, or one for each, as Python's own integers.

    Raises:
        ValueError: A rank is below 1 or no integer.
    """
    try:
        index(ranks)  # type: ignore[arg-type]
    except TypeError:
        if isinstance(ranks, Iterable) and not isinstance(ranks, str):
            return _integers(name, ranks)
    return check_count(name, ranks)  # type: ignore[arg-type]
