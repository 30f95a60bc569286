"""The fast recurrence against the plain loop, which is its definition, and where each of the two serves."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.nn.utils.rnn import pack_padded_sequence

from btrnn import LSTM
from btrnn.ops import lstm_backward, lstm_fast, native
from btrnn.ops.lstm import Operands, plain_unroll
from btrnn.ops.lstm_fast import unroll
from btrnn.ops.matmul import repays_onednn
from btrnn.ops.steps import Steps

NAMES = ("gates", "hidden_0", "cell_0", "weight")
ACTIVATIONS = ("sigmoid", "hard_sigmoid")


def make_operands(sizes, hidden_size, with_mask, dtype=torch.float64, seed=0, scale=2.0):
    """Draw operands; the gates are wide enough to reach the flat parts of hard_sigmoid."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    batch = sizes[0]
    mask = torch.randint(0, 2, (batch, hidden_size), generator=generator).to(dtype) * 2 if with_mask else None
    gates, weight = scale * draw(sum(sizes), 4 * hidden_size), draw(4 * hidden_size, hidden_size)
    return Operands(gates, draw(batch, hidden_size), draw(batch, hidden_size), weight, mask)


def plain(gates, batch_sizes, hidden_0, cell_0, weight, mask, activation, reverse):
    return plain_unroll(Steps(batch_sizes, reverse), Operands(gates, hidden_0, cell_0, weight, mask), activation)


def call(function, operands, sizes, activation, reverse):
    gates, *others = operands
    return function(gates, sizes, *others, activation, reverse)


def loss_of(results, used, seed=1):
    """Weigh the chosen results with random numbers, so that every entry has a gradient of its own."""
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(result.shape, generator=generator, dtype=torch.float64) for result in results]
    return sum((results[k] * weights[k].to(results[k])).sum() for k in used)


def assert_close(got, wanted, tolerance=1e-12):
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=["native", "torch"])
def way(request) -> Iterator[str]:
    """Do a test twice: with the native kernel, and without."""
    if request.param == "native":
        request.getfixturevalue("compiler")
        assert native.available()
    with native.disabled() if request.param == "torch" else nullcontext():
        yield request.param


both_ways = pytest.mark.usefixtures("way")


@pytest.fixture
def no_plain_loop(monkeypatch):
    """Let a test fail that falls back to the plain loop."""

    def fail(*_):
        raise AssertionError("the plain loop ran")

    monkeypatch.setattr(lstm_fast, "plain_unroll", fail)
    monkeypatch.setattr(lstm_backward, "plain_unroll", fail)


SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=9).map(lambda sizes: sorted(sizes, reverse=True))
EVEN = st.builds(lambda batch, time: [batch] * time, st.integers(1, 5), st.integers(1, 9))
CASES = {
    "sizes": SIZES | EVEN,
    "hidden_size": st.integers(1, 20),
    "with_mask": st.booleans(),
    "activation": st.sampled_from(ACTIVATIONS),
    "reverse": st.booleans(),
    "seed": st.integers(0, 2**31),
    "chunk_rows": st.sampled_from([1, 7, 256]),
}


@both_ways
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    **CASES,
    needed=st.sets(st.sampled_from(NAMES), min_size=1),
    used=st.sets(st.sampled_from(range(3)), min_size=1),
)
def test_equals_the_plain_loop_with_every_choice_of_gradients(
    sizes, hidden_size, with_mask, activation, reverse, seed, chunk_rows, needed, used
):
    operands = make_operands(sizes, hidden_size, with_mask, seed=seed)
    for name in needed:
        getattr(operands, name).requires_grad_()
    sources = [getattr(operands, name) for name in NAMES if name in needed]
    expected = call(plain, operands, sizes, activation, reverse)
    wanted = torch.autograd.grad(loss_of(expected, used), sources, allow_unused=True, materialize_grads=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lstm_backward, "CHUNK_ROWS", chunk_rows)
        results = call(unroll, operands, sizes, activation, reverse)
        assert "Recurrence" in type(results[0].grad_fn).__name__
        gradients = torch.autograd.grad(loss_of(results, used), sources, retain_graph=True)
    assert_close(results, expected)
    assert_close(gradients, wanted)
    again = torch.autograd.grad(loss_of(results, used), sources, create_graph=True)  # now through the plain loop
    assert_close(again, wanted)


@both_ways
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**CASES)
def test_without_gradients_equals_the_plain_loop(sizes, hidden_size, with_mask, activation, reverse, seed, chunk_rows):
    operands = make_operands(sizes, hidden_size, with_mask, seed=seed)
    before = copy.deepcopy(operands)
    expected = call(plain, operands, sizes, activation, reverse)
    assert_close(call(unroll, operands, sizes, activation, reverse), expected)
    operands.weight.requires_grad_()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert_close(call(unroll, operands, sizes, activation, reverse), expected)
    assert_close([x for x in operands if x is not None], [x for x in before if x is not None], 0)


@both_ways
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("sizes", "with_mask"), [([2, 2, 2], False), ([3, 3, 1, 1], True)])
def test_first_and_second_derivatives_are_those_of_finite_differences(activation, reverse, sizes, with_mask):
    operands = make_operands(sizes, 2, with_mask, scale=0.5)
    sources = [tensor.requires_grad_() for tensor in operands[:4]]

    def run(gates, hidden_0, cell_0, weight):
        return unroll(gates, sizes, hidden_0, cell_0, weight, operands.mask, activation, reverse)

    assert gradcheck(run, sources)
    assert gradgradcheck(run, sources)


@both_ways
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_second_derivatives_are_finite_where_gates_are_at_their_bounds(activation):
    operands = make_operands([2] * 4, 3, True, scale=400.0)
    sources = [tensor.requires_grad_() for tensor in operands[:4]]
    found = []
    for function in (unroll, plain):
        results = call(function, operands, [2] * 4, activation, False)
        first = torch.autograd.grad(loss_of(results, range(3)), sources, create_graph=True)
        found.append(torch.autograd.grad(loss_of(first, range(4)), sources))
    assert all(gradient.isfinite().all() for gradient in found[0])
    assert_close(*found)


@both_ways
def test_second_derivatives_do_not_count_an_operand_twice_that_another_was_made_of():
    operands = make_operands([2] * 3, 2, False)
    weight, found = operands.weight.requires_grad_(), []
    for function in (unroll, plain):
        gates = operands.gates * weight.sum()
        results = function(gates, [2] * 3, weight[:2].sin(), weight[2:4].cos(), weight, None, "sigmoid", False)
        (first,) = torch.autograd.grad(loss_of(results, range(3)), weight, create_graph=True)
        found.append((first, *torch.autograd.grad(first.square().sum(), weight)))
    assert_close(*found)


@both_ways
def test_hard_sigmoid_is_flat_on_its_bounds_in_both_ways():
    """At x = -2.5 and 2.5 the slope is a convention; both must have the same."""
    gates = torch.tensor([[2.5, -2.5, 1.0, 2.5], [-2.5, 2.5, -1.0, -2.5]], dtype=torch.float64, requires_grad=True)
    zero, weight = torch.ones(1, 1, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64)
    found = []
    for function in (unroll, plain):
        results = function(gates, [1, 1], zero, zero, weight, None, "hard_sigmoid", False)
        found.append(torch.autograd.grad(loss_of(results, range(3)), gates))
    assert_close(*found, 0)


@both_ways
def test_the_backward_is_repeatable_bit_by_bit_and_leaves_what_it_saved():
    operands = make_operands([16] * 20, 32, True, dtype=torch.float32)
    sources = [tensor.requires_grad_() for tensor in operands[:4]]
    runs = []
    for _ in range(2):
        results = call(unroll, operands, [16] * 20, "sigmoid", False)
        loss = loss_of(results, range(3))
        runs += [torch.autograd.grad(loss, sources, retain_graph=True) for _ in range(2)]
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


@both_ways
def test_the_operands_may_have_any_strides():
    operands = make_operands([3, 2, 2], 2, True)
    turned = Operands(*(tensor.t().contiguous().t() for tensor in operands))
    found = []
    for each in (operands, turned):
        sources = [tensor.requires_grad_() for tensor in each[:4]]
        results = call(unroll, each, [3, 2, 2], "sigmoid", True)
        found.append([*results, *torch.autograd.grad(loss_of(results, range(3)), sources)])
    assert_close(*found)


@both_ways
def test_the_outputs_may_be_changed_in_place():
    operands = make_operands([2] * 3, 2, False)
    operands.weight.requires_grad_()
    found = []
    for function in (unroll, plain):
        outputs, _, _ = call(function, operands, [2] * 3, "sigmoid", False)
        outputs.mul_(3.0)
        found.append(torch.autograd.grad(loss_of([outputs], [0]), operands.weight))
    assert_close(*found)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("sizes", [[16] * 20, [40] * 3 + [17] * 10 + [1] * 4])
def test_float32_equals_float64_with_and_without_onednn(sizes, with_mask):
    """Large enough for oneDNN's product where it is present."""
    used_onednn = {}
    for allowed in (True, False):
        with torch.backends.mkldnn.flags(enabled=allowed), native.disabled():
            exact = make_operands(sizes, 128, with_mask)
            exact = exact._replace(gates=exact.gates / 2, weight=exact.weight / 11)
            rough = Operands(*(None if tensor is None else tensor.float() for tensor in exact))
            used_onednn[allowed] = repays_onednn(rough.weight, sizes)
            found = []
            for operands in (exact, rough):
                sources = [tensor.detach().requires_grad_() for tensor in operands[:4]]
                results = call(unroll, (*sources, operands.mask), sizes, "sigmoid", False)
                gradients = torch.autograd.grad(loss_of(results, range(3)), sources)
                found.append([*results, *gradients])
            for got, wanted in zip(found[1], found[0], strict=True):
                error = (got.double() - wanted).abs().max() / wanted.abs().max()
                assert error < 1e-5
    assert not used_onednn[False]
    assert used_onednn[True] == torch.backends.mkldnn.is_available()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.usefixtures("compiler")
def test_many_sequences_of_unlike_lengths_in_the_native_kernel(dtype, tolerance, activation, reverse, monkeypatch):
    """More than a group of sequences, a broken last panel, and more threads than there is work for."""
    sizes = [75, 75, 40, 33, 2]
    exact = make_operands(sizes, 37, True, scale=0.5)
    given = Operands(*(tensor.to(dtype) for tensor in exact))
    monkeypatch.setattr(lstm_fast, "_forward", None)  # so that only the kernel can be meant
    found = []
    for function, operands in ((plain, exact), (unroll, given)):
        sources = [tensor.detach().requires_grad_() for tensor in operands[:4]]
        results = call(function, (*sources, operands.mask), sizes, activation, reverse)
        found.append([*results, *torch.autograd.grad(loss_of(results, range(3)), sources)])
    for wanted, got in zip(*found, strict=True):
        assert (got.double() - wanted).abs().max() / wanted.abs().max() < tolerance
    with torch.no_grad():
        before = torch.get_num_threads()
        torch.set_num_threads(7)
        again = call(unroll, given, sizes, activation, reverse)
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(again, found[1][:3], strict=True))


def test_numbers_that_are_none_and_gates_that_are_full():
    """NaN stays NaN, and far beyond its range the exponential neither overflows nor loses the sign."""
    gates = torch.tensor([[torch.nan, 1e4, 1e30, 1e4], [-1e30, 1e30, -1e4, 1e30]]).repeat_interleave(2, dim=0)
    state, weight = torch.ones(2, 1), torch.zeros(4, 1)
    (_, hidden, cell) = unroll(gates, [2, 2], state, state, weight, None, "sigmoid", False)
    assert cell.isnan().all()
    assert hidden.isnan().all()
    outputs, _, cell = unroll(gates[2:].repeat(2, 1), [2, 2], state, state, weight, None, "sigmoid", False)
    torch.testing.assert_close(cell, torch.ones(2, 1))
    torch.testing.assert_close(outputs, torch.full((4, 1), 1.0).tanh())


@both_ways
def test_no_gradient_for_the_whole_sequence_runs_fast(no_plain_loop):
    operands = make_operands([2] * 3, 2, True)
    operands.gates.requires_grad_()
    call(unroll, operands, [2] * 3, "sigmoid", False)[0].sum().backward()
    assert operands.gates.grad is not None


def test_a_mask_may_have_a_gradient():
    operands = make_operands([3, 2, 2], 2, True)
    operands.mask.requires_grad_()
    found = [
        torch.autograd.grad(loss_of(call(f, operands, [3, 2, 2], "sigmoid", False), range(3)), operands.mask)
        for f in (unroll, plain)
    ]
    assert_close(*found)


def test_torch_func_and_forward_mode_see_the_plain_loop():
    operands = make_operands([2] * 3, 2, False)
    gates, hidden_0, cell_0, weight, _ = operands

    def loss(function, weight):
        results = function(gates, [2] * 3, hidden_0, cell_0, weight, None, "sigmoid", False)
        return sum(result.pow(3).sum() for result in results)

    weight = weight.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(loss(plain, weight), weight)
    weight = weight.detach()
    assert_close([torch.func.grad(lambda w: loss(unroll, w))(weight)], [wanted])
    stacked = torch.stack([weight, 2 * weight])
    gradients = torch.func.vmap(torch.func.grad(lambda w: loss(unroll, w)))(stacked)
    assert_close([gradients[0]], [wanted])
    with forward_ad.dual_level():
        slope = forward_ad.unpack_dual(loss(unroll, forward_ad.make_dual(weight, torch.ones_like(weight)))).tangent
    assert_close([slope], [wanted.sum()])


COMPILING = """
import torch
from btrnn import LSTM

for options in ({}, {"bidirectional": True, "num_layers": 2, "gate_activation": "hard_sigmoid"}):
    lstm, x = LSTM(3, 4, dtype=torch.float64, **options), torch.randn(3, 2, 3, dtype=torch.float64)
    compiled = torch.compile(lstm, fullgraph=True, backend="aot_eager")
    results = compiled(x)[0], lstm(x)[0]
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(result.sin().sum(), list(lstm.parameters())) for result in results]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
"""


def test_compiles_without_a_graph_break():
    """In a process of its own: here every function is wrapped by the checks of its annotations."""
    subprocess.run([sys.executable, "-c", COMPILING], check=True, cwd=Path(__file__).parent.parent)


def test_on_the_meta_device():
    x = torch.empty(3, 2, 3, device="meta")
    output, _ = LSTM(3, 4, device="meta")(x)
    output.sum().backward()
    assert output.shape == (3, 2, 4)


def test_exports():
    lstm = LSTM(3, 4).eval()
    x = torch.randn(3, 2, 3)
    program = torch.export.export(lstm, (x,))
    torch.testing.assert_close(program.module()(x)[0], lstm(x)[0])


@pytest.mark.parametrize("packed", [False, True])
def test_autocast_gives_the_numbers_of_float32_roughly(packed):
    lstm = LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    given_x = pack_padded_sequence(x, torch.tensor([5, 3])) if packed else x
    wanted = lstm(given_x)[1].hidden
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, (hidden, _) = lstm(given_x)
    hidden.float().sum().backward()
    torch.testing.assert_close(hidden.float(), wanted, rtol=0, atol=0.05)
    assert all(parameter.grad.isfinite().all() for parameter in lstm.parameters())


@both_ways
def test_a_backward_under_autocast_keeps_the_precision():
    operands = make_operands([4] * 5, 8, False, dtype=torch.float32)
    weight = operands.weight.requires_grad_()
    loss = loss_of(call(unroll, operands, [4] * 5, "sigmoid", False), range(3))
    (wanted,) = torch.autograd.grad(loss, weight, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (got,) = torch.autograd.grad(loss, weight)
    assert torch.equal(got, wanted)


@both_ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types_train(dtype):
    lstm = LSTM(3, 4, dtype=dtype)
    reference = nn.LSTM(3, 4).to(dtype)
    lstm.load_state_dict(reference.state_dict())
    x = torch.randn(5, 2, 3, dtype=dtype)
    output, _ = lstm(x)
    output.sum().backward()
    torch.testing.assert_close(output, reference(x)[0], rtol=0, atol=1e-6 if dtype == torch.float32 else 0.05)
    assert lstm.weight_hh_l0.grad.dtype == dtype
