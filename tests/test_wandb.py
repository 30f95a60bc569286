"""What W&B is given: offline runs that read back as the CSV files say, and views that show what runs log."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from omegaconf import DictConfig, OmegaConf

from btrnn.engine import run
from btrnn.engine.config import ConfigError

from .conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import dashboard
import wandb_dashboard

sys.path.remove(str(ROOT / "scripts"))
SECRET = "5ec2e7" * 6 + "5ec2"  # as long as a key is
LEET = [sys.executable, "-m", "wandb", "leet"]


def records(log: Path, *options: str) -> str:
    command = [*LEET, "inspect", "--json", *options, str(log)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def offline_runs(run_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the records of each W&B run in a run folder, by its job type."""
    found = {}
    for log in run_dir.glob("wandb/offline-run-*"):
        lines = [json.loads(line) for line in records(log).splitlines()]
        (begun,) = [line["run"] for line in lines if line["type"] == "run" and "job_type" in line["run"]][:1]
        found[begun["job_type"]] = lines
    return found


@pytest.fixture
def logged(make_config: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    """A run of two epochs, trained and evaluated."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    config = make_config("logger=wandb", "scale.video.max_epochs=2")
    run.train(config)
    run.evaluate(Path(config.run_dir))
    return config


def test_offline_runs_read_back_as_the_run_folder_says(logged):
    run_dir = Path(logged.run_dir)
    jobs = offline_runs(run_dir)
    assert set(jobs) == {"train", "evaluate"}
    history = pd.read_csv(run_dir / "metrics.csv")
    items = [line["history"]["item"] for line in jobs["train"] if line["type"] == "history"]
    metrics = [name for name in history if "/" in name]
    assert metrics == ["train/loss", "train/accuracy", "val/loss", "val/accuracy"]
    for metric in (*metrics, "learning_rate", "first_gradient_norm", "examples_per_second"):
        curve = {item["epoch"]: item[metric] for item in items if metric in item}
        said = dict(zip(history["epoch"], history[metric], strict=True))
        # Lightning keeps what a callback logs in single precision, the CSV file in double
        assert curve == (said if metric in metrics else pytest.approx(said, rel=1e-6)), metric
    summary = json.loads((run_dir / "summary.json").read_text())
    for job, lines in jobs.items():
        (begun,) = [line["run"] for line in lines if line["type"] == "run" and "job_type" in line["run"]][:1]
        assert (begun["project"], begun["run_group"]) == ("btrnn", "ucf11"), job
        assert set(begun["tags"]) == {"ucf11", "paper", "raw", "tt_lstm", "smoke"}, job
        (log,) = [log for log in run_dir.glob("wandb/offline-run-*") if begun["run_id"] in log.name]
        shown = json.loads(records(log, "--summary"))
        assert shown["summary"]["test/accuracy"] == summary["test/accuracy"], job
        assert shown["config"]["ranks"] == {"tucker": 4, "num_blocks": 2, "tensor_train": 4}
        assert shown["state"] == "finished"
    kept = {key: value for key, value in summary.items() if isinstance(value, int | str) and value != ""}
    train_log = next(
        log for log in run_dir.glob("wandb/offline-run-*") if jobs["train"][1]["run"]["run_id"] in log.name
    )
    shown = json.loads(records(train_log, "--summary"))["summary"]
    assert {key: shown[key] for key in kept} == kept
    assert [path for path in run_dir.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []


def test_every_experiment_tags_its_runs_with_data_and_model(make_config):
    for path in (ROOT / "configs" / "experiment").glob("*.yaml"):
        config = make_config(f"experiment={path.stem}", "logger=wandb")
        logger = OmegaConf.to_container(config, resolve=True)["logger"]
        assert {config.data.source, config.model.name, config.scale.name} <= set(logger["tags"]), path.stem
        assert (logger["project"], logger["group"], logger["job_type"]) == ("btrnn", config.experiment, "train")
        if "protocol" in config.data:
            assert config.data.protocol in logger["tags"]


def test_the_dashboard_links_every_offline_run_and_opens_the_terminal_view(tmp_path, monkeypatch):
    logs = [
        tmp_path / "runs" / "ucf11" / name / "seed0" / "wandb" / f"offline-run-{name}"
        for name in ("20300101_000000-aaaa", "20300101_000001-bbbb")
    ]
    for log in logs:
        log.mkdir(parents=True)
        (log / f"run-{log.name[-4:]}.wandb").write_text("log")
    seen = []

    def look(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        assert command[:-1] == LEET
        seen.extend(sorted(path.read_text() for path in Path(command[-1]).glob("offline-run-*/*.wandb")))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", look)
    dashboard.main(["--results-dir", str(tmp_path)])
    assert seen == ["log", "log"]
    with pytest.raises(FileNotFoundError, match=r"no W&B files in .*: `make reproduce-ucf11 SCALE=smoke` makes some"):
        dashboard.main(["--results-dir", str(tmp_path / "runs")])


def panels(views: dict[str, Any], name: str) -> list[dict[str, Any]]:
    sections = views[name]["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


def test_the_views_are_printed_without_a_login(monkeypatch):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    environment |= {"HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "scripts" / "wandb_dashboard.py")]
    printed = subprocess.run(
        [*command, "--dry-run"], capture_output=True, text=True, check=True, env=environment
    ).stdout
    views = json.loads(printed)
    for section, (title, metrics, outcome) in wandb_dashboard.SECTIONS.items():
        curves = panels(views, f"Loss curves: {title}")
        assert [panel["config"]["metrics"] for panel in curves] == [[metric] for metric in metrics]
        assert {panel["config"]["groupBy"] for panel in curves} == {"model.value.name"}
        (sweep,) = panels(views, f"Order, rank and blocks: {title}")
        assert sweep["viewType"] == "Parallel Coordinates Plot"
        columns = [column["accessor"] for column in sweep["config"]["columns"]]
        assert columns == [f"summary:{name}" for name in ("order", "rank", "num_blocks", "parameters_input", outcome)]
        for name in (f"Loss curves: {title}", f"Order, rank and blocks: {title}"):
            (runs,) = views[name]["section"]["runSets"]
            found = [(item["key"]["name"], item["value"]) for item in runs["filters"]["filters"]]
            assert found == [("jobType", "train"), ("section.value", section)]
    shown = json.dumps(panels(views, "Pictures and captions"))
    assert all(f'"{key}"' in shown for key in ("test/samples", "test/canvases", "test/captions"))
    assert len(views) == 7
    refused = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert refused.returncode == 1
    assert "run `wandb login` first" in refused.stderr


def test_each_view_is_saved_once_for_the_account_that_is_logged_in(monkeypatch, capsys):
    from wandb_workspaces.workspaces import interface

    saved = []

    def upsert(view: Any) -> dict[str, Any]:
        saved.append((view.entity, view.project, view.display_name))
        return {"upsertView": {"view": {"name": view.name, "id": "1"}}}

    monkeypatch.setattr(interface.internal, "upsert_view2", upsert)
    monkeypatch.setattr(interface.Workspace, "url", "https://wandb.ai/someone/btrnn")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    wandb_dashboard.main(["--entity", "someone"])
    assert saved == [("someone", "btrnn", view.name) for view in wandb_dashboard.make_views("someone", "btrnn")]
    assert len(saved) == 7
    monkeypatch.setattr(wandb_dashboard.wandb, "Api", lambda: SimpleNamespace(default_entity=None))
    with pytest.raises(ConfigError, match="no default account or team: name one with --entity"):
        wandb_dashboard.main([])


def test_what_the_curves_view_shows_is_what_tasks_log():
    from btrnn.tasks import Captioning, Generation, VideoClassification

    tasks = {"video": VideoClassification, "generation": Generation, "captioning": Captioning}
    assert tasks.keys() == wandb_dashboard.SECTIONS.keys()
    for section, task in tasks.items():
        assert set(wandb_dashboard.SECTIONS[section].curves) <= set(task.metrics)
