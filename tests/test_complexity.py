"""The closed forms give the paper's counts and the layers' own, without torch."""

import subprocess
import sys

import pytest

from btrnn.complexity import bt_parameters, dense_parameters, tt_parameters

IN_MODES, OUT_MODES = (8, 20, 20, 18), (16, 4, 4, 4)


def test_paper_counts_and_ratios():
    dense = dense_parameters(IN_MODES, OUT_MODES)
    assert dense == 58_982_400
    assert tt_parameters(IN_MODES, OUT_MODES, 4) == 3_360
    assert dense // 3_360 == 17_554
    for rank, count, ratio in ((1, 722, 81_693), (2, 1_472, 40_069), (4, 3_392, 17_388)):
        assert bt_parameters(IN_MODES, OUT_MODES, rank, 2) == count
        assert dense // count == ratio


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


def test_torch_is_not_imported():
    code = "import sys, btrnn, btrnn.complexity, btrnn.results, btrnn.figures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_public_name_lists_the_known_ones():
    import btrnn

    with pytest.raises(AttributeError, match="BTLSTM, LSTM"):
        btrnn.BTLstm  # noqa: B018
