"""Every plan that may be chosen gives the dense product; the choices; the native kernel and what stands in for it."""

import os
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from btrnn import BTLinear, CPLinear, HTLinear, TTLinear
from btrnn.ops import contraction, native
from btrnn.ops import plan as plans
from btrnn.ops.batched import with_recipe
from btrnn.ops.contraction import apply_map, reference_product
from btrnn.ops.native.processor import vector_bytes
from btrnn.ops.plan import (
    batched_plan,
    dense_plan,
    make_plan,
    native_plan,
    operands_of_tiles,
    possible_batched_stages,
    possible_stages,
)
from btrnn.ops.stages import BATCH, Plan, make_stage

from .factorised_maps import MAPS, layers
from .launches import LaunchCounter
from .processes import run_code

pytestmark = pytest.mark.programs  # all of them: what is computed or read without a program is another way
PAPER = {"in_modes": (8, 20, 20, 18), "out_modes": (16, 4, 4, 4)}


def draw_stages(data, network, before, allowed, form, stop_early):
    """Draw stages, each among those that the search looks at."""
    stages, absorbed = [], frozenset()
    while absorbed != allowed and not (stop_early and stages and data.draw(st.booleans(), label="stop")):
        stage = data.draw(st.sampled_from(list(possible_stages(network, before, absorbed, allowed, form))))
        stages.append(stage)
        absorbed, before = absorbed.union(stage.operands), stage.after
    return tuple(stages)


def draw_batched_plan(data, network) -> Plan:
    stages, absorbed, before = [], frozenset(), (BATCH, *network.in_axes)
    while absorbed != network.all_operands:
        stage = data.draw(st.sampled_from(list(possible_batched_stages(network, before, absorbed))), label="stage")
        stages.append(with_recipe(network, stage))
        absorbed, before = absorbed.union(stage.operands), stage.after
    return Plan(network, 1, "batched", 0, tuple(stages), 0.0)


def draw_plan(data, layer) -> Plan:
    network = layer.network
    several = ["batched"] if len(network.operands) > 1 else []
    method = data.draw(st.sampled_from(["dense", "torch", *several, *(["native"] if native.available() else [])]))
    if method == "dense":
        return dense_plan(network, 1, 8, training=True)
    if method == "batched":
        return draw_batched_plan(data, network)
    if method == "torch":
        stages = draw_stages(data, network, network.in_axes, network.all_operands, "last", stop_early=False)
        return Plan(network, 1, "torch", 0, stages, 0.0)
    tile_modes = data.draw(st.integers(0, layer.order - 1))
    allowed = operands_of_tiles(network, tile_modes)
    stages = draw_stages(data, network, network.in_axes[tile_modes:], allowed, "native", stop_early=True)
    return native_plan(network, 1, tile_modes, stages, 0.0)


@settings(max_examples=100)
@given(data=st.data(), layer=layers(), batch_size=st.integers(0, 9), needs_input_gradient=st.booleans())
def test_every_plan_gives_the_dense_product_and_its_gradients(data, layer, batch_size, needs_input_gradient):
    plan = draw_plan(data, layer)
    x = torch.randn(batch_size, layer.in_features, dtype=torch.float64, requires_grad=needs_input_gradient)
    output, expected = apply_map(plan, x, layer.operands()), x @ layer.to_dense().T
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)
    weights = torch.randn_like(output)
    inputs = [p for name, p in layer.named_parameters() if name != "bias"] + ([x] if needs_input_gradient else [])
    got = torch.autograd.grad((output * weights).sum(), inputs)
    want = torch.autograd.grad((expected * weights).sum(), inputs)
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_blocks", [1, 2, 3])
@pytest.mark.parametrize("in_modes", [(3, 11, 13), (5, 8, 16), (2, 5, 1)])
@pytest.mark.usefixtures("compiler")
def test_vectors_along_long_short_and_broken_runs_give_the_dense_product(in_modes, num_blocks):
    layer = BTLinear(in_modes, (4, 2, 2), tucker_rank=3, num_blocks=num_blocks, bias=False, dtype=torch.float64)
    network, x = layer.network, torch.randn(7, prod(in_modes), dtype=torch.float64, requires_grad=True)
    expected = x @ layer.to_dense().T
    weights = torch.randn_like(expected)
    inputs = [x, *layer.parameters()]
    want = torch.autograd.grad((expected * weights).sum(), inputs)
    for first_form in ("native", "inner"):  # after the first, the second stage's runs hold the padding of its columns
        stages, before, absorbed = [], network.in_axes, frozenset()
        for operand, form in ((1, first_form), (2, "inner")):
            stages.append(make_stage(network, before, absorbed, [operand], form))
            before, absorbed = stages[-1].after, absorbed.union([operand])
        output = apply_map(native_plan(network, 7, 0, tuple(stages), 0.0), x, layer.operands())
        got = torch.autograd.grad((output * weights).sum(), inputs)
        for ours, theirs in zip((output, *got), (expected, *want), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("compiler")
def test_what_native_stages_leave_may_stand_before_long_axes():
    layer = CPLinear((4, 6, 5), (3, 8, 8), cp_rank=3, bias=False, dtype=torch.float64)
    network, x = layer.network, torch.randn(2, 120, dtype=torch.float64)
    stages = [make_stage(network, network.in_axes[1:], frozenset(), [1, 2], "native")]
    plan = native_plan(network, 2, 1, tuple(stages), 0.0)  # the first mode is left, before 64 numbers of the others
    torch.testing.assert_close(apply_map(plan, x, layer.operands()), x @ layer.to_dense().T)


@settings(max_examples=40)
@given(data=st.data(), layer=layers(dtype=torch.float32))
def test_every_plan_is_close_in_float32(data, layer):
    plan, x = draw_plan(data, layer), torch.randn(3, layer.in_features)
    exact = x.double() @ layer.to_dense().double().T
    torch.testing.assert_close(apply_map(plan, x, layer.operands()).double(), exact, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("method", ["torch", "native"])
def test_each_way_is_differentiable_twice(kind, method, request):
    if method == "native":
        request.getfixturevalue("compiler")
    layer = MAPS[kind](bias=False, dtype=torch.float64)
    network = layer.network
    form = "native" if method == "native" else "last"
    stages, absorbed, before = [], frozenset(), network.in_axes
    while absorbed != network.all_operands:
        stages.append(next(possible_stages(network, before, absorbed, network.all_operands, form)))
        absorbed, before = absorbed.union(stages[-1].operands), stages[-1].after
    plan = Plan(network, 1, method, 0, tuple(stages), 0.0)
    x = torch.randn(2, 12, dtype=torch.float64, requires_grad=True)
    operands = [operand.detach().clone().requires_grad_() for operand in layer.operands()]
    assert torch.autograd.gradcheck(lambda x, *operands: apply_map(plan, x, operands), (x, *operands))
    assert torch.autograd.gradgradcheck(
        lambda x, *operands: apply_map(plan, x, operands), (x, *operands), fast_mode=True
    )
    nothing = x[:0].detach().requires_grad_()  # an empty batch, twice as well
    first = torch.autograd.grad(apply_map(plan, nothing, operands).square().sum(), operands, create_graph=True)
    again = torch.autograd.grad(sum(part.square().sum() for part in first), [nothing, *operands], allow_unused=True)
    assert all(part is None or not part.any() for part in again)


@pytest.mark.parametrize("kind", MAPS)
def test_plans_for_a_gpu_are_the_definition_and_differentiable_twice(kind):
    layer = MAPS[kind](bias=False, dtype=torch.float64)
    plan = batched_plan(layer.network, 2, 8, training=True)
    x = torch.randn(2, 12, dtype=torch.float64, requires_grad=True)
    operands = [operand.detach().clone().requires_grad_() for operand in layer.operands()]
    wanted = reference_product(layer.network, x, operands)
    torch.testing.assert_close(apply_map(plan, x, operands), wanted, rtol=0, atol=1e-12)
    assert torch.autograd.gradgradcheck(
        lambda x, *operands: apply_map(plan, x, operands), (x, *operands), fast_mode=True
    )


@pytest.mark.usefixtures("compiler")
def test_only_the_gradients_that_are_wanted_are_given():
    layer = BTLinear(**PAPER, tucker_rank=4, num_blocks=2, bias=False)
    layer.factors[1].requires_grad_(False)
    x = torch.randn(3, 57_600, requires_grad=True)
    assert layer.plan(3).method == "native"
    layer(x).sum().backward()
    assert layer.factors[1].grad is None
    assert layer.factors[2].grad is not None
    ours = x.grad
    with native.disabled():
        (theirs,) = torch.autograd.grad(layer(x).sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_same_input_gives_the_same_bits_and_more_threads_the_same_numbers():
    layer = BTLinear(**PAPER, tucker_rank=4, num_blocks=2)
    x = torch.randn(16, 57_600)

    def run() -> list[torch.Tensor]:
        return [output := layer(x), *torch.autograd.grad(output.square().sum(), list(layer.parameters()))]

    first, second = run(), run()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        for a, b in zip(first, run(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(a.detach().abs().max()))
    finally:
        torch.set_num_threads(threads)


def test_a_transposed_input_is_read_rightly():
    layer = TTLinear(**PAPER, tt_rank=4)
    x = torch.randn(57_600, 5)
    torch.testing.assert_close(layer(x.t()), layer(x.t().contiguous()))


# ---- the choice


def test_at_the_papers_size_the_plans_are_factored_and_far_below_dense():
    for layer in (BTLinear(**PAPER, tucker_rank=4, num_blocks=2), TTLinear(**PAPER, tt_rank=4)):
        dense = dense_plan(layer.network, 96, 4, training=True)
        plans = {way: make_plan(layer.network, 96, 4, training=True, native=way) for way in (True, False)}
        assert [plans[True].method, plans[False].method] == ["native", "torch"]
        assert plans[True].cost < plans[False].cost < dense.cost / 4
        with native.disabled():
            assert layer.plan(96) == replace(plans[False], batch_size=96)


def test_small_or_hardly_compressed_maps_are_multiplied_as_dense_ones():
    assert TTLinear((2, 2), (2, 2), tt_rank=4).plan(8).method == "dense"
    with native.disabled():
        assert BTLinear((8, 8), (8, 8), tucker_rank=8, num_blocks=4).plan(4096).method == "dense"


def test_a_high_order_is_planned_in_time():
    layer = TTLinear((2,) * 10, (2,) * 10, tt_rank=2, dtype=torch.float64)
    x = torch.randn(2, 2**10, dtype=torch.float64)
    torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.to_dense(), layer.bias))


def test_the_search_of_a_tree_s_plan_does_not_grow_as_fast_as_its_subsets(monkeypatch):
    looked_at, real = [], plans.make_stage
    monkeypatch.setattr(plans, "make_stage", lambda *stage: looked_at.append(stage) or real(*stage))
    counts = []
    for order in (5, 10):  # with twice as many transfer tensors there are 32 times as many sets of them
        looked_at.clear()
        network = HTLinear((2,) * order, (3,) * order, ht_rank=2, device="meta").network
        make_plan(network, 64, 4, training=True, native=True)
        counts.append(len(looked_at))
    assert counts[1] < 16 * counts[0]


def test_another_batch_size_does_not_repeat_the_search_for_the_kernel(monkeypatch):
    looked_at, real = [], plans.native_cost
    monkeypatch.setattr(plans, "native_cost", lambda *stage, **kind: looked_at.append(stage) or real(*stage, **kind))
    network = TTLinear((3, 5, 7), (2, 4, 3), tt_rank=11, device="meta").network
    costs = [make_plan(network, size, 4, training=True, native=True).cost for size in (16, 1024)]
    first = len(looked_at)
    assert first > 0
    assert costs[0] < costs[1]
    assert make_plan(network, 64, 8, training=True, native=True).cost  # numbers of another kind are searched anew
    assert len(looked_at) == 2 * first


@pytest.mark.usefixtures("compiler")
def test_a_plan_explains_itself():
    layer = BTLinear(**PAPER, tucker_rank=4, num_blocks=2)
    text = str(layer.plan(96))
    assert text.startswith("native: ")
    assert "for 96 rows and 2 blocks" in text
    assert f"the dense product has {2 * 96 * prod(PAPER['in_modes']) * 1024 / 1e6:,.1f}" in text
    assert all(f"mode {k}" in text for k in (1, 2, 3, 4))
    assert "core" in text
    with native.disabled():
        assert str(layer.plan(96)).startswith("torch: ")


# ---- on a GPU: what can be said of it without one


@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize(
    ("layer", "forward", "both"),
    [
        (BTLinear(**PAPER, tucker_rank=4, num_blocks=2, bias=False), 11, 35),
        (TTLinear(**PAPER, tt_rank=4, bias=False), 7, 20),
    ],
    ids=["bt", "tt"],
)
def test_at_the_papers_size_a_gpu_is_called_few_times(layer, forward, both, itemsize):
    plan = make_plan(layer.network, 96, itemsize, training=True, native=False, device="cuda")
    assert plan.method == "batched"
    layer.zero_grad()
    x = torch.randn(1, 57_600)
    with LaunchCounter() as counter:
        output = apply_map(plan, x, layer.operands())
        assert counter.launches <= forward
        torch.autograd.backward(output, torch.ones_like(output))
    assert counter.launches <= both


def test_on_a_gpu_plans_follow_from_shapes_and_save_what_a_dense_product_takes():
    for layer in (BTLinear(**PAPER, tucker_rank=4, num_blocks=2), TTLinear(**PAPER, tt_rank=4)):
        for rows in (96, 1536):
            options = {"training": True, "native": False, "device": "cuda"}
            plan, low = (make_plan(layer.network, rows, itemsize, **options) for itemsize in (4, 2))
            assert plan.method == low.method == "batched"
            assert len(low.stages) <= len(plan.stages) <= 3
            assert str(plan).startswith("batched: ")
            done = sum(plan.network.size((*stage.before, *stage.columns)) for stage in plan.stages)
            assert done < 57_600 * 1024 / 4
    assert make_plan(TTLinear((2, 2), (2, 2), tt_rank=4).network, 8, 4, **options).method == "dense"


@pytest.fixture
def planned_for_a_gpu(monkeypatch):
    """Let all layers take the plans that they would take on a GPU."""

    def plan(network, batch_size, itemsize, *, training, native, device):
        return make_plan(network, batch_size, itemsize, training=training, native=False, device="cuda")

    monkeypatch.setattr(contraction, "make_plan", plan)


@pytest.mark.parametrize("kind", ["bt", "tt", "tucker"])
@pytest.mark.usefixtures("planned_for_a_gpu")
def test_a_gpus_plans_serve_low_precision_autocast_and_function_transforms(kind):
    layer = MAPS[kind]()
    x = torch.randn(7, layer.in_features)
    exact = torch.nn.functional.linear(x, layer.to_dense(), layer.bias).detach()
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    gradients = torch.autograd.grad(output.float().sum(), list(layer.parameters()))
    assert all(gradient.isfinite().all() and gradient.dtype == torch.float32 for gradient in gradients)
    torch.testing.assert_close(torch.func.vmap(layer)(x), exact, rtol=1e-4, atol=1e-5)
    low = layer.to(torch.bfloat16)(x.bfloat16())
    low.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    for close in (output, low):
        torch.testing.assert_close(close.float(), exact, rtol=0.1, atol=0.1)


# ---- other ways to run


@pytest.fixture(params=["bt", "tt", "tr", "cp", "ht", "low_rank"])
def layer(request):
    if request.param == "bt":
        return BTLinear((4, 5, 6), (3, 2, 4), tucker_rank=2, num_blocks=2)
    return TTLinear((4, 5, 6), (3, 2, 4), tt_rank=3) if request.param == "tt" else MAPS[request.param]()


def test_torch_export_takes_the_layer_with_a_free_batch_size(layer):
    x = torch.randn(7, layer.in_features)
    program = torch.export.export(layer, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    torch.testing.assert_close(program.module()(x[:3]), layer(x[:3]), rtol=1e-4, atol=1e-5)


def test_low_precision_and_autocast(layer):
    x = torch.randn(7, layer.in_features)
    exact = layer(x).detach()
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    output.float().sum().backward()
    low = layer.to(torch.bfloat16)(x.bfloat16())
    assert low.dtype == torch.bfloat16
    for close in (output, low):
        torch.testing.assert_close(close.float(), exact, rtol=0.1, atol=0.1)


def test_function_transforms(layer):
    x = torch.randn(7, layer.in_features)
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x), rtol=1e-4, atol=1e-5)
    _, tangent = torch.func.jvp(layer, (x,), (x,))
    torch.testing.assert_close(tangent, layer(x) - layer.bias, rtol=1e-4, atol=1e-5)


def test_a_mode_that_watches_operations_sees_them_all():
    layer = TTLinear(**PAPER, tt_rank=4, bias=False)
    x = torch.randn(4, 57_600)
    with FlopCounterMode(display=False) as counted:
        layer(x)
        plan = layer.plan(4)
    assert plan.method == "torch"
    least = sum(2 * 4 * prod(layer.network.shape((*stage.before, *stage.columns))) for stage in plan.stages)
    assert counted.get_total_flops() >= least


COMPILE = """
import torch
from btrnn import BTLinear, TRLinear, TTLinear
from btrnn.ops.plan import make_plan
for layer in (
    BTLinear((4, 5, 6), (3, 2, 4), tucker_rank=2, num_blocks=2),
    TTLinear((8, 10, 9), (4, 4, 4), tt_rank=3),
    TRLinear((8, 10, 9), (4, 16), tr_rank=3),
    gpu := BTLinear((4, 5, 6), (3, 2, 4), tucker_rank=1, num_blocks=2),
):
    if layer is gpu:
        plan = make_plan(layer.network, 64, 4, training=True, native=False, device="cuda")
        assert plan.method == "batched"
        layer._traced_plans = [plan]
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    for batch_size in (7, 3):
        x = torch.randn(batch_size, layer.in_features)
        torch.testing.assert_close(compiled(x), layer(x), rtol=1e-4, atol=1e-5)
    compiled(x).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
"""


def test_torch_compile_takes_the_layer_whole_for_any_batch_size():
    # in a process of its own: the annotations that the tests execute are more than it traces
    done = run_code(COMPILE)
    assert done.returncode == 0, done.stderr


BY_INDUCTOR = """
import torch
from btrnn import BTLinear

layer, x = BTLinear((4, 6), (3, 4), tucker_rank=2, num_blocks=2), torch.randn(5, 24)
results = torch.compile(layer, fullgraph=True)(x), layer(x)
torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
gradients = [torch.autograd.grad(result.sin().sum(), list(layer.parameters())) for result in results]
torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.usefixtures("compiler")
@pytest.mark.skipif(
    not Path(sysconfig.get_path("include"), "Python.h").exists(), reason="needs the headers of Python, as torch.compile"
)
def test_torch_compile_by_its_own_compiler_gives_the_numbers_and_gradients_of_the_layer(tmp_path):
    done = run_code(BY_INDUCTOR, TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert any(tmp_path.rglob("*.so"))


# ---- the native library

PRINT = (
    "import logging; logging.basicConfig(format='%(message)s', force=True)\n"
    "import torch; from btrnn import TTLinear, native\n"
    "layer = TTLinear((8, 20, 20, 18), (16, 4, 4, 4), tt_rank=4)\n"
    "for _ in range(2): layer(torch.zeros(4, 57_600))\n"
    "print(native.available(), layer.plan(4).method)"
)


def in_new_process(**environment: str) -> subprocess.CompletedProcess[str]:
    done = run_code(PRINT, **environment)
    assert done.returncode == 0, done.stderr
    return done


def test_without_a_compiler_torch_is_used_and_one_line_says_so(tmp_path):
    done = in_new_process(XDG_CACHE_HOME=str(tmp_path), CXX=str(tmp_path / "no-such-compiler"))
    assert done.stdout.strip() == "False torch"
    assert done.stderr.count("btrnn runs without its native kernel") == 1
    assert "no-such-compiler" in done.stderr


def compiler_with(folder: Path, flags: str) -> str:
    """Return a command, as ccache's of two words, that compiles with more flags and counts its calls in a file."""
    path = folder / "compiler"
    path.write_text(f'#!/bin/sh\necho once >> {folder}/calls\nexec "$@" {flags}\n')
    path.chmod(0o700)
    return f"{path} g++"


@pytest.mark.usefixtures("compiler")
def test_it_can_be_switched_off_and_is_compiled_once_and_without_warnings(tmp_path):
    assert in_new_process(BTRNN_NATIVE="0").stdout.strip() == "False torch"
    compiler = compiler_with(tmp_path, "-Wall -Wextra -Wshadow -Werror")
    variables = {"XDG_CACHE_HOME": str(tmp_path), "CXX": compiler}
    first = in_new_process(**variables)
    assert first.stdout.strip() == "True native", first.stderr
    (library,) = (tmp_path / "btrnn").glob("native-*")
    when = library.stat().st_mtime_ns
    assert in_new_process(**variables).stdout.strip() == "True native"
    assert library.stat().st_mtime_ns == when


@pytest.mark.usefixtures("compiler")
def test_processes_that_start_together_compile_once_and_leave_nothing_of_killed_ones(tmp_path):
    compiler, cache = compiler_with(tmp_path, "-O0"), tmp_path / "btrnn"
    cache.mkdir(mode=0o700)
    (cache / ".native-0.so.1-0.part").touch()  # as of a process that was killed while it compiled
    variables = {"XDG_CACHE_HOME": str(tmp_path), "CXX": compiler}
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: in_new_process(**variables), range(3)))
    assert [one.stdout.strip() for one in done] == ["True native"] * 3
    assert (tmp_path / "calls").read_text() == "once\n"
    assert not list(cache.glob(".*.part"))


@pytest.mark.usefixtures("compiler")
def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch):
    def refuse(_):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(native, "locked", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", compiler_with(tmp_path, "-O0"))
    assert native._compiled().is_file()


@pytest.mark.parametrize("place", ["no home", "a file", "nothing to write to"])
def test_without_a_cache_folder_torch_is_used_and_one_line_says_so(place, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(
        "XDG_CACHE_HOME", {"a file": str(tmp_path / "file"), "nothing to write to": "/proc"}.get(place, "")
    )
    (tmp_path / "file").touch()
    if place == "no home":
        monkeypatch.setattr(Path, "home", raise_no_home)
    native._library.cache_clear()
    try:
        layer, x = TTLinear(**PAPER, tt_rank=4), torch.randn(2, 57_600)
        for _ in range(2):
            layer(x)
        assert layer.plan(2).method == "torch"
    finally:
        native._library.cache_clear()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def raise_no_home() -> Path:
    """Fail as Path.home does for a user without one."""
    raise RuntimeError("Could not determine home directory.")


def test_nothing_is_loaded_that_another_user_can_write(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "btrnn"
    folder.mkdir()
    folder.chmod(0o777)
    assert native._cache_folder() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    library = folder / "native.so"
    assert not native._is_private(library)
    library.touch()
    for mode, private in ((0o755, True), (0o775, False), (0o757, False)):
        library.chmod(mode)
        assert native._is_private(library) == private
    somebody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    library.chmod(0o700)
    assert not native._is_private(library)
    with pytest.raises(PermissionError, match="another user"):
        native._cache_folder()


WIDTHS = """
import importlib.util, sys
from pathlib import Path
import btrnn
path = Path(btrnn.__file__).parent / "ops" / "native" / "processor.py"  # before its package is imported, which reads it
spec = importlib.util.spec_from_file_location("btrnn.ops.native.processor", path)
processor = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(processor)
processor.VECTOR_BYTES = int(sys.argv[1])
import torch
from btrnn import BTLSTM, LSTM, BTLinear, TTLinear
from btrnn.ops import native
assert f"-DVECTOR_BYTES={sys.argv[1]}" in native.FLAGS
torch.manual_seed(0)
for dtype in (torch.float32, torch.float64):
    block_term = BTLinear((4, 5, 6), (3, 2, 4), tucker_rank=3, num_blocks=2)
    for layer in (block_term, TTLinear((8, 20, 18), (16, 4, 4), tt_rank=4)):
        layer.to(dtype)
        x = torch.randn(7, layer.in_features, dtype=dtype, requires_grad=True)
        found = [y := layer(x), *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])]
        with native.disabled():
            wanted = [y := layer(x), *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])]
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.detach().abs().max()))
    lstm, x = LSTM(20, 37, dtype=dtype), torch.randn(5, 19, 20, dtype=dtype)
    output = lstm(x)[0]
    with native.disabled():
        torch.testing.assert_close(output, lstm(x)[0], rtol=1e-4, atol=1e-5)
print(native.available())
"""


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("width", ["16", "32", "64"])
def test_the_kernels_are_right_for_vectors_of_every_width(width):
    done = run_code(WIDTHS, width)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.parametrize(
    ("flags", "width"),
    [("x86_64\nflags : fpu sse2 avx avx2 avx512f", 64), ("x86_64\nflags : fpu sse2 avx avx2", 32), ("aarch64", 16)],
)
def test_vectors_are_as_wide_as_the_processor_s(flags, width):
    assert vector_bytes(flags) == width
