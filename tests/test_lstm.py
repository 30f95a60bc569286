"""LSTM against nn.LSTM, and the factorised layers against the dense layer with the reconstructed matrix."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from btrnn import (
    BTLSTM,
    CPLSTM,
    HTLSTM,
    LSTM,
    TRLSTM,
    TTLSTM,
    BTLinear,
    KroneckerLSTM,
    LowRankLSTM,
    LSTMState,
    TTLinear,
    TuckerLSTM,
)
from btrnn.nn.input_map import TensorTrain
from btrnn.ops.lstm import hard_sigmoid

OPTIONS = st.fixed_dictionaries(
    {
        "num_layers": st.integers(1, 3),
        "bias": st.booleans(),
        "batch_first": st.booleans(),
        "bidirectional": st.booleans(),
    }
)


def ours_from_torch(reference: nn.LSTM, **options) -> LSTM:
    ours = LSTM(reference.input_size, reference.hidden_size, dtype=torch.float64, **options)
    ours.load_state_dict(reference.state_dict())
    return ours


@settings(max_examples=40)
@given(options=OPTIONS, with_state=st.booleans(), seed=st.integers(0, 2**31))
def test_equals_torch_lstm_with_gradients(options, with_state, seed):
    torch.manual_seed(seed)
    batch, time = int(torch.randint(1, 4, ())), int(torch.randint(1, 6, ()))
    reference = nn.LSTM(5, 4, dtype=torch.float64, **options)
    ours = ours_from_torch(reference, **options)
    shape = (batch, time, 5) if options["batch_first"] else (time, batch, 5)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    rows = options["num_layers"] * (2 if options["bidirectional"] else 1)
    state = (torch.randn(rows, batch, 4).double(), torch.randn(rows, batch, 4).double()) if with_state else None
    expected, (hidden, cell) = reference(x, state)
    output, final = ours(x, state)
    assert isinstance(final, LSTMState)
    for got, want in ((output, expected), (final.hidden, hidden), (final.cell, cell)):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    weights = torch.randn_like(output)
    (wanted,) = torch.autograd.grad((expected * weights).sum() + cell.sum(), x)
    (gotten,) = torch.autograd.grad((output * weights).sum() + final.cell.sum(), x)
    torch.testing.assert_close(gotten, wanted, rtol=0, atol=1e-11)


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    bidirectional=st.booleans(),
    with_state=st.booleans(),
    enforce_sorted=st.booleans(),
)
def test_packed_sequences_equal_torch(lengths, bidirectional, with_state, enforce_sorted):
    lengths = sorted(lengths, reverse=True) if enforce_sorted else lengths
    torch.manual_seed(sum(lengths))
    reference = nn.LSTM(3, 4, num_layers=2, bidirectional=bidirectional, dtype=torch.float64)
    ours = ours_from_torch(reference, num_layers=2, bidirectional=bidirectional)
    x = torch.randn(max(lengths), len(lengths), 3, dtype=torch.float64)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=enforce_sorted)
    rows = 4 if bidirectional else 2
    state = tuple(torch.randn(rows, len(lengths), 4).double() for _ in range(2)) if with_state else None
    expected, (hidden, cell) = reference(packed, state)
    output, final = ours(packed, state)
    assert isinstance(output, PackedSequence)
    torch.testing.assert_close(output.data, expected.data, rtol=0, atol=1e-12)
    assert torch.equal(output.batch_sizes, expected.batch_sizes)
    torch.testing.assert_close(final.hidden, hidden, rtol=0, atol=1e-12)
    torch.testing.assert_close(final.cell, cell, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
def test_without_a_batch_equals_torch(batch_first):
    reference = nn.LSTM(3, 4, batch_first=batch_first, dtype=torch.float64)
    ours = ours_from_torch(reference, batch_first=batch_first)
    x, state = torch.randn(5, 3).double(), (torch.randn(1, 4).double(), torch.randn(1, 4).double())
    output, (hidden, cell) = ours(x, state)
    expected, (expected_hidden, expected_cell) = reference(x, state)
    assert output.shape == (5, 4)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(hidden, expected_hidden, rtol=0, atol=1e-12)
    torch.testing.assert_close(cell, expected_cell, rtol=0, atol=1e-12)


MAKERS = {
    "tt": lambda **options: TTLSTM((2, 3), (3, 2), tt_rank=2, **options),
    "bt": lambda **options: BTLSTM((2, 3), (3, 2), tucker_rank=2, num_blocks=2, **options),
    "tr": lambda **options: TRLSTM((2, 3), (3, 2), tr_rank=2, **options),
    "cp": lambda **options: CPLSTM((2, 3), (3, 2), cp_rank=2, **options),
    "tucker": lambda **options: TuckerLSTM((2, 3), (3, 2), tucker_rank=2, **options),
    "ht": lambda **options: HTLSTM((2, 3), (3, 2), ht_rank=2, **options),
    "kronecker": lambda **options: KroneckerLSTM((2, 3), (3, 2), num_terms=2, **options),
    "low_rank": lambda **options: LowRankLSTM(6, 6, rank=2, **options),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_factorised_layer_is_the_dense_layer_with_the_reconstructed_matrix(kind, bidirectional):
    options = {"num_layers": 2, "bidirectional": bidirectional, "dtype": torch.float64}
    factorised = MAKERS[kind](**options)
    dense = LSTM(6, 6, **options)
    state = {k: v for k, v in factorised.state_dict().items() if not k.startswith("input_maps")}
    state |= {f"input_maps.{k}.weight": m.to_dense() for k, m in enumerate(factorised.input_maps)}
    dense.load_state_dict(state)
    x = torch.randn(4, 3, 6).double()
    torch.testing.assert_close(factorised(x)[0], dense(x)[0], rtol=0, atol=1e-12)


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
    lstm._mask = lambda like, p: masks.append(original(like, p)) or masks[-1]
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
