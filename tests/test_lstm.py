"""LSTM and GRU against torch's, and the factorised layers against the dense ones with the reconstructed matrices."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from btrnn import (
    BTGRU,
    BTLSTM,
    CPGRU,
    CPLSTM,
    GRU,
    HTGRU,
    HTLSTM,
    LSTM,
    TRGRU,
    TRLSTM,
    TTGRU,
    TTLSTM,
    BTLinear,
    KroneckerGRU,
    KroneckerLSTM,
    LowRankGRU,
    LowRankLSTM,
    LSTMState,
    TTLinear,
    TuckerGRU,
    TuckerLSTM,
)
from btrnn.nn.input_map import BlockTerm, InputMap, MapPlace, TensorTrain
from btrnn.nn.recurrent import Recurrent
from btrnn.ops.steps import hard_sigmoid

OPTIONS = st.fixed_dictionaries(
    {
        "num_layers": st.integers(1, 3),
        "bias": st.booleans(),
        "batch_first": st.booleans(),
        "bidirectional": st.booleans(),
    }
)


CELLS = {"lstm": (LSTM, nn.LSTM), "gru": (GRU, nn.GRU)}
each_cell = pytest.mark.parametrize("cell", CELLS)


def made(cell: str, *sizes: int, **options) -> tuple[nn.RNNBase, Recurrent]:
    """Make torch's layer and ours, of the same numbers in float64."""
    ours, theirs = (kind(*sizes, dtype=torch.float64, **options) for kind in CELLS[cell])
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def random_state(cell: str, *shape: int):
    """Draw h and c of an LSTM, or h of a GRU."""
    hidden, other = torch.randn(2, *shape, dtype=torch.float64)
    return (hidden, other) if cell == "lstm" else hidden


def parts_of(result):
    return (result,) if isinstance(result, torch.Tensor) else result


def assert_same_results(got, wanted, tolerance=1e-12):
    """Compare outputs, packed or not, and final states, whatever they consist of."""
    for one, other in zip(got, wanted, strict=True):
        if isinstance(one, PackedSequence):
            assert torch.equal(one.batch_sizes, other.batch_sizes)
            one, other = one.data, other.data
        for part, of_other in zip(parts_of(one), parts_of(other), strict=True):
            torch.testing.assert_close(part, of_other, rtol=0, atol=tolerance)


def total(output, state, weights):
    """Weigh what a layer gives, so that every entry has a gradient of its own."""
    return (output * weights).sum() + sum(part.sin().sum() for part in parts_of(state))


@each_cell
@settings(max_examples=40)
@given(options=OPTIONS, with_state=st.booleans(), seed=st.integers(0, 2**31))
def test_equals_torchs_layer_with_gradients(cell, options, with_state, seed):
    torch.manual_seed(seed)
    batch, time = int(torch.randint(1, 4, ())), int(torch.randint(1, 6, ()))
    reference, ours = made(cell, 5, 4, **options)
    shape = (batch, time, 5) if options["batch_first"] else (time, batch, 5)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    rows = options["num_layers"] * (2 if options["bidirectional"] else 1)
    state = random_state(cell, rows, batch, 4) if with_state else None
    expected, found = reference(x, state), ours(x, state)
    assert isinstance(found[1], LSTMState if cell == "lstm" else torch.Tensor)
    assert_same_results(found, expected)
    weights = torch.randn_like(found[0])
    sources = [
        [x, *(getattr(layer, f"weight_hh_l{k}") for k in range(layer.num_layers))] for layer in (ours, reference)
    ]
    gradients = [
        torch.autograd.grad(total(*results, weights), each)
        for results, each in zip((found, expected), sources, strict=True)
    ]
    assert_same_results(*gradients, tolerance=1e-11)


@each_cell
@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    bidirectional=st.booleans(),
    with_state=st.booleans(),
    enforce_sorted=st.booleans(),
)
def test_packed_sequences_equal_torch(cell, lengths, bidirectional, with_state, enforce_sorted):
    lengths = sorted(lengths, reverse=True) if enforce_sorted else lengths
    torch.manual_seed(sum(lengths))
    reference, ours = made(cell, 3, 4, num_layers=2, bidirectional=bidirectional)
    x = torch.randn(max(lengths), len(lengths), 3, dtype=torch.float64)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=enforce_sorted)
    state = random_state(cell, 4 if bidirectional else 2, len(lengths), 4) if with_state else None
    found = ours(packed, state)
    assert isinstance(found[0], PackedSequence)
    assert_same_results(found, reference(packed, state))


@each_cell
@pytest.mark.parametrize("batch_first", [False, True])
def test_without_a_batch_equals_torch(cell, batch_first):
    reference, ours = made(cell, 3, 4, batch_first=batch_first)
    x, state = torch.randn(5, 3).double(), random_state(cell, 1, 4)
    found = ours(x, state)
    assert found[0].shape == (5, 4)
    assert_same_results(found, reference(x, state))


@each_cell
def test_dropout_between_layers_is_torchs(cell):
    reference, ours = made(cell, 3, 4, num_layers=3, dropout=0.5)
    results, x = [], torch.randn(5, 2, 3, dtype=torch.float64)
    for layer in (ours, reference):
        torch.manual_seed(3)
        results.append(layer(x))
    assert_same_results(*results)
    assert not torch.equal(results[0][0], ours.eval()(x)[0])


MAKERS = {
    "tt": lambda **options: TTLSTM((2, 3), (3, 2), tt_rank=2, **options),
    "bt": lambda **options: BTLSTM((2, 3), (3, 2), tucker_rank=2, num_blocks=2, **options),
    "tr": lambda **options: TRLSTM((2, 3), (3, 2), tr_rank=2, **options),
    "cp": lambda **options: CPLSTM((2, 3), (3, 2), cp_rank=2, **options),
    "tucker": lambda **options: TuckerLSTM((2, 3), (3, 2), tucker_rank=2, **options),
    "ht": lambda **options: HTLSTM((2, 3), (3, 2), ht_rank=2, **options),
    "kronecker": lambda **options: KroneckerLSTM((2, 3), (3, 2), num_terms=2, **options),
    "low_rank": lambda **options: LowRankLSTM(6, 6, rank=2, **options),
    "tt gru": lambda **options: TTGRU((2, 3), (3, 2), tt_rank=2, **options),
    "bt gru": lambda **options: BTGRU((2, 3), (3, 2), tucker_rank=2, num_blocks=2, **options),
    "tr gru": lambda **options: TRGRU((2, 3), (3, 2), tr_rank=2, **options),
    "cp gru": lambda **options: CPGRU((2, 3), (3, 2), cp_rank=2, **options),
    "tucker gru": lambda **options: TuckerGRU((2, 3), (3, 2), tucker_rank=2, **options),
    "ht gru": lambda **options: HTGRU((2, 3), (3, 2), ht_rank=2, **options),
    "kronecker gru": lambda **options: KroneckerGRU((2, 3), (3, 2), num_terms=2, **options),
    "low rank gru": lambda **options: LowRankGRU(6, 6, rank=2, **options),
}


class ByModules(InputMap):
    """A map without `to_dense`, as users make them."""

    def build(self, place: MapPlace) -> nn.Module:
        down = nn.Linear(place.in_features, 2, bias=False, **place.factory)
        return nn.Sequential(down, nn.Linear(2, place.out_features, bias=False, **place.factory))


HIDDEN_MAPS = {
    "dense": {},
    "bt hidden": {"hidden_map": BlockTerm((3, 2), (3, 2), 2)},
    "tt hidden": {"hidden_map": TensorTrain((2, 3), (3, 2), 2)},
    "own hidden": {"hidden_map": ByModules()},
}


def dense_of(module: nn.Module) -> torch.Tensor:
    return module.to_dense() if hasattr(module, "to_dense") else module[1].weight @ module[0].weight


# every map of W with every cell, and with both cells every map of U
MAPS_OF_BOTH = [
    *((kind, "dense", True) for kind in MAKERS),
    *((kind, hidden, True) for kind in ("tt", "bt gru") for hidden in HIDDEN_MAPS if hidden != "dense"),
    *(("bt", hidden, False) for hidden in ("dense", "tt hidden")),
    *(("tr gru", hidden, False) for hidden in ("dense", "own hidden")),
]


@pytest.mark.parametrize(("kind", "hidden", "bidirectional"), MAPS_OF_BOTH)
def test_factorised_layer_is_the_dense_layer_with_the_reconstructed_matrices(kind, hidden, bidirectional):
    options = {"num_layers": 2, "bidirectional": bidirectional, "dtype": torch.float64}
    factorised = MAKERS[kind](**options, **HIDDEN_MAPS[hidden])
    dense = (GRU if "gru" in kind else LSTM)(6, 6, **options)
    state = {k: v for k, v in factorised.state_dict().items() if "_maps." not in k}
    state |= {f"input_maps.{k}.weight": m.to_dense() for k, m in enumerate(factorised.input_maps)}
    state |= {
        f"weight_hh{suffix}": dense_of(m)
        for m, suffix in zip(factorised.hidden_maps, factorised._suffixes, strict=False)
    }
    dense.load_state_dict(state)
    x = torch.randn(4, 3, 6, dtype=torch.float64, requires_grad=True)
    found, expected = factorised(x), dense(x)
    assert_same_results(found, expected)
    weights = torch.randn_like(found[0])
    parameters = [*factorised.hidden_maps.parameters()]
    gradients = torch.autograd.grad(total(*found, weights), [x, *parameters])
    sources = [x, *(getattr(dense, f"weight_hh{suffix}") for suffix in dense._suffixes)]
    of_x, *of_u = torch.autograd.grad(total(*expected, weights), sources)
    rebuilt = [dense_of(m) for m in factorised.hidden_maps]
    through = torch.autograd.grad(rebuilt, parameters, of_u) if rebuilt else ()
    assert_same_results(gradients, (of_x, *through), tolerance=1e-11)


@pytest.mark.parametrize("make", [LSTM, GRU])
def test_a_factorised_u_is_counted_and_begins_at_torchs_scale(make):
    hidden_map = BlockTerm((8, 8), (8, 8), 2, 2)
    layer, dense = make(5, 64, num_layers=2, hidden_map=hidden_map), make(5, 64, num_layers=2)
    gates = layer.num_gates
    assert layer.num_hidden_parameters == 2 * 2 * (2 * 2 + 2 * 8 * 8 * gates + 2 * 8 * 8)
    assert layer.num_dense_hidden_parameters == dense.num_hidden_parameters == 2 * gates * 64 * 64
    assert layer.num_input_parameters == dense.num_input_parameters
    assert f"U: {layer.num_hidden_parameters:,} parameters for" in repr(layer)
    for hidden in layer.hidden_maps:
        assert float(hidden.to_dense().detach().square().mean()) == pytest.approx(1 / (3 * 64), rel=1e-4)
    names = [name for name in layer.state_dict() if "hidden_maps" in name]
    assert names[:3] == ["hidden_maps.0.core", "hidden_maps.0.factors.0", "hidden_maps.0.factors.1"]
    with pytest.raises(ValueError, match=r"orthogonal.*BlockTerm"):
        make(5, 64, hidden_map=hidden_map, recurrent_init="orthogonal")
    with pytest.raises(ValueError, match=r"multiply to 16 and 64, but the layer's sizes are 64 and 64"):
        make(5, 64, hidden_map=BlockTerm((4, 4), (8, 8), 2))


def test_gates_are_row_blocks_of_the_reconstructed_matrix():
    lstm = BTLSTM((2, 3), (3, 2), tucker_rank=2, dtype=torch.float64)
    x = torch.randn(1, 1, 6).double()
    gates = torch.cat([lstm.input_maps[0].to_dense()[q * 6 : (q + 1) * 6] @ x[0, 0] for q in range(4)])
    gates = gates + lstm.bias_l0
    i, _, g, o = gates.chunk(4)
    cell = torch.sigmoid(i) * torch.tanh(g)
    torch.testing.assert_close(lstm(x)[0][0, 0], torch.sigmoid(o) * torch.tanh(cell), rtol=0, atol=1e-12)


def test_paper_counts():
    modes = {"in_modes": (8, 20, 20, 18), "hidden_modes": (4, 4, 4, 4)}
    with torch.device("meta"):
        assert sum(m.weight.numel() for m in LSTM(57_600, 256).input_maps) == 58_982_400
    assert TTLSTM(**modes, tt_rank=4).num_input_parameters == 3_360
    for rank, count in ((1, 722), (2, 1_472), (4, 3_392)):
        lstm = BTLSTM(**modes, tucker_rank=rank, num_blocks=2)
        assert lstm.num_input_parameters == count
        assert sum(p.numel() for p in lstm.parameters()) == count + 4 * 256 * 256 + 4 * 256


def test_input_parameters_are_counted_over_layers_and_directions():
    lstm = TTLSTM((2, 3), (3, 2), tt_rank=2, num_layers=2, bidirectional=True)
    assert isinstance(lstm.input_maps[2], TTLinear)
    assert lstm.input_maps[2].in_modes == (6, 2)
    assert lstm.num_input_parameters == 2 * (2 * 12 * 2 + 2 * 3 * 2) + 2 * (6 * 12 * 2 + 2 * 2 * 2)


def test_callers_lists_are_not_changed():
    in_modes, hidden_modes = [2, 3], [3, 2]
    lstm = BTLSTM(in_modes, hidden_modes, tucker_rank=2, num_layers=2)
    assert (in_modes, hidden_modes) == ([2, 3], [3, 2])
    assert isinstance(lstm.input_maps[0], BTLinear)


def test_gru_gates_are_row_blocks_of_the_reconstructed_matrix():
    gru = BTGRU((2, 3), (3, 2), tucker_rank=2, dtype=torch.float64)
    x = torch.randn(1, 1, 6).double()
    gates = [gru.input_maps[0].to_dense()[q * 6 : (q + 1) * 6] @ x[0, 0] for q in range(3)]
    reset, update, new = (gate + bias for gate, bias in zip(gates, gru.bias_l0.chunk(3), strict=True))
    wanted = (1 - torch.sigmoid(update)) * torch.tanh(new + torch.sigmoid(reset) * gru.bias_hn_l0)
    torch.testing.assert_close(gru(x)[0][0, 0], wanted, rtol=0, atol=1e-12)


def test_torch_keys_do_not_load_into_a_factorised_layer():
    with pytest.raises(RuntimeError, match=r"input_maps\.0\.weight"):
        TTLSTM((2, 3), (3, 2), tt_rank=2).load_state_dict(nn.LSTM(6, 6).state_dict())


def test_torch_keys_load_inside_a_larger_module():
    theirs = nn.ModuleDict({"rnn": nn.LSTM(3, 4)})
    ours = nn.ModuleDict({"rnn": LSTM(3, 4)})
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 2, 3)
    torch.testing.assert_close(ours["rnn"](x)[0], theirs["rnn"](x)[0])


def test_own_state_round_trips():
    lstm = MAKERS["bt"](num_layers=2)
    other = MAKERS["bt"](num_layers=2)
    other.load_state_dict(copy.deepcopy(lstm.state_dict()))
    x = torch.randn(2, 2, 6)
    assert torch.equal(other(x)[0], lstm(x)[0])


def test_hard_sigmoid_is_the_papers():
    x = torch.tensor([-3.0, -2.5, 0.0, 1.0, 2.5, 3.0])
    torch.testing.assert_close(hard_sigmoid(x), torch.tensor([0.0, 0.0, 0.5, 0.7, 1.0, 1.0]))
    lstm = LSTM(2, 3, gate_activation="hard_sigmoid")
    smooth = LSTM(2, 3)
    smooth.load_state_dict(lstm.state_dict())
    x = torch.randn(2, 1, 2)
    assert not torch.allclose(lstm(x)[0], smooth(x)[0])


def test_paper_cell_initialisation():
    lstm = LSTM(5, 8, forget_bias=1.0, recurrent_init="orthogonal")
    assert lstm.bias_l0.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    torch.testing.assert_close(lstm.weight_hh_l0.T @ lstm.weight_hh_l0, torch.eye(8), rtol=0, atol=1e-5)


def test_recurrent_dropout_uses_one_mask_a_sequence():
    """With W = 0 and U = 1 on one gate, the masked entries of h never reach the gates at any step."""
    torch.manual_seed(0)
    lstm = LSTM(1, 16, recurrent_dropout=0.5, bias=False, dtype=torch.float64).train()
    masks = []
    original = lstm._mask
    lstm._mask = lambda *given, **options: masks.append(original(*given, **options)) or masks[-1]
    lstm(torch.randn(5, 3, 1).double())
    recurrent = [mask for mask in masks if mask is not None]
    assert len(recurrent) == 1  # one draw serves all 5 steps
    assert set(recurrent[0].unique().tolist()) == {0.0, 2.0}
    lstm.eval()
    x = torch.randn(5, 3, 1).double()
    assert torch.equal(lstm(x)[0], lstm(x)[0])


@pytest.mark.parametrize("packed", [False, True])
def test_input_dropout_drops_the_same_features_at_every_step(packed):
    lstm = LSTM(64, 2, input_dropout=0.5, batch_first=not packed).train()
    seen = []
    lstm.input_maps[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    if packed:
        lstm(pack_padded_sequence(torch.ones(3, 2, 64), torch.tensor([3, 2])))
        rows = [seen[0][[0, 2, 4]], seen[0][[1, 3]]]
    else:
        lstm(torch.ones(2, 3, 64))
        rows = [seen[0][0], seen[0][1]]
    for steps in rows:
        assert (steps == steps[0]).all()
        assert 0 < (steps[0] == 0).float().mean() < 1
    assert not torch.equal(rows[0][0], rows[1][0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTM(0, 3), "input_size must be an integer of at least 1, got 0"),
        (lambda: LSTM(3, 3, dropout=1.0), r"dropout must be a probability in \[0, 1\), got 1.0"),
        (
            lambda: LSTM(3, 3)(torch.zeros(2, 2, 4)),
            r"takes \(T, B, I\) or \(T, I\) with I = 3, got \(2, 2, 4\)",
        ),
        (
            lambda: LSTM(3, 3)(torch.zeros(2, 2, 3), (torch.zeros(1, 1, 3), torch.zeros(1, 2, 3))),
            r"\(layers x directions, B, H\) = \(1, 2, 3\), got \[\(1, 1, 3\), \(1, 2, 3\)\]",
        ),
        (lambda: BTLSTM((2, 3), (3,), tucker_rank=2), "same length"),
        (
            lambda: BTLSTM((2, 3), (3, 2), tucker_rank=0),
            "tucker_rank must be an integer of at least 1, got 0",
        ),
        (
            lambda: LSTM(5, 6, input_map=TensorTrain((2, 3), (3, 2), 2)),
            r"multiply to 6 and 6, but the layer's sizes are 5 and 6",
        ),
    ],
)
def test_wrong_arguments_say_what_was_given_and_what_fits(make, message):
    with pytest.raises(ValueError, match=message):
        make()
