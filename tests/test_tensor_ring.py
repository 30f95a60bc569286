"""The tensor ring: the published counts, modes of other orders, layers above the first, and the fit."""

import pytest
import torch

from btrnn import LSTM, TRLSTM, TRLinear, TTLinear
from btrnn.complexity import tr_parameters
from btrnn.nn.tensor_ring import TensorRing, tensor_ring

IN_MODES, HIDDEN_MODES, RANKS = (4, 2, 5, 8, 6, 5, 3, 2), (4, 4, 2, 4, 2), (10, *[5] * 12)


def test_the_counts_of_the_paper():
    layer = TRLinear(IN_MODES, (16, 4, 2, 4, 2), tr_rank=RANKS, device="meta")
    assert layer.num_weights == tr_parameters(IN_MODES, (16, 4, 2, 4, 2), RANKS) == 1_725
    assert int(layer.compression_ratio) == 34_192
    assert [tuple(core.shape) for core in layer.cores][:2] == [(10, 4, 5), (5, 2, 5)]
    assert tuple(layer.cores[-1].shape) == (5, 2, 10)
    assert TRLSTM(IN_MODES, HIDDEN_MODES, tr_rank=RANKS, device="meta").num_input_parameters == 1_725


def test_two_cores_of_one_mode_each_are_a_matrix_of_rank_r0_r1():
    layer = TRLinear((5,), (7,), tr_rank=(2, 3), bias=False, dtype=torch.float64)
    first, second = layer.cores
    torch.testing.assert_close(layer.to_dense(), torch.einsum("aib,bja->ji", first, second))
    assert int(torch.linalg.matrix_rank(layer.to_dense())) == 5


def test_a_ring_opened_at_r0_is_a_tensor_train():
    weight = torch.randn(12, 6, dtype=torch.float64)
    ring = TRLinear.from_dense(weight, (6,), (4, 3), tr_rank=(1, 2, 2))
    row = weight.T.reshape(1, -1)  # the entries in the order of the ring's modes
    train = TTLinear.from_dense(row, (6, 4, 3), (1, 1, 1), tt_rank=2)
    assert ring.num_weights == train.num_weights
    assert ring.relative_error(weight) <= train.relative_error(row) + 1e-9


def test_sweeps_do_not_make_the_fit_worse_and_it_repeats():
    weight = torch.randn(12, 12, dtype=torch.float64)
    errors = []
    for sweeps in (1, 3, 30):
        layer = TRLinear((3, 4), (4, 3), tr_rank=2, bias=False, dtype=torch.float64)
        layer.fill(tensor_ring(weight, (3, 4), (4, 3), 2, num_starts=1, max_sweeps=sweeps), None)
        errors.append(layer.relative_error(weight))
    assert errors == sorted(errors, reverse=True)
    again = tensor_ring(weight, (3, 4), (4, 3), 2, num_starts=1, max_sweeps=30)
    assert all(torch.equal(core, other) for core, other in zip(layer.weights(), again, strict=True))


def test_layers_above_the_first_have_the_ranks_of_the_hidden_cores():
    lstm = TRLSTM((2, 3, 4), (2, 4), tr_rank=(2, 3, 4, 5, 6), num_layers=2, bidirectional=True)
    first, *_, last = lstm.input_maps
    assert (first.in_modes, first.out_modes, first.tr_ranks) == ((2, 3, 4), (8, 4), (2, 3, 4, 5, 6))
    assert (last.in_modes, last.out_modes, last.tr_ranks) == ((4, 4), (8, 4), (2, 6, 5, 6))
    assert lstm(torch.randn(5, 3, 24))[0].shape == (5, 3, 16)
    given = LSTM(24, 8, input_map=TensorRing((2, 3, 4), (2, 4), [2, 3, 4, 5, 6]), num_layers=2, bidirectional=True)
    assert given.input_map == lstm.input_map
    assert given.input_map.facts() == ((2, 3, 4), (2, 4), (2, 3, 4, 5, 6), None)


def test_wrong_ranks_are_told_what_fits():
    with pytest.raises(ValueError, match=r"tr_rank \[1, 2\] has 2 ranks; it needs one integer or 3"):
        TensorRing((2, 2), (2,), (1, 2))
