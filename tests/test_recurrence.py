"""The fast recurrence against the plain loop, which is its definition, and where each of the two serves."""

import copy
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.nn.utils.rnn import pack_padded_sequence

from btrnn import GRU, LSTM
from btrnn.ops import dispatch, gru, gru_fast, lstm, lstm_fast, native, recurrence
from btrnn.ops.matmul import repays_onednn
from btrnn.ops.steps import Steps

from .launches import LaunchCounter
from .processes import run_code

pytestmark = pytest.mark.programs  # all of them: what is computed or read without a program is another way
ACTIVATIONS = ("sigmoid", "hard_sigmoid")
DEFINITIONS, FAST, GATES = {"lstm": lstm, "gru": gru}, {"lstm": lstm_fast, "gru": gru_fast}, {"lstm": 4, "gru": 3}
LAYERS = {"lstm": LSTM, "gru": GRU}
TORCH_LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU}
FUSED = ("lstm_step", "lstm_step_back", "gru_step", "gru_step_back")
each_cell = pytest.mark.parametrize("cell", DEFINITIONS)


def make_operands(cell, sizes, hidden_size, with_mask, dtype=torch.float64, seed=0, scale=2.0):
    """Draw operands; the gates are wide enough to reach the flat parts of hard_sigmoid."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    batch = sizes[0]
    mask = torch.randint(0, 2, (batch, hidden_size), generator=generator).to(dtype) * 2 if with_mask else None
    rows = GATES[cell] * hidden_size
    gates, weight = scale * draw(sum(sizes), rows), draw(rows, hidden_size)
    hidden_0 = draw(batch, hidden_size)
    if cell == "lstm":
        return lstm.Operands(gates, hidden_0, draw(batch, hidden_size), weight, mask)
    return gru.Operands(gates, hidden_0, weight, draw(hidden_size), mask)


def cell_of(operands):
    return next(cell for cell, module in DEFINITIONS.items() if isinstance(operands, module.Operands))


def plain(operands, sizes, activation, reverse):
    return DEFINITIONS[cell_of(operands)].plain_unroll(Steps(sizes, reverse), operands, activation)


def fast(operands, sizes, activation, reverse):
    return recurrence.unroll(FAST[cell_of(operands)].CELL, Steps(sizes, reverse), operands, activation)


def sources_of(operands):
    """Let gradients go to all operands but the mask, and return those."""
    return [tensor.requires_grad_() for tensor in operands[:-1]]


def with_sources(operands, sources):
    return type(operands)(*sources, operands.mask)


def loss_of(results, used=None, seed=1):
    """Weigh the chosen results, or all, with random numbers, so that every entry has a gradient of its own."""
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(result.shape, generator=generator, dtype=torch.float64) for result in results]
    return sum((results[k] * weights[k].to(results[k])).sum() for k in used or range(len(results)))


def assert_close(got, wanted, tolerance=1e-12):
    """Compare with the largest number of each: small ones are differences of larger, whose rounding they inherit."""
    for a, b in zip(got, wanted, strict=True):
        largest = max(1.0, float(b.detach().abs().max())) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * largest)


class FusedSteps:
    """CUDA's kernels of a step by what is known of them, for tests without a GPU."""

    def lstm_step(self, gates, product, cell):
        i, f, g, o = (gates + product).chunk(4, dim=1)
        active = torch.cat([i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()], dim=1)
        i, f, g, o = active.chunk(4, dim=1)
        new = f * cell + i * g
        return o * new.tanh(), new, active

    def lstm_step_back(self, grad_hidden, grad_cell, before, cell, active):
        i, f, g, o = active.chunk(4, dim=1)
        to_cell = grad_cell + grad_hidden * o * (1 - cell.tanh() ** 2)
        parts = [
            to_cell * g * i * (1 - i),
            to_cell * before * f * (1 - f),
            to_cell * i * (1 - g**2),
            grad_hidden * cell.tanh() * o * (1 - o),
        ]
        return torch.cat(parts, dim=1), to_cell * f

    def gru_step(self, gates, product, hidden):
        (of_r, of_z, of_n), (u_r, u_z, u_n) = gates.chunk(3, dim=1), product.chunk(3, dim=1)
        r, z = (of_r + u_r).sigmoid(), (of_z + u_z).sigmoid()
        n = (of_n + r * u_n).tanh()
        return n + z * (hidden - n), torch.cat([r, z, n, hidden, u_n], dim=1)

    def gru_step_back(self, grad_hidden, kept):
        r, z, n, hidden, u_n = kept.chunk(5, dim=1)
        to_z = grad_hidden * (hidden - n) * z * (1 - z)
        to_n = grad_hidden * (1 - z) * (1 - n**2)
        to_r = to_n * u_n * r * (1 - r)
        return torch.cat([to_r, to_z, to_n], dim=1), torch.cat([to_r, to_z, to_n * r], dim=1), grad_hidden * z


@pytest.fixture
def fused_steps(monkeypatch) -> FusedSteps:
    """Let the recurrences go the way that they go on a GPU."""
    steps = FusedSteps()
    for name in FUSED:
        monkeypatch.setattr(dispatch, name, getattr(steps, name))
    monkeypatch.setattr(dispatch, "has_fused_steps", lambda _: True)
    return steps


@pytest.fixture(params=["native", "torch", "fused"])
def way(request) -> Iterator[str]:
    """Do a test three times: with the native kernel, without, and as on a GPU."""
    if request.param == "fused":
        request.getfixturevalue("fused_steps")
    if request.param == "native":
        request.getfixturevalue("compiler")
        assert native.available()
    with native.disabled() if request.param == "torch" else nullcontext():
        yield request.param


every_way = pytest.mark.usefixtures("way")


@pytest.fixture
def no_plain_loop(monkeypatch):
    """Let a test fail that falls back to the plain loop."""

    def fail(*_):
        raise AssertionError("the plain loop ran")

    for module in FAST.values():
        monkeypatch.setattr(module, "CELL", module.CELL._replace(plain=fail))


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


@every_way
@each_cell
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    **CASES,
    needed=st.sets(st.sampled_from(range(4)), min_size=1),
    used=st.sets(st.sampled_from(range(3)), min_size=1),
)
def test_equals_the_plain_loop_with_every_choice_of_gradients(
    cell, sizes, hidden_size, with_mask, activation, reverse, seed, chunk_rows, needed, used
):
    operands = make_operands(cell, sizes, hidden_size, with_mask, seed=seed)
    sources = [operands[k].requires_grad_() for k in needed]
    used = {k % len(LAYERS[cell](1, 1)(torch.zeros(1, 1))) for k in used}
    expected = plain(operands, sizes, activation, reverse)
    wanted = torch.autograd.grad(loss_of(expected, used), sources, allow_unused=True, materialize_grads=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recurrence, "CHUNK_ROWS", chunk_rows)
        results = fast(operands, sizes, activation, reverse)
        assert "Recurrence" in type(results[0].grad_fn).__name__
        gradients = torch.autograd.grad(loss_of(results, used), sources, retain_graph=True)
    assert_close(results, expected)
    assert_close(gradients, wanted)
    again = torch.autograd.grad(loss_of(results, used), sources, create_graph=True)  # now through the plain loop
    assert_close(again, wanted)


@every_way
@each_cell
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**CASES)
def test_without_gradients_equals_the_plain_loop(
    cell, sizes, hidden_size, with_mask, activation, reverse, seed, chunk_rows
):
    operands = make_operands(cell, sizes, hidden_size, with_mask, seed=seed)
    before = copy.deepcopy(operands)
    expected = plain(operands, sizes, activation, reverse)
    assert_close(fast(operands, sizes, activation, reverse), expected)
    operands.weight.requires_grad_()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert_close(fast(operands, sizes, activation, reverse), expected)
    assert_close([x for x in operands if x is not None], [x for x in before if x is not None], 0)


@every_way
@pytest.mark.parametrize(
    ("activation", "reverse", "sizes", "with_mask"),
    [("sigmoid", False, [2, 2, 2], False), ("hard_sigmoid", True, [3, 3, 1, 1], True)],
)
@each_cell
def test_first_and_second_derivatives_are_those_of_finite_differences(cell, activation, reverse, sizes, with_mask):
    operands = make_operands(cell, sizes, 2, with_mask, scale=0.5)
    sources = sources_of(operands)

    def run(*tensors):
        return fast(with_sources(operands, tensors), sizes, activation, reverse)

    assert gradcheck(run, sources)
    assert gradgradcheck(run, sources, fast_mode=True)


@every_way
@pytest.mark.parametrize("activation", ACTIVATIONS)
@each_cell
def test_second_derivatives_are_finite_where_gates_are_at_their_bounds(cell, activation):
    operands = make_operands(cell, [2] * 4, 3, True, scale=400.0)
    sources = sources_of(operands)
    found = []
    for function in (fast, plain):
        results = function(operands, [2] * 4, activation, False)
        first = torch.autograd.grad(loss_of(results), sources, create_graph=True)
        found.append(torch.autograd.grad(loss_of(first), sources))
    assert all(gradient.isfinite().all() for gradient in found[0])
    assert_close(*found)


@every_way
@each_cell
def test_second_derivatives_do_not_count_an_operand_twice_that_another_was_made_of(cell):
    operands = make_operands(cell, [2] * 3, 2, False)
    weight, found = operands.weight.requires_grad_(), []
    for function in (fast, plain):
        other = {"cell_0": weight[2:4].cos()} if cell == "lstm" else {"bias": weight[0].exp()}
        made = operands._replace(gates=operands.gates * weight.sum(), hidden_0=weight[:2].sin(), **other)
        results = function(made, [2] * 3, "sigmoid", False)
        (first,) = torch.autograd.grad(loss_of(results), weight, create_graph=True)
        found.append((first, *torch.autograd.grad(first.square().sum(), weight)))
    assert_close(*found)


@every_way
@each_cell
def test_hard_sigmoid_is_flat_on_its_bounds_in_both_ways(cell):
    """At x = -2.5 and 2.5 the slope is a convention; both must have the same."""
    gates = torch.tensor([[2.5, -2.5, 1.0, 2.5], [-2.5, 2.5, -1.0, -2.5]], dtype=torch.float64)[:, : GATES[cell]]
    operands = make_operands(cell, [1, 1], 1, False)
    operands = operands._replace(gates=gates.requires_grad_(), weight=torch.zeros_like(operands.weight))
    found = []
    for function in (fast, plain):
        results = function(operands, [1, 1], "hard_sigmoid", False)
        found.append(torch.autograd.grad(loss_of(results), gates))
    assert_close(*found)
    assert torch.equal(*(gradient == 0 for (gradient,) in found))


@every_way
@each_cell
def test_the_backward_is_repeatable_bit_by_bit_and_leaves_what_it_saved(cell):
    operands = make_operands(cell, [16] * 20, 32, True, dtype=torch.float32)
    sources = sources_of(operands)
    runs = []
    for _ in range(2):
        results = fast(operands, [16] * 20, "sigmoid", False)
        loss = loss_of(results)
        runs += [torch.autograd.grad(loss, sources, retain_graph=True) for _ in range(2)]
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


@every_way
@each_cell
@pytest.mark.parametrize("used", [slice(None), slice(1)], ids=["all", "outputs"])
def test_the_operands_may_have_any_strides(cell, used):
    operands = make_operands(cell, [3, 2, 2], 2, True)
    turned = type(operands)(*(tensor.t().contiguous().t() if tensor.dim() == 2 else tensor for tensor in operands))
    found = []
    for each in (operands, turned):
        sources = sources_of(each)
        results = fast(each, [3, 2, 2], "sigmoid", True)
        found.append([*results, *torch.autograd.grad(loss_of(results[used]), sources)])
    assert_close(*found)


@every_way
@each_cell
def test_the_outputs_may_be_changed_in_place(cell):
    operands = make_operands(cell, [2] * 3, 2, False)
    operands.weight.requires_grad_()
    found = []
    for function in (fast, plain):
        outputs, *_ = function(operands, [2] * 3, "sigmoid", False)
        outputs.mul_(3.0)
        found.append(torch.autograd.grad(loss_of([outputs]), operands.weight))
    assert_close(*found)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("sizes", [[16] * 20, [40] * 3 + [17] * 10 + [1] * 4])
@each_cell
def test_float32_equals_float64_with_and_without_onednn(cell, sizes, with_mask):
    """Large enough for oneDNN's product where it is present."""
    used_onednn = {}
    for allowed in (True, False):
        with torch.backends.mkldnn.flags(enabled=allowed), native.disabled():
            exact = make_operands(cell, sizes, 160, with_mask)
            exact = exact._replace(gates=exact.gates / 2, weight=exact.weight / 11)
            rough = type(exact)(*(None if tensor is None else tensor.float() for tensor in exact))
            used_onednn[allowed] = repays_onednn(rough.weight, sizes)
            found = []
            for operands in (exact, rough):
                sources = [tensor.detach().requires_grad_() for tensor in operands[:-1]]
                results = fast(with_sources(operands, sources), sizes, "sigmoid", False)
                gradients = torch.autograd.grad(loss_of(results), sources)
                found.append([*results, *gradients])
            for got, wanted in zip(found[1], found[0], strict=True):
                error = (got.double() - wanted).abs().max() / wanted.abs().max()
                assert error < 1e-5
    assert not used_onednn[False]
    assert used_onednn[True] == torch.backends.mkldnn.is_available()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize(("activation", "reverse"), [("sigmoid", True), ("hard_sigmoid", False)])
@pytest.mark.usefixtures("compiler")
@each_cell
def test_many_sequences_of_unlike_lengths_in_the_native_kernel(
    cell, dtype, tolerance, activation, reverse, monkeypatch
):
    """More than a group of sequences, a broken last panel, and more threads than there is work for."""
    sizes = [75, 75, 40, 33, 2]
    exact = make_operands(cell, sizes, 37, True, scale=0.5)
    exact = exact._replace(
        weight=exact.weight / 2
    )  # else float32 itself is off by the tolerance, in the plain loop too
    given = type(exact)(*(tensor.to(dtype) for tensor in exact))
    monkeypatch.setattr(FAST[cell], "_forward", None)  # so that only the kernel can be meant
    found = []
    for function, operands in ((plain, exact), (fast, given)):
        sources = [tensor.detach().requires_grad_() for tensor in operands[:-1]]
        results = function(with_sources(operands, sources), sizes, activation, reverse)
        found.append([*results, *torch.autograd.grad(loss_of(results), sources)])
    for wanted, got in zip(*found, strict=True):
        assert (got.double() - wanted).abs().max() / wanted.abs().max() < tolerance
    with torch.no_grad():
        before = torch.get_num_threads()
        torch.set_num_threads(7)
        again = fast(given, sizes, activation, reverse)
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(again, found[1], strict=False))


def test_numbers_that_are_none_and_gates_that_are_full():
    """NaN stays NaN, and far beyond its range the exponential neither overflows nor loses the sign."""
    gates = torch.tensor([[torch.nan, 1e4, 1e30, 1e4], [-1e30, 1e30, -1e4, 1e30]]).repeat_interleave(2, dim=0)
    state, weight = torch.ones(2, 1), torch.zeros(4, 1)
    operands = lstm.Operands(gates, state, state, weight, None)
    (_, hidden, cell) = fast(operands, [2, 2], "sigmoid", False)
    assert cell.isnan().all()
    assert hidden.isnan().all()
    outputs, _, cell = fast(operands._replace(gates=gates[2:].repeat(2, 1)), [2, 2], "sigmoid", False)
    torch.testing.assert_close(cell, torch.ones(2, 1))
    torch.testing.assert_close(outputs, torch.full((4, 1), 1.0).tanh())


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each_cell
def test_small_and_large_numbers_keep_their_digits_in_the_native_kernel(cell, dtype):
    """One number of each gate: tanh goes into an empty state alone where i is full, or z is none."""
    limits, powers = torch.finfo(dtype), torch.arange(-149 if dtype == torch.float32 else -1074, 7)
    numbers = torch.cat([torch.logspace(-9, 2, 20_000, dtype=dtype), torch.ldexp(torch.ones((), dtype=dtype), powers)])
    numbers = torch.cat([numbers, torch.tensor([0.0, 1e30, limits.max, torch.inf], dtype=dtype)])
    numbers = torch.cat([numbers, -numbers]).unsqueeze(1)
    empty, full = torch.zeros_like(numbers), torch.full_like(numbers, 1e4)
    gates = [full, full, numbers, full] if cell == "lstm" else [full, -full, numbers]
    operands = make_operands(cell, [len(numbers)] * 2, 1, False, dtype=dtype)
    changed = {"gates": torch.cat(gates, dim=1).repeat(2, 1), "weight": torch.zeros_like(operands.weight)}
    changed |= {"hidden_0": empty} | ({"cell_0": empty} if cell == "lstm" else {"bias": torch.zeros(1, dtype=dtype)})
    outputs, *_ = fast(operands._replace(**changed), [len(numbers)] * 2, "sigmoid", False)
    wanted = numbers.double().tanh()
    if cell == "lstm":
        wanted = wanted.tanh()
    torch.testing.assert_close(outputs[: len(numbers)].double(), wanted, rtol=8 * limits.eps, atol=0)


@pytest.mark.parametrize("wrong", [None, *FUSED])
def test_kernels_of_a_step_serve_only_if_they_answer_rightly(wrong, fused_steps, monkeypatch):
    made = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *args, device, **options: made(*args, **options))
    if wrong:
        right = getattr(fused_steps, wrong)
        monkeypatch.setattr(dispatch, wrong, lambda *args: tuple(part + 0.01 for part in right(*args)))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert dispatch._answers(dispatch._fused_steps_are_right) == (wrong is None)


@pytest.mark.parametrize(
    ("cell", "with_mask", "forward", "backward"), [("lstm", False, 2, 2), ("lstm", True, 3, 3), ("gru", False, 2, 3)]
)
def test_on_a_gpu_a_step_takes_few_calls(cell, with_mask, forward, backward, fused_steps, monkeypatch):
    monkeypatch.setattr(dispatch, "dispatch_modes_are_active", lambda: False)  # else the counter would have it all

    def launches(count: int) -> tuple[int, int]:
        operands, counter = make_operands(cell, [2] * count, 3, with_mask), LaunchCounter()
        sources = sources_of(operands)
        with pytest.MonkeyPatch.context() as patch:
            for name in FUSED:
                patch.setattr(dispatch, name, counter.as_one(getattr(fused_steps, name)))
            with counter:
                outputs = fast(operands, [2] * count, "sigmoid", False)[0]
                before = counter.launches
                torch.autograd.grad(outputs, sources, torch.ones_like(outputs))
        return before, counter.launches - before

    few, more = launches(2), launches(5)
    assert [after - before for before, after in zip(few, more, strict=True)] == [3 * forward, 3 * backward]


@every_way
@each_cell
def test_no_gradient_for_the_whole_sequence_runs_fast(cell, no_plain_loop):
    operands = make_operands(cell, [2] * 3, 2, True)
    operands.gates.requires_grad_()
    fast(operands, [2] * 3, "sigmoid", False)[0].sum().backward()
    assert operands.gates.grad is not None


@each_cell
def test_a_mask_may_have_a_gradient(cell):
    operands = make_operands(cell, [3, 2, 2], 2, True)
    operands.mask.requires_grad_()
    found = [
        torch.autograd.grad(loss_of(f(operands, [3, 2, 2], "sigmoid", False)), operands.mask) for f in (fast, plain)
    ]
    assert_close(*found)


@each_cell
def test_torch_func_and_forward_mode_see_the_plain_loop(cell):
    operands = make_operands(cell, [2] * 3, 2, False)
    weight = operands.weight

    def loss(function, weight):
        results = function(operands._replace(weight=weight), [2] * 3, "sigmoid", False)
        return sum(result.pow(3).sum() for result in results)

    weight = weight.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(loss(plain, weight), weight)
    weight = weight.detach()
    assert_close([torch.func.grad(lambda w: loss(fast, w))(weight)], [wanted])
    stacked = torch.stack([weight, 2 * weight])
    gradients = torch.func.vmap(torch.func.grad(lambda w: loss(fast, w)))(stacked)
    assert_close([gradients[0]], [wanted])
    with forward_ad.dual_level():
        slope = forward_ad.unpack_dual(loss(fast, forward_ad.make_dual(weight, torch.ones_like(weight)))).tangent
    assert_close([slope], [wanted.sum()])


COMPILING = """
import torch
from btrnn import GRU, LSTM
from btrnn.nn.input_map import TensorTrain

stacked = {"bidirectional": True, "num_layers": 2, "gate_activation": "hard_sigmoid"}
hidden = {"hidden_map": TensorTrain((2, 2), (2, 2), 2), "num_layers": 2}  # two equal maps
for make, options in ((LSTM, stacked), (GRU, {"bidirectional": True}), (GRU, hidden)):
    layer, x = make(3, 4, dtype=torch.float64, **options), torch.randn(2, 2, 3, dtype=torch.float64)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = compiled(x)[0], layer(x)[0]
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(result.sin().sum(), list(layer.parameters())) for result in results]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
"""


def test_compiles_without_a_graph_break():
    """In a process of its own: here every function is wrapped by the checks of its annotations."""
    done = run_code(COMPILING)
    assert done.returncode == 0, done.stderr


@each_cell
def test_on_the_meta_device(cell):
    x = torch.empty(3, 2, 3, device="meta")
    output, _ = LAYERS[cell](3, 4, device="meta")(x)
    output.sum().backward()
    assert output.shape == (3, 2, 4)


@each_cell
def test_exports(cell):
    layer = LAYERS[cell](3, 4).eval()
    x = torch.randn(3, 2, 3)
    program = torch.export.export(layer, (x,))
    torch.testing.assert_close(program.module()(x)[0], layer(x)[0])


@pytest.mark.parametrize("packed", [False, True])
@each_cell
def test_autocast_gives_the_numbers_of_float32_roughly(cell, packed):
    layer = LAYERS[cell](3, 4)
    x = torch.randn(5, 2, 3)
    given_x = pack_padded_sequence(x, torch.tensor([5, 3])) if packed else x
    wanted = layer(given_x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = layer(given_x)
    (output, wanted) = (result.data if packed else result for result in (output, wanted))
    output.float().sum().backward()
    torch.testing.assert_close(output.float(), wanted, rtol=0, atol=0.05)
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@every_way
@each_cell
def test_a_backward_under_autocast_keeps_the_precision(cell):
    operands = make_operands(cell, [4] * 5, 8, False, dtype=torch.float32)
    weight = operands.weight.requires_grad_()
    loss = loss_of(fast(operands, [4] * 5, "sigmoid", False))
    (wanted,) = torch.autograd.grad(loss, weight, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (got,) = torch.autograd.grad(loss, weight)
    assert torch.equal(got, wanted)


@every_way
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@each_cell
def test_other_types_train(cell, dtype):
    layer = LAYERS[cell](3, 4, dtype=dtype)
    reference = TORCH_LAYERS[cell](3, 4).to(dtype)
    layer.load_state_dict(reference.state_dict())
    x = torch.randn(5, 2, 3, dtype=dtype)
    output, _ = layer(x)
    output.sum().backward()
    torch.testing.assert_close(output, reference(x)[0], rtol=0, atol=1e-6 if dtype == torch.float32 else 0.05)
    assert layer.weight_hh_l0.grad.dtype == dtype
