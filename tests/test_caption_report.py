"""The pages of Task 3: tables, differences and figures from collected tables alone."""

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from btrnn.reports.pages import page_of
from btrnn.reports.view import view_of
from btrnn.results.store import read_results, result_paths, write_results
from btrnn.storage.files import ResultsError
from tests.caption_folders import SHOWN, write_run
from tests.test_report import cells, collect_all, page_text, workspace

EXPERIMENT = "captioning_scenes"
PAGE = page_of(EXPERIMENT)


def collected(folder: Path, **runs: int) -> Path:
    """Write runs of some models with some seeds and collect them; return the results folder."""
    workspace(folder)
    for model, seeds in runs.items():
        for seed in range(seeds):
            write_run(folder / "results", model, seed)
    collect_all(folder / "results", EXPERIMENT)
    return folder / "results"


@pytest.fixture(scope="module")
def results_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collected(tmp_path_factory.mktemp("captions"), lstm=3, tt_lstm=3, bt_lstm=3)


def test_the_page_is_as_it_was(results_dir: Path, golden: Callable[[str, str], None]) -> None:
    golden(f"{EXPERIMENT}.md", page_text(results_dir, EXPERIMENT))


def test_the_table_is_what_the_csv_gives(results_dir: Path) -> None:
    text = page_text(results_dir, EXPERIMENT)
    row = cells(text, "BT-LSTM, R = 2, d = 3")
    runs = pd.read_csv(results_dir / f"{EXPERIMENT}.csv")
    cider = 100 * runs.loc[runs["model"] == "bt_lstm", "test/cider"]
    half = 4.302652729911275 * cider.std() / 3**0.5  # Student's t at n = 3
    low, high = cider.mean() - half, cider.mean() + half
    assert row[1:7] == [
        *("1,552", "675.6", "1.5", "90.0 / 80.0 / 70.0 / 60.0", "30.0 ± 0.0 (3)", "60.0 ± 0.0 (3)"),
    ]
    assert row[7] == f"{cider.mean():.1f} ± {cider.std():.1f} (3) [{low:.1f}, {high:.1f}]"
    assert row[8] == "2.01 ± 0.00 (3)"
    assert "The best single caption for all images has 20.0, reference captions against one another 90.0." in text


def test_other_scores_are_compared_too(tmp_path: Path) -> None:
    workspace(tmp_path)
    for seed, more in enumerate((0.5, 0.6, 0.7)):
        write_run(tmp_path / "results", "lstm", seed)
        write_run(tmp_path / "results", "bt_lstm", seed, changes={"test/perplexity": 2.01 + more})
    collect_all(tmp_path / "results", EXPERIMENT)
    section = page_text(tmp_path / "results", EXPERIMENT).split("### Other scores")[1]
    assert cells(section, "BT-LSTM, R = 2, d = 3 - LSTM")[-1] == "+0.60 [+0.35, +0.85]"


def test_published_scores_stand_on_the_page_with_their_marks(results_dir: Path) -> None:
    text = page_text(results_dir, EXPERIMENT)
    assert "BLEU-4 27.7 [S], METEOR reported 23.7 [M], CIDEr reported 85.5 [M]." in text


def test_differences_are_paired_by_seed(results_dir: Path) -> None:
    runs = read_results(results_dir, EXPERIMENT).runs
    wide = runs.pivot_table(index="seed", columns="model", values="test/cider")
    paired = wide["bt_lstm"] - wide["lstm"]
    known = stats.t.interval(0.95, 2, paired.mean(), stats.sem(paired))
    rows = PAGE.differences(view_of(results_dir, EXPERIMENT))
    assert [row["first_model"] for row in rows] == ["tt_lstm", "bt_lstm"]
    row = rows[1]
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((paired.mean(), *known))
    assert (row["n"], row["compression"]) == (3, pytest.approx(1_048_576 / 1_552))
    assert row["verdict"] == "worse"
    assert row["text"].startswith(f"{100 * paired.mean():+.1f} [")  # times 100, as its table


def test_models_with_other_images_are_not_paired(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    write_run(results_dir, "lstm", 0)
    run = write_run(results_dir, "bt_lstm", 0)
    captions = pd.read_csv(run / "captions.csv")
    captions.assign(image=captions["image"] + 1_000).to_csv(run / "captions.csv", index=False)
    collect_all(results_dir, EXPERIMENT)
    with pytest.raises(ResultsError, match="tested on different images with the same seed"):
        PAGE.report(results_dir, EXPERIMENT)


def test_one_seed_gives_no_interval(tmp_path: Path) -> None:
    text = page_text(collected(tmp_path, lstm=1, bt_lstm=1), EXPERIMENT)
    assert cells(text, "LSTM")[7].endswith("(n = 1)")
    assert "[" not in cells(text, "BT-LSTM, R = 2, d = 3 - LSTM")[1]


def test_without_java_the_table_says_so_and_has_no_meteor(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    write_run(results_dir, "lstm", 0, changes={"tokenizer": "plain", "test/meteor": None})
    collect_all(results_dir, EXPERIMENT)
    text = page_text(results_dir, EXPERIMENT)
    assert "METEOR" not in text.split("### All numbers")[1]
    assert "**Without Java:**" in text


def test_on_coco_the_split_is_named_and_no_stand_in(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    changes = {"split": "seeded: karpathy is not here"}
    write_run(results_dir, "lstm", 0, experiment="captioning", changes=changes)
    collect_all(results_dir, "captioning")
    text = page_text(results_dir, "captioning")
    assert "split `seeded: karpathy is not here`" in text
    assert "stand-in" not in text


def test_captions_and_pictures_survive_the_run_folders(tmp_path: Path) -> None:
    results_dir = collected(tmp_path, lstm=2, bt_lstm=1)
    paths = result_paths(results_dir, EXPERIMENT)
    before = [path.read_bytes() for path in paths]
    rmtree(results_dir / "runs")
    write_results(read_results(results_dir, EXPERIMENT), results_dir, EXPERIMENT)
    assert [path.read_bytes() for path in paths] == before
    results = read_results(results_dir, EXPERIMENT)
    assert len(results.predictions) == 90
    assert results.predictions["caption"].tolist()[:2] == [
        "",
        "bt_lstm says 0 of image 101, at some length so that a line must break",
    ]
    assert results.predictions["cider"].std() > 0.05  # not cut to whole numbers
    assert results.pictures["images"].shape == (SHOWN, 20, 20, 3)  # once, not once a run


def test_figures_are_drawn(results_dir: Path, tmp_path: Path) -> None:
    files = PAGE.report(results_dir, EXPERIMENT).figures
    assert [file.path.name for file in files] == [f"{EXPERIMENT}_captions.png", f"{EXPERIMENT}_loss.png"]
    for file in files:
        file.write(tmp_path)
        assert file.is_current(tmp_path)
        with Image.open(tmp_path / file.path) as image:
            assert image.width > 900
            assert np.asarray(image.convert("L")).std() > 5


def test_a_sweep_over_ranks_has_the_figure_of_parameters(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir, experiment = tmp_path / "results", "captioning_ranks_scenes"
    for rank in (1, 2, 4):
        for blocks in (1, 2):
            parameters = blocks * (3 * 128 * rank + rank**3)
            settings = {"rank": rank, "num_blocks": blocks, "parameters_input": parameters}
            write_run(results_dir, "bt_lstm", 0, experiment=experiment, **settings)
    write_run(results_dir, "tt_lstm", 0, experiment=experiment)
    write_run(results_dir, "lstm", 0, experiment=experiment)
    collect_all(results_dir, experiment)
    file, *others = page_of(experiment).report(results_dir, experiment).figures
    assert file.path.name == f"{experiment}_parameters.png"
    assert isinstance(file.data, pd.DataFrame)
    assert set(file.data["label"]) == {
        *("LSTM", "TT-LSTM, R = 3, d = 3", "BT-LSTM, N = 1, d = 3, R = 1, 2, 4", "BT-LSTM, d = 3, R = 1, 2, 4"),
    }
    own = file.data[file.data["panel"] == "W"]
    assert set(own.loc[own["model"] == "bt_lstm", "note"]) == {"1", "2", "4"}
    assert set(file.data.loc[file.data["panel"] == "the whole model", "note"]) == {""}
    assert len(others) == 2
    assert cells(page_text(results_dir, experiment), "BT-LSTM, R = 4, N = 1, d = 3")[1] == "1,600"
    assert len(PAGE.differences(view_of(results_dir, experiment))) == 7


def test_a_choice_of_rates_names_the_best(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir, experiment = tmp_path / "results", "captioning_rates_scenes"
    for rate, loss in ((1e-3, 0.9), (2e-3, 0.7), (4e-3, 0.8)):
        changes = {"test/cider": None, "val/loss": loss, "learning_rate": rate}
        run = write_run(results_dir, "lstm", 100, experiment=experiment, learning_rate=rate, changes=changes)
        (run / "captions.csv").unlink()
    collect_all(results_dir, experiment)
    rows = [line for line in page_text(results_dir, experiment).splitlines() if line.startswith("| LSTM")]
    assert [row.endswith("| yes      |") for row in rows] == [False, True, False]
    assert not result_paths(results_dir, experiment)[2].exists()
    (file,) = page_of(experiment).report(results_dir, experiment).figures
    assert list(file.data["mean"]) == [0.9, 0.7, 0.8]


def test_runs_on_fewer_images_stand_in_the_table_but_are_compared_with_none(tmp_path: Path) -> None:
    workspace(tmp_path)
    results_dir = tmp_path / "results"
    for model, num_images in (("lstm", 30), ("bt_lstm", 30), ("tt_lstm", SHOWN - 1)):
        write_run(results_dir, model, 0, num_images=num_images)
    collect_all(results_dir, EXPERIMENT)
    view = view_of(results_dir, EXPERIMENT)
    assert set(view.summary["model"]) == {"lstm", "bt_lstm", "tt_lstm"}
    assert [row["first_model"] for row in PAGE.differences(view)] == ["bt_lstm"]
    assert len(PAGE.figures(view)) == 2
