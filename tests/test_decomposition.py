"""Dense matrices turned into factorised ones: exact where they are of the form, near the best where they are not."""

from math import prod, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from btrnn import BTLinear, TRLinear, TTLinear
from btrnn.nn.decomposition import _random, _sum, _sweep, block_terms, tensor_train
from btrnn.nn.tensors import tensorise

from .factorised_maps import MAPS


@st.composite
def shapes(draw, max_order=4):
    """Draw input modes and output modes of one order, and a weight of their shape."""
    order = draw(st.integers(1, max_order))
    modes = st.lists(st.integers(1, 3), min_size=order, max_size=order)
    in_modes, out_modes = draw(modes), draw(modes)
    draw_weight = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    weight = torch.randn(prod(out_modes), prod(in_modes), generator=draw_weight, dtype=torch.float64)
    return in_modes, out_modes, weight


def unfoldings(weight, in_modes, out_modes):
    """Give the matrices of W after each mode: (I_1 J_1 .. I_k J_k, the rest), k = 1 .. d - 1."""
    order = len(in_modes)
    tensor = weight.reshape(*out_modes, *in_modes)
    tensor = tensor.permute([axis for k in range(order) for axis in (k, order + k)])
    return [tensor.flatten(0, 2 * k - 1).flatten(1) for k in range(1, order)]


def tail(matrix, rank):
    """Give the squared distance to the nearest matrix of a rank."""
    return float(torch.linalg.svdvals(matrix)[rank:].square().sum())


# ---- tensor train


@settings(max_examples=20)
@given(shape=shapes(), rank=st.integers(1, 4), with_bias=st.booleans())
def test_a_tensor_train_comes_back(shape, rank, with_bias):
    in_modes, out_modes, _ = shape
    truth = TTLinear(in_modes, out_modes, tt_rank=rank, bias=with_bias, dtype=torch.float64)
    found = TTLinear.from_dense(truth.to_dense(), in_modes, out_modes, tt_rank=rank, bias=truth.bias)
    assert found.relative_error(truth.to_dense()) < 1e-10
    assert (found.bias is None) == (not with_bias)
    x = torch.randn(3, truth.in_features, dtype=torch.float64)
    torch.testing.assert_close(found(x), truth(x), rtol=0, atol=1e-8)


def test_a_tensor_train_of_float32_comes_back_to_a_millionth():
    truth = TTLinear((4, 4, 4), (4, 4, 4), tt_rank=4, bias=False)
    found = TTLinear.from_dense(truth.to_dense(), (4, 4, 4), (4, 4, 4), tt_rank=4)
    assert found.cores[0].dtype == torch.float32
    assert found.relative_error(truth.to_dense()) < 1e-6


@settings(max_examples=30)
@given(shape=shapes(), rank=st.integers(1, 4))
def test_tt_svd_is_nearly_the_best_tensor_train(shape, rank):
    in_modes, out_modes, weight = shape
    found = TTLinear.from_dense(weight, in_modes, out_modes, tt_rank=rank)
    error = found.relative_error(weight) * float(weight.norm())
    tails = [tail(matrix, rank) for matrix in unfoldings(weight, in_modes, out_modes)]
    # No tensor train of these ranks is nearer than the furthest unfolding from its own nearest matrix.
    assert sqrt(max(tails, default=0)) - 1e-9 <= error <= sqrt(sum(tails)) + 1e-9


def test_a_matrix_of_zeros_is_fitted_exactly_and_its_error_is_a_number():
    zeros = torch.zeros(4, 4)
    layer = TTLinear.from_dense(zeros, (2, 2), (2, 2), tt_rank=2)
    assert layer.relative_error(zeros) == 0.0


@settings(max_examples=30)
@given(shape=shapes())
def test_full_ranks_lose_nothing(shape):
    in_modes, out_modes, weight = shape
    pairs = [i * j for i, j in zip(in_modes, out_modes, strict=True)]
    full = [min(prod(pairs[:k]), prod(pairs[k:])) for k in range(1, len(pairs))]
    train = TTLinear.from_dense(weight, in_modes, out_modes, tt_rank=full)
    assert train.relative_error(weight) < 1e-12
    terms = BTLinear.from_dense(weight, in_modes, out_modes, tucker_rank=max(pairs))
    assert terms.relative_error(weight) < 1e-12


def test_ranks_beyond_the_possible_are_zeros():
    weight = torch.randn(4, 4, dtype=torch.float64)
    cores = tensor_train(weight, (2, 2), (2, 2), 7)
    assert [tuple(core.shape) for core in cores] == [(1, 2, 2, 7), (7, 2, 2, 1)]
    assert float(cores[0][..., 4:].abs().max()) == 0
    torch.testing.assert_close(TTLinear.from_dense(weight, (2, 2), (2, 2), tt_rank=7).to_dense(), weight)


# ---- block terms


@settings(max_examples=30)
@given(shape=shapes(), rank=st.integers(1, 3))
def test_a_single_block_term_comes_back(shape, rank):
    in_modes, out_modes, _ = shape
    truth = BTLinear(in_modes, out_modes, tucker_rank=rank, dtype=torch.float64)
    found = BTLinear.from_dense(truth.to_dense(), in_modes, out_modes, tucker_rank=rank, bias=truth.bias)
    assert found.relative_error(truth.to_dense()) < 1e-10
    assert torch.equal(found.bias, truth.bias)


@pytest.mark.parametrize(
    ("in_modes", "out_modes", "rank", "blocks"),
    [
        ((8, 8), (8, 8), 1, 2),
        ((8, 8), (8, 8), 4, 2),
        ((4, 4, 4), (4, 4, 4), 2, 2),
        ((2, 4, 2, 4), (4, 2, 4, 2), 2, 3),
    ],
)
def test_several_block_terms_come_back(in_modes, out_modes, rank, blocks):
    torch.manual_seed(0)
    truth = BTLinear(in_modes, out_modes, tucker_rank=rank, num_blocks=blocks, dtype=torch.float64).to_dense()
    found = BTLinear.from_dense(truth, in_modes, out_modes, tucker_rank=rank, num_blocks=blocks)
    assert (found.tucker_rank, found.num_blocks) == (rank, blocks)
    assert found.relative_error(truth) < 1e-5


@settings(max_examples=20)
@given(shape=shapes(), rank=st.integers(1, 4), blocks=st.integers(1, 3))
def test_errors_never_grow_with_further_sweeps(shape, rank, blocks):
    in_modes, out_modes, weight = shape
    tensor = tensorise(weight / weight.norm(), in_modes, out_modes)
    start, errors = _random(tensor, [rank] * len(in_modes), blocks, torch.Generator().manual_seed(0)), []
    for count in range(6):
        found, error = _sweep(tensor, start, count)
        assert error == pytest.approx(float((tensor - _sum(found)).norm()), abs=1e-9)
        errors.append(error)
    assert errors == sorted(errors, reverse=True)


def block_terms_error(weight, *sizes, **options) -> float:
    """Return how far the fitted block terms are from a matrix."""
    core, factors = block_terms(weight, *sizes, **options)
    layer = BTLinear(*sizes[:2], tucker_rank=core.shape[1], num_blocks=core.shape[0], dtype=torch.float64)
    layer.fill([core, *factors], None)
    return layer.relative_error(weight)


@settings(max_examples=20)
@given(shape=shapes(), rank=st.integers(1, 3), blocks=st.integers(1, 2))
def test_block_terms_are_nearly_the_best(shape, rank, blocks):
    in_modes, out_modes, weight = shape
    error = BTLinear.from_dense(weight, in_modes, out_modes, tucker_rank=rank, num_blocks=blocks).relative_error(weight)
    order = len(in_modes)
    tensor = weight.reshape(*out_modes, *in_modes)
    tensor = tensor.permute([axis for k in range(order) for axis in (k, order + k)])
    tails = []
    for k in range(order):
        matrix = (
            tensor.movedim((2 * k, 2 * k + 1), (0, 1)).flatten(0, 1).flatten(1) if order > 1 else weight.reshape(-1, 1)
        )
        tails.append(tail(matrix, rank * blocks))
    assert error * float(weight.norm()) >= sqrt(max(tails)) - 1e-9  # no sum of N Tucker tensors of rank R is nearer
    if blocks == 1:
        assert error * float(weight.norm()) <= sqrt(sum(tails)) + 1e-9
    if order == 2:
        assert error * float(weight.norm()) == pytest.approx(sqrt(max(tails)), abs=1e-6)


def test_further_starts_find_what_the_first_one_misses():
    torch.manual_seed(2)
    modes = (4, 4, 4)
    truth = BTLinear(modes, modes, tucker_rank=2, num_blocks=2, bias=False, dtype=torch.float64).to_dense()
    one, four = (block_terms_error(truth, modes, modes, 2, 2, num_starts=starts) for starts in (1, 4))
    assert one > 0.05
    assert four < 1e-9
    assert block_terms_error(truth, modes, modes, 2, 2) == four  # nothing is left to chance


# ---- every map


@pytest.mark.parametrize("kind", sorted({*MAPS} - {"cp"}))  # of CP, alternating least squares may miss the best
def test_a_map_comes_back_from_its_dense_matrix(kind):
    torch.manual_seed(0)
    truth = MAPS[kind](dtype=torch.float64)
    found = from_dense(kind, truth.to_dense().detach(), bias=truth.bias)
    assert found.relative_error(truth.to_dense()) < 1e-5
    assert torch.equal(found.bias, truth.bias)
    x = torch.randn(3, 12, dtype=torch.float64)
    torch.testing.assert_close(found(x), truth(x), rtol=1e-4, atol=1e-4)


def from_dense(kind, weight, **options):
    """Fit a map with the modes and ranks of `MAPS` to a weight."""
    like = MAPS[kind](device="meta")
    ranks = {name.replace("ranks", "rank"): getattr(like, name) for name in like.rank_names}
    if kind == "tt":
        ranks["tt_rank"] = ranks["tt_rank"][1:-1]
    modes = () if kind == "low_rank" else (like.in_modes, like.out_modes)
    return type(like).from_dense(weight, *modes, **ranks, **options)


@pytest.mark.parametrize("kind", MAPS)
def test_a_fit_is_of_the_weights_type_and_better_than_none_and_can_be_trained(kind):
    weight = torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    layer = from_dense(kind, weight)
    before = layer.relative_error(weight)
    assert layer.weights()[0].dtype == torch.float32
    assert layer.bias is None
    assert before < 1
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-5)  # the numbers of a ring may cancel: small steps
    for _ in range(3):
        optimizer.zero_grad()
        (layer.to_dense() - weight).square().sum().backward()
        optimizer.step()
    assert layer.relative_error(weight) <= before + 1e-6


@pytest.mark.parametrize("kind", [TTLinear, BTLinear])
def test_operands_share_one_scale(kind):
    weight = torch.randn(8, 27, dtype=torch.float64)
    options = {"tt_rank": 3} if kind is TTLinear else {"tucker_rank": 2, "num_blocks": 2}
    layer = kind.from_dense(weight, (3, 3, 3), (2, 2, 2), **options)
    if kind is TTLinear:
        means = [float(core.detach().square().mean()) for core in layer.cores]
    else:
        means = [float(operand[0].detach().square().mean()) for operand in (layer.core, *layer.factors)]
    assert means == pytest.approx([means[0]] * len(means))


@pytest.mark.parametrize("kind", MAPS)
def test_a_matrix_of_zeros_gives_a_map_of_zeros(kind):
    assert float(from_dense(kind, torch.zeros(12, 12)).to_dense().detach().abs().max()) == 0


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", MAPS)
def test_a_weight_that_is_not_finite_is_refused(kind, number):
    weight = torch.ones(12, 12)
    weight[1, 2] = number
    with pytest.raises(ValueError, match=r"\(12, 12\) holds NaN or infinity"):
        from_dense(kind, weight)


def test_wrong_shapes_are_named():
    weight = torch.zeros(6, 4)
    with pytest.raises(ValueError, match=r"stand for a weight of shape \(4, 6\), got \(6, 4\)"):
        TTLinear.from_dense(weight, (2, 3), (2, 2), tt_rank=2)
    with pytest.raises(ValueError, match=r"stand for a weight of shape \(4, 6\), got \(6, 4\)"):
        TRLinear.from_dense(weight, (2, 3), (4,), tr_rank=2)
    with pytest.raises(ValueError, match="tucker_rank must be an integer of at least 1, got 0"):
        BTLinear.from_dense(weight, (2, 2), (2, 3), tucker_rank=0)
    with pytest.raises(ValueError, match="needs one integer or 1 inner ranks"):
        TTLinear.from_dense(weight, (2, 2), (2, 3), tt_rank=(2, 2))
