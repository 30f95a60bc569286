"""The closed forms give the paper's counts and the layers' own, without torch."""

import itertools
import re
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btrnn.complexity import (
    bt_parameters,
    cp_parameters,
    dense_parameters,
    factorize,
    ht_parameters,
    kronecker_parameters,
    low_rank_parameters,
    tr_parameters,
    tt_parameters,
    tucker_parameters,
)

IN_MODES, OUT_MODES = (8, 20, 20, 18), (16, 4, 4, 4)


def test_paper_counts_and_ratios():
    dense = dense_parameters(IN_MODES, OUT_MODES)
    assert dense == 58_982_400
    assert tt_parameters(IN_MODES, OUT_MODES, 4) == 3_360
    assert dense // 3_360 == 17_554
    for rank, count, ratio in ((1, 722, 81_693), (2, 1_472, 40_069), (4, 3_392, 17_388)):
        assert bt_parameters(IN_MODES, OUT_MODES, rank, 2) == count
        assert dense // count == ratio


def test_counts_of_the_other_formats():
    assert tr_parameters((4, 2, 5, 8, 6, 5, 3, 2), (16, 4, 2, 4, 2), (10, *[5] * 12)) == 1_725
    assert ht_parameters((8, 10, 10, 9, 8), (16, 4, 2, 4, 2), 5, 4) == 1_245
    assert cp_parameters(IN_MODES, OUT_MODES, 9) == kronecker_parameters(IN_MODES, OUT_MODES, 9) == 9 * 360
    assert tucker_parameters(IN_MODES, OUT_MODES, 4) == bt_parameters(IN_MODES, OUT_MODES, 4, 1)
    assert tucker_parameters(IN_MODES, OUT_MODES, (1, 2, 3, 4)) == 128 + 160 + 240 + 288 + 24
    assert low_rank_parameters(57_600, 1_024, 3) == 3 * 58_624
    for wrong in (lambda: tr_parameters((2,), (2,), (1, 2, 3)), lambda: tucker_parameters((2,), (2,), (1, 2))):
        with pytest.raises(ValueError, match=r"it needs one integer or [12] ranks"):
            wrong()


@pytest.mark.parametrize(
    ("rank", "counts"),
    [
        (1, [1048577, 2049, 321, 129, 81, 65, 53, 49]),
        (2, [2097154, 4100, 648, 272, 192, 192, 232, 352]),
        (3, [3145731, 6153, 987, 465, 483, 921, 2343, 6705]),
        (4, [4194308, 8208, 1344, 768, 1344, 4352, 16592, 65728]),
    ],
)
def test_figure_of_parameters_against_order_and_rank(rank, counts):
    pairings = [
        ((4096,), (256,)),
        ((64, 64), (16, 16)),
        ((16, 16, 16), (4, 8, 8)),
        ((8,) * 4, (4,) * 4),
        ((8, 8, 4, 4, 4), (2, 2, 4, 4, 4)),
        ((4,) * 6, (2, 2, 2, 2, 4, 4)),
        ((*[4] * 5, 2, 2), (*[2] * 6, 4)),
        ((*[4] * 4, *[2] * 4), (2,) * 8),
    ]
    assert [bt_parameters(i, j, rank, 1) for i, j in pairings] == counts


def all_modes(size, order):
    """List every descending list of `order` modes of at least 2 with this product, by trying all."""
    factors = [mode for mode in range(2, size + 1) if size % mode == 0]
    modes = itertools.combinations_with_replacement(sorted(factors, reverse=True), order)
    return [candidate for candidate in modes if prod(candidate) == size]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_balanced_modes_against_all_that_there_are(order):
    for size in range(2, 130):
        candidates = all_modes(size, order)
        if candidates:
            assert factorize(size, order) == min(candidates, key=lambda modes: (sum(modes), modes)), size
        else:
            with pytest.raises(ValueError, match=f"{size} is no product of {order} modes"):
                factorize(size, order)


@given(modes=st.lists(st.integers(2, 30), min_size=1, max_size=6))
def test_balanced_modes_of_any_size_that_can_be_split(modes):
    found = factorize(prod(modes), len(modes))
    assert prod(found) == prod(modes)
    assert list(found) == sorted(found, reverse=True)
    assert sum(found) <= sum(modes)


@given(side=st.integers(2, 40), order=st.integers(1, 4))
def test_powers_are_split_evenly(side, order):
    assert factorize(side**order, order) == (side,) * order


@settings(max_examples=40)
@given(size=st.integers(1, 2_000), order=st.integers(2, 5))
def test_proposed_paddings_can_be_split_and_the_first_is_the_next(size, order):
    try:
        factorize(size, order)
    except ValueError as error:
        described = re.findall(r"(\d+) = ([\dx ]+)", str(error))
        sizes = [int(padded) for padded, _ in described]
        for padded, modes in described:
            assert modes.strip() == " x ".join(map(str, factorize(int(padded), order)))
        *_, last = described
        largest, *_, smallest = (int(mode) for mode in last[1].split(" x "))
        assert largest <= 2 * smallest
        for between in range(size, sizes[0]):
            with pytest.raises(ValueError, match="too few prime factors"):
                factorize(between, order)


def test_a_large_size_is_told_at_once_what_to_pad_to():
    with pytest.raises(ValueError, match=r"6225920 = 19 x 5 x 2 .* or 6291456 = 4 x 4 x 4 x 4 x 3 x 2 "):
        factorize(6_220_800, 18)


def test_a_prime_is_told_what_to_pad_to():
    with pytest.raises(ValueError, match=r"997 .* 999 = 37 x 3 x 3 x 3 or 1000 = 8 x 5 x 5 x 5, or take a lower order"):
        factorize(997, 4)
    with pytest.raises(ValueError, match="order must be an integer of at least 1, got 0"):
        factorize(8, 0)
    with pytest.raises(ValueError, match="size must be an integer of at least 1, got 0"):
        factorize(0, 2)


def test_reversed_modes_meet_at_the_fewest_parameters():
    for order in range(2, 7):
        in_modes, out_modes = factorize(4_096, order), factorize(256, order)[::-1]
        fewest = min(bt_parameters(in_modes, other, 2, 1) for other in set(itertools.permutations(out_modes)))
        assert bt_parameters(in_modes, out_modes, 2, 1) == fewest


def test_unknown_public_name_lists_the_known_ones():
    import btrnn

    with pytest.raises(AttributeError, match=r"BTLSTM, .*LSTM"):
        btrnn.BTLstm  # noqa: B018
