"""What is shown of Task 3: tables, differences, sentences and figures from committed tables alone."""

import math
import re
from pathlib import Path
from shutil import rmtree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from btrnn.reports import captioning, captioning_differences
from btrnn.results.store import collect, read_results, result_paths, write_results
from btrnn.storage.files import ResultsError
from tests.caption_folders import SHOWN, write_run
from tests.test_report import cells, report, workspace
from tests.test_report import collect as collect_script

EXPERIMENT = "captioning_scenes"


def collected(folder: Path, **runs: int) -> list[str]:
    """Write runs of some models with some seeds, collect and report them; return the report's options."""
    options = workspace(folder)
    for model, seeds in runs.items():
        for seed in range(seeds):
            write_run(folder / "results", model, seed)
    collect_script.main(options[:2])
    report.main(options)
    return options


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captions")
    collected(folder, lstm=3, tt_lstm=3, bt_lstm=3)
    return folder


def text_of(folder: Path) -> str:
    return (folder / "results" / "tables" / f"{EXPERIMENT}.md").read_text()


def test_the_table_is_what_the_csv_gives(reported: Path) -> None:
    row = cells(text_of(reported), "BT-LSTM, R = 2, d = 3")
    runs = pd.read_csv(reported / "results" / f"{EXPERIMENT}.csv")
    cider = 100 * runs.loc[runs["model"] == "bt_lstm", "test/cider"]
    half = 4.302652729911275 * cider.std() / 3**0.5  # Student's t at n = 3
    low, high = cider.mean() - half, cider.mean() + half
    assert row[1:7] == [
        *("1,552", "675.6", "1.5", "90.0 / 80.0 / 70.0 / 60.0", "30.0 ± 0.0 (3)", "60.0 ± 0.0 (3)"),
    ]
    assert row[7] == f"{cider.mean():.1f} ± {cider.std():.1f} (3) [{low:.1f}, {high:.1f}]"
    assert row[8:11] == ["0.630 ± 0.010 (3) (0.031)", "0.800 ± 0.000 (3) (0.072)", "2.01 ± 0.00 (3)"]
    assert cells(text_of(reported), "one caption for all images")[7] == "20.0"
    assert cells(text_of(reported), "true captions, each against the others")[7] == "90.0"


def test_published_scores_stand_beside_with_their_marks_and_the_stand_in_is_named(reported: Path) -> None:
    published = cells(text_of(reported), "Show and Tell (Vinyals 2015), MSCOCO")
    assert published[1] == "1,048,576"
    assert published[4:8] == ["- / - / - / 27.7 [S]", "reported 23.7 [M]", "-", "reported 85.5 [M]"]
    assert "### Captions of Scenes (stand-in): scale `study`" in text_of(reported)
    for text in (text_of(reported), (reported / "README.md").read_text()):
        assert "On Scenes (stand-in) TT-LSTM" in text
    assert "**The data are Scenes (stand-in), not MSCOCO.**" in text_of(reported)


def test_differences_are_paired_by_seed(reported: Path) -> None:
    runs = read_results(reported / "results", EXPERIMENT).runs
    wide = 100 * runs.pivot_table(index="seed", columns="model", values="test/cider")
    paired = wide["bt_lstm"] - wide["lstm"]
    known = stats.t.interval(0.95, 2, paired.mean(), stats.sem(paired))
    shown = cells(text_of(reported), "BT-LSTM, R = 2, d = 3 - LSTM")
    estimate, low, high = map(float, re.findall(r"[+-]\d+\.\d", shown[1]))
    assert (estimate, low, high) == pytest.approx((paired.mean(), *known), abs=0.051)
    assert shown[2:] == ["675.6", "1.5", "3"]
    assert re.search(r"BT-LSTM, R = 2, d = 3, with 675\.6 times fewer parameters in W .*, loses \(-", text_of(reported))


def test_models_with_other_images_are_not_paired(tmp_path: Path) -> None:
    write_run(tmp_path, "lstm", 0)
    run = write_run(tmp_path, "bt_lstm", 0)
    captions = pd.read_csv(run / "captions.csv")
    captions.assign(image=captions["image"] + 1_000).to_csv(run / "captions.csv", index=False)
    write_results(collect(tmp_path, EXPERIMENT)[0], tmp_path, EXPERIMENT)
    with pytest.raises(ResultsError, match="tested on different images with the same seed"):
        captioning.table_texts(tmp_path, EXPERIMENT)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-3.0, -1.0, "loses"),
        (1.0, 3.0, "gains"),
        (-1.0, 1.0, "is not significantly different"),
        (math.nan, math.nan, "cannot be judged by one seed"),
    ],
)
def test_the_verdict_claims_no_more_than_the_interval(low: float, high: float, verdict: str) -> None:
    assert captioning_differences.verdict({"low": low, "high": high}) == verdict


@pytest.mark.parametrize(
    ("intervals", "found"),
    [
        (
            {"big": (-1, 1), "middle": (-0.5, 2), "small": (-9, -3)},
            "1 of 3 lose CIDEr; .* is middle, 20 times",
        ),
        ({"big": (-5, -1), "middle": (-6, -2), "small": (-9, -3)}, "of the compact decoders all lose CIDEr"),
        ({"big": (math.nan, math.nan)}, "none can be judged by one seed"),
    ],
)
def test_the_sweeps_sentence_names_the_smallest_decoder_that_loses_nothing(
    intervals: dict[str, tuple[float, float]], found: str
) -> None:
    compressions = {"big": 10.0, "middle": 20.0, "small": 30.0}
    rows = pd.DataFrame(
        [
            {"label": label, "compression": compressions[label], "mean": (low + high) / 2, "low": low, "high": high}
            | {"n": 1 if math.isnan(low) else 3}
            for label, (low, high) in intervals.items()
        ]
    ).fillna({"mean": -2.0})
    text = captioning_differences.ranks_conclusion(rows, pd.DataFrame({"source": ["scenes"]}))
    assert text.startswith("**Ranks, in short.** On Scenes (stand-in), of the compact decoders ")
    assert re.search(found, text)


def test_one_seed_gives_no_interval(tmp_path: Path) -> None:
    collected(tmp_path, lstm=1, bt_lstm=1)
    text = text_of(tmp_path)
    assert cells(text, "LSTM")[7].endswith("(n = 1)")
    assert re.fullmatch(r"[+-]\d+\.\d", cells(text, "BT-LSTM, R = 2, d = 3 - LSTM")[1])
    assert "cannot be judged by one seed" in text


def test_without_java_the_table_says_so_and_has_no_meteor(tmp_path: Path) -> None:
    options = workspace(tmp_path)
    write_run(tmp_path / "results", "lstm", 0, changes={"tokenizer": "plain", "test/meteor": None})
    collect_script.main(options[:2])
    report.main(options)
    assert cells(text_of(tmp_path), "LSTM")[5] == "-"
    assert "**Without Java:**" in text_of(tmp_path)


def test_on_coco_there_are_no_pairs_and_no_stand_in(tmp_path: Path) -> None:
    options = workspace(tmp_path)
    changes = dict.fromkeys(f"test/pairs{ending}" for ending in ("", "_shuffled", "_any", "_any_shuffled"))
    changes |= {"split": "seeded: karpathy is not here"}
    write_run(tmp_path / "results", "lstm", 0, experiment="captioning", changes=changes)
    collect_script.main(options[:2])
    report.main(options)
    text = (tmp_path / "results" / "tables" / "captioning.md").read_text()
    assert "### Captions of MSCOCO, split `seeded: karpathy is not here`: scale `study`" in text
    assert "stand-in" not in text
    assert "by chance" not in text.lower()


def test_captions_and_pictures_survive_the_run_folders(tmp_path: Path) -> None:
    collected(tmp_path, lstm=2, bt_lstm=1)
    results_dir = tmp_path / "results"
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


def test_figures_are_drawn_and_noticed_when_stale(reported: Path) -> None:
    options = ["--results-dir", str(reported / "results"), "--readme", str(reported / "README.md")]
    report.main([*options, "--check"])
    names = sorted(path.name for path in (reported / "results" / "figures").iterdir())
    assert {f"{EXPERIMENT}_captions.png", f"{EXPERIMENT}_loss.png"} <= set(names)
    for name in names:
        with Image.open(reported / "results" / "figures" / name) as image:
            assert image.width > 900
            assert np.asarray(image.convert("L")).std() > 5


def test_a_sweep_over_ranks_has_the_figure_of_parameters(tmp_path: Path) -> None:
    options, results_dir = workspace(tmp_path), tmp_path / "results"
    experiment = "captioning_ranks_scenes"
    for rank in (1, 2, 4):
        for blocks in (1, 2):
            parameters = blocks * (3 * 128 * rank + rank**3)
            settings = {"rank": rank, "num_blocks": blocks, "parameters_input": parameters}
            write_run(results_dir, "bt_lstm", 0, experiment=experiment, **settings)
    write_run(results_dir, "tt_lstm", 0, experiment=experiment)
    write_run(results_dir, "lstm", 0, experiment=experiment)
    collect_script.main(options[:2])
    report.main(options)
    report.main([*options, "--check"])
    assert (results_dir / "figures" / f"{experiment}_parameters.png").exists()
    text = (results_dir / "tables" / f"{experiment}.md").read_text()
    assert cells(text, "BT-LSTM, R = 4, N = 1, d = 3")[1] == "1,600"
    assert len([line for line in text.splitlines() if " - LSTM " in line]) == 7


def test_a_choice_of_rates_names_the_best(tmp_path: Path) -> None:
    options, results_dir = workspace(tmp_path), tmp_path / "results"
    experiment = "captioning_rates_scenes"
    for rate, loss in ((1e-3, 0.9), (2e-3, 0.7), (4e-3, 0.8)):
        run = write_run(
            *(results_dir, "lstm", 100),
            experiment=experiment,
            learning_rate=rate,
            changes={"test/cider": None, "val/loss": loss},
        )
        (run / "captions.csv").unlink()
    collect_script.main(options[:2])
    report.main(options)
    lines = (results_dir / "tables" / f"{experiment}.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| LSTM")]
    assert [row.endswith("| yes      |") for row in rows] == [False, True, False]
    assert not result_paths(results_dir, experiment).predictions.exists()


def test_runs_on_fewer_images_stand_in_the_table_but_are_compared_with_none(tmp_path: Path) -> None:
    options = workspace(tmp_path)
    for model, num_images in (("lstm", 30), ("bt_lstm", 30), ("tt_lstm", SHOWN - 1)):
        write_run(tmp_path / "results", model, 0, num_images=num_images)
    collect_script.main(options[:2])
    report.main(options)
    results = read_results(tmp_path / "results", EXPERIMENT)
    assert set(results.runs["model"]) == {"lstm", "bt_lstm", "tt_lstm"}
    differences = captioning_differences.differences(captioning.comparison.summarise(results.runs), results)
    assert [label.split(",")[0] for label in differences["label"]] == ["BT-LSTM"]
