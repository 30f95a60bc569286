"""Runs in several processes: what one device would find, gone on with by any number, and refused where it cannot be."""

import os
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from omegaconf import DictConfig

from btrnn.engine import processes, run
from btrnn.engine.callbacks import ResumePoint
from btrnn.engine.config import ConfigError

from .conftest import ROOT
from .processes import Script
from .refusal import be_killed, refuse

EPOCHS = 4
WORDS = [
    "model=tt_lstm",
    "name=shared",
    f"scale.video.max_epochs={EPOCHS}",
    "trainer.accelerator=cpu",
    "task.learning_rate=1e-4",
]
THREADS = {"OMP_NUM_THREADS": "1"}


class CutError(Exception):
    """What ends a run after its checkpoint."""


def command(videos_dir: Path, results_dir: Path, **environment: str) -> Script:
    """Start the command that trains on two devices."""
    words = [f"data_dir={videos_dir}", f"results_dir={results_dir}", "logger=none", "resume_every_seconds=0"]
    return Script(
        ROOT / "experiments" / "train.py", *words, *WORDS, "trainer.devices=2", environment={**environment, **THREADS}
    )


def as_torchrun_starts_them(videos_dir: Path, *results_dirs: Path) -> list[Script]:
    """Start two processes in the environment that torchrun would give them, each told of a folder for results."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(find_free_network_port())}
    common |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2))
    return [command(videos_dir, place, **common, **rank) for place, rank in zip(results_dirs, ranks, strict=True)]


def test_two_processes_find_what_one_does_and_each_goes_on_where_the_other_stopped(
    make_config, videos_dir, tmp_path, monkeypatch
):
    config = make_config(*WORDS)
    expected = run.train(config)
    run_dir = Path(config.run_dir)
    whole = shutil.move(run_dir, tmp_path / "whole")

    pair = as_torchrun_starts_them(videos_dir, tmp_path / "results", tmp_path / "of_the_other")
    deadline = time.monotonic() + 240
    while not (run_dir / "checkpoints" / "last.ckpt").exists():
        outputs = [process.communicate() for process in pair if process.returncode is not None]
        assert not outputs
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for process in pair:
        os.kill(process.pid, signal.SIGTERM)
    for process in pair:
        process.communicate()
        assert process.returncode == -signal.SIGTERM  # at once
    assert not (run_dir / "summary.json").exists()
    of_the_other = [path.name for path in (tmp_path / "of_the_other").rglob("*") if path.is_file()]
    assert of_the_other == ["multirun.yaml"]  # Hydra's; of the run the first process alone writes

    with monkeypatch.context() as patch:
        patch.setattr(ResumePoint, "on_train_epoch_end", cut_after(ResumePoint.on_train_epoch_end))
        with pytest.raises(CutError):
            run.train(config)
    by_one = len(pd.read_csv(run_dir / "metrics.csv"))
    assert 1 < by_one < EPOCHS

    alone = command(videos_dir, tmp_path / "results")  # which starts the two itself
    output = "".join(alone.communicate())
    assert alone.returncode == 0, output
    assert output.count("resuming") == output.count(f"epoch {EPOCHS}/{EPOCHS}") == 1  # the first alone speaks

    summary = run.train(config)  # nothing is left to do
    assert summary["device"] == "2 x cpu"
    assert summary["epochs"] == EPOCHS
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["best.pt"]
    metrics, of_one = (pd.read_csv(folder / "metrics.csv") for folder in (run_dir, whole))
    times = ["examples_per_second", "seconds"]
    pd.testing.assert_frame_equal(metrics.drop(columns=times), of_one.drop(columns=times), rtol=1e-3)
    pd.testing.assert_frame_equal(metrics.drop(columns=times)[:1], of_one.drop(columns=times)[:1], rtol=1e-5)
    assert summary["test/loss"] == pytest.approx(expected["test/loss"], rel=1e-3)
    weights = [torch.load(folder / "checkpoints" / "best.pt") for folder in (run_dir, whole)]
    for name in weights[1]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=0, atol=1e-4, msg=name)
    tables = [pd.read_csv(folder / "predictions.csv") for folder in (run_dir, whole)]
    assert tables[0]["clip"].tolist() == tables[1]["clip"].tolist()
    assert (tables[0]["predicted"] == tables[1]["predicted"]).mean() > 0.9
    assert (run_dir / "splits.csv").read_text() == (whole / "splits.csv").read_text()


def cut_after(save):
    def cut(*arguments):
        save(*arguments)
        raise CutError

    return cut


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (refuse, r"^this does not fit$"),
        (be_killed, r"processes ended: Signal 9 .*; the same command goes on from the last checkpoint$"),
    ],
)
def test_a_process_that_fails_ends_the_others_and_its_message_is_the_runs(caplog, work, message):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(processes.ProcessError, match=message):
        processes.launch(work, DictConfig({"name": "this"}), 2)
    assert signal.getsignal(signal.SIGINT) is before
    assert not caplog.records


@pytest.mark.parametrize(
    ("words", "started", "message"),
    [
        (["trainer.devices=2", "trainer.num_nodes=3"], None, r"torchrun --nnodes=3 --nproc-per-node=2"),
        (["trainer.num_nodes=3"], None, r"torchrun --nnodes=3 --nproc-per-node=1"),
        (["trainer.devices=2", "+trainer.strategy=fsdp"], None, r"strategy=fsdp: several devices train by ddp"),
        (["trainer.devices=2"], "4", r"ask for 2 process.* torchrun started 4"),
        ([], "4", r"ask for 1 process.* torchrun started 4"),
    ],
)
def test_processes_that_cannot_be_are_refused_before_any_work(make_config, monkeypatch, words, started, message):
    if started is not None:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
        monkeypatch.setenv("WORLD_SIZE", started)
    config = make_config("trainer.accelerator=cpu", *words)
    monkeypatch.setattr(run, "_make", lambda *_: pytest.fail("worked"))
    with pytest.raises(ConfigError, match=message):
        run.train(config)
    assert not Path(config.run_dir).exists()


def test_a_batch_too_small_for_the_devices_is_refused_before_data_are_touched(make_config, monkeypatch):
    monkeypatch.setattr("btrnn.data.video.dataset.VideoClips.prepare_data", lambda _: pytest.fail("touched the data"))
    with pytest.raises(ConfigError, match=r"data\.batch_size=4 .* at most 4 devices"):
        run._make(make_config("data.batch_size=4"), 5)


def test_the_number_of_devices_is_no_science(make_config):
    one, two = make_config(), make_config("trainer.devices=2", "trainer.num_nodes=2")
    assert one.run_dir == two.run_dir
