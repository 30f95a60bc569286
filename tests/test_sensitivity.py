"""Accuracy against d, R and N: the grid, and what is shown of it."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from btrnn.complexity import bt_parameters
from btrnn.engine.config import check_targets, register
from btrnn.reports.page import caveats
from btrnn.reports.pages import page_of
from btrnn.reports.sensitivity import effects
from btrnn.reports.view import view_of
from btrnn.results.store import collect, read_results, write_results
from btrnn.storage.files import ResultsError

from .conftest import ROOT
from .run_folders import write_run
from .test_report import workspace

EXPERIMENT = "ucf11_sensitivity_motions"
PAPER = {
    2: ([320, 180], [16, 16]),
    3: ([36, 40, 40], [8, 4, 8]),
    4: ([8, 20, 20, 18], [4, 4, 4, 4]),
    5: ([8, 10, 10, 9, 8], [4, 2, 2, 4, 4]),
}
SHAPES = list(product((2, 3, 4, 5), (1, 2, 4), (1, 2)))


def accuracy(order: int, rank: int, blocks: int, seed: int) -> float:
    """Invent an accuracy that rises with R and N, and falls away from d = 4."""
    return 0.5 + 0.06 * np.log2(rank) + 0.02 * blocks - 0.05 * abs(order - 4) + 0.01 * (seed - 1)


def write_grid(results_dir: Path, shapes: list[tuple[int, int, int]] = SHAPES, seeds: int = 3) -> None:
    for (order, rank, blocks), seed in product(shapes, range(seeds)):
        in_modes, (first, *others) = PAPER[order]
        changes = {
            **{"order": order, "rank": rank, "num_blocks": blocks},
            **{"in_modes": "x".join(map(str, in_modes)), "hidden_modes": "x".join(map(str, [first, *others]))},
            "parameters_input": bt_parameters(in_modes, [4 * first, *others], rank, blocks),
            "test/accuracy": accuracy(order, rank, blocks, seed),
        }
        write_run(results_dir, "bt_lstm", seed, experiment=EXPERIMENT, num_clips=55, epochs=2, changes=changes)
    for seed in range(seeds):
        write_run(results_dir, "logistic_regression", seed, experiment=EXPERIMENT, num_clips=55)


@pytest.fixture(scope="module")
def results_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sensitivity")
    workspace(folder)
    folder = folder / "results"
    write_grid(folder)
    write_results(collect(folder, EXPERIMENT)[0], folder, EXPERIMENT)
    return folder


# ---- the grid


def jobs() -> list[list[str]]:
    """List the overrides of every job of the experiment file, as Hydra's sweeper makes them."""
    register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("train", ["experiment=ucf11_sensitivity"], return_hydra_config=True)
    words = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
    overrides = OverridesParser.create().parse_overrides(words)
    (batch,) = BasicSweeper.split_arguments(overrides, None)
    return [list(job) for job in batch]


def test_the_grid_is_the_papers_with_three_seeds():
    all_jobs = jobs()
    assert [f"seed={seed}" for seed in (0, 1, 2)] == sorted(
        {word for job in all_jobs for word in job if "seed" in word}
    )
    first_seed = [job for job in all_jobs if "seed=0" in job]
    assert len(all_jobs) == 3 * len(first_seed) == 72
    found, folders = set(), set()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        for job in first_seed:
            config = compose("train", ["experiment=ucf11_sensitivity", "scale=default", *job])
            order, rank, blocks = len(config.modes.input), config.ranks.tucker, config.ranks.num_blocks
            assert (list(config.modes.input), list(config.modes.hidden)) == PAPER[order]
            assert (config.model.layer.tucker_rank, config.model.layer.num_blocks) == (rank, blocks)
            assert f"/bt_lstm_d{order}_r{rank}_n{blocks}-paper-raw-default/seed0" in config.run_dir
            assert config.task.learning_rate == 1e-3
            found.add((order, rank, blocks))
            folders.add(config.run_dir)
    check_targets(config)
    assert found == set(SHAPES)
    assert len(folders) == 24
    assert (config.data.protocol, config.data.scaling, config.cell.init) == ("paper", "raw", "paper")


# ---- what is shown


def test_the_page_is_as_it_was(results_dir: Path, golden: Callable[[str, str], None]):
    (text,) = page_of(EXPERIMENT).report(results_dir, EXPERIMENT).texts.values()
    golden(f"{EXPERIMENT}.md", text)


def test_the_table_is_what_the_csv_gives(results_dir: Path):
    view = view_of(results_dir, EXPERIMENT)
    rows = page_of(EXPERIMENT).table(page_of(EXPERIMENT).rows(view))
    assert len(rows) == len(SHAPES) + 1
    assert rows[-1]["model"] == "logistic regression on mean frames"
    (row,) = [row for row in rows if (row["d"], row["R"], row["N"]) == ("5", "4", "2")]
    mean = accuracy(5, 4, 2, 1)
    half = 4.302652730 * 0.01 / 3**0.5  # Student's t at n = 3
    assert row["test accuracy"] == f"{mean:.3f} ± 0.010 (3) [{mean - half:.3f}, {mean + half:.3f}]"
    assert row["parameters of W"] == f"{bt_parameters(PAPER[5][0], [16, 2, 2, 4, 4], 4, 2):,}"


def test_the_best_and_the_worst_shape_and_what_each_factor_does_are_said(results_dir: Path):
    (text,) = page_of(EXPERIMENT).report(results_dir, EXPERIMENT).texts.values()
    worst, best = accuracy(2, 1, 1, 1), accuracy(4, 4, 2, 1)
    assert f"the means of 24 shapes range from {worst:.3f} (d = 2, R = 1, N = 1, " in text
    assert f"to {best:.3f} (d = 4, R = 4, N = 2, 3,392 parameters), more than chance (Friedman: p < 0.001)" in text
    for rank in (1, 2, 4):
        mean = np.mean([accuracy(d, rank, n, 1) for d in PAPER for n in (1, 2)])
        assert f"| R = {rank} | 8 | {mean:.3f} |" in text
    assert caveats(view_of(results_dir, EXPERIMENT))["one_rate"] == ["BT-LSTM (0.001)"]
    assert "edge of its grid" not in text  # nothing was searched


def test_seeds_without_all_shapes_are_left_out_of_averages(results_dir: Path):
    runs = read_results(results_dir, EXPERIMENT).runs
    part = runs[~((runs["seed"] == 2) & (runs["order"] == 5))]
    found = effects(part)
    assert {row["n"] for row in found} == {2}
    assert str(found) == str(effects(runs[runs["seed"] < 2]))


def test_each_letter_is_judged_by_shapes_that_differ_in_it_alone(results_dir: Path):
    """Two shapes of d = 2 are left out, as where they repeat others; those of N = 2 are better than those of N = 1."""
    runs = read_results(results_dir, EXPERIMENT).runs
    part = runs[(runs["order"] != 2) | (runs["num_blocks"] == 2) | (runs["rank"] == 1)].copy()
    noise = np.random.default_rng(0).normal(scale=1e-3, size=len(part))
    part["test/accuracy"] += noise  # else all differences have the sd 0
    found = {(row["letter"], row["value"]): row for row in effects(part)}
    assert [found[key]["shapes"] for key in (("d", 5), ("R", 4), ("N", 1))] == [4, 7, 10]
    expected = {("d", 3): 0.05, ("d", 4): 0.1, ("d", 5): 0.05, ("R", 2): 0.06, ("R", 4): 0.12, ("N", 2): 0.02}
    for key, difference in expected.items():
        assert found[key]["difference"].mean == pytest.approx(difference, abs=2e-3)
        assert found[key]["verdict"] == "better"
    overlapping = {(row["letter"], row["value"]): row for row in effects(part.assign(num_train=1, num_test=1e6))}
    for key in expected:  # splits that have nearly all clips in common
        assert found[key]["overlap_verdict"] == overlapping[key]["verdict"] == "better"
        assert overlapping[key]["overlap_verdict"] == "no significant difference"
    for lowest in (("d", 2), ("R", 1), ("N", 1)):
        assert found[lowest]["difference"] is None


def test_own_rows_are_never_averaged_with_published_ones(results_dir: Path):
    runs = read_results(results_dir, EXPERIMENT).runs.assign(origin="published")
    own = runs.assign(origin="local", **{"test/accuracy": 0.0})
    assert str(effects(pd.concat([runs, own]))) == str(effects(runs))


def test_each_shape_is_shown_at_the_rate_that_validation_chose(tmp_path: Path):
    workspace(tmp_path)
    losses = {(1, 1e-3): 1.0, (1, 3e-3): 2.0, (4, 1e-3): 2.0, (4, 3e-3): 1.0}
    for (rank, rate), loss in losses.items():
        changes = {"rank": rank, "order": 2, "num_blocks": 1, "learning_rate": rate}
        scores = {"val/loss": loss, "test/accuracy": 1 - loss / 4}
        write_run(tmp_path / "results", "bt_lstm", 0, experiment=EXPERIMENT, num_clips=55, changes=changes | scores)
    write_run(tmp_path / "results", "logistic_regression", 0, experiment=EXPERIMENT, num_clips=55)
    write_results(collect(tmp_path / "results", EXPERIMENT)[0], tmp_path / "results", EXPERIMENT)
    page = page_of(EXPERIMENT)
    view = page.shown(view_of(tmp_path / "results", EXPERIMENT))
    table = page.table(page.rows(view))
    assert [(row["R"], row["learning rate"]) for row in table[:2]] == [("1", "0.001"), ("4", "0.003")]
    assert len(table) == 3
    assert {row["mean"] for row in effects(view.results.runs)} == {0.75}
    known = page.values(view)
    assert (known["tried"], known["num_runs"], len(known["edge"])) == ([0.001, 0.003], 5, 2)
    (text,) = page.report(tmp_path / "results", EXPERIMENT).texts.values()
    assert "edge of its grid" in text
    assert "One learning rate for all shapes" not in text


def test_figures_show_the_means(results_dir: Path):
    files = {file.path.name: file for file in page_of(EXPERIMENT).report(results_dir, EXPERIMENT).figures}
    heat = files[f"{EXPERIMENT}_heat_maps.png"].draw()
    assert [axis.get_title() for axis in heat.axes[:2]] == ["N = 1", "N = 2"]
    texts = {(text.get_position(), text.get_text()) for text in heat.axes[1].texts}
    assert texts == {
        ((column, row), f"{accuracy(order, rank, 2, 1):.3f}")
        for row, order in enumerate(PAPER)
        for column, rank in enumerate((1, 2, 4))
    }
    curves = files[f"{EXPERIMENT}_curves.png"].draw()
    titles = [axis.get_title() for axis in curves.axes]
    assert titles == [f"R = {rank}, N = {blocks}" for blocks in (1, 2) for rank in (1, 2, 4)]
    line = next(line for line in curves.axes[2].lines if line.get_marker() == "D")
    assert list(line.get_ydata()) == pytest.approx([accuracy(order, 4, 1, 1) for order in PAPER])
    assert set(line.get_xdata()) == set(PAPER)
    legend = [text.get_text() for text in curves.legends[0].get_texts()]
    assert legend == ["R = 1", "R = 2", "R = 4", "logistic regression on mean frames"]


def test_a_part_of_the_grid_can_be_shown(tmp_path: Path):
    workspace(tmp_path)
    results_dir, page = tmp_path / "results", page_of(EXPERIMENT)
    write_grid(results_dir, [(2, 1, 1), (4, 4, 2)], seeds=1)
    write_results(collect(results_dir, EXPERIMENT)[0], results_dir, EXPERIMENT)
    (text,) = page.report(results_dir, EXPERIMENT).texts.values()
    assert "(n = 1)" in text
    for file in page.report(results_dir, EXPERIMENT).figures:
        file.write(tmp_path)
        assert file.is_current(tmp_path)
    assert "d  " in page.terminal_report(results_dir, EXPERIMENT, "study")
    with pytest.raises(ResultsError, match=r"no finished run .* at scale 'smoke'.*scales there: study"):
        page.terminal_report(results_dir, EXPERIMENT, "smoke")
