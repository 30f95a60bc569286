"""The benchmark: what it visits, how it times, what it refuses to time, and what is said of the numbers."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf, isnan, nan
from pathlib import Path
from time import perf_counter

import pandas as pd
import pytest
import torch
from torch import Tensor

from btrnn.benchmark.measure import implementations, layers, products
from btrnn.benchmark.measure.implementations import Built, Implementation, Problem, check, relative_error
from btrnn.benchmark.measure.run import LAYER_PHASES, PRODUCT_PHASES, TIME_IS_UP, _device_parts, quick_options, run
from btrnn.benchmark.measure.timing import QUICK, Effort, Visitor, best_and_median, time_interleaved
from btrnn.benchmark.records import (
    COLUMNS,
    Record,
    RecordFile,
    note_machine,
    read_machines,
    read_section,
    record,
    section_path,
)
from btrnn.benchmark.settings import (
    GRAPH,
    INPUT_SHAPES,
    MEMORY_LIMIT,
    ONE_GRAPH,
    PAPER,
    PRODUCT_SWEEPS,
    SWEEPS,
    TINY,
    Point,
    cheapest_contraction,
    dense_bytes,
    factored_bytes,
    law,
    visits,
)
from btrnn.benchmark.tables import compare_sweep, disturbed, read_all, slower_cells
from btrnn.benchmark.targets import GPU_TARGETS, TARGETS, Target, gpu_targets, judge, ratios, verdict
from btrnn.reports.benchmark import report
from tests.test_report import load

from .conftest import ROOT

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep tiny products from waiting for other processes' threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


script = load("benchmark")


# ---- settings and costs


def test_sweeps_vary_one_thing_and_the_paper_is_visited_once():
    visited = dict(visits(PRODUCT_SWEEPS))
    paper = {"batch": 16, "order": 4, "rank": 4, "blocks": 2, "input": 57_600}
    assert dict(visited[PAPER]) == paper
    assert len(visited) == 1 + sum(len(shapes) - 1 for shapes in PRODUCT_SWEEPS.values())
    for factor in ("batch", "order", "rank", "blocks"):
        for value, shape in PRODUCT_SWEEPS[factor].items():
            assert (shape.in_features, shape.out_features) == (57_600, 1_024)
            changed = {"batch": shape.batch, "order": shape.order, "rank": shape.rank, "blocks": shape.num_blocks}
            assert changed == {name: paper[name] for name in changed} | {factor: value}
    assert [shape.in_features for shape in INPUT_SHAPES.values()] == list(INPUT_SHAPES)
    assert {shape.in_features for shape in SWEEPS["time"].values()} == {1_024}


def test_fewest_operations_are_those_of_the_paper_s_setting():
    bt = cheapest_contraction(PAPER, "BT")
    assert bt.forward_flops == pytest.approx(0.88e9, rel=0.01)
    assert bt.training_flops == pytest.approx(2.27e9, rel=0.01)
    assert cheapest_contraction(PAPER, "TT").forward_flops < bt.forward_flops


def test_a_cell_over_the_limit_is_known_before_anything_is_allocated():
    largest = INPUT_SHAPES[1_048_576]
    assert dense_bytes(largest, training=False) < MEMORY_LIMIT < dense_bytes(largest, training=True)
    assert factored_bytes(largest, training=True, family="BT") < MEMORY_LIMIT
    visitor = Visitor(CPU, QUICK)
    problem = Problem(TINY, CPU)
    vast = replace(products.DENSE, bytes_needed=lambda shape, training: 2 * MEMORY_LIMIT if training else 0)
    cells = visitor.visit(problem, [vast], PRODUCT_PHASES, perf_counter())
    assert cells["dense nn.Linear", "forward"]["rounds"] == QUICK.least_rounds
    assert cells["dense nn.Linear", "forward+backward"] == {"note": "left out: needs 16.0 GB"}


def test_laws_are_the_paper_s():
    twice = replace(PAPER, rank=8)
    assert law(twice, "dense", "forward") == law(PAPER, "dense", "forward")
    assert law(twice, "BT", "forward") == 2**4 * law(PAPER, "BT", "forward")
    assert law(twice, "TT", "forward") == 2**2 * law(PAPER, "TT", "forward")
    assert law(twice, "TT", "forward+backward") == 2**4 * law(PAPER, "TT", "forward+backward")
    assert law(PAPER, "BT", "forward+backward") == 4 * law(PAPER, "BT", "forward")


# ---- timing


class FakeTime:
    """A clock that only calls move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.called: list[str] = []

    def call(self, name: str, seconds: float) -> Callable[[], None]:
        def act() -> None:
            self.called.append(name)
            self.now += seconds

        return act

    def time(self, call: Callable[[], None]) -> float:
        before = self.now
        call()
        return self.now - before


def test_rounds_are_interleaved_and_rotated():
    fake = FakeTime()
    calls = {name: fake.call(name, 0.125) for name in "abc"}
    effort = Effort(least_rounds=4, warm_ups=1)
    seconds = time_interleaved(calls, 0.0, fake.time, effort, lambda: fake.now)
    assert "".join(fake.called) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert seconds == {name: [0.125] * 4 for name in "abc"}


def test_rounds_end_with_the_time_and_slow_calls_earlier():
    fake = FakeTime()
    calls = {"fast": fake.call("fast", 0.5), "slow": fake.call("slow", 2.0)}
    effort = Effort(least_rounds=5, slow_rounds=3, warm_ups=0)
    seconds = time_interleaved(calls, 9.5, fake.time, effort, lambda: fake.now)
    assert {name: len(rounds) for name, rounds in seconds.items()} == {"fast": 7, "slow": 3}
    assert time_interleaved({"a": fake.call("a", 0.0)}, 1e9, fake.time, Effort(most_rounds=8))["a"] == [0.0] * 8


def test_garbage_is_collected_again_after_a_failure():
    def fail() -> None:
        assert not gc.isenabled()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        time_interleaved({"a": fail}, 0.0, FakeTime().time, Effort())
    assert gc.isenabled()


def test_best_and_median():
    assert best_and_median([0.003, 0.001, 0.002]) == {"best_ms": 1.0, "median_ms": 2.0, "rounds": 3}


# ---- implementations


@pytest.mark.programs
@pytest.mark.parametrize("layer", [False, True])
@pytest.mark.parametrize("shape", [TINY, replace(TINY, in_modes=(3, 4, 2), hidden_modes=(2, 1, 3), num_blocks=3)])
def test_every_implementation_gives_the_reference(shape, layer):
    problem = Problem(shape, CPU, layer=layer)
    for implementation in layers.LAYERS if layer else products.PRODUCTS:
        if not implementation.left_out(shape, training=True):
            built = implementation.build(problem)
            for phase in PRODUCT_PHASES:
                assert check(built, problem, implementation.family, phase) < 1e-5, (implementation.name, phase)
            assert len(built.gradients()) == len(problem.answer(implementation.family).gradients)


def test_the_reference_is_the_dense_product():
    problem = Problem(TINY, CPU)
    right = problem.x @ problem.dense_weight().t()
    assert relative_error(right, problem.answer("BT").output) < 1e-5
    assert relative_error(right, problem.answer("TT").output) > 0.1
    assert relative_error(torch.full((1,), nan), torch.ones(1, dtype=torch.float64)) == float("inf")


def made(name: str, call: Callable[[Problem], Callable[[Tensor], Tensor]], package: str = "") -> Implementation:
    """An implementation of the block-term product with a function of the test."""

    def build(problem: Problem) -> Built:
        right = products.ours("BT")(problem)
        return replace(right, call=lambda x: call(problem)(right.call(x)))

    return Implementation(name, "BT", build, lambda shape, training: 0, package)


def test_what_is_wrong_or_fails_or_is_missing_is_not_timed():
    def raise_error(_: Tensor) -> Tensor:
        raise ValueError("no such shape\nmore")

    cells = Visitor(CPU, QUICK).visit(
        Problem(TINY, CPU),
        [
            made("wrong", lambda problem: lambda y: 1.01 * y),
            made("fails", lambda problem: raise_error, package="torch"),
            made("missing", lambda problem: raise_error, package="no_such_package"),
            made("right", lambda problem: lambda y: y),
        ],
        ["forward"],
        perf_counter(),
    )
    assert str(cells["wrong", "forward"]["note"]).startswith("wrong: error 1.0e-02")
    assert cells["fails", "forward"] == {"note": "failed: ValueError: no such shape"}
    assert cells["missing", "forward"] == {"note": "left out: no_such_package is not installed"}
    assert [name for (name, _), cell in cells.items() if "best_ms" in cell] == ["right"]
    with pytest.raises(ValueError, match="no such shape"):
        Visitor(CPU, QUICK).visit(Problem(TINY, CPU), [made("ours", lambda problem: raise_error)], ["forward"], 0.0)
    failure = RuntimeError("no capture")  # as the end of a capture fails, after what ended it
    failure.__context__ = ValueError("out of memory")
    noted = Visitor(torch.device("cuda"), QUICK)._failed(failure, ours=True)
    assert noted == {"note": "failed: RuntimeError: no capture; in handling ValueError: out of memory"}


def test_a_slow_call_of_another_library_is_left_out():
    effort = replace(QUICK, longest_seconds=0.0)
    slow = made("slow", lambda problem: lambda y: y, package="torch")
    cell = Visitor(CPU, effort).visit(Problem(TINY, CPU), [slow], ["forward"], 0.0)["slow", "forward"]
    assert str(cell["note"]).startswith("left out: a call takes")


def test_memory_of_a_process_apart():
    job = layers.Job("btrnn.BTLSTM", replace(TINY, batch=4096, time=64), reuse=True, steps=1, device="cpu", threads=1)
    columns = layers.measure_apart(job)
    assert 64 < columns["peak_mib"] < 1000  # x alone has 64 MiB
    assert columns["rounds"] == 1
    assert layers.measure_apart(replace(job, model="none"))["note"] == "failed: KeyError: 'none'"


def test_a_gpus_sweeps_visit_layers_and_products_and_both_settings_of_cudnn(tmp_path, monkeypatch):
    class Again:
        def __init__(self, warm_up: Callable[[], None], work: Callable[[], None]) -> None:
            warm_up()
            self.replay = work

    monkeypatch.setattr(implementations, "Graph", Again)
    monkeypatch.setattr(layers, "measure_apart", lambda job: {"peak_mib": 5.0})
    monkeypatch.setattr(
        layers, "DEVICE_LAYERS", [layers.OURS_BT, layers.in_tf32(layers.OURS_BT), layers.BT_BEFORE_TORCH]
    )
    monkeypatch.setattr(products, "DEVICE_PRODUCTS", [products.in_one_graph(products.OURS_BT)])
    options = quick_options(tmp_path, "cpu", ("device_sweep",))
    rows = [row for part in _device_parts(options, Visitor(CPU, QUICK)) for row in part.measure(inf)]
    assert {row.section for row in rows} == {"device_sweep"}
    assert all(row.max_error < 1e-4 and row.rounds > 1 for row in rows if row.factor != "allocator")
    kinds = {(row.factor, row.implementation) for row in rows}
    of_layers = {"btrnn.BTLSTM", "btrnn.BTLSTM, TF32", "btrnn.BTLinear, then nn.LSTM"}
    assert kinds == {
        *(("allocator", name) for name in ("nn.LSTM", "btrnn.BTLSTM")),
        *(("batch", name) for name in (*of_layers, "btrnn BT, one CUDA graph")),
        *(("time", name) for name in of_layers),
    }
    assert {row.phase for row in rows if row.implementation in of_layers} == set(LAYER_PHASES)
    run(options, lambda *_: None)
    assert not list(tmp_path.iterdir())  # of a CPU nothing is claimed


def test_the_bars_of_a_gpu_are_judged_by_medians_and_by_all_three_models(tmp_path):
    times = [("nn.LSTM", 2.0), ("btrnn.BTLSTM", 4.0), (f"btrnn.BTLSTM{ONE_GRAPH}", 0.4)]
    rows = [
        record("device_sweep", Point("batch", 16), name, "training step", best_ms=9.0, median_ms=ms)
        for name, ms in times
    ]
    rows += [
        record("device_sweep", Point("allocator", 1), name, "training step", peak_mib=1000 / ms) for name, ms in times
    ]
    RecordFile(section_path(tmp_path, "device_sweep", "cuda")).add(rows)
    for number, expected in ((2, "not measured"), (3, "met")):
        for model in "abc"[:number]:
            epochs = tmp_path / "gpu" / "runs" / "ucf11" / model / "seed0" / "metrics.csv"
            epochs.parent.mkdir(parents=True, exist_ok=True)
            epochs.write_text("seconds\n" + "0.181\n" * (400 if model == "c" else 500))
        counts = "errors='0' failures='0' skipped='1' tests='9'"
        (tmp_path / "gpu" / "tests.xml").write_text(f"<testsuites><testsuite {counts}/></testsuites>")
        *targets, tests = gpu_targets(tmp_path)
        assert tests["verdict"] == "met"
        assert [target["measured"] for target in targets[:6]] == ["-", "-", "0.5", "-", "5", "2"]
        assert [target["verdict"] for target in targets[2:]] == ["not met", "not measured", "met", "not met", expected]
    assert targets[-1]["measured"] == "272"  # of which the last hundred epochs are estimated
    assert targets[-1]["target"].endswith("by 1,400 of 1,500")
    assert {target["verdict"] for target in gpu_targets(tmp_path / "empty")} == {"not measured"}


# ---- records and the whole run


def test_records_survive_the_csv_file(tmp_path):
    point = Point("rank", 8)
    given = [
        record("sweep", point, "a, b", "forward", best_ms=1.25, median_ms=2.0, rounds=5, max_error=1e-7),
        record("sweep", point, "c", "forward", note="left out: needs 8.9 GB"),
    ]
    file = RecordFile(section_path(tmp_path, "sweep"))
    file.add(given[:1])
    file.add(given[1:])
    table = read_section(tmp_path, "sweep")
    assert list(table.columns) == COLUMNS
    for row, right in zip(table.to_dict("records"), given, strict=True):
        read = Record(**{str(name): value for name, value in row.items()})
        assert repr(read) == repr(right)


def test_an_interruption_keeps_what_was_measured(tmp_path):
    def stop(done: int, total: int, title: str) -> None:
        if title == "roofline":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(quick_options(tmp_path, "cpu", ("product", "layer")), stop)
    assert set(read_section(tmp_path, "product")["implementation"]) == {p.name for p in products.PRODUCTS}
    assert list(read_machines(tmp_path)) == ["benchmark_product"]


def test_sweeps_that_the_time_does_not_reach_are_listed(tmp_path):
    run(replace(quick_options(tmp_path, "cpu", ("layer_sweep", "sweep")), seconds=0.0), lambda *_: None)
    for section, factor in (("layer_sweep", "time"), ("sweep", "batch")):
        table = read_section(tmp_path, section)
        assert set(table["note"]) == {TIME_IS_UP}
        assert set(table["factor"]) == {factor}


@pytest.mark.programs
def test_the_quick_benchmark_from_end_to_end(tmp_path, capsys):
    options = ["--quick", "--only", "product", "layer", "layer_sweep", "sweep", "--results-dir", str(tmp_path)]
    script.main(options)
    shown = capsys.readouterr().out
    for name in ("btrnn BT, plain torch", "btrnn.TTLSTM", "roofline BT", "not met"):
        assert name in shown
    text = (tmp_path / "tables" / "benchmark.md").read_text()
    assert report(tmp_path).texts == {Path("tables/benchmark.md"): text}
    for name in ("Left out", "Varied: batch", "dense÷it", "native path"):
        assert name in text
    table = read_section(tmp_path, "layer")
    assert set(table["phase"]) == set(LAYER_PHASES)
    timed = table[table["note"] == ""]
    assert (timed["best_ms"] <= timed["median_ms"]).all()
    assert timed["max_error"].max() < 1e-4
    machine = read_machines(tmp_path)["benchmark_product"]
    assert {"processor", "threads", "versions", "native", "git_commit"} <= set(machine)


def test_the_report_needs_numbers(tmp_path, capsys):
    script.main(["--only", "--results-dir", str(tmp_path)])
    assert "make bench" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def sweep_of(times: dict[str, float], factor: str = "rank", value: int = 4) -> pd.DataFrame:
    rows = [
        {"factor": factor, "value": value, "implementation": name, "phase": "forward", "best_ms": ms, "median_ms": ms}
        for name, ms in times.items()
    ]
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def test_figures_show_the_numbers_and_the_laws(tmp_path):
    file = RecordFile(section_path(tmp_path, "sweep"))
    for value in (4, 1, 2, 8):
        times = {"btrnn BT": 2.0 * value, "tednet BT": nan}
        point, phase = Point("rank", value), "forward+backward"
        file.add([record("sweep", point, name, phase, best_ms=ms, median_ms=ms) for name, ms in times.items()])
    (figure_file,) = report(tmp_path).figures
    figure = figure_file.draw()
    measured, bt_law = figure.axes[0].lines
    assert list(measured.get_ydata()) == [2.0, 4.0, 8.0, 16.0]
    assert list(bt_law.get_ydata()) == [8 / 4**4, 8 / 2**4, 8, 8 * 2**4]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["btrnn BT", "the law, BT"]
    assert figure.axes[0].get_title() == "rank R"


# ---- targets


def test_targets_say_what_the_ratios_are():
    target = Target("b", "product", "dense nn.Linear", "btrnn BT", "forward", 4.0)
    table = sweep_of({"dense nn.Linear": 40.0, "btrnn BT": 8.0, "btrnn BT, plain torch": 20.0}, "paper", 57_600)
    table.loc[0, "best_ms"] = 30.0
    judged = judge([target, replace(target, section="memory")], {"product": table})
    assert judged[["path", "best", "median", "verdict"]].to_numpy().tolist() == [
        ["native", 3.75, 5.0, "met by the median alone"],
        ["plain torch", 1.5, 2.0, "not met"],
    ]
    assert all(isnan(ratio) for ratio in ratios(replace(target, numerator="none"), table))
    assert verdict(target, nan, nan) == "not measured"
    assert verdict(replace(target, at_most=True), 3.0, 4.0) == "met"


def test_every_target_names_what_is_measured():
    names = {each.name for each in [*products.PRODUCTS, *layers.LAYERS]} | {"roofline BT"}
    for target in TARGETS:
        assert {target.numerator, target.denominator} <= names
        plain = target.without_native_path()
        assert {plain.numerator, plain.denominator} <= names
        assert (plain.numerator, plain.denominator) != (target.numerator, target.denominator)
    lists = (products.DEVICE_PRODUCTS, layers.DEVICE_LAYERS, layers.GRAPHED_DEVICE_LAYERS)
    on_a_gpu = {each.name for some in lists for each in some}
    assert {name for target in GPU_TARGETS for name in (target.numerator, target.denominator)} <= on_a_gpu


def test_the_sweep_is_compared_with_the_slower_and_the_faster():
    rows = [
        sweep_of({"dense nn.Linear": 10.0, "opt_einsum BT": 4.0, "btrnn BT": 8.0}),
        sweep_of({"dense nn.Linear": nan, "opt_einsum BT": 4.0, "btrnn BT": 2.0}, "input", 1_048_576),
        sweep_of({"btrnn BT": nan}, "batch", 1),
        sweep_of({"nn.LSTM": 1.0}, "time", 6),
    ]
    over = compare_sweep(pd.concat(rows, ignore_index=True), "BT")
    assert over[["factor", "over_slower", "over_faster"]].to_numpy().tolist() == [
        ["rank", 0.8, 2.0],
        ["input", 0.5, 0.5],
    ]
    assert compare_sweep(rows[3], "BT").empty


def test_points_at_which_the_dense_product_was_slow_are_known():
    dense = {("blocks", 1): 20.0, ("blocks", 2): 10.0, ("rank", 1): 11.0, ("rank", 4): 10.0, ("input", 57_600): 90.0}
    rows = [sweep_of({"dense nn.Linear": time, "btrnn BT": 99.0}, *place) for place, time in dense.items()]
    found = disturbed({"sweep": pd.concat(rows)})
    assert found == [{"factor": "blocks", "value": 1, "phase": "forward", "over": pytest.approx(20 / 10.5)}]
    assert disturbed({}) == []


def test_the_committed_table_and_figures_are_what_the_committed_numbers_give():
    results_dir = ROOT / "results"
    texts, figures = report(results_dir)
    for path, text in texts.items():
        assert (results_dir / path).read_text() == text
    for file in figures:
        assert file.is_current(results_dir), file.path


def test_the_page_of_known_numbers(tmp_path, golden):
    sections = {
        "product": [
            ("dense nn.Linear", 40.0),
            ("btrnn BT", 8.0),
            ("btrnn BT, plain torch", 20.0),
            ("roofline BT", 3.0),
        ],
        "layer": [("nn.LSTM", 300.0), ("btrnn.LSTM", 100.0), ("btrnn.BTLSTM", 20.0), (f"btrnn.BTLSTM{GRAPH}", 10.0)],
        "sweep": [("dense nn.Linear", 4.0), ("opt_einsum BT", 5.0), ("btrnn BT", 6.0)],
    }
    for section, times in sections.items():
        point = Point("rank", 8) if section == "sweep" else Point("paper", 57_600)
        rows = [record(section, point, name, "forward", best_ms=ms / 2, median_ms=ms, rounds=5) for name, ms in times]
        rows.append(record(section, point, "missing", "forward", note="left out: not installed"))
        RecordFile(section_path(tmp_path, section)).add(rows)
    note_machine(
        *(tmp_path, "product", "cpu"),
        {
            **{"processor": "a processor", "device": "cpu", "cores": 2, "threads": 2, "memory_gib": 8},
            **{"versions": {"torch": "2.0"}, "compiler": "g++ 12", "native": True, "omp_wait_policy": "passive"},
            **{"date": "2030-01-01", "git_commit": "0123456789abcdef", "git_dirty": True},
        },
    )
    (text,) = report(tmp_path).texts.values()
    golden("benchmark.md", text)
    (slower,) = [
        cell
        for cell in slower_cells(read_all(tmp_path, "cpu"))
        if cell["name"] == "btrnn BT" and cell["than"] == "both"
    ]
    assert [cell["over"] for cell in slower["cells"]] == [1.2]
