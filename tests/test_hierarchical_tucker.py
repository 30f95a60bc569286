"""The hierarchical Tucker map: the published count, its tree, and the hierarchical singular value decomposition."""

from math import sqrt

import pytest
import torch

from btrnn import HTLSTM, HTLinear
from btrnn.complexity import balanced_tree, ht_parameters
from btrnn.nn.hierarchical_tucker import HierarchicalTucker
from btrnn.nn.tensors import tensorise

PAPER = ((8, 10, 10, 9, 8), (16, 4, 2, 4, 2))


def test_the_counts_of_the_paper():
    layer = HTLinear(*PAPER, ht_rank=5, leaf_rank=4, device="meta")
    assert layer.num_weights == ht_parameters(*PAPER, 5, 4) == 1_245
    assert int(layer.compression_ratio) == 47_375
    assert [tuple(transfer.shape) for transfer in layer.transfers] == [(5, 5), (5, 5, 4), (5, 4, 4), (5, 4, 4)]
    lstm = HTLSTM((8, 10, 10, 9, 8), (4, 4, 2, 4, 2), ht_rank=5, leaf_rank=4, device="meta")
    assert lstm.num_input_parameters == 1_245


@pytest.mark.parametrize("order", range(2, 9))
def test_every_order_has_a_tree_that_is_counted_rightly(order):
    layer = HTLinear((2,) * order, (1,) * order, ht_rank=2, leaf_rank=1, device="meta")
    assert layer.num_weights == ht_parameters((2,) * order, (1,) * order, 2, 1)
    assert len(layer.transfers) == len(balanced_tree(0, order)) == order - 1


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_decomposition_is_nearly_the_best(rank):
    in_modes, out_modes = (2, 3, 2, 2), (2, 1, 3, 2)
    weight = torch.randn(12, 24, dtype=torch.float64)
    error = HTLinear.from_dense(weight, in_modes, out_modes, ht_rank=rank).relative_error(weight) * float(weight.norm())
    tensor = tensorise(weight, in_modes, out_modes)
    matrices = [tensor.movedim(k, 0).flatten(1) for k in range(4)] + [tensor.flatten(0, 1).flatten(1)]
    tails = [float(torch.linalg.svdvals(matrix)[rank:].square().sum()) for matrix in matrices]
    assert sqrt(max(tails)) - 1e-9 <= error <= sqrt(sum(tails) + tails[-1]) + 1e-9


def test_full_ranks_lose_nothing():
    weight = torch.randn(12, 12, dtype=torch.float64)
    assert HTLinear.from_dense(weight, (2, 3, 2), (3, 2, 2), ht_rank=36).relative_error(weight) < 1e-12


def test_the_layer():
    lstm = HTLSTM((4, 4), (2, 4), ht_rank=2, num_layers=2)
    assert lstm.input_map == HierarchicalTucker([4, 4], [2, 4], 2, 2)
    assert lstm.input_map.facts() == ((4, 4), (2, 4), 2, None)
    assert lstm(torch.randn(5, 3, 16))[0].shape == (5, 3, 8)
    with pytest.raises(ValueError, match="the same length, at least 2"):
        HierarchicalTucker((4,), (4,), 1)
