"""Kronecker products, and the canonical polyadic form, which is the same in other words."""

import pytest
import torch

from btrnn import CPLSTM, CPLinear, KroneckerLinear, KroneckerLSTM
from btrnn.complexity import cp_parameters, kronecker_parameters
from btrnn.nn.kronecker import CanonicalPolyadic, Kronecker


def test_w_is_a_sum_of_kronecker_products():
    layer = KroneckerLinear((2, 3, 2), (3, 1, 2), num_terms=2, bias=False, dtype=torch.float64)
    first, second, third = (factor.detach().mT.contiguous() for factor in layer.factors)
    wanted = sum(torch.kron(torch.kron(first[n], second[n]), third[n]) for n in range(2))
    torch.testing.assert_close(layer.to_dense(), wanted)
    assert layer.num_weights == kronecker_parameters((2, 3, 2), (3, 1, 2), 2) == 2 * (6 + 3 + 4)


def test_both_names_stand_for_one_form():
    terms = KroneckerLinear((2, 3), (3, 2), num_terms=3, dtype=torch.float64)
    polyadic = CPLinear((2, 3), (3, 2), cp_rank=3, dtype=torch.float64)
    polyadic.load_state_dict(terms.state_dict())
    x = torch.randn(4, 6, dtype=torch.float64)
    assert torch.equal(polyadic(x), terms(x))
    assert polyadic.num_weights == cp_parameters((2, 3), (3, 2), 3)


@pytest.mark.parametrize("num_terms", [1, 2, 5])
def test_two_matrices_are_the_nearest(num_terms):
    weight = torch.randn(6, 6, dtype=torch.float64)
    made = KroneckerLinear.from_dense(weight, (2, 3), (3, 2), num_terms=num_terms)
    pairs = weight.reshape(3, 2, 2, 3).permute(2, 0, 3, 1).reshape(6, 6)  # ((i_1, j_1), (i_2, j_2)) of W
    tail = torch.linalg.svdvals(pairs)[num_terms:].square().sum().sqrt()
    assert made.relative_error(weight) * float(weight.norm()) == pytest.approx(float(tail), abs=1e-9)


def test_one_outer_product_of_any_sign_comes_back():
    for sign in (1, -1):
        truth = CPLinear((2, 3, 2), (2, 2, 3), cp_rank=1, bias=False, dtype=torch.float64).to_dense().detach() * sign
        assert CPLinear.from_dense(truth, (2, 3, 2), (2, 2, 3), cp_rank=1).relative_error(truth) < 1e-10


def test_the_layers_of_both():
    polyadic, terms = CPLSTM((4, 4), (2, 4), cp_rank=2), KroneckerLSTM((4, 4), (2, 4), num_terms=2)
    assert polyadic.input_map == CanonicalPolyadic([4, 4], [2, 4], 2)
    assert polyadic.input_map.facts() == ((4, 4), (2, 4), 2, None)
    assert terms.input_map == Kronecker([4, 4], [2, 4], 2)
    assert terms.input_map.facts() == ((4, 4), (2, 4), None, 2)
    for lstm in (polyadic, terms):
        assert lstm.num_input_parameters == 2 * (4 * 8 + 4 * 4)
        assert lstm(torch.randn(5, 3, 16))[0].shape == (5, 3, 8)
    with pytest.raises(ValueError, match="the same length, at least 2"):
        Kronecker((4,), (4,), 1)
