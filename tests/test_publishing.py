"""Own results and published ones: what each command may touch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from btrnn.benchmark.records import note_machine, read_machines, section_path
from btrnn.reports.publishing import collect, publish
from btrnn.reports.writing import own_report, published_report, stale, write
from btrnn.results.store import read_results
from btrnn.storage.files import ResultsError

from .conftest import ROOT
from .run_folders import write_run

EXPERIMENT = "ucf11_motions"


def files(folder: Path) -> dict[str, bytes]:
    """Return what is below a folder, without run folders."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "runs" not in path.relative_to(folder).parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def results_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    shutil.copy(ROOT / "results" / "paper.csv", folder)
    return folder


def test_what_is_collected_and_reported_is_the_user_s_own(results_dir):
    for model in ("lstm", "bt_lstm"):
        write_run(results_dir, model, 0)
    lines = collect(results_dir)
    assert lines == [f"{EXPERIMENT}: 2 rows -> " + lines[0].split(" -> ")[1]]
    write(own_report(results_dir, [EXPERIMENT]), results_dir / "local")
    assert {path.split("/")[0] for path in files(results_dir)} == {"paper.csv", "local"}
    assert not (results_dir / "local" / "paper.csv").exists()
    assert len(read_results(results_dir / "local", EXPERIMENT).runs) == 2


def test_published_rows_stand_beside_the_user_s_and_are_told_apart(results_dir):
    for model in ("lstm", "bt_lstm"):
        write_run(results_dir, model, 0)
    collect(results_dir)
    publish(results_dir)
    shutil.rmtree(results_dir / "runs")
    shutil.rmtree(results_dir / "local")
    write_run(results_dir, "bt_lstm", 0, changes={"finished": "2031-01-01T00:00:00", "test/accuracy": 0.123})
    collect(results_dir)
    before = files(results_dir)
    report = own_report(results_dir)
    write(report, results_dir / "local")
    assert {path: content for path, content in files(results_dir).items() if not path.startswith("local/")} == {
        path: content for path, content in before.items() if not path.startswith("local/")
    }
    (page,) = (text for path, text in report.texts.items() if path.name == f"{EXPERIMENT}.md")
    rows = [line for line in page.splitlines() if line.startswith("| BT-LSTM")]
    assert any("0.123" in row and "yours" in row for row in rows)
    assert any("0.123" not in row and "yours" not in row for row in rows)


def test_publishing_replaces_the_rows_of_the_same_run_and_keeps_the_others(results_dir):
    write_run(results_dir, "lstm", 0)
    write_run(results_dir, "lstm", 1)
    collect(results_dir)
    written = publish(results_dir, [EXPERIMENT])
    assert results_dir / f"{EXPERIMENT}.csv" in written
    first = read_results(results_dir, EXPERIMENT).runs
    shutil.rmtree(results_dir / "runs")
    shutil.rmtree(results_dir / "local")
    write_run(results_dir, "lstm", 1, changes={"test/accuracy": 0.25})
    collect(results_dir)
    publish(results_dir)
    second = read_results(results_dir, EXPERIMENT).runs
    pd.testing.assert_series_equal(first.iloc[0], second.iloc[0])
    assert second["test/accuracy"].tolist()[1] == 0.25
    assert len(second) == 2
    again = files(results_dir)
    publish(results_dir)
    assert files(results_dir) == again


def test_runs_of_code_that_is_not_committed_and_smoke_runs_are_not_published(results_dir):
    write_run(results_dir, "lstm", 0, scale="smoke")
    write_run(results_dir, "lstm", 1)
    write_run(results_dir, "bt_lstm", 1, changes={"git_dirty": True})
    collect(results_dir)
    before = files(results_dir)
    with pytest.raises(ResultsError, match=r"1 of 2 runs of ucf11_motions were made by code that is not committed"):
        publish(results_dir)
    assert files(results_dir) == before
    shutil.rmtree(results_dir / "local")
    shutil.rmtree(next((results_dir / "runs" / EXPERIMENT).glob("bt_lstm*")))
    collect(results_dir)
    publish(results_dir)
    assert read_results(results_dir, EXPERIMENT).runs["scale"].tolist() == ["study"]


def test_what_is_not_there_is_named(results_dir):
    with pytest.raises(ResultsError, match=r"no run folders of ucf1 in .*runs; there are: none"):
        collect(results_dir, ["ucf1"])
    with pytest.raises(ResultsError, match=r"no results of ucf1 in .*local; there are: none"):
        publish(results_dir, ["ucf1"])
    with pytest.raises(ResultsError, match=r"no collected results of ucf1 in .*local; there are: none"):
        own_report(results_dir, ["ucf1"])


def test_nothing_is_published_where_one_of_several_cannot_be(results_dir):
    write_run(results_dir, "lstm", 0)
    write_run(results_dir, "lstm", 0, experiment="weizmann_motions", changes={"git_dirty": True})
    collect(results_dir)
    with pytest.raises(ResultsError, match="of weizmann_motions were made by code that is not committed"):
        publish(results_dir)
    assert not (results_dir / f"{EXPERIMENT}.csv").exists()


def test_a_benchmark_s_section_is_published_with_its_machine(results_dir):
    own = section_path(results_dir / "local", "product")
    own.parent.mkdir()
    shutil.copy(section_path(ROOT / "results", "product"), own)
    note_machine(results_dir / "local", "product", "cpu", {"processor": "mine"})
    assert publish(results_dir) == [section_path(results_dir, "product")]
    assert section_path(results_dir, "product").read_bytes() == own.read_bytes()
    assert read_machines(results_dir)["benchmark_product"] == {"processor": "mine"}


def test_a_published_file_that_is_out_of_date_is_named(results_dir):
    write_run(results_dir, "lstm", 0)
    collect(results_dir)
    publish(results_dir)
    report = published_report(results_dir)
    write(report, results_dir)
    assert stale(report, results_dir) == []
    page = results_dir / "tables" / f"{EXPERIMENT}.md"
    page.write_text(page.read_text().replace("LSTM", "LSTN"))
    assert stale(report, results_dir) == [page]


def make(folder: Path, *words: str) -> str:
    """Run make in a clone with this environment's programs; return what it prints."""
    command = ["make", f"BIN={Path(sys.executable).parent}", *words]
    environment = os.environ | {"PYTHONPATH": str(folder), "WANDB_MODE": "disabled"}
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def test_no_target_but_publish_touches_what_the_repository_holds(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--local", str(ROOT), str(clone)], check=True)
    (clone / ".venv").mkdir()
    for done in ("setup-done", "bench-done"):
        (clone / ".venv" / done).touch()
    printed = make(clone, "reproduce-ucf11", "SCALE=smoke", "SEEDS=0 model=bt_lstm")  # the smallest does as well
    assert "BT-LSTM" in printed
    make(clone, "tables")
    status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True, cwd=clone)
    assert status.stdout == ""
    assert list((clone / "results" / "local").glob("ucf11*.csv"))
    assert list((clone / "results" / "local" / "tables").glob("ucf11*.md"))
