"""The low-rank map: two thin matrices, the nearest by the singular values."""

import pytest
import torch

from btrnn import LowRankLinear, LowRankLSTM
from btrnn.complexity import low_rank_parameters
from btrnn.nn.low_rank import LowRank


def test_w_is_the_product():
    layer = LowRankLinear(5, 7, rank=2, dtype=torch.float64)
    torch.testing.assert_close(layer.to_dense(), layer.left @ layer.right)
    assert layer.num_weights == low_rank_parameters(5, 7, 2) == 24


@pytest.mark.parametrize("rank", [1, 3, 5, 9])
def test_a_fit_is_the_nearest_of_its_rank(rank):
    weight = torch.randn(5, 7, dtype=torch.float64)
    made = LowRankLinear.from_dense(weight, rank=rank, bias=torch.ones(5, dtype=torch.float64))
    tail = torch.linalg.svdvals(weight)[rank:].square().sum().sqrt()
    assert made.relative_error(weight) * float(weight.norm()) == pytest.approx(float(tail), abs=1e-12)
    assert made.rank == rank
    assert torch.equal(made.bias, torch.ones(5, dtype=torch.float64))


def test_the_layer():
    lstm = LowRankLSTM(16, 8, rank=2, num_layers=2, bidirectional=True)
    assert lstm.input_map == LowRank(2)
    assert lstm.input_map.facts() == ((), (), 2, None)
    assert lstm.num_input_parameters == 4 * 2 * (16 + 32)
    assert lstm(torch.randn(5, 3, 16))[0].shape == (5, 3, 16)
    with pytest.raises(ValueError, match="rank must be an integer of at least 1, got 0"):
        LowRank(0)
