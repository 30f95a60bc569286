"""Runs: skipped, resumed bit-equal after signals, refused, stopped; and what they leave behind."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from importlib import metadata
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import wandb
from lightning import LightningModule
from wandb.sdk.mailbox.mailbox_handle import HandleAbandonedError

from btrnn.data.video.clips import UCF11_FOLDER
from btrnn.engine import run
from btrnn.engine.baselines import add_baselines, fit_baseline
from btrnn.engine.config import ConfigError
from btrnn.engine.weights import WholeCheckpointIO, end_save, epoch_of, previous_checkpoint
from btrnn.results.schema import model_of
from btrnn.storage.atomic import move_file
from btrnn.storage.files import ResultsError
from btrnn.tasks import NonFiniteLossError, VideoClassification, caption_scores

from .conftest import ROOT, small_run, wandb_record
from .processes import Script, run_script
from .reliability import contents
from .run_folders import change_config, outcome

TRAIN = ROOT / "experiments" / "train.py"
TIMES = ["examples_per_second", "seconds"]
# as in a job of SLURM, for which Lightning has a behaviour of its own
SLURM = {f"SLURM_{name}": "0" for name in ("PROCID", "LOCALID", "NODEID")}
SLURM |= {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train"}


def without_times(run_dir: Path) -> pd.DataFrame:
    return pd.read_csv(run_dir / "metrics.csv").drop(columns=TIMES)


def start(videos_dir: Path, results_dir: Path, *overrides: str) -> Script:
    words = [f"data_dir={videos_dir}", f"results_dir={results_dir}", "logger=none", "resume_every_seconds=0"]
    return Script(TRAIN, *words, *overrides, environment=SLURM)


def output_of(process: Script) -> str:
    """Wait for the end; return all that was said, the errors last."""
    return "".join(process.communicate())


def wait_until(process: Script, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if condition():
            return
        assert process.returncode is None, output_of(process)
        time.sleep(0.01)
    raise AssertionError("the run does not get on")


def wait_for_rows(process: Script, results_dir: Path, rows: int) -> None:
    """Wait until the run has finished `rows` epochs."""

    def has_rows() -> bool:
        paths = list(results_dir.glob("runs/*/*/*/metrics.csv"))
        return bool(paths) and len(paths[0].read_text().splitlines()) > rows

    wait_until(process, has_rows)


def test_a_run_ended_by_signals_amid_epochs_ends_with_the_same_weights(videos_dir, tmp_path):
    overrides = [
        "model=bt_lstm",
        "optimizer.scaled=true",  # rates that follow from the first numbers, which the checkpoint no longer has
        "scale.video.max_epochs=4",
        "data.sampling=resampled",
        "data.protocol=grouped",
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for rows, number in ((1, signal.SIGUSR1), (2, signal.SIGKILL)):
        process = start(videos_dir, killed, *overrides)
        wait_for_rows(process, killed, rows)
        time.sleep(0.2)
        os.kill(process.pid, number)
        output = output_of(process)
        assert process.returncode == (128 + signal.SIGTERM if number == signal.SIGUSR1 else -number)
        assert ("the same command goes on" in output) == (number == signal.SIGUSR1)
        assert not list(killed.glob("**/summary.json"))
        assert not list(killed.glob("**/hpc_ckpt*"))
    for results_dir in (killed, whole):
        process = start(videos_dir, results_dir, *overrides)
        output = output_of(process)
        assert process.returncode == 0, output
    (whole_dir,), (killed_dir,) = (list(p.glob("runs/*/*/seed0")) for p in (whole, killed))
    pd.testing.assert_frame_equal(without_times(killed_dir), without_times(whole_dir), check_exact=True)
    weights = [torch.load(folder / "checkpoints" / "best.pt") for folder in (whole_dir, killed_dir)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert (whole_dir / "predictions.csv").read_text() == (killed_dir / "predictions.csv").read_text()
    assert outcome(killed_dir) == outcome(whole_dir)
    assert outcome(whole_dir).keys() >= {"epoch_chosen", "epochs", "val/loss", "test/accuracy", "parameters_total"}


def test_ctrl_c_leaves_a_run_that_goes_on(videos_dir, tmp_path):
    overrides = ["model=tt_lstm", "scale.video.max_epochs=3"]
    process = start(videos_dir, tmp_path, *overrides)
    wait_until(process, lambda: any(tmp_path.glob("runs/*/*/*/checkpoints/last.ckpt")))
    os.kill(process.pid, signal.SIGINT)
    output = output_of(process)
    assert process.returncode == 130
    assert "the same command goes on" in output
    assert "Traceback" not in output
    (run_dir,) = tmp_path.glob("runs/*/*/seed0")
    assert (run_dir / "checkpoints" / "last.ckpt").exists()
    process = start(videos_dir, tmp_path, *overrides)
    output = output_of(process)
    assert process.returncode == 0, output
    assert "resuming" in output
    assert pd.read_csv(run_dir / "metrics.csv")["epoch"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("made", ["motions/**/*.mpg", "cache/**/progress.jsonl"], ids=["drawn", "decoded"])
def test_ctrl_c_while_clips_are_drawn_or_decoded_leaves_what_goes_on(tmp_path, made):
    data_dir, results_dir = tmp_path / "data", tmp_path / "results"
    overrides = ["model=tt_lstm", "scale.video.num_clips=55", "scale.video.max_epochs=1"]
    process = start(data_dir, results_dir, *overrides)
    wait_until(process, lambda: any(data_dir.glob(made)))
    os.killpg(process.pid, signal.SIGINT)
    output = output_of(process)
    assert process.returncode == 130
    assert output.splitlines()[-1] == "stopped; the same command goes on from here"
    assert "Traceback" not in output
    before = {path: path.stat().st_mtime_ns for path in data_dir.glob("motions/**/*.mpg")}
    process = start(data_dir, results_dir, *overrides)
    output = output_of(process)
    assert process.returncode == 0, output
    after = {path: path.stat().st_mtime_ns for path in data_dir.glob("motions/**/*.mpg")}
    assert len(after) == 55
    assert before.items() <= after.items()


def test_a_failed_job_leaves_the_others_results_and_jobs_by_submitit_fill_the_gap(videos_dir, tmp_path):
    overrides = ["model=tt_lstm", "seed=0,1", "scale.video.max_epochs=1"]
    blocked = tmp_path / "runs" / "ucf11" / "tt_lstm_d4_r4-paper-raw-smoke,scale.video.max_epochs=1" / "seed0"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the folder should be")
    process = start(videos_dir, tmp_path, *overrides, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    output = output_of(process)
    assert process.returncode != 0
    assert "cannot be written" in output
    assert (blocked.parent / "seed1" / "summary.json").exists()
    blocked.unlink()
    printed = tmp_path / "jobs"
    process = start(
        videos_dir,
        tmp_path,
        *overrides,
        "hydra/launcher=submitit_local",
        f"hydra.launcher.submitit_folder={printed}/%j",
    )
    output = output_of(process)
    assert process.returncode == 0, output
    said = [path.read_text() for path in sorted(printed.rglob("*_log.out"))]
    assert ["nothing to do" in text for text in said] == [False, True]
    command = json.loads((blocked / "summary.json").read_text())["command"]
    assert command.startswith("python experiments/train.py ")
    assert {"model=tt_lstm", "seed=0", "scale.video.max_epochs=1"} <= set(command.split())


def test_files_and_summary_of_a_finished_run(make_config):
    config = make_config("scale.video.max_epochs=2", "seed=3")
    summary = run.train(config)
    run_dir = Path(config.run_dir)
    assert json.loads((run_dir / "summary.json").read_text()) == summary
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == ["best.pt"]
    history = pd.read_csv(run_dir / "metrics.csv")
    assert list(history.columns) == [
        *("epoch", "step", "train/loss", "train/accuracy", "val/loss", "val/accuracy"),
        *("learning_rate", "first_gradient_norm", "examples_per_second", "seconds"),
    ]
    assert history["step"].tolist() == [9, 18]  # 132 training clips in batches of 16
    assert not history.isna().any(axis=None)
    best = history.loc[history["val/loss"].idxmin()]
    assert summary["epoch_chosen"] == best["epoch"]
    # under the paper's protocol validation is the test split
    assert summary["test/accuracy"] == pytest.approx(best["val/accuracy"])
    assert summary["test/accuracy_last"] == pytest.approx(history["val/accuracy"].iloc[-1])
    predictions = pd.read_csv(run_dir / "predictions.csv")
    assert (predictions["label"] == predictions["predicted"]).mean() == pytest.approx(summary["test/accuracy"])
    assert len(predictions) == summary["num_test"] == 33
    assert (summary["parameters_input"], summary["stand_in"], summary["seed"]) == (3_360, False, 3)
    assert (summary["parameters_dense_total"], summary["hidden_size"]) == (59_248_395, 256)
    assert history["learning_rate"].iloc[1] == pytest.approx(1e-3 / (1 + 1.6667e-4 * 17))
    assert run.evaluate(run_dir)["test/accuracy"] == summary["test/accuracy"]
    with pytest.raises(ConfigError, match="its last weights were tested too, and are not kept"):
        run.evaluate(run_dir, rewrite=True)


def test_a_run_ends_though_the_package_is_on_the_path_alone(make_config, monkeypatch):
    def found(name, of_name=metadata.Distribution.from_name):
        if name == "btrnn":
            raise metadata.PackageNotFoundError(name)
        return of_name(name)

    monkeypatch.setattr(metadata.Distribution, "from_name", found)
    summary = run.train(make_config("scale.video.max_epochs=1"))
    assert summary["versions"] == {name: metadata.version(name) for name in ("torch", "lightning", "numpy", "av")}


def test_a_finished_run_is_not_done_again(make_config, monkeypatch):
    config = make_config("scale.video.max_epochs=1", "test=false")
    summary = run.train(config)
    assert "test/accuracy" not in summary
    assert not (Path(config.run_dir) / "predictions.csv").exists()
    monkeypatch.setattr(run, "_train", lambda *_: pytest.fail("trained again"))
    assert run.train(config) == summary


def test_another_configuration_in_the_same_folder_is_refused(make_config, finished):
    before = (Path(finished.run_dir) / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=r"classifier_l2: 0\.01 there, 0\.1 now"):
        run.train(make_config("scale.video.max_epochs=1", "task.classifier_l2=0.1"))
    assert (Path(finished.run_dir) / "config.yaml").read_text() == before


def test_nan_loss_stops_names_the_step_and_keeps_the_last_checkpoint(make_config, monkeypatch):
    original = VideoClassification.measure

    def poisoned(self, batch):
        measured = original(self, batch)
        return measured._replace(loss=measured.loss * float("nan")) if self.global_step == 12 else measured

    config = make_config("scale.video.max_epochs=2")
    with monkeypatch.context() as patch:
        patch.setattr(VideoClassification, "measure", poisoned)
        with pytest.raises(NonFiniteLossError, match="nan at step 12"):
            run.train(config)
    run_dir = Path(config.run_dir)
    assert len(pd.read_csv(run_dir / "metrics.csv")) == 1
    assert (run_dir / "checkpoints" / "last.ckpt").exists()
    assert run.train(config)["epochs"] == 2


def change_validation(monkeypatch, change):
    """Let validation find `change(epoch, loss)` where it found `loss`."""

    def changed(self, metrics, **options):
        metrics = {
            key: change(self.current_epoch, value) if key == "val/loss" else value for key, value in metrics.items()
        }
        LightningModule.log_dict(self, metrics, **options)

    monkeypatch.setattr(VideoClassification, "log_dict", changed)


def test_an_epoch_of_nan_is_not_the_best(make_config, monkeypatch):
    change_validation(monkeypatch, lambda epoch, loss: loss * float("nan") if epoch == 0 else loss)
    config = make_config("scale.video.max_epochs=2")
    assert run.train(config)["epoch_chosen"] == 1
    assert epoch_of(Path(config.run_dir) / "checkpoints" / "best.pt") == 1


def test_a_run_without_a_finite_validation_loss_is_not_finished(make_config, monkeypatch):
    change_validation(monkeypatch, lambda epoch, loss: loss * float("nan"))
    config = make_config("scale.video.max_epochs=2")
    with pytest.raises(NonFiniteLossError, match="val/loss"):
        run.train(config)
    assert not (Path(config.run_dir) / "summary.json").exists()


def test_a_run_cut_between_its_best_weights_and_its_checkpoint_goes_back_to_those_that_the_checkpoint_knows(
    make_config, monkeypatch
):
    class PowerCutError(Exception):
        """What ends the run."""

    def cut(self, checkpoint, path, storage_options=None):
        if checkpoint["epoch"] == 2:
            raise PowerCutError
        save_checkpoint(self, checkpoint, path, storage_options)

    save_checkpoint = WholeCheckpointIO.save_checkpoint
    config = make_config("scale.video.max_epochs=3")
    best_path = Path(config.run_dir) / "checkpoints" / "best.pt"
    with monkeypatch.context() as patch:
        patch.setattr(WholeCheckpointIO, "save_checkpoint", cut)
        with pytest.raises(PowerCutError):
            run.train(config)
    assert epoch_of(best_path) == 2  # ahead of the checkpoint
    change_validation(monkeypatch, lambda epoch, loss: loss + 100 * (epoch == 2))  # as another machine may find it
    summary = run.train(config)
    assert summary["epoch_chosen"] == epoch_of(best_path) == 1
    assert run.evaluate(Path(config.run_dir))["test/loss"] == summary["test/loss"]
    assert [path.name for path in best_path.parent.iterdir()] == ["best.pt"]


@pytest.fixture(scope="module")
def of_one_epoch(videos_dir, tmp_path_factory):
    """The folders of a run that was stopped before its test, and of the same run when it was finished."""
    folder = tmp_path_factory.mktemp("of_one_epoch")
    config = small_run(videos_dir, folder / "results", "scale.video.max_epochs=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_test", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run.train(config)
    stopped = shutil.copytree(config.run_dir, folder / "stopped")
    run.train(config)
    return stopped, config.run_dir


@pytest.fixture(scope="module")
def of_three_epochs(videos_dir, tmp_path_factory):
    """The folders of a run that was stopped after its second epoch, and of the same run when it was finished."""
    folder = tmp_path_factory.mktemp("of_three_epochs")
    config = small_run(videos_dir, folder / "results", "scale.video.max_epochs=3")
    with pytest.MonkeyPatch.context() as patch:
        change_validation(patch, lambda epoch, loss: (_ for _ in ()).throw(KeyboardInterrupt) if epoch == 2 else loss)
        with pytest.raises(SystemExit):
            run.train(config)
    stopped = shutil.copytree(config.run_dir, folder / "stopped")
    run.train(config)
    return stopped, Path(config.run_dir)


@pytest.fixture
def unfinished(make_config, of_one_epoch):
    """The configuration of a run that was stopped before its test."""
    config = make_config("scale.video.max_epochs=1")
    shutil.copytree(of_one_epoch[0], config.run_dir)
    return config


@pytest.fixture
def finished(make_config, of_one_epoch):
    """The configuration of a finished run."""
    config = make_config("scale.video.max_epochs=1")
    shutil.copytree(of_one_epoch[1], config.run_dir)
    return config


@pytest.mark.parametrize("name", ["last.ckpt", "best.pt"])
@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[: len(content) // 2], lambda _: b"x"])
def test_a_damaged_checkpoint_is_named_each_time(unfinished, name, damage):
    path = Path(unfinished.run_dir) / "checkpoints" / name
    path.write_bytes(damage(path.read_bytes()))
    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"(?s){name}.*delete .*the same command"):
            run.train(unfinished)


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_run_goes_back_to_the_checkpoint_before_a_damaged_one_and_ends_with_the_same_bits(
    make_config, of_three_epochs, caplog, damage
):
    stopped, whole = of_three_epochs
    config = make_config("scale.video.max_epochs=3")
    shutil.copytree(stopped, config.run_dir)
    last = Path(config.run_dir) / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    middle = len(content) // 2
    if damage == "missing":  # a kill between the two renamings
        last.unlink()
    else:  # of what torch.load alone would not see
        last.write_bytes(content[:middle] + bytes([255 - content[middle]]) + content[middle + 1 :])
    run.train(config)
    assert f"{last} is not used" in caplog.text
    assert "goes back to the one before, previous_last.ckpt" in caplog.text
    pd.testing.assert_frame_equal(without_times(Path(config.run_dir)), without_times(whole), check_exact=True)
    ours, theirs = (torch.load(Path(folder) / "checkpoints" / "best.pt") for folder in (config.run_dir, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [path.name for path in last.parent.iterdir()] == ["best.pt"]


def test_what_a_kill_left_half_written_is_gone_before_a_run_goes_on(unfinished, monkeypatch):
    run_dir = Path(unfinished.run_dir)
    (run_dir / ".metrics.csv.1-ab.part").write_bytes(b"half")
    (run_dir / "checkpoints" / ".next_last.ckpt.1-ab.part").write_bytes(b"half")
    left, fit = [], run.Trainer.fit
    monkeypatch.setattr(
        run.Trainer, "fit", lambda *given, **named: left.extend(run_dir.rglob(".*.part")) or fit(*given, **named)
    )
    run.train(unfinished)
    assert left == []


@pytest.mark.parametrize("killed", ["before the first renaming", "between them", "in the first save"])
def test_a_run_killed_before_its_checkpoint_has_its_name_goes_on_from_it(make_config, of_three_epochs, caplog, killed):
    stopped, whole = of_three_epochs
    config = make_config("scale.video.max_epochs=3")
    shutil.copytree(stopped, config.run_dir)
    last = Path(config.run_dir) / "checkpoints" / "last.ckpt"
    last.rename(last.with_name("next_last.ckpt"))
    if killed == "before the first renaming":
        previous_checkpoint(last).rename(last)
    elif killed == "in the first save":
        previous_checkpoint(last).unlink()
    run.train(config)
    epochs = pd.read_csv(Path(config.run_dir) / "metrics.csv")["seconds"]
    before = pd.read_csv(stopped / "metrics.csv")["seconds"]
    assert epochs[:2].tolist() == before.tolist(), "the second epoch is not done again"
    pd.testing.assert_frame_equal(without_times(Path(config.run_dir)), without_times(whole), check_exact=True)
    assert "is not used" not in caplog.text
    assert [path.name for path in last.parent.iterdir()] == ["best.pt"]


def test_a_damaged_checkpoint_without_its_name_is_not_gone_on_from(tmp_path, caplog):
    plugin, path = WholeCheckpointIO(), tmp_path / "last.ckpt"
    parts = {key: {} for key in ("state_dict", "callbacks", "loops", "optimizer_states")}
    for epoch in range(2):
        plugin.save_checkpoint(parts | {"epoch": epoch}, path)
    (tmp_path / "next_last.ckpt").write_bytes(path.read_bytes()[:-9])
    end_save(path)
    assert plugin.load_checkpoint(path)["epoch"] == 1
    assert "goes back to the one before" in caplog.text


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_the_checkpoint_before_an_empty_or_cut_one_is_loaded(tmp_path, caplog, kept):
    plugin, path = WholeCheckpointIO(), tmp_path / "last.ckpt"
    parts = {key: {} for key in ("state_dict", "callbacks", "loops", "optimizer_states")}
    for epoch in range(3):
        plugin.save_checkpoint(parts | {"epoch": epoch, "w": torch.zeros(1000)}, path)
    assert sorted(left.name for left in tmp_path.iterdir()) == ["last.ckpt", "previous_last.ckpt"]
    assert plugin.load_checkpoint(path)["epoch"] == 2
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert plugin.load_checkpoint(path)["epoch"] == 1
    assert "goes back to the one before" in caplog.text
    previous_checkpoint(path).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"previous_last\.ckpt is damaged"):
        plugin.load_checkpoint(path)


def test_a_damaged_checkpoint_never_takes_the_place_of_the_whole_one_before_it(tmp_path, monkeypatch):
    plugin, path = WholeCheckpointIO(), tmp_path / "last.ckpt"
    parts = {key: {} for key in ("state_dict", "callbacks", "loops", "optimizer_states")}
    for epoch in range(2):
        plugin.save_checkpoint(parts | {"epoch": epoch}, path)
    path.write_bytes(b"damaged")
    assert plugin.load_checkpoint(path)["epoch"] == 0

    def killed(old, new):
        if new == path:
            raise KeyboardInterrupt
        move_file(old, new)

    with monkeypatch.context() as patch:
        patch.setattr("btrnn.engine.weights.move_file", killed)
        with pytest.raises(KeyboardInterrupt):
            plugin.save_checkpoint(parts | {"epoch": 1}, path)
    assert plugin.load_checkpoint(path)["epoch"] == 0
    for epoch in range(1, 3):
        plugin.save_checkpoint(parts | {"epoch": epoch}, path)
    assert plugin.load_checkpoint(path)["epoch"] == 2
    assert plugin.load_checkpoint(previous_checkpoint(path))["epoch"] == 1


def test_a_checkpoint_that_would_run_code_is_refused(unfinished, tmp_path):
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    path = Path(unfinished.run_dir) / "checkpoints" / "last.ckpt"
    torch.save(torch.load(path, weights_only=True) | {"harm": Harmful()}, path)
    with pytest.raises(ConfigError, match=r"last\.ckpt is damaged \(UnpicklingError\)"):
        run.train(unfinished)
    assert not (tmp_path / "harm").exists()


def test_the_deletion_of_a_damaged_checkpoint_is_the_way_on(unfinished):
    path = Path(unfinished.run_dir) / "checkpoints" / "last.ckpt"
    path.write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"last\.ckpt"):
        run.train(unfinished)
    for left in path.parent.iterdir():
        left.unlink()
    assert run.train(unfinished)["epochs"] == 1


def test_a_file_that_is_no_checkpoint_is_named(unfinished):
    path = Path(unfinished.run_dir) / "checkpoints" / "last.ckpt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ConfigError, match=r"last\.ckpt.*lacks.*loops"):
        run.train(unfinished)


@pytest.mark.parametrize("name", ["summary.json", "config.yaml"])
def test_a_damaged_file_of_a_finished_run_is_named(finished, name):
    (Path(finished.run_dir) / name).write_text("{")
    with pytest.raises((ConfigError, ResultsError), match=name):
        run.train(finished)


def test_a_checkpoint_that_lightning_left_amid_an_epoch_is_not_gone_on_from(make_config):
    config = make_config("scale.video.max_epochs=1")
    left = Path(config.run_dir) / "hpc_ckpt_1.ckpt"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of the middle of an epoch")
    assert run.train(config)["epochs"] == 1
    assert not left.exists()


@pytest.mark.parametrize(
    ("refused", "error"), [(("online",), wandb.errors.UsageError), (("online", "offline"), HandleAbandonedError)]
)
def test_a_run_goes_on_offline_where_wandb_refuses_and_without_it_where_that_fails_too(
    make_config, monkeypatch, caplog, refused, error
):
    begin = wandb.init

    def refuse(**options):
        if options["mode"] in refused:
            raise error("no login")
        return begin(**options)

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "init", refuse)
    config = make_config("logger=wandb", "scale.video.max_epochs=1", "+trainer.limit_train_batches=2")
    assert run.train(config)["epochs"] == 1
    assert "no login" in caplog.text
    assert f"logged offline, below {config.run_dir}/wandb" in caplog.text
    logs = list(Path(config.run_dir).glob("wandb/offline-run-*/run-*.wandb"))
    assert [b"val/accuracy" in wandb_record(log) for log in logs] == [True] * (2 - len(refused))
    assert ("logger=none" in caplog.text) == (len(refused) == 2)


def test_the_commit_is_that_at_the_beginning_whatever_is_committed_while_a_run_trains(make_config, monkeypatch):
    order, fit = [], run.Trainer.fit
    monkeypatch.setattr(run, "git_state", lambda: order.append("commit"))
    monkeypatch.setattr(run.Trainer, "fit", lambda *given, **named: order.append("fit") or fit(*given, **named))
    run.train(make_config("scale.video.max_epochs=1", "+trainer.limit_train_batches=1"))
    assert order == ["commit", "fit"]


@pytest.mark.parametrize("place", ["finish", "plot.confusion_matrix"])
def test_a_run_is_not_lost_where_wandb_fails_at_its_end(make_config, monkeypatch, caplog, place):
    def broken(*_, **__):
        raise HandleAbandonedError("the service has gone")

    monkeypatch.setenv("WANDB_MODE", "offline")
    config = make_config("logger=wandb", "scale.video.max_epochs=1", "+trainer.limit_train_batches=2")
    finish = wandb.finish
    monkeypatch.setattr(f"wandb.{place}", broken)
    summary = run.train(config)
    finish()
    assert json.loads((Path(config.run_dir) / "summary.json").read_text()) == summary
    assert "W&B has not taken all of this run's log (the service has gone)" in caplog.text


def test_a_full_disk_ends_the_command_in_one_line_and_the_repeated_one_goes_on(tmp_path):
    """A limit of a file's size stands for the disk: the system refuses the write that passes it."""
    words = [
        "experiment=draw",
        "data=mnist_5k",
        "scale=smoke",
        "scale.generation.max_epochs=1",
        "model=bt_lstm",
        "seed=0",
        "logger=none",
        "resume_every_seconds=0",
    ]
    words += [f"results_dir={tmp_path}", f"data_dir={tmp_path}"]
    full = run_script(TRAIN, *words, largest_file=100_000)
    assert full.returncode == 1
    (line,) = full.stderr.splitlines()
    assert "best.pt" in line
    assert "the same command" in line
    assert not list(tmp_path.glob("**/*.part"))
    again = run_script(TRAIN, *words)
    assert again.returncode == 0, again.stderr
    assert list(tmp_path.glob("runs/*/*/seed0/summary.json"))


def test_results_folder_that_cannot_be_written(make_config, tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot be written .* choose another results_dir"):
        run.train(make_config())


def test_evaluate_names_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not a finished run: it has no config\.yaml"):
        run.evaluate(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("data.colour", "red", "data has the key 'colour'.* does not take"),
        ("data._target_", "btrnn.data.Moved", "data._target_ 'btrnn.data.Moved' cannot be imported"),
        ("data.protocol", "unheard", "needs|protocol"),
        ("task.network.depth", 3, "task.network has the key 'depth'"),
        ("trainer.turbo", True, "trainer has the key 'turbo'"),
        ("data", None, "it has no data"),
    ],
)
def test_a_run_that_another_version_wrote_is_named(finished, key, value, said):
    run_dir = Path(finished.run_dir)
    change_config(run_dir, key, value)
    with pytest.raises(ConfigError, match=rf"(?s)^{run_dir}: .*{said}.*another version of btrnn"):
        run.evaluate(run_dir)
    if key.startswith("data"):
        with pytest.raises(ConfigError, match=rf"(?s)^{run_dir}: .*{said}.*another version of btrnn"):
            add_baselines(run_dir.parent.parent)


def test_the_seed_draws_split_and_weights(make_config):
    task_0, task_1, again = (run._make(make_config(f"seed={seed}")) for seed in (0, 1, 0))
    for data, task in (task_0, task_1, again):
        run._prepare(data, task)
    weights = [list(task.network.state_dict().values()) for _, task in (task_0, task_1, again)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert task_0[0].splits.equals(again[0].splits)
    assert not task_0[0].splits.equals(task_1[0].splits)


# Of those that choose rates, which are the same experiments at other rates, untested, one of each task is enough. What
# needs features or another run to begin with is trained in test_encoded_clips.py and test_start.py.
_OTHERS = {"rates", "features", "maps", "compressed"}
EXPERIMENTS = sorted(
    path.stem
    for path in (ROOT / "configs" / "experiment").glob("*.yaml")
    if not _OTHERS & set(path.stem.split("_")) or path.stem in ("ucf101_rates_raw", "draw_rates", "captioning_rates")
)


@pytest.mark.parametrize(
    ("experiment", "model"),
    [
        pytest.param(experiment, model, marks=[pytest.mark.programs] if experiment == "captioning" else [])
        for experiment, model in zip(EXPERIMENTS, cycle(["bt_lstm", "tt_lstm"]), strict=False)
    ],
)
def test_every_experiment_trains_on_two_batches(make_config, monkeypatch, experiment, model):
    if experiment != "captioning":  # one run is enough for METEOR, whose Java takes 15 seconds
        monkeypatch.setattr(caption_scores, "has_java", lambda: False)
    data = {"video": "ucf11", "generation": "mnist_5k", "captioning": "scenes"}
    composed = make_config(f"experiment={experiment}")
    section = composed.section
    overrides = [f"experiment={experiment}", f"model={model}", f"data={data[section]}"]
    if composed.data.get("protocol") == "group_folds":  # which needs more groups; tests/test_folds.py trains on them
        overrides += ["data.protocol=grouped", "data.fold=null"]
    overrides.append(f"scale.{section}.max_epochs=1")
    summary = run.train(make_config(*overrides, "+trainer.limit_train_batches=2"))
    assert summary["epochs"] == 1
    assert ("test/meteor" in summary) == (section == "captioning" and caption_scores.has_java())
    assert (Path(make_config(*overrides).run_dir) / "checkpoints" / "best.pt").exists()


@pytest.mark.parametrize("model", ["gru", "tt_gru", "bt_gru"])
def test_a_gru_trains_as_the_lstm_does(make_config, model):
    words = ["experiment=ucf11", f"model={model}", "scale.video.max_epochs=1"]
    summary = run.train(make_config(*words, "+trainer.limit_train_batches=2"))
    assert (summary["model"], summary["model_label"]) == (model, model_of(model).label)
    assert summary["parameters_dense_input"] == 57_600 * 3 * 256
    assert 0 <= summary["test/accuracy"] <= 1


def test_a_factorised_u_is_a_choice_of_the_configuration(make_config):
    block_term = "{_target_: btrnn.nn.input_map.BlockTerm, in_modes: [4,4,4,4], hidden_modes: [4,4,4,4], rank: 2}"
    words = ["experiment=ucf11", "model=bt_gru", f"+model.layer.hidden_map={block_term}", "cell.recurrent_init=uniform"]
    words += ["scale.video.max_epochs=1", "+trainer.limit_train_batches=2", "name=factorised_u"]
    summary = run.train(make_config(*words))
    of_u, of_rest = 2**4 + (12 * 4 + 3 * 16) * 2, 4 * 256 + 257 * 11  # of the rest: the biases and the classifier
    assert summary["parameters_total"] - summary["parameters_input"] == of_u + of_rest
    assert summary["parameters_dense_total"] == 57_600 * 3 * 256 + 3 * 256 * 256 + of_rest


def test_wandb_gets_the_curves_and_the_confusion_matrix(make_config, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = make_config("logger=wandb", "scale.video.max_epochs=1")
    run.train(config)
    (logged,) = Path(config.run_dir).glob("wandb/offline-run-*/run-*.wandb")
    content = wandb_record(logged)
    for text in (
        b"val/accuracy",
        b"learning_rate",
        b"first_gradient_norm",
        b"examples_per_second",
        b"confusion_matrix",
    ):
        assert text in content, text


def test_a_run_of_draw_leaves_bounds_and_pictures_that_its_weights_give_again(make_config, monkeypatch):
    config = make_config(
        "experiment=draw", "data=mnist_5k", "model=bt_lstm", "task.importance_samples=2", "task.judged_samples=20"
    )
    summary = run.train(config)
    run_dir = Path(config.run_dir)
    history = pd.read_csv(run_dir / "metrics.csv")
    assert summary["epoch_chosen"] == history["val/nll_bound"].idxmin()
    assert summary["test/nll_bound"] == pytest.approx(summary["test/reconstruction"] + summary["test/kl"], abs=1e-3)
    assert summary["test/nll_importance"] < summary["test/nll_bound"]
    assert 1 <= summary["test/digit_score"] < summary["test/digit_score_true"] <= 10  # hardly trained: noise
    assert (summary["parameters_input"], summary["parameters_dense_input"]) == (1_184, 1_867_776)
    assert (summary["source"], summary["experiment"], summary["num_test"]) == ("mnist_5k", "draw_mnist_5k", 500)
    pictures = dict(np.load(run_dir / "arrays.npz"))
    assert pictures["samples"].shape == (100, 28, 28)
    assert pictures["canvases"].shape == (4, 10, 28, 28)
    assert np.array_equal(pictures["canvases"][-1], pictures["samples"][:10])
    assert np.isin(pictures["originals"], [0, 255]).all()
    given = []
    monkeypatch.setattr(run, "load_weights", lambda *args, load=run.load_weights: (load(*args), given.append(args[0])))
    again = run.evaluate(run_dir)
    assert again == {key: value for key, value in summary.items() if key in again}
    data, task = run._make(config)
    run._prepare(data, task)
    for name, array in given[0].outputs(data).items():
        assert np.array_equal(array, pictures[name]), name


def test_wandb_gets_the_pictures_of_draw(make_config, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = make_config(
        "experiment=draw", "data=mnist_5k", "model=tt_lstm", "logger=wandb", "scale.generation.max_epochs=1"
    )
    run.train(config)
    (logged,) = Path(config.run_dir).glob("wandb/offline-run-*/run-*.wandb")
    for text in (b"val/nll_bound", b"test/samples", b"test/canvases", b"test/reconstructions"):
        assert text in wandb_record(logged), text


def test_what_the_data_refuse_is_a_mistake_of_the_configuration(make_config):
    with pytest.raises(ConfigError, match=r"num_train must be from 1 to the \d+ training clips"):
        run.train(make_config("data.num_train=5000"))


def test_the_baseline_is_fitted_on_the_runs_own_splits(make_config, videos_dir, tmp_path):
    config = make_config("scale.video.max_epochs=1", "data.protocol=grouped")
    run.train(config)
    experiment_dir = Path(config.run_dir).parent.parent
    left = experiment_dir / "logistic_regression-grouped-raw-smoke" / "seed0" / ".splits.csv.1-ab.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a process that was killed")
    fitted = run_script(ROOT / "experiments" / "baseline.py", experiment_dir)
    assert fitted.returncode == 0, fitted.stderr
    assert fitted.stdout.startswith("fitting")
    run_dir = left.parent
    assert not left.exists()
    summary = json.loads((run_dir / "summary.json").read_text())
    predictions = pd.read_csv(run_dir / "predictions.csv")
    assert (predictions["label"] == predictions["predicted"]).mean() == pytest.approx(summary["test/accuracy"])
    assert summary["test/accuracy"] > 0.9  # the tiny set's classes differ in brightness
    assert summary["command"] == "python experiments/baseline.py results/runs/ucf11"
    assert (run_dir / "splits.csv").read_text() == (Path(config.run_dir) / "splits.csv").read_text()
    neighbour = json.loads((experiment_dir / "nearest_neighbour-grouped-raw-smoke/seed0/summary.json").read_text())
    assert neighbour["test/accuracy"] > 0.7  # of near-duplicates; chance is .09
    assert neighbour["parameters_total"] == 0
    again = run_script(ROOT / "experiments" / "baseline.py", experiment_dir)
    assert (again.returncode, again.stdout) == (0, "")


def test_baselines_where_no_run_is_finished_end_with_the_folder_s_name(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        outcome = run_script(ROOT / "experiments" / "baseline.py", folder)
        assert (outcome.returncode, outcome.stdout) == (1, "")
        assert outcome.stderr.startswith(f"error: {folder} holds no finished run")


def test_baselines_see_each_clip_once_and_miss_a_class_without_clips(make_config):
    words = ["data.protocol=grouped", "data.num_train=6"]  # of eleven classes
    (once, _, _), (thrice, _, _) = (fit_baseline(make_config(*words, f"data.passes={passes}")) for passes in (1, 3))
    assert once["test/accuracy"] < 0.7
    assert once["val/loss"] > 5  # of clips whose class has probability 0
    assert thrice == pytest.approx(once, rel=1e-2)


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("modes.input=[8,20,20,17]", ConfigError, r"multiply to 54,400, but a frame has 57,600"),
        ("modes.hidden=[4,4,4]", Exception, r"hidden_modes \(4, 4, 4\) must have the same length"),
        ("model.layer.tt_rank=0", Exception, "tt_rank must be an integer of at least 1, got 0"),
        ("trainer.accelerator=hpu", Exception, "accelerator"),
    ],
)
def test_a_network_or_device_that_cannot_be_fails_before_data_is_touched(
    make_config, monkeypatch, override, error, message
):
    monkeypatch.setattr("btrnn.data.video.dataset.VideoClips.prepare_data", lambda _: pytest.fail("touched the data"))
    with pytest.raises(error, match=message):
        run.train(make_config(override))


def test_weights_of_another_network_are_refused(make_config):
    small, large = (make_config(f"model.layer.tt_rank={rank}", "scale.video.max_epochs=1") for rank in (1, 4))
    assert small.run_dir != large.run_dir
    for config in (small, large):
        run.train(config)
    weights = Path("checkpoints") / "best.pt"
    (Path(small.run_dir) / weights).write_bytes((Path(large.run_dir) / weights).read_bytes())
    with pytest.raises(ConfigError, match=r"(?s)does not hold weights of the network .*size mismatch"):
        run.evaluate(Path(small.run_dir))
    (Path(small.run_dir) / weights).write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"best\.pt does not hold weights"):
        run.evaluate(Path(small.run_dir))


def test_two_processes_asked_for_one_run_do_it_once(videos_dir, tmp_path):
    overrides = ["model=tt_lstm", "scale.video.max_epochs=2"]
    first = start(videos_dir, tmp_path, *overrides)
    wait_for_rows(first, tmp_path, 1)
    second = start(videos_dir, tmp_path, *overrides)
    outputs = [output_of(process) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert "nothing to do" in outputs[1]
    (run_dir,) = tmp_path.glob("runs/*/*/seed0")
    assert pd.read_csv(run_dir / "metrics.csv")["epoch"].tolist() == [0, 1]


def test_a_second_process_asked_for_a_run_goes_on_where_the_first_was_killed(videos_dir, tmp_path):
    overrides = ["model=tt_lstm", "scale.video.max_epochs=3"]
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    first = start(videos_dir, shared, *overrides)
    wait_until(first, lambda: any(shared.glob("runs/*/*/*/checkpoints/last.ckpt")))
    os.kill(first.pid, signal.SIGSTOP)  # so that it does not end before the second asks
    second = start(videos_dir, shared, *overrides)
    wait_until(second, lambda: "Another process is at work" in second.stdout)
    os.kill(first.pid, signal.SIGKILL)
    alone = start(videos_dir, whole, *overrides)
    outputs = [output_of(process) for process in (first, second, alone)]
    assert [first.returncode, second.returncode, alone.returncode] == [-signal.SIGKILL, 0, 0], outputs
    assert "resuming" in outputs[1]
    assert contents(shared) == contents(whole)


def test_what_hydra_writes_may_have_been_written_by_another_user(videos_dir, tmp_path):
    experiment_dir = tmp_path / "runs" / "ucf11"
    experiment_dir.mkdir(parents=True)
    (experiment_dir / "multirun.yaml").symlink_to("/dev/full")  # so that not even root can write it
    process = start(videos_dir, tmp_path, "model=tt_lstm", "scale.video.max_epochs=1")
    said = output_of(process)
    assert process.returncode == 0, said
    assert (experiment_dir / "multirun.yaml").is_file()


def test_what_hydra_writes_may_find_no_room(videos_dir, tmp_path):
    words = [f"data_dir={videos_dir}", f"results_dir={tmp_path}", "logger=none"]
    process = Script(TRAIN, *words, environment=SLURM, largest_file=2_000)  # bytes
    said = output_of(process)
    assert process.returncode == 1
    assert (tmp_path / "runs" / "ucf11" / "multirun.yaml").exists()
    assert "error: [Errno 27] File too large" in said
    assert "ulimit -f" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("mode", ["MULTIRUN", "RUN"])
def test_a_results_folder_that_cannot_be_made_ends_in_one_line(videos_dir, mode):
    process = start(videos_dir, Path("/proc/results"), f"hydra.mode={mode}")  # where not even root can make one
    said = output_of(process)
    assert process.returncode == 1
    assert "/proc/results" in said
    assert "Traceback" not in said


def test_an_experiments_folder_that_cannot_be_written_ends_in_one_line(videos_dir, tmp_path):
    (tmp_path / "runs" / "ucf11" / "multirun.yaml").mkdir(parents=True)
    process = start(videos_dir, tmp_path)
    said = output_of(process)
    assert process.returncode == 1
    assert "move it away" in said
    assert "Traceback" not in said


def test_two_jobs_of_joblib_at_once_share_what_both_need_and_find_what_each_finds_alone(videos_dir, tmp_path):
    data_dir, overrides = tmp_path / "data", ["model=tt_lstm", "name=tiny", "scale.video.max_epochs=1"]
    data_dir.mkdir()
    (data_dir / UCF11_FOLDER).symlink_to(videos_dir / UCF11_FOLDER)  # and no cache beside it
    at_once = ["seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    both = start(data_dir, tmp_path / "both", *overrides, *at_once)
    output = output_of(both)
    assert both.returncode == 0, output
    for seed in range(2):
        run.train(small_run(videos_dir, tmp_path / "alone", *overrides, f"seed={seed}"))
    ours, theirs = contents(tmp_path / "both"), contents(tmp_path / "alone")
    assert ours == theirs
    assert sum(name.endswith("summary.json") for name in ours) == 2
    assert not list(data_dir.rglob(".*.part"))
