"""The released code's initial numbers: their scale, their order, and which maps have them."""

from functools import partial

import pytest
import torch
from torch import nn

from btrnn import BTLSTM, LSTM, TTLSTM, BTLinear, TTLinear
from btrnn.models.released_code import draw, draw_map, initialised

from .test_input_map import LowRank


def test_the_standard_deviations_are_the_released_ones():
    for rank in (1, 2, 4):
        layer = BTLinear((8, 20, 20, 18), (16, 4, 4, 4), tucker_rank=rank, num_blocks=2)
        draw_map(layer)
        values = torch.cat([factor.detach().flatten() for factor in layer.factors])
        bound = 2 * 0.05 * (5 - rank)
        assert float(values.abs().max()) <= bound
        assert float(values.std()) == pytest.approx(0.44 * bound, rel=0.1)  # 0.88 sd is left after truncation at two
    train = TTLinear((8, 20, 20, 18), (16, 4, 4, 4), tt_rank=4)
    draw_map(train)
    assert float(train.cores[1].std()) == pytest.approx(0.88 * 0.08, rel=0.1)
    dense = LSTM(200, 64)
    draw(dense)
    assert float(dense.input_maps[0].weight.std()) == pytest.approx(0.88 * 0.1, rel=0.1)


def test_what_has_no_released_numbers_is_refused():
    with pytest.raises(ValueError, match="at most 4, got 5"):
        draw_map(BTLinear((2, 2), (2, 2), tucker_rank=5))
    with pytest.raises(ValueError, match="no initial numbers for a Sequential"):
        draw(LSTM(6, 6, input_map=LowRank(2)))


LAYERS = {
    "lstm": (partial(LSTM, 6, 6), [(24, 6)], 0.1),
    "tt_lstm": (partial(TTLSTM, (2, 3), (3, 2), tt_rank=2), [(1, 2, 12, 2), (2, 3, 2, 1)], 0.08),
    "bt_lstm": (
        partial(BTLSTM, (2, 3), (3, 2), tucker_rank=2, num_blocks=2),
        [(2, 2, 2), (2, 2, 12, 2), (2, 3, 2, 2)],
        0.15,
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_seed_gives_the_numbers_of_the_published_runs(kind):
    """W tensor after tensor, each by torch's truncated normal; then U and the bias: nothing else is drawn between."""
    make, shapes, std = LAYERS[kind]
    torch.manual_seed(7)
    layer = initialised(make, "paper")
    after = torch.rand(1)
    torch.manual_seed(7)
    if kind == "lstm":
        nn.init.kaiming_uniform_(torch.empty(24, 6))
    weights = [nn.init.trunc_normal_(torch.empty(shape), std=std, a=-2 * std, b=2 * std) for shape in shapes]
    weights += [torch.empty(shape).uniform_(-(6**-0.5), 6**-0.5) for shape in ((24, 6), (24,))]
    parameters = [*layer.input_maps.parameters(), layer.weight_hh_l0, layer.bias_l0]
    assert all(torch.equal(got, wanted) for got, wanted in zip(parameters, weights, strict=True))
    assert torch.equal(after, torch.rand(1))


@pytest.mark.parametrize("kind", LAYERS)
def test_the_default_leaves_a_layer_as_it_is_made(kind):
    make = LAYERS[kind][0]
    torch.manual_seed(7)
    layer = initialised(make, "default")
    torch.manual_seed(7)
    for got, wanted in zip(layer.parameters(), make().parameters(), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_small_w_does_to_raw_input_what_the_default_does_to_normalised(kind):
    make, x = partial(LAYERS[kind][0], num_layers=2, bidirectional=True), torch.randn(5, 3, 6)
    layers = []
    for init in ("default", "small"):
        torch.manual_seed(7)
        layers.append(initialised(make, init))
    torch.testing.assert_close(layers[1](64 * x)[0], layers[0](x)[0])
    with pytest.raises(ValueError, match="knows no W of a Sequential"):
        initialised(partial(LSTM, 6, 6, input_map=LowRank(2)), "small")


@pytest.mark.usefixtures("unchecked")
def test_another_choice_is_refused():
    with pytest.raises(ValueError, match="one of default, paper, small; got 'papre'"):
        initialised(LAYERS["lstm"][0], "papre")
