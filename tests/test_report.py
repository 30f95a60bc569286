"""The report says what the committed tables give, nothing else, and notices when it does not."""

import importlib.util
import math
import re
import shutil
import sys
from itertools import product
from pathlib import Path
from shutil import copyfile
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from btrnn.reports import tables, video, video_rates, video_remarks
from btrnn.results.summary import rates
from btrnn.storage.files import ResultsError
from tests.run_folders import write_run, write_study

ROOT = Path(__file__).parent.parent
README = "# btrnn\n\nBefore.\n\n<!-- results:begin -->\nold\n<!-- results:end -->\n\nAfter.\n"


RATES = {"lstm": {1e-5: 0.9, 1e-4: 0.8, 1e-3: 0.6}, "bt_lstm": {1e-5: 0.3, 1e-4: 0.7, 1e-3: 0.85}}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"experiments_{name}", ROOT / "experiments" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


report, collect = load("report"), load("collect")


def workspace(folder: Path) -> list[str]:
    """Make a README and a results folder with the paper's numbers; return the options that point there."""
    (folder / "results").mkdir()
    copyfile(ROOT / "results" / "paper.csv", folder / "results" / "paper.csv")
    (folder / "README.md").write_text(README)
    return ["--results-dir", str(folder / "results"), "--readme", str(folder / "README.md")]


def cells(markdown: str, first: str) -> list[str]:
    """Return the cells of the first table row whose first cell is `first`."""
    (line, *_) = [line for line in markdown.splitlines() if re.match(rf"\| {re.escape(first)} +\|", line)]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported")
    options = workspace(folder)
    list(write_study(folder / "results", seeds=2, models=("lstm", "bt_lstm", "logistic_regression"), epochs=3))
    for model, accuracies in RATES.items():
        for rate, accuracy in accuracies.items():
            for seed in range(2):
                changes = {"learning_rate": rate, "test/accuracy": accuracy + 0.01 * seed}
                write_run(
                    folder / "results", model, seed, experiment=f"{video_rates.EXPERIMENT}_actions", changes=changes
                )
    collect.main(options[:2])
    report.main(options)
    return folder


@pytest.fixture
def options(reported: Path) -> list[str]:
    return ["--results-dir", str(reported / "results"), "--readme", str(reported / "README.md")]


def test_the_table_is_what_the_csv_gives(reported: Path) -> None:
    text = (reported / "results" / "tables" / "ucf11_actions.md").read_text()
    runs = pd.read_csv(reported / "results" / "ucf11_actions.csv")
    chosen = runs[(runs["model"] == "bt_lstm") & (runs["protocol"] == "paper") & (runs["scaling"] == "raw")]
    row = cells(text, "BT-LSTM, R = 4")
    assert row[1:5] == ["3,392", "17,388", "219.9", "0.853 [S]"]
    for place, column in ((5, "test/accuracy"), (6, "test/accuracy_last")):
        mean, sd = chosen[column].mean(), chosen[column].std()
        half = 12.706204736 * sd / 2**0.5  # Student's t at n = 2
        low, high = max(mean - half, 0), min(mean + half, 1)
        assert row[place] == f"{mean:.3f} ± {sd:.3f} (2) [{low:.3f}, {high:.3f}]"
    command = "`python experiments/train.py -m experiment=ucf11_actions model=bt_lstm seed=0,1`"
    assert row[7:] == ["other data", "0.990", "0.001", "4.4", command]


def test_readme_shows_all_panels_in_one_table(reported: Path) -> None:
    text = video.readme_part(reported / "results", "ucf11_actions", "results")
    runs = pd.read_csv(reported / "results" / "ucf11_actions.csv")
    row = cells(text, "BT-LSTM, R = 4")
    assert row[1:4] == ["3,392", "17,388", "0.853 [S]"]
    for place, (protocol, scaling) in enumerate(product(("paper", "grouped"), ("raw", "normalized")), start=4):
        chosen = runs[(runs["model"] == "bt_lstm") & (runs["protocol"] == protocol) & (runs["scaling"] == scaling)]
        assert row[place] == f"{chosen['test/accuracy'].mean():.3f} ± {chosen['test/accuracy'].std():.3f}"
        assert cells(text, "model")[place] == f"split `{protocol}`, input `{scaling}`, n = 2"
    assert all(re.fullmatch(r"[+-]\S+ \[\S+, \S+\]", cell) for cell in cells(text, "BT-LSTM, R = 4 - LSTM")[4:])
    assert "BT-LSTM, R = 1" not in text  # was not run


def test_models_that_were_not_run_show_their_counts(reported: Path) -> None:
    text = (reported / "results" / "tables" / "ucf11_actions.md").read_text()
    assert cells(text, "BT-LSTM, R = 1")[1:7] == [
        "722",
        "81,693",
        "222.1",
        "reported 0.784 [M]",
        *["not run"] * 2,
    ]
    assert cells(text, "BT-LSTM, R = 2")[1:3] == ["1,472", "40,069"]
    assert cells(text, "TT-LSTM")[1:6] == ["3,360", "17,554", "220", "reported 0.796 [M]", "not run"]
    assert cells(text, "LSTM")[1:5] == ["58,982,400", "1", "1", "0.697 [S]"]
    assert cells(text, "logistic regression on mean frames")[1:5] == ["-"] * 4


def test_every_heading_names_the_stand_in_and_what_was_run(reported: Path) -> None:
    text = video.readme_part(reported / "results", "ucf11_actions", "results")
    in_readme, headings = (
        [line for line in page.splitlines() if line.startswith("### ")]
        for page in (text, (reported / "results" / "tables" / "ucf11_actions.md").read_text())
    )
    assert in_readme == ["### Test accuracy on Actions (stand-in): scale `study` (550 clips, 3 epochs)"]
    assert len(headings) == 6
    assert all("Actions (stand-in)" in heading for heading in headings)
    assert headings[2] == (
        "### Actions (stand-in): protocol `grouped`, scaling `raw`; scale `study` (550 clips, 3 epochs), n = 2"
    )
    published = (reported / "results" / "tables" / "ucf11_actions_published.md").read_text()
    assert cells(published, "original (Liu 2009)")[2] == "reported 0.712 [M]"
    assert "other data, not comparable" in cells(published, "**ours, on Actions (stand-in)**")[3]


def test_readme_keeps_what_is_around_its_block(reported: Path) -> None:
    text = (reported / "README.md").read_text()
    assert text.startswith("# btrnn\n\nBefore.\n\n<!-- results:begin -->\n\n**Task 1: the learning rate")
    assert text.endswith("\n\n<!-- results:end -->\n\nAfter.\n")
    assert not re.search(r"\bold\b", text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == 2
    assert all((reported / link).is_file() for link in links)


def test_readme_says_what_the_learning_rate_decides(reported: Path) -> None:
    text = (reported / "README.md").read_text()
    assert "LSTM has 0.905 at rate 1e-05 (at the edge of the grid) and 0.605 at rate 0.001" in text
    assert "BT-LSTM has 0.855 at rate 0.001 (at the edge of the grid) and 0.305 at rate 1e-05" in text
    assert "At the paper's rate, 0.0001: LSTM 0.805, BT-LSTM 0.705." in text
    assert "Each at its best rate, BT-LSTM - LSTM is -0.050 [-0.050, -0.050] (n = 2)" in text
    assert "+0." not in text  # the comparison at one rate each is not in the headline
    table = (reported / "results" / "tables" / f"{video_rates.EXPERIMENT}_actions.md").read_text()
    assert cells(table, "LSTM")[1:3] == ["1e-05", "0.905 ± 0.007 (2) [0.841, 0.969]"]
    (file,) = video_rates.figure_files(reported / "results", f"{video_rates.EXPERIMENT}_actions")
    (axis,) = file.draw().axes
    assert axis.get_xscale() == "log"
    lines = {str(line.get_label()): line.get_xydata().tolist() for line in axis.lines}
    assert lines["LSTM"] == [[1e-5, 0.905], [1e-4, pytest.approx(0.805)], [1e-3, pytest.approx(0.605)]]
    assert lines["the paper's rate, 0.0001"][0][0] == 1e-4


def test_check_passes_on_its_own_output_and_writing_again_changes_nothing(
    reported: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    report.main([*options, "--check"])
    texts = [reported / "README.md", *(reported / "results" / "tables").iterdir()]
    before = [path.read_text() for path in texts]
    report.main(options)
    assert [path.read_text() for path in texts] == before


@pytest.mark.parametrize(("name", "shown"), [("README.md", "0.905"), ("results/tables/ucf11_actions.md", "17,388")])
def test_check_finds_an_edited_text(reported: Path, options: list[str], name: str, shown: str) -> None:
    path = reported / name
    original = path.read_text()
    path.write_text(original.replace(shown, "17,389"))
    with pytest.raises(SystemExit, match=re.escape(f"out of date: {path};")):
        report.main([*options, "--check"])
    assert "17,389" in path.read_text()  # --check writes nothing
    path.write_text(original)


def test_check_compares_figures_by_their_data_alone(reported: Path, options: list[str]) -> None:
    path = reported / "results" / "figures" / "ucf11_actions_training_loss.png"
    original = path.read_bytes()
    with Image.open(path) as image:
        assert image.width >= 1000
        digest = image.info["Data-SHA256"]
        small = image.resize((10, 10))
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Data-SHA256", digest)
    small.save(path, pnginfo=info)
    report.main([*options, "--check"])  # other pixels, the same data
    small.save(path)
    with pytest.raises(SystemExit, match=r"ucf11_actions_training_loss\.png"):
        report.main([*options, "--check"])
    path.write_bytes(original)


def test_check_finds_figures_and_tables_that_a_new_run_has_outdated(tmp_path: Path) -> None:
    options = workspace(tmp_path)
    for seed in (0, 1):
        write_run(tmp_path / "results", "bt_lstm", seed, epochs=2)
        collect.main(options[:2])
        if seed == 0:
            report.main(options)
    with pytest.raises(SystemExit) as caught:
        report.main([*options, "--check"])
    for name in (
        "README.md",
        "ucf11_actions.md",
        "training_loss.png",
        "parameters.png",
        "confusion_paper_raw.png",
    ):
        assert name in str(caught.value)


def test_one_seed_is_printed_without_interval(tmp_path: Path) -> None:
    options = workspace(tmp_path)
    for model in ("lstm", "bt_lstm"):
        write_run(tmp_path / "results", model, 0, scale="default", epochs=2, changes={"test/accuracy": 0.5})
    collect.main(options[:2])
    text = video.markdown_report(tmp_path / "results", "ucf11_actions", "default")
    assert cells(text, "BT-LSTM, R = 4")[5] == "0.500 (n = 1)"
    (line,) = [line for line in text.splitlines() if "BT-LSTM, R = 4 - LSTM" in line]
    assert re.fullmatch(r"[+-]0\.\d{3}", line.split("|")[4].strip())
    shown = video.terminal_report(tmp_path / "results", "ucf11_actions", "default")
    assert shown.startswith(
        "Actions (stand-in): protocol paper, scaling raw; scale default (550 clips, 2 epochs), n = 1"
    )
    assert "0.500 (n = 1)" in shown
    assert "81,693" in shown


def test_the_terminal_shows_the_runs_that_are_here_and_the_committed_tables_all(tmp_path: Path) -> None:
    options = workspace(tmp_path)
    folders = [write_run(tmp_path / "results", "bt_lstm", seed, scale="default", epochs=2) for seed in (1, 2)]
    folders.append(write_run(tmp_path / "results", "bt_lstm", 1, scale="default", epochs=2, protocol="grouped"))
    collect.main(options[:2])
    for folder in folders:  # as in a fresh clone, which holds the committed rows alone
        shutil.rmtree(folder)
    write_run(tmp_path / "results", "bt_lstm", 0, scale="default", epochs=2)
    collect.main(options[:2])
    shown = video.terminal_report(tmp_path / "results", "ucf11_actions", "default")
    assert "n = 1" in shown
    assert "grouped" not in shown
    committed = video.markdown_report(tmp_path / "results", "ucf11_actions", "default")
    assert "n = 3" in committed
    assert "grouped" in committed


def test_real_data_are_named_and_compared_with_the_paper(tmp_path: Path) -> None:
    options = workspace(tmp_path)
    write_run(tmp_path / "results", "bt_lstm", 0, experiment="ucf11", epochs=2, changes={"test/accuracy": 0.8})
    collect.main(options[:2])
    report.main(options)
    text = (tmp_path / "results" / "tables" / "ucf11.md").read_text()
    assert cells(text, "BT-LSTM, R = 4")[7] == "-0.053"
    assert "### UCF11: protocol `paper`" in text
    readme = (tmp_path / "README.md").read_text()
    assert cells(readme, "BT-LSTM, R = 4")[3:] == ["0.853 [S]", "0.800"]
    assert "stand-in" not in text + readme
    assert not list(tmp_path.glob("**/*actions*"))


def test_an_empty_results_folder_gives_a_readme_that_says_so(tmp_path: Path) -> None:
    options = workspace(tmp_path)
    report.main(options)
    assert "No results are collected yet." in (tmp_path / "README.md").read_text()
    report.main([*options, "--check"])


def test_bad_input_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = workspace(tmp_path)
    with pytest.raises(SystemExit, match=r"'ucf11' is not collected .* \(there: none\)"):
        report.main(["ucf11", *options])
    with pytest.raises(SystemExit, match=r"no run folders for ucf12 in .*runs; there are: none"):
        collect.main(["ucf12", *options[:2]])
    (tmp_path / "README.md").write_text("# btrnn\n<!-- results:end -->\n")
    with pytest.raises(SystemExit, match=r"README.md must have the lines <!-- results:begin -->"):
        report.main(options)
    run = write_run(tmp_path / "results", "bt_lstm", 0)
    with pytest.raises(ResultsError, match=r"no finished run of 'ucf11_actions' at scale 'smoke'.*scales there: study"):
        video.terminal_report(tmp_path / "results", "ucf11_actions", "smoke")
    (run / "summary.json").unlink()
    collect.main(options[:2])
    assert f"{run}: not finished, left out" in capsys.readouterr().out
    (run / "summary.json").write_text("{")
    with pytest.raises(SystemExit, match=r"summary\.json is not valid JSON"):
        collect.main(options[:2])


def difference(**changes: Any) -> dict[str, Any]:
    row = {"first": "BT-LSTM, R = 4", "second": "LSTM", "protocol": "grouped", "scaling": "raw"}
    return row | {"n": 3, "mean": 0.1, "low": 0.05, "high": 0.15} | changes


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "more accurate"),
        ({"mean": -0.1, "low": -0.2, "high": -0.01}, "less accurate"),
        ({"low": -0.01}, "not significantly different"),
        ({"n": 1, "low": math.nan, "high": math.nan}, "not significantly different"),
    ],
)
def test_conclusion_claims_no_more_than_the_interval(changes: dict[str, Any], verdict: str) -> None:
    summary = pd.DataFrame(
        {
            "source": "actions",
            "model": ["lstm", "logistic_regression"],
            "protocol": "grouped",
            "scale": "default",
            "test/accuracy": 0.5,
        }
    )
    text = video_remarks.conclusion(pd.DataFrame([difference(**changes)]), summary, "[rates](rates.md)")
    assert text.endswith("sees no motion, scores 0.500 with protocol `grouped`.")
    assert "rates were chosen at scale `default`" in text
    assert "[rates](rates.md)" in text
    assert f"On the stand-in BT-LSTM, R = 4 against LSTM is {verdict} with protocol `grouped`" in text


def test_the_rate_with_the_lowest_validation_loss_is_chosen() -> None:
    rows = [
        (model, rate, loss) for model in ("LSTM", "TT-LSTM") for rate, loss in ((1e-4, 2.0), (1e-3, 1.5), (3e-3, 1.9))
    ]
    runs = pd.DataFrame(rows, columns=["model", "learning_rate", "val/loss"]).assign(
        **{"model_label": "x", "scaling": "raw", "epoch_chosen": 4, "val/accuracy": 0.3, "train/accuracy_last": 0.9}
    )
    table = rates(runs)
    assert table.loc[table["chosen"], "learning_rate"].tolist() == [1e-3, 1e-3]
    lines = tables.rates_table(table).splitlines()
    assert [line.endswith("| yes      |") for line in lines[2:]] == [False, True, False] * 2


def test_a_results_folder_of_ones_own_is_reported_without_touching_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "README.md").write_text(README)
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "own", "bt_lstm", 0, changes={"num_clips": None})
    collect.main(["--results-dir", "own"])
    report.main(["ucf11_actions", "--results-dir", "own"])
    assert (tmp_path / "README.md").read_text() == README
    assert "0.697" in (tmp_path / "own" / "tables" / "ucf11_actions.md").read_text()  # the paper's LSTM
