"""Every map against the dense matrix that it stands for."""

import copy
import pickle
from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from btrnn import (
    BTLinear,
    CPLinear,
    HTLinear,
    KroneckerLinear,
    LowRankLinear,
    TRLinear,
    TTLinear,
    TuckerLinear,
)
from btrnn.ops import native
from btrnn.ops.contraction import reference_product

from .factorised_maps import MAPS, layers, reference_dense

pytestmark = pytest.mark.programs  # all of them: what is computed or read without a program is another way
PAPER = ((8, 20, 20, 18), (16, 4, 4, 4))
AT_PAPER_SIZE = {
    "bt": lambda **options: BTLinear(*PAPER, tucker_rank=4, num_blocks=2, **options),
    "tt": lambda **options: TTLinear(*PAPER, tt_rank=4, **options),
    "tr": lambda **options: TRLinear((4, 2, 5, 8, 6, 5, 3, 2), (16, 4, 2, 4, 2), tr_rank=(10, *[5] * 12), **options),
    "cp": lambda **options: CPLinear(*PAPER, cp_rank=9, **options),
    "tucker": lambda **options: TuckerLinear(*PAPER, tucker_rank=6, **options),
    "ht": lambda **options: HTLinear((8, 10, 10, 9, 8), (16, 4, 2, 4, 2), ht_rank=5, leaf_rank=4, **options),
    "kronecker": lambda **options: KroneckerLinear((160, 360), (64, 16), num_terms=1, **options),
    "low_rank": lambda **options: LowRankLinear(57_600, 1024, rank=2, **options),
}
at_paper_size = pytest.mark.parametrize("make", AT_PAPER_SIZE.values(), ids=AT_PAPER_SIZE)


@settings(max_examples=40)
@given(layer=layers())
def test_to_dense_is_the_definition(layer):
    torch.testing.assert_close(layer.to_dense().detach(), torch.from_numpy(reference_dense(layer)), rtol=0, atol=1e-12)


@settings(max_examples=40)
@given(layer=layers())
def test_the_reference_product_is_the_definition(layer):
    x = torch.randn(3, layer.in_features, dtype=torch.float64)
    expected = x @ torch.from_numpy(reference_dense(layer)).T
    found = reference_product(layer.network, x, layer.operands()).detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@settings(max_examples=80)
@given(layer=layers(), batch=st.lists(st.integers(1, 3), max_size=2), needs_input_gradient=st.booleans())
def test_forward_and_gradients_equal_the_reference_and_the_dense_product(layer, batch, needs_input_gradient):
    x = torch.randn(*batch, layer.in_features, dtype=torch.float64, requires_grad=needs_input_gradient)
    output = layer(x)
    expected = torch.nn.functional.linear(x, layer.to_dense(), layer.bias)
    reference = reference_product(layer.network, x.reshape(-1, layer.in_features), layer.operands())
    reference = reference.reshape(output.shape) + (0 if layer.bias is None else layer.bias)
    assert output.shape == (*batch, layer.out_features)
    weights = torch.randn_like(output)
    inputs = [*layer.parameters(), *([x] if needs_input_gradient else [])]
    got = torch.autograd.grad((output * weights).sum(), inputs)
    for wanted in (expected, reference):
        torch.testing.assert_close(output, wanted, rtol=0, atol=1e-10)
        want = torch.autograd.grad((wanted * weights).sum(), inputs)
        for ours, theirs in zip(got, want, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_the_reference_product_at_order_2_is_the_equation_that_it_names():
    block_term = BTLinear((2, 3), (3, 2), tucker_rank=2, num_blocks=2, bias=False)
    train = TTLinear((2, 3), (3, 2), tt_rank=2, bias=False)
    x = torch.randn(4, 6)
    for layer, equation in ((block_term, "bij,nrs,niur,njvs->buv"), (train, "bij,niur,nrjv->buv")):
        operands = layer.operands()
        wanted = torch.einsum(equation, x.reshape(4, 2, 3), *operands).flatten(1)
        torch.testing.assert_close(reference_product(layer.network, x, operands), wanted)


@settings(max_examples=40)
@given(layer=layers(dtype=torch.float32))
def test_float32_is_close_to_the_float64_product(layer):
    x = torch.randn(3, layer.in_features)
    exact = x.double() @ layer.to_dense().double().T + (0 if layer.bias is None else layer.bias.double())
    torch.testing.assert_close(layer(x).double(), exact, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", AT_PAPER_SIZE)
def test_paper_size_in_float32_against_float64(kind):
    """Against W itself for the paper's two maps; for the others against torch's operations, as W takes 3 seconds."""
    torch.manual_seed(0)
    make = AT_PAPER_SIZE[kind]
    layer, x, weights = make(), torch.randn(2, 57_600), torch.randn(2, 1024)
    double = make(dtype=torch.float64)
    double.load_state_dict({key: value.double() for key, value in layer.state_dict().items()})
    with native.disabled():
        exact = x.double() @ double.to_dense().T + double.bias if kind in ("bt", "tt") else double(x.double())
    output = layer(x)
    torch.testing.assert_close(output.double(), exact, rtol=2e-5, atol=2e-5)
    ours = torch.autograd.grad((output * weights).sum(), list(layer.parameters()))
    theirs = torch.autograd.grad((exact * weights).sum(), list(double.parameters()))
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=2e-5, atol=2e-5 * float(want.abs().max()))


@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS)
def test_gradcheck(make):
    layer = make(dtype=torch.float64)
    x = torch.randn(2, 12, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    parameters = [parameter.detach().clone().requires_grad_() for parameter in layer.parameters()]
    assert torch.autograd.gradcheck(run, (x, *parameters))
    assert torch.autograd.gradgradcheck(run, (x, *parameters), fast_mode=True)


@settings(max_examples=80)
@given(layer=layers(dtype=torch.float32), seed=st.integers(0, 2**31))
def test_default_init_gives_white_input_a_known_scale_in_every_draw(layer, seed):
    torch.manual_seed(seed)
    layer.reset_parameters()
    rms = float((layer.to_dense().double().square().sum() / layer.out_features).sqrt())
    assert rms == pytest.approx(1 / sqrt(3), rel=1e-3)


def test_default_init_at_paper_size_on_real_white_input():
    x = torch.randn(8, 57_600)
    for rank, blocks in ((1, 1), (1, 2), (4, 2), (8, 1)):
        layer = BTLinear((8, 20, 20, 18), (16, 4, 4, 4), tucker_rank=rank, num_blocks=blocks, bias=False)
        assert 1 / 1.5 < float(layer(x).square().mean().sqrt()) * sqrt(3) < 1.5


@at_paper_size
def test_shapes_alone_need_no_memory(make):
    with torch.device("meta"):
        layer = make()
    assert all(parameter.is_meta for parameter in layer.parameters())
    assert layer.num_weights == sum(parameter.numel() for parameter in layer.parameters()) - 1024


@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS)
def test_copies_and_saved_states_are_the_same_map(make):
    layer, other, x = make(), make(), torch.randn(3, 12)
    other.load_state_dict(layer.state_dict())
    for same in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(same(x), layer(x))


def test_shapes_counts_and_description():
    in_modes, out_modes = [2, 3, 4], [3, 1, 2]
    bt = BTLinear(in_modes, out_modes, tucker_rank=2, num_blocks=3)
    assert (in_modes, out_modes) == ([2, 3, 4], [3, 1, 2])
    assert bt.core.shape == (3, 2, 2, 2)
    assert [tuple(factor.shape) for factor in bt.factors] == [(3, 2, 3, 2), (3, 3, 1, 2), (3, 4, 2, 2)]
    tt = TTLinear(in_modes, out_modes, tt_rank=(2, 5))
    assert [tuple(core.shape) for core in tt.cores] == [(1, 2, 3, 2), (2, 3, 1, 5), (5, 4, 2, 1)]
    for layer in (bt, tt):
        assert (layer.in_features, layer.out_features, layer.order) == (24, 6, 3)
        assert layer.compression_ratio == 24 * 6 / layer.num_weights
        assert "2x3x4 -> 3x1x2" in repr(layer)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BTLinear((2, 3), (2,), tucker_rank=1),
            r"\(2, 3\) and out_modes \(2,\) must have the same length",
        ),
        (lambda: BTLinear((), (), tucker_rank=1), "at least 1"),
        (
            lambda: BTLinear((2, 0), (2, 2), tucker_rank=1),
            r"in_modes must be integers of at least 1, got \(2, 0\)",
        ),
        (
            lambda: BTLinear((2, 2), (2, 2), tucker_rank=0),
            "tucker_rank must be an integer of at least 1, got 0",
        ),
        (lambda: BTLinear((2, 2), (2, 2), tucker_rank=1, num_blocks=0), "num_blocks .* got 0"),
        (lambda: TTLinear((2, 2, 2), (2, 2, 2), tt_rank=(2,)), "needs one integer or 2 inner ranks"),
        (lambda: TTLinear((2, 2), (2, 2), tt_rank=0), "tt_rank must be an integer of at least 1, got 0"),
        (lambda: TTLinear((4,), (4,), tt_rank=0), "tt_rank must be an integer of at least 1, got 0"),
        (lambda: TTLinear((1,) * 26, (1,) * 26, tt_rank=1), "TTLinear takes at most 25 modes, got 26"),
        (lambda: BTLinear((1,) * 26, (1,) * 26, tucker_rank=1), "BTLinear takes at most 25 modes, got 26"),
        (lambda: TRLinear((2,) * 25, (2,), tr_rank=1), "TRLinear takes at most 24 modes, got 25"),
        (lambda: TRLinear((2, 2), (), tr_rank=1), r"out_modes \(\) must each have at least 1 mode"),
        (lambda: TRLinear((2, 2), (2,), tr_rank=(1, 2)), r"tr_rank \[1, 2\] has 2 ranks; it needs one integer or 3"),
        (lambda: TuckerLinear((2, 2), (2, 2), tucker_rank=(1,)), "it needs one integer or 2 ranks"),
        (lambda: CPLinear((2, 2), (2, 2), cp_rank=0), "cp_rank must be an integer of at least 1, got 0"),
        (lambda: KroneckerLinear((4,), (4,), num_terms=1), "the same length, at least 2"),
        (lambda: KroneckerLinear((2, 2), (2, 2), num_terms=0), "num_terms .* got 0"),
        (lambda: HTLinear((4,), (4,), ht_rank=1), "the same length, at least 2"),
        (lambda: HTLinear((2, 2), (2, 2), ht_rank=1, leaf_rank=0), "leaf_rank .* got 0"),
        (lambda: LowRankLinear(4, 4, rank=0), "rank must be an integer of at least 1, got 0"),
        (lambda: LowRankLinear(0, 4, rank=1), "in_features must be an integer of at least 1, got 0"),
        (
            lambda: TTLinear((2, 2), (2, 2), tt_rank=1)(torch.zeros(3, 5)),
            r"4 = 2x2 features .* shape \(3, 5\)",
        ),
    ],
)
def test_wrong_arguments_say_what_was_given_and_what_fits(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_highest_order_works():
    layer = TTLinear((2, *[1] * 24), [*[1] * 24, 3], tt_rank=2, dtype=torch.float64)
    x = torch.randn(4, 2, dtype=torch.float64)
    with native.disabled():  # the search for a native plan takes a minute at this order
        output = layer(x)
    torch.testing.assert_close(output, torch.nn.functional.linear(x, layer.to_dense(), layer.bias))


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation gives."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return result


@pytest.mark.parametrize(
    "layer",
    [
        HTLinear((2,) * 8, (2,) * 8, ht_rank=4),
        TTLinear((4,) * 4, (4,) * 4, tt_rank=32),
        TRLinear((4, 2, 5, 8, 6, 5, 3, 2), (16, 4, 2, 4, 2), tr_rank=(10, *[5] * 12)),
        BTLinear((2,) * 6, (2,) * 6, tucker_rank=4, num_blocks=3),
    ],
)
def test_initialising_takes_little_more_than_the_parameters(layer):
    largest = max(weight.numel() for weight in layer.weights())
    with LargestTensor() as sizes:
        layer.reset_parameters()
    assert sizes.largest <= 4 * largest


@at_paper_size
def test_the_dense_matrix_is_never_built_at_paper_size(make):
    layer = make()
    x = torch.randn(2, 57_600)
    with LargestTensor() as sizes:
        layer(x).sum().backward()
    assert sizes.largest <= max(4 * x.numel(), 25 * 57_600)  # W would be 512 times x
