"""A map that is made outside of the package works in every way that the package's own do."""

import copy
import io
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from btrnn import BTLSTM, LSTM, TTLSTM
from btrnn.nn.input_map import BlockTerm, Dense, InputMap, MapFacts, MapPlace, TensorTrain
from btrnn.nn.recurrent import Recurrent


@dataclass(frozen=True)
class LowRank(InputMap):
    """W = U V of a low rank, made of torch's own modules."""

    rank: int

    def build(self, place: MapPlace) -> nn.Module:
        down = nn.Linear(place.in_features, self.rank, bias=False, **place.factory)
        return nn.Sequential(down, nn.Linear(self.rank, place.out_features, bias=False, **place.factory))


@dataclass(frozen=True)
class LowRankWithFacts(LowRank):
    """The same, that says its rank."""

    def facts(self) -> MapFacts:
        return MapFacts(rank=self.rank)


def make(**options) -> LSTM:
    return LSTM(16, 8, input_map=LowRank(2), **options)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}])
def test_it_is_the_dense_layer_with_the_product_of_its_factors(options):
    layer, dense = make(dtype=torch.float64, **options), LSTM(16, 8, dtype=torch.float64, **options)
    state = {key: value for key, value in layer.state_dict().items() if not key.startswith("input_maps")}
    for k, (down, up) in enumerate(layer.input_maps):
        state[f"input_maps.{k}.weight"] = up.weight @ down.weight
    dense.load_state_dict(state)
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], dense(x)[0], rtol=0, atol=1e-12)
    packed = pack_padded_sequence(x, torch.tensor([5, 3, 2]), batch_first=True)
    output, expected = layer(packed)[0], dense(packed)[0]
    assert isinstance(output, PackedSequence)
    torch.testing.assert_close(output.data, expected.data, rtol=0, atol=1e-12)


def test_it_trains():
    torch.manual_seed(0)
    layer, x, wanted = make(), torch.randn(5, 7, 16), torch.randn(5, 7, 8).tanh()
    optimizer, losses = torch.optim.Adam(layer.parameters(), lr=0.05), []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (layer(x)[0] - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


def test_it_is_saved_copied_and_reset():
    layer, x = make(num_layers=2), torch.randn(5, 3, 16)
    expected = layer(x)[0]
    other = make(num_layers=2)
    other.load_state_dict(layer.state_dict())
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for same in (other, copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert torch.equal(same(x)[0], expected)
        assert same.input_map == LowRank(2)
    before = copy.deepcopy(layer.state_dict())
    layer.reset_parameters()
    assert all(not torch.equal(value, before[key]) for key, value in layer.state_dict().items())


def test_it_is_counted_and_says_what_it_can():
    layer = make()
    assert layer.num_input_parameters == 2 * 16 + 2 * 32
    assert layer.num_dense_input_parameters == 16 * 32
    assert "W: 96 parameters for 512" in repr(layer)
    assert layer.input_map.facts() == MapFacts((), (), None, None)
    assert layer.input_map.facts().order is None
    assert LowRankWithFacts(2).facts().rank == 2


def test_the_packages_own_maps_say_modes_ranks_and_blocks():
    train, block_term = TTLSTM((4, 4), (2, 4), tt_rank=3), BTLSTM((4, 4), (2, 4), tucker_rank=2, num_blocks=3)
    assert train.input_map == TensorTrain([4, 4], [2, 4], 3)
    assert block_term.input_map == BlockTerm([4, 4], [2, 4], 2, 3)
    assert train.input_map.facts() == ((4, 4), (2, 4), 3, None)
    assert block_term.input_map.facts() == ((4, 4), (2, 4), 2, 3)
    assert train.input_map.facts().order == 2
    assert LSTM(16, 8).input_map == Dense()


@pytest.mark.parametrize("kind", ["tt", "bt"])
def test_a_map_given_to_the_layer_is_the_named_layer(kind):
    options = {"num_layers": 2, "bidirectional": True}
    torch.manual_seed(3)
    if kind == "tt":
        named = TTLSTM((4, 4), (2, 4), tt_rank=2, **options)
    else:
        named = BTLSTM((4, 4), (2, 4), tucker_rank=2, num_blocks=2, **options)
    torch.manual_seed(3)
    given = LSTM(16, 8, input_map=named.input_map, **options)
    x = torch.randn(5, 3, 16)
    assert torch.equal(given(x)[0], named(x)[0])


# ---- another cell


class PlainGRU(Recurrent):
    """A gated recurrent unit without biases, by its definition: three gates, and one state."""

    mode, num_gates, num_states = "GRU", 3, 1

    def forward(self, input, hx=None):
        output, (hidden,) = self._run_sequence(input, hx)
        return output, hidden

    def _states(self, hx):
        return (hx,)

    def _unroll(self, gates, steps, initial, tensors, mask):
        (weight,), by_step, hidden = tensors, steps.split(gates), {}
        for t in steps.order():
            before = steps.before(hidden, t, initial[0])
            reset, update, new = by_step[t].chunk(3, dim=1)
            of_reset, of_update, of_new = (before @ weight.t()).chunk(3, dim=1)
            forget, keep = torch.sigmoid(reset + of_reset), torch.sigmoid(update + of_update)
            hidden[t] = (1 - keep) * torch.tanh(new + forget * of_new) + keep * before
        return torch.cat([hidden[t] for t in range(len(hidden))]), (steps.final(hidden),)


def test_a_cell_of_three_gates_and_one_state_is_nn_gru():
    options = {"num_layers": 2, "bidirectional": True, "bias": False, "dtype": torch.float64}
    layer, reference = PlainGRU(5, 4, input_map=Dense(), **options), nn.GRU(5, 4, **options)
    theirs = reference.state_dict()
    state = {key: value for key, value in theirs.items() if "_hh" in key}
    state |= {f"input_maps.{k}.weight": theirs[f"weight_ih{suffix}"] for k, suffix in enumerate(layer._suffixes)}
    layer.load_state_dict(state)
    x, hx = torch.randn(6, 3, 5, dtype=torch.float64), torch.randn(4, 3, 4, dtype=torch.float64)
    packed = pack_padded_sequence(x, torch.tensor([6, 1, 4]), enforce_sorted=False)
    for given in (x, packed):
        for got, wanted in zip(layer(given, hx), reference(given, hx), strict=True):
            got, wanted = (part.data if isinstance(part, PackedSequence) else part for part in (got, wanted))
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    assert layer.num_input_parameters == layer.num_dense_input_parameters


def test_a_factorised_map_serves_three_gates():
    layer = PlainGRU(16, 8, input_map=BlockTerm((4, 4), (2, 4), 2), bias=False)
    assert layer.input_maps[0].out_modes == (6, 4)
    assert layer(torch.randn(5, 3, 16))[0].shape == (5, 3, 8)
