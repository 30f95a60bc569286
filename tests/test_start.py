"""Runs that begin with what a dense model learnt."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from btrnn.engine import run
from btrnn.engine.config import ConfigError
from btrnn.engine.weights import read_state
from btrnn.nn.linear import BTLinear

MakeConfig = Callable[..., DictConfig]
SMALL = ("data.protocol=grouped", "modes.hidden=[2,2,2,2]", "scale.video.max_epochs=1")
SMALL += ("+trainer.limit_train_batches=2",)


@pytest.fixture
def dense(make_config: MakeConfig) -> Path:
    """The folder of a finished run of an LSTM with 16 hidden features."""
    config = make_config("model=lstm", *SMALL)
    run.train(config)
    return Path(config.run_dir)


def test_a_run_begins_with_the_nearest_w_and_all_else_as_it_was(make_config: MakeConfig, dense: Path) -> None:
    config = make_config("model=bt_lstm", *SMALL, f"start={dense}", "name=begun", "task.learning_rate=0.0")
    summary = run.train(config)
    weights = [read_state(Path(folder) / "checkpoints" / "best.pt") for folder in (dense, config.run_dir)]
    kept = sorted(name for name in weights[0] if "input_maps" not in name)
    assert len(kept) == 4  # U, its bias, the classifier's weight and bias
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in kept)
    (w,) = (weights[0][name] for name in weights[0] if "input_maps" in name)
    nearest = BTLinear.from_dense(w, (8, 20, 20, 18), (8, 2, 2, 2), tucker_rank=4, num_blocks=2)
    found = {name.rpartition("input_maps.0.")[2]: weights[1][name] for name in weights[1] if "input_maps" in name}
    nearest.load_state_dict(found)
    assert (summary["start"], summary["model"]) == ("lstm", "bt_lstm")
    assert summary["start_error"] == pytest.approx(nearest.relative_error(w), rel=1e-5)
    assert 0.5 < summary["start_error"] < 1


def test_what_a_run_cannot_begin_with_is_named(make_config: MakeConfig, dense: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path / 'none'} is not a finished run"):
        run.train(make_config(*SMALL, f"start={tmp_path / 'none'}", "name=none"))
    with pytest.raises(ConfigError, match=r"start=.*multiply to 57600 and 32, but the layer.s sizes are 57600 and 16"):
        run.train(make_config("model=bt_lstm", *SMALL, "modes.hidden=[2,2,2,4]", f"start={dense}", "name=larger"))
    factorised = make_config("model=tt_lstm", *SMALL)
    run.train(factorised)
    with pytest.raises(ConfigError, match=f"start={factorised.run_dir} is of model=tt_lstm"):
        run.train(make_config("model=bt_lstm", *SMALL, f"start={factorised.run_dir}", "name=twice"))


def test_the_experiment_begins_with_the_dense_run_of_the_same_fold(make_config: MakeConfig) -> None:
    started, of_dense = (
        make_config(f"experiment={experiment}", "data=ucf101", f"model={model}", "data.fold=3", "scale=default")
        for experiment, model in (("ucf101_compressed", "bt_lstm"), ("ucf101_groups", "lstm"))
    )
    # the name lists overrides of the command line, which are not composed here
    assert started.start == f"{of_dense.run_dir}".replace("default-fold", "default,scale.video.max_epochs=10-fold")
