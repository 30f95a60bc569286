"""Exponents: fitted to what is known, judged by stated rules, shown as they are."""

from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from btrnn.benchmark import counting, exponents
from btrnn.benchmark.exponents import (
    FASTER,
    HOLDS,
    SLOWER,
    UNCLEAR,
    SlopeInterval,
    judge,
    measurements,
    ratios,
    slope_interval,
)
from btrnn.benchmark.measure import layers
from btrnn.benchmark.measure.implementations import Problem
from btrnn.benchmark.measure.products import authors_order
from btrnn.benchmark.measure.run import quick_options, run
from btrnn.benchmark.records import RecordFile, read_section, record, section_path
from btrnn.benchmark.settings import INPUT_SHAPES, PAPER, SWEEPS, TINY, Family, Point, Shape, law, operand_shapes
from btrnn.reports import benchmark

from .conftest import ROOT

PRODUCTS: dict[Family, str] = {"dense": "dense nn.Linear", "TT": "btrnn TT", "BT": "btrnn BT"}
LAYERS: dict[Family, str] = {"dense": "btrnn.LSTM", "TT": "btrnn.TTLSTM", "BT": "btrnn.BTLSTM"}


def write_sections(results_dir: Path, *, start_ms: float = 0.0, power: float = 1.0) -> None:
    """Write a benchmark whose numbers follow the paper's laws, to a power, after a constant."""
    times, memory, more = (RecordFile(section_path(results_dir, name)) for name in ("sweep", "memory", "memory_sweep"))
    for factor in ("input", "rank", "blocks", "order"):
        for value, shape in SWEEPS[factor].items():
            point = Point(factor, value)
            for family, name in PRODUCTS.items():
                forward = start_ms + 1e-9 * law(shape, family, "forward") ** power
                both = forward + 2e-9 * law(shape, family, "forward+backward") ** power
                times.add(
                    record("sweep", point, name, phase, best_ms=ms, median_ms=3 * ms)
                    for phase, ms in (("forward", forward), ("forward+backward", both))
                )
                mib = 1e-6 * law(shape, family, "memory")
                file = memory if factor == "input" else more
                file.add([record(file.path.stem, point, LAYERS[family], "training step", peak_mib=mib)])
    copyfile(ROOT / "results" / "paper.csv", results_dir / "paper.csv")


@given(st.floats(-3, 5), st.floats(-2, 2), st.integers(3, 8))
def test_a_power_is_found_again(exponent, offset, count):
    sizes = np.geomspace(10, 1e6, count)
    fit = slope_interval(np.log(sizes), exponent * np.log(sizes) + offset)
    assert fit.slope == pytest.approx(exponent, abs=1e-9)
    assert fit.low <= fit.high == pytest.approx(exponent, abs=1e-6)


def test_the_interval_is_that_of_linear_regression():
    from scipy.stats import linregress
    from scipy.stats import t as student

    x, y = np.arange(6.0), np.array([0.1, 0.9, 2.2, 2.8, 4.1, 4.7])
    fit, known = slope_interval(x, y), linregress(x, y)
    half = student.ppf(0.975, 4) * known.stderr
    assert (fit.slope, fit.low, fit.high) == pytest.approx((known.slope, known.slope - half, known.slope + half))
    assert fit == slope_interval(np.append(x, 9.0), np.append(y, np.nan))
    ones, up = np.array([1.0, 1.0]), np.array([3.0, 5.0])
    two = slope_interval(np.array([1.0, 2.0]), up)
    assert two.slope == pytest.approx(2)
    assert np.isnan([two.low, two.high, slope_interval(ones, up).slope, slope_interval(ones[:0], up[:0]).slope]).all()


def test_numbers_that_follow_the_laws_are_found_to_follow_them(tmp_path, golden):
    write_sections(tmp_path)
    fits = exponents.fitted(tmp_path)
    assert set(fits["verdict"]) == {HOLDS}
    assert len(fits) == 3 * (1 + 3 + 4)
    assert np.allclose(fits["slope"], fits["law"])
    in_rank = fits[fits["factor"] == "rank"].set_index(["family", "quantity"])["law"]
    assert in_rank.round(6).to_dict() == {
        **{("TT", "time forward"): 2, ("TT", "time backward"): 4, ("TT", "memory"): 3},
        **{("BT", "time forward"): 4, ("BT", "time backward"): 4, ("BT", "memory"): 4},
    }
    assert (
        fits.loc[fits["factor"].isin(["input", "blocks"]) & (fits["quantity"] != "memory"), "law"].round(9) == 1
    ).all()
    (text,) = benchmark.complexity_report(tmp_path).texts.values()
    golden("complexity.md", text)


def test_constants_that_hide_a_law_are_named(tmp_path):
    write_sections(tmp_path, start_ms=1e-9 * law(INPUT_SHAPES[16_384], "BT", "forward"))
    fits = exponents.fitted(tmp_path).set_index(["family", "quantity", "factor"])
    row = fits.loc["BT", "time forward", "input"]
    assert (row["smallest"], row["all_smallest"]) == (16_384, 1_024)
    assert row["slope_all"] < row["slope"] - exponents.TOLERANCE
    (text,) = benchmark.complexity_report(tmp_path).texts.values()
    (line,) = [line for line in text.splitlines() if line.startswith("- BT, time forward")]
    assert "16,384" in line


def test_what_grows_faster_breaks_a_law_and_what_grows_slower_does_not(tmp_path):
    for power, verdict in ((1.3, FASTER), (0.6, SLOWER)):
        folder = tmp_path / str(power)
        write_sections(folder, power=power)
        fits = exponents.fitted(folder)
        chosen = fits[(fits["family"] == "dense") & (fits["quantity"] == "time forward")]
        assert exponents.overall(chosen["verdict"]) == verdict


@pytest.mark.parametrize(
    "shape", [TINY, replace(TINY, rank=3, num_blocks=1), Shape((3, 4), (2, 3), rank=5, num_blocks=3)]
)
def test_the_counted_operations_are_those_of_the_authors_order(shape):
    problem = Problem(replace(shape, batch=3, time=2), torch.device("cpu"))
    built, found = authors_order(problem), counting.count(problem.shape, "BT")
    with FlopCounterMode(display=False) as forward:
        result = built.call(problem.x)
    assert forward.get_total_flops() == found.forward
    with FlopCounterMode(display=False) as backward:
        result.backward(problem.d_output)
    assert backward.get_total_flops() == found.backward


def test_the_counted_operations_of_a_train_are_those_of_core_after_core():
    shape = replace(TINY, rank=3, batch=2, time=1)
    cores = [torch.randn(size) for size in operand_shapes(shape, "TT")]
    running, held = torch.randn(shape.rows, 1, *shape.in_modes), 0  # (rows, r, I_k .., J_1 ..)
    with FlopCounterMode(display=False) as counter:
        for core in cores:
            running = torch.tensordot(running, core, dims=([1, 2], [0, 1])).movedim(-1, 1)
            held += running.numel()
    found = counting.count(shape, "TT")
    assert (counter.get_total_flops(), held) == (found.forward, found.held)


def test_what_is_counted_keeps_to_the_laws_of_time_but_for_the_trains_backward_pass():
    rows = counting.counted_exponents().set_index(["quantity", "family", "factor"])
    forward = rows.loc["time forward"].query("factor != 'order'")
    assert set(forward["verdict"]) == {HOLDS}
    assert (forward["counted"] <= forward["law"] + 1e-9).all()
    assert rows.loc[("time backward", "TT", "rank"), "far"] == pytest.approx(2, abs=0.01)
    assert rows.loc[("memory", "BT", "blocks"), "verdict"] == FASTER  # training keeps those of every block


@pytest.mark.parametrize(
    ("slope", "low", "high", "verdict"),
    [
        (1.1, 0.9, 1.3, HOLDS),
        (1.1, 0.2, 2.0, UNCLEAR),  # near the law, but so wide an interval tells nothing
        (0.8, 0.7, 0.9, SLOWER),
        (0.8, 0.5, 1.1, UNCLEAR),
        (0.5, np.nan, np.nan, UNCLEAR),
        (1.4, 1.2, 1.6, FASTER),
        (1.4, 0.9, 1.9, UNCLEAR),
        (np.nan, np.nan, np.nan, UNCLEAR),
    ],
)
def test_verdicts(slope, low, high, verdict):
    assert judge(SlopeInterval(slope, low, high, 4), 1.0) == verdict


def test_a_law_is_judged_by_its_worst_factor():
    assert exponents.overall(pd.Series([HOLDS, SLOWER, UNCLEAR])) == UNCLEAR
    assert exponents.overall(pd.Series([SLOWER, FASTER, HOLDS])) == FASTER
    assert exponents.overall(pd.Series([HOLDS, SLOWER])) == SLOWER
    assert exponents.overall(pd.Series([HOLDS])) == HOLDS


def test_ratios_are_those_of_the_paper_s_setting(tmp_path):
    write_sections(tmp_path)
    sections = {name: read_section(tmp_path, name) for name in ("sweep", "memory")}
    found = {(ratio.family, ratio.quantity): ratio for ratio in ratios(sections)}
    forward = found["BT", "time forward"]
    assert forward.law == 2 * 4 * 4**4 * 16 / 1_024  # N d R^d Jmax over J
    assert forward.measured == pytest.approx(forward.law, rel=1e-4)
    assert forward.operations == pytest.approx(0.88e9 / (2 * 96 * 57_600 * 1_024), rel=0.01)
    assert found["TT", "memory"].law == 4**3 / 1_024
    assert np.isnan(found["BT", "memory"].operations)


def test_nothing_measured_gives_nothing(tmp_path):
    assert benchmark.complexity_report(tmp_path) == ({}, [])
    assert benchmark.report(tmp_path).figures == []
    assert measurements({}).empty


def test_the_figures_show_what_was_measured_and_the_laws(tmp_path):
    write_sections(tmp_path)
    files = {file.path.stem: file for file in benchmark.report(tmp_path).figures}
    assert set(files) == {"benchmark_time", "benchmark_memory"}
    figure = files["benchmark_time"].draw()
    assert [axis.get_title() for axis in figure.axes if axis.lines] == ["order d", "rank R", "blocks N", "inputs I"]
    lines = {str(line.get_label()): line for line in figure.axes[3].lines}
    for family, name in PRODUCTS.items():
        shown = files["benchmark_time"].data
        measured, law_line = (
            shown[(shown["panel"] == "inputs I") & (shown["label"] == label)] for label in (name, f"the law, {family}")
        )
        np.testing.assert_allclose(measured["x"], list(INPUT_SHAPES))
        np.testing.assert_allclose(law_line["x"], list(INPUT_SHAPES))
        at_paper = (law_line["x"] == PAPER.in_features).to_numpy()
        np.testing.assert_allclose(law_line["mean"][at_paper], measured["mean"][(measured["x"] == 57_600)])
    assert lines
    memory = files["benchmark_memory"].data
    ours, by_law = (memory[memory["label"] == label]["mean"] for label in ("btrnn.BTLSTM", "the law, BT"))
    np.testing.assert_allclose(ours, by_law, rtol=1e-4)


def test_memory_is_measured_over_ranks_too_and_a_shape_once_for_all_its_points(tmp_path, monkeypatch):
    jobs = []
    monkeypatch.setattr(layers, "measure_apart", lambda job: {"peak_mib": float(jobs.append(job) or len(jobs))})
    run(quick_options(tmp_path, "cpu", ("memory_sweep",)), lambda *_: None)
    assert len(jobs) == len(set(jobs))
    table = read_section(tmp_path, "memory_sweep")
    assert table[["factor", "value", "implementation"]].to_numpy().tolist() == [
        *(["rank", 2, "btrnn.BTLSTM"], ["blocks", 2, "btrnn.BTLSTM"], ["rank", 2, "btrnn.TTLSTM"]),
    ]
    assert not (table["note"] != "").any()
    assert table["peak_mib"].iloc[0] == table["peak_mib"].iloc[1]


def test_the_paper_s_shape_counts_for_every_factor():
    assert replace(PAPER) in SWEEPS["rank"].values()
    assert all(PAPER in SWEEPS[factor].values() for factor in ("input", "rank", "blocks", "order"))
