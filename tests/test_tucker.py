"""The Tucker map: a block term of its own, with a rank for each mode."""

import pytest
import torch

from btrnn import BTLinear, TuckerLinear, TuckerLSTM
from btrnn.complexity import bt_parameters, tucker_parameters
from btrnn.nn.tucker import Tucker


def test_with_equal_ranks_it_is_one_block_term():
    one = TuckerLinear((2, 3, 4), (3, 2, 2), tucker_rank=2, dtype=torch.float64)
    other = BTLinear((2, 3, 4), (3, 2, 2), tucker_rank=2, dtype=torch.float64)
    other.load_state_dict({name: w if name == "bias" else w[None] for name, w in one.state_dict().items()})
    x = torch.randn(4, 24, dtype=torch.float64)
    torch.testing.assert_close(one(x), other(x), rtol=0, atol=1e-12)
    assert one.num_weights == other.num_weights == bt_parameters((2, 3, 4), (3, 2, 2), 2, 1)
    weight = torch.randn(12, 24, dtype=torch.float64)
    errors = [
        kind.from_dense(weight, (2, 3, 4), (3, 2, 2), tucker_rank=2).relative_error(weight)
        for kind in (TuckerLinear, BTLinear)
    ]
    assert errors[0] == pytest.approx(errors[1])


def test_each_mode_has_its_rank_and_full_ranks_lose_nothing():
    layer = TuckerLinear((2, 3), (3, 2), tucker_rank=(4, 5))
    assert tuple(layer.core.shape) == (4, 5)
    assert [tuple(factor.shape) for factor in layer.factors] == [(2, 3, 4), (3, 2, 5)]
    assert layer.num_weights == tucker_parameters((2, 3), (3, 2), (4, 5)) == 20 + 24 + 30
    weight = torch.randn(6, 6, dtype=torch.float64)
    assert TuckerLinear.from_dense(weight, (2, 3), (3, 2), tucker_rank=(6, 6)).relative_error(weight) < 1e-12
    cut = TuckerLinear.from_dense(weight, (2, 3), (3, 2), tucker_rank=(6, 2)).relative_error(weight)
    wanted = TuckerLinear.from_dense(weight, (2, 3), (3, 2), tucker_rank=(2, 2)).relative_error(weight)
    assert cut == pytest.approx(wanted)  # of two modes the smaller rank counts


def test_the_layer():
    lstm = TuckerLSTM((4, 4), (2, 4), tucker_rank=(2, 3), num_layers=2, bidirectional=True)
    assert lstm.input_map == Tucker([4, 4], [2, 4], [2, 3])
    assert lstm.input_map.facts() == ((4, 4), (2, 4), (2, 3), None)
    assert lstm.input_maps[2].in_modes == (4, 4)
    assert lstm(torch.randn(5, 3, 16))[0].shape == (5, 3, 16)
    with pytest.raises(ValueError, match="it needs one integer or 2 ranks"):
        Tucker((4, 4), (2, 4), (1, 2, 3))
