"""Recovery of matrices from pairs: truths, the batch of fits, a run, and what is collected and shown of it."""

import json
import re
from collections.abc import Callable
from math import prod
from pathlib import Path
from shutil import copyfile

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from btrnn import BTLinear, TTLinear
from btrnn.engine.config import ConfigError, register
from btrnn.recovery import records
from btrnn.recovery.maps import MAPS
from btrnn.recovery.records import SAME_SHAPE, compare_with_rank, shape_name, summarise
from btrnn.recovery.study import dense_weights, draw_pairs, fit, least_squares_error, run, second_moment
from btrnn.recovery.truths import KINDS, best_rank_error, make_truth
from btrnn.reports import shapes
from btrnn.results.summary import read_paper
from btrnn.storage.files import ResultsError

from .conftest import ROOT

SMALL = ("num_steps=60", "num_truths=2", "truths.same_shape=2", "num_pairs=256")


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., DictConfig]:
    register()

    def make(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            return compose("recovery", [f"results_dir={tmp_path / 'results'}", *SMALL, *overrides])

    return make


# ---- truths


@pytest.mark.parametrize("kind", KINDS)
def test_truths_have_norm_one_and_differ_by_seed_alone(kind):
    truth = make_truth(kind, 0)
    assert truth.shape == (64, 64)
    assert np.linalg.norm(truth) == pytest.approx(1)
    np.testing.assert_array_equal(make_truth(kind, 0), truth)
    assert np.abs(make_truth(kind, 1) - truth).max() > 1e-3


def test_truths_have_the_structure_that_their_names_say():
    assert np.linalg.matrix_rank(make_truth("low_rank", 0)) == 4
    kronecker = make_truth("kronecker", 0).reshape(8, 8, 8, 8).transpose(0, 2, 1, 3).reshape(64, 64)
    assert np.linalg.matrix_rank(kronecker) == 1
    smooth, noise = make_truth("smooth", 0), make_truth("random", 0)
    assert np.abs(np.diff(smooth)).max() < 0.7 * smooth.std()
    assert np.abs(np.diff(noise)).max() > 3 * noise.std()
    for kind in ("photograph", "smooth"):
        assert abs(make_truth(kind, 0).mean()) < 1e-12


def test_the_yardstick_is_the_best_low_rank_of_as_many_numbers():
    truth = make_truth("photograph", 0)
    left, values, right = np.linalg.svd(truth)
    expected = np.linalg.norm(truth - (left[:, :3] * values[:3]) @ right[:3])
    assert best_rank_error(truth, 3 * 128) == pytest.approx(expected)
    assert best_rank_error(truth, 4 * 128 - 1) == pytest.approx(expected)
    assert best_rank_error(truth, 127) == 1
    assert best_rank_error(truth, 64 * 128) == 0
    assert best_rank_error(make_truth("low_rank", 0), 512) < 1e-7


# ---- the batch of fits


@pytest.mark.parametrize(
    "make",
    [
        lambda: BTLinear((2, 3), (3, 2), tucker_rank=2, num_blocks=2, bias=False),
        lambda: TTLinear((2, 3, 2), (1, 2, 3), tt_rank=3, bias=False),
    ],
    ids=["bt", "tt"],
)
def test_every_entry_of_the_batch_is_the_layers_own_matrix(make):
    layers = [make() for _ in range(3)]
    operands = [torch.stack(operand) for operand in zip(*(layer.operands() for layer in layers), strict=True)]
    batch = dense_weights(layers[0], operands)
    for entry, layer in zip(batch, layers, strict=True):
        torch.testing.assert_close(entry, layer.to_dense())


def test_the_gradient_is_that_of_the_mean_squared_error_over_the_pairs():
    x, _ = draw_pairs(100, 5, 4, seed=3)
    truth = torch.randn(4, 5, dtype=torch.float64)
    guess = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    loss = (x @ guess.T - x @ truth.T).square().sum(dim=1).mean()
    (expected,) = torch.autograd.grad(loss, guess)
    moment = second_moment(x)
    torch.testing.assert_close(2 * (guess.detach() - truth) @ moment, expected)
    torch.testing.assert_close(((guess - truth) @ moment * (guess - truth)).sum(), loss)
    many = second_moment(draw_pairs(200_000, 5, 4, seed=3)[0])
    torch.testing.assert_close(many, torch.eye(5, dtype=torch.float64), rtol=0, atol=0.02)


def test_the_losses_are_those_of_noisy_pairs_and_least_squares_has_the_least():
    layer = BTLinear((3, 2), (2, 2), tucker_rank=2, bias=False)
    truths = 7.0 * torch.randn(3, 4, 6, dtype=torch.float64)
    fits = fit(layer, truths, num_pairs=9, num_steps=30, learning_rate=0.1, seed=4, noise=0.5)
    x, noise = draw_pairs(9, 6, 4, seed=4)
    for weight, truth, loss in zip(fits.weights, truths, fits.losses, strict=True):
        y = x @ truth.T + 0.5 * truth.square().mean().mul(6).sqrt() * noise
        missed = (x @ weight.T - y).square().sum() / y.square().sum()
        assert float(loss) == pytest.approx(float(missed), rel=1e-5)
        of_dense = least_squares_error(truth, num_pairs=9, noise=0.5, seed=4)
        best = torch.linalg.lstsq(x, y).solution.T
        assert of_dense == pytest.approx(float((best - truth).norm() / truth.norm()))
    few = least_squares_error(truths[0], num_pairs=3, noise=0.0, seed=4)
    basis = torch.linalg.svd(draw_pairs(3, 6, 4, seed=4)[0], full_matrices=False).Vh
    unseen = truths[0] - truths[0] @ basis.T @ basis
    assert few == pytest.approx(float(unseen.norm() / truths[0].norm()))


def test_noise_is_learnt_along_its_gradient():
    layer = BTLinear((3, 2), (2, 2), tucker_rank=12, bias=False)  # enough numbers for any matrix
    truths = torch.randn(1, 4, 6, dtype=torch.float64)
    options = {"num_pairs": 9, "learning_rate": 0.03, "seed": 4, "noise": 0.5}
    fits = fit(layer, truths, num_steps=3000, **options)
    best = least_squares_error(truths[0], num_pairs=9, noise=0.5, seed=4)
    assert float(fits.errors[0]) == pytest.approx(best, rel=1e-2)  # not the truth: what the pairs say


def test_fits_recover_what_their_map_can_be_and_say_how_far_they_are(caplog):
    caplog.set_level("INFO")
    torch.manual_seed(0)
    layer = BTLinear((4, 4), (4, 4), tucker_rank=1, bias=False)
    truths = []
    for scale in (1e-3, 50.0):
        layer.reset_parameters()
        truths.append(scale * layer.to_dense().detach().double())
    truths.append(torch.randn(16, 16, dtype=torch.float64))
    stacked = torch.stack(truths).repeat_interleave(4, dim=0)
    options = {"num_pairs": 64, "num_steps": 500, "learning_rate": 0.1, "seed": 1}
    fits = fit(layer, stacked, **options)
    errors = fits.errors.reshape(3, 4)
    assert float(errors[:2].amin(dim=1).max()) < 1e-3
    assert float(errors[2].min()) > 0.5
    missed = (fits.weights - stacked).flatten(1).norm(dim=1) / stacked.flatten(1).norm(dim=1)
    torch.testing.assert_close(fits.errors, missed)
    assert [message.split(",")[0] for message in caplog.messages] == ["  step 500"]
    again = fit(layer, stacked, **options)
    assert torch.equal(again.errors, fits.errors)


def test_fitting_leaves_the_callers_random_numbers_alone():
    layer = BTLinear((2, 2), (2, 2), tucker_rank=1, bias=False)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    truths = torch.eye(4, dtype=torch.float64)[None]
    fit(layer, truths, num_pairs=8, num_steps=1, learning_rate=0.1, seed=0)
    assert torch.equal(torch.rand(1), expected)


# ---- a run


def test_shapes_have_the_papers_counts(configure):
    from hydra.utils import instantiate

    paper = read_paper(ROOT / "results" / "paper.csv")
    for name in records.PANELS:
        order, rank, blocks = (part[1:] for part in name.removeprefix("bt_").split("_"))
        config = configure(f"form=bt_n{blocks}", f"order={order}", f"rank={rank}")
        layer = instantiate(config.layer)
        assert config.name == name
        assert layer.num_weights == int(paper["value"][f"recovery.parameters.{name.removeprefix('bt_')}"])
        assert layer.in_features * layer.out_features == int(paper["value"]["recovery.parameters.truth"]) == 4096
        for side, modes in (("in", layer.in_modes), ("out", layer.out_modes)):
            assert "x".join(map(str, modes)) == paper["value"][f"recovery.{side}_modes.{name.removeprefix('bt_')}"]


def test_a_run_writes_its_files_once_and_refuses_another_configuration(configure):
    config = configure("form=tt", "order=3", "rank=2")
    summary = run(config)
    run_dir = Path(config.run_dir)
    fits = pd.read_csv(run_dir / "fits.csv")
    assert len(fits) == 5 * 2 * 3 + 2 * 2
    assert fits.groupby(["truth", "seed", "restart"]).ngroups == len(fits)
    truths = pd.read_csv(run_dir / "truths.csv")
    assert list(truths["truth"].unique()) == list(config.truths)
    assert truths.loc[truths["truth"] == "same_shape", "error_from_dense"].max() < 1e-6
    assert (summary["parameters"], summary["name"]) == (128, "tt_d3_r2")
    with np.load(run_dir / "matrices.npz") as matrices:
        learnt = matrices["photograph/learnt"].astype(np.float64)
        truth = matrices["photograph/truth"].astype(np.float64)
    best = fits[(fits["truth"] == "photograph") & (fits["seed"] == 0)]["error"].min()
    assert np.linalg.norm(learnt - truth) / np.linalg.norm(truth) == pytest.approx(best, abs=1e-2)
    stamp = (run_dir / "fits.csv").stat().st_mtime_ns
    assert run(config) == summary
    assert (run_dir / "fits.csv").stat().st_mtime_ns == stamp
    with pytest.raises(ConfigError, match=r"num_steps: 60 there, 61 now"):
        run(configure("form=tt", "order=3", "rank=2", "num_steps=61"))


def test_unknown_truths_are_named_before_any_work(configure):
    config = configure("+truths.fractal=1")
    with pytest.raises(ConfigError, match=r"truths has fractal; known kinds: photograph, .*same_shape"):
        run(config)
    assert not Path(config.run_dir).exists()
    with pytest.raises(ConfigError, match="form=tucker is none of bt_n1, bt_n2, tt, equal"):
        run(configure("form=tucker"))


# ---- what is collected and shown


def write_run(results_dir: Path, name: str, parameters_: int, *, truths: dict[str, float], restarts: int = 4) -> Path:
    """Invent a finished run: the best error of each kind of truth as given, seed 1's twice as large."""
    form, order, rank, *blocks = name.split("_")
    run_dir = results_dir / "runs" / "recovery" / name
    run_dir.mkdir(parents=True)
    fits = [
        {"truth": kind, "seed": seed, "restart": restart, "error": error * (seed + 1) * (restart + 1)}
        | {"loss": float(restart)}
        for kind, error in truths.items()
        for seed in range(2)
        for restart in range(restarts)
    ]
    pd.DataFrame(fits).to_csv(run_dir / "fits.csv", index=False)
    rows = [
        {"truth": kind, "seed": seed, "error_from_dense": error / 2, "error_best_rank": 0.4}
        | {"error_least_squares": 1e-9}
        for kind, error in truths.items()
        for seed in range(2)
    ]
    pd.DataFrame(rows).to_csv(run_dir / "truths.csv", index=False)
    matrices = {
        f"{kind}/{what}": np.full((64, 64), 0.01, np.float16) for kind in truths for what in ("truth", "learnt")
    }
    np.savez(run_dir / "matrices.npz", **matrices)
    summary = {
        **{"name": name, "form": "_".join([form, *blocks]), "order": int(order[1:]), "rank": int(rank[1:])},
        **{"num_blocks": int(blocks[0][1:]) if blocks else 1, "in_modes": "8x8", "out_modes": "8x8"},
        **{"parameters": parameters_, "num_pairs": 64, "num_steps": 10, "noise": 0.0},
        **{"learning_rate": 0.1, "seconds": 60.0, "threads": 2, "torch": "2.0", "git_commit": "0123456789abcdef"},
        **{"git_dirty": False, "command": "python experiments/recovery.py", "finished": "2030-01-01T00:00:00Z"},
    }
    (run_dir / "summary.json").write_text(json.dumps(summary))
    (run_dir / "config.yaml").write_text("{}")
    return run_dir


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A results folder with six finished runs."""
    results_dir = tmp_path / "results"
    results_dir.mkdir()
    copyfile(ROOT / "results" / "paper.csv", results_dir / "paper.csv")
    for name, count, own in zip(records.PANELS, (129, 528, 258, 256, 384), (1e-6, 2e-3, 1e-5, 1e-4, 0.02), strict=True):
        write_run(results_dir, name, count, truths={"photograph": 0.3, "random": 0.9, "same_shape": own})
    write_run(results_dir, "tt_d3_r2", 128, truths={"photograph": 0.35, "random": 0.95, "same_shape": 1e-6})
    return results_dir


@pytest.fixture
def collected(study: Path) -> Path:
    """The same, collected."""
    records.write(records.collect(study, study)[0], study)
    return study


def test_collecting_counts_restarts_and_keeps_what_is_gone(study):
    unfinished = study / "runs" / "recovery" / "bt_d2_r2_n1"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_text("{}")
    recovered, left_out = records.collect(study, study)
    assert left_out == [unfinished]
    records.write(recovered, study)
    committed = records.read(study)
    row = committed.rows.set_index(["name", "truth", "seed"]).loc[("bt_d2_r4_n1", "same_shape", 1)]
    assert row["error_best"] == pytest.approx(4e-3)
    assert row["error_median"] == pytest.approx(1e-2)
    assert row["share_recovered"] == 0.5  # 4e-3 and 8e-3 of 4e-3, 8e-3, 1.2e-2, 1.6e-2
    assert set(committed.matrices) == {
        f"{name}/{kind}/{what}"
        for name in records.PANELS
        for kind in ("photograph", "random", "same_shape")
        for what in ("truth", "learnt")
    }
    before = [path.read_bytes() for path in records.paths(study)]
    for path in (study / "runs" / "recovery" / "tt_d3_r2").iterdir():
        path.unlink()
    records.write(records.collect(study, study)[0], study)
    assert [path.read_bytes() for path in records.paths(study)] == before


def test_a_damaged_run_is_named(study):
    run_dir = study / "runs" / "recovery" / "tt_d3_r2"
    (run_dir / "truths.csv").write_text("truth,seed\n")
    with pytest.raises(ResultsError, match=r"truths\.csv lacks the column error_from_dense, error_best_rank"):
        records.read_run(run_dir)
    (run_dir / "summary.json").write_text("{")
    with pytest.raises(ResultsError, match=r"summary\.json is not valid JSON .* run it again"):
        records.read_run(run_dir)
    (run_dir / "summary.json").write_text("{}")
    with pytest.raises(ResultsError, match=r"summary\.json lacks name, form"):
        records.read_run(run_dir)


def test_the_page_says_what_the_csv_gives(collected, golden):
    (text,) = shapes.recovery_report(collected).texts.values()
    golden("recovery.md", text)
    table = summarise(records.read(collected).rows)
    own = table[table["truth"] == SAME_SHAPE].set_index("name")
    assert own.loc["bt_d2_r4_n1", "share_recovered"] == 0.75
    assert (own.loc[list(records.PANELS), "median_best"] < records.RECOVERED).sum() == 4
    compared = compare_with_rank(table).set_index("truth")
    of_bt, of_tt = (compared[compared["family"] == family] for family in ("BT", "TT"))
    assert of_bt[["nearer", "shapes"]].to_numpy().tolist() == [[0, 5], [0, 5], [5, 5]]  # 0.45 and 1.35, to 0.4
    assert of_bt.loc[SAME_SHAPE, ["name", "parameters"]].tolist() == ["bt_d2_r1_n1", 129]
    assert of_tt["shapes"].tolist() == [1, 1, 1]


def test_maps_of_equal_size_are_compared_by_pairs_and_noise(configure, study):
    for name, noise in (("bt", 0.0), ("low_rank", 0.3)):
        run(configure("form=equal", f"map={name}", f"noise={noise:g}", "num_pairs=32"))
    collected, _ = records.collect(study, study)
    records.write(collected, study)
    equal = collected.rows[collected.rows["form"] == records.EQUAL]
    table = shapes.equal_maps(equal).set_index("map").query("truth == 'low_rank'")
    assert table[["noise", "num_pairs", "parameters", "n"]].to_numpy().tolist() == [
        [0.0, 32, 512, 2],
        [0.0, 32, 4096, 2],
        [0.3, 32, 512, 2],
    ]
    fits = pd.read_csv(study / "runs" / "recovery" / "bt_p32_e0" / "fits.csv")
    fits = fits[fits["truth"] == "low_rank"]
    best = fits.loc[fits.groupby("seed")["loss"].idxmin(), "error"]
    assert table.loc["bt", "mean"] == pytest.approx(best.mean(), rel=1e-5)
    truths = [torch.from_numpy(make_truth("low_rank", seed)) for seed in (0, 1)]
    of_dense = [least_squares_error(truth, num_pairs=32, noise=0.0, seed=0) for truth in truths]
    assert table.loc["dense", "mean"] == pytest.approx(np.mean(of_dense), rel=1e-5)
    assert table.loc["low_rank", "from_dense"] == pytest.approx(0, abs=1e-6)
    text, figures = shapes.recovery_report(study)
    (page,) = text.values()
    (cells,) = re.findall(r"low rank \(4\), from few pairs\n\n(.*?)\n\n", page, flags=re.DOTALL)
    block_terms = [cell.strip() for cell in cells.splitlines()[2].split("|")[1:-1]]
    assert block_terms[:3] == ["block terms", "512", f"{best.mean():.3f}"]
    assert "1 of 1" in page.split("## All shapes")[0], "maps of equal size are no shapes of the grid"
    assert [figure.path.name for figure in figures[2:]] == ["recovery_pairs.png", "recovery_pairs_noise_0.3.png"]


def test_what_is_not_collected_gives_no_page(tmp_path):
    assert shapes.recovery_report(tmp_path) == ({}, [])


def test_figures_show_the_rows(collected):
    files = {file.path.name: file for file in shapes.recovery_report(collected).figures}
    panels = files["recovery_panels.png"].draw()
    captions = [axis.get_title() for axis in panels.axes]
    assert captions[:6] == ["truth, P = 4096", *(f"P = {count}: 0.300" for count in (129, 528, 258, 256, 384))]
    assert captions[-6:] == [
        "",
        *("P = 129: 1e-06", "P = 528: 2e-03", "P = 258: 1e-05", "P = 256: 1e-04", "P = 384: 0.020"),
    ]
    errors = files["recovery_errors.png"].draw()
    assert [axis.get_title() for axis in errors.axes] == ["photograph", "random", "a map of the same shape"]
    lines = [line.get_xydata() for line in errors.axes[0].lines]
    points = {(int(line[0, 0]), round(float(line[0, 1]), 6)) for line in lines if len(line) == 1}
    assert (258, 0.45) in points  # trained: the mean of 0.3 and 0.6
    assert (258, 0.15) in points  # from_dense


def test_the_committed_study_is_whole_and_meets_its_target() -> None:
    rows = records.read(ROOT / "results").rows
    assert rows.groupby("name").size().to_dict() == dict.fromkeys(rows["name"].unique(), 6 * 5)
    of_pairs = rows["form"] == records.EQUAL
    assert rows["name"][~of_pairs].nunique() == 27
    assert rows["name"][of_pairs].nunique() == len(MAPS) * 4 * 2
    own = rows[(rows["truth"] == "same_shape") & rows["name"].isin(records.PANELS)]
    assert set(own["num_restarts"]) == {10}
    medians = own.groupby("name")["error_best"].median()
    assert len(medians) == 5
    assert medians.max() < records.RECOVERED


def test_shape_names():
    assert shape_name("bt_d2_r4_n1") == "BT, d = 2, R = 4, N = 1"
    assert shape_name("tt_d3_r2") == "TT, d = 3, R = 2"


# ---- parameters against d and R


def test_every_count_of_the_parameter_figure_is_the_papers():
    paper = read_paper(ROOT / "results" / "paper.csv")["value"]
    table = shapes.grid()
    assert len(table) == 32
    for row in table.to_dict("records"):
        assert row["parameters"] == int(paper[f"sensitivity.parameters.r{row['rank']}_d{row['order']}"])
        for side in ("in", "out"):
            assert row[f"{side}_modes"] == paper[f"sensitivity.{side}_modes_d{row['order']}"]
        assert prod(map(int, row["in_modes"].split("x"))) == 4096
    assert int(paper["sensitivity.parameters.dense"]) == shapes.DENSE == 1_048_576


def test_the_parameter_figure_draws_the_counts_and_the_dense_line(golden):
    table = shapes.grid()
    texts, (file,) = shapes.parameters_report(ROOT / "results")
    (axis,) = file.draw().axes
    assert axis.get_yscale() == "log"
    *lines, dense = axis.lines
    assert set(dense.get_ydata()) == {1_048_576}
    for rank, line in enumerate(lines, start=1):
        np.testing.assert_array_equal(line.get_ydata(), table.loc[table["rank"] == rank, "parameters"])
    (text,) = texts.values()
    assert f"32 of {len(table)} counts equal" in text
    golden("parameters.md", text)
