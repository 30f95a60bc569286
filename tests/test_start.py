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

from .run_folders import change_config

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
    config = make_config("model=bt_lstm", *SMALL, f"start='{dense}'", "name=begun", "task.learning_rate=0.0")
    summary = run.train(config)
    weights = [read_state(Path(folder) / "checkpoints" / "best.pt") for folder in (dense, config.run_dir)]
    kept = sorted(name for name in weights[0] if "input_maps" not in name)
    assert len(kept) == 4  # U, its bias, the classifier's weight and bias
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in kept)
    (w,) = (weights[0][name] for name in weights[0] if "input_maps" in name)
    nearest = BTLinear.from_dense(w, (8, 20, 20, 18), (8, 2, 2, 2), tucker_rank=4, num_blocks=2)
    found = {name.rpartition("input_maps.0.")[2]: weights[1][name] for name in weights[1] if "input_maps" in name}
    assert found.keys() == nearest.state_dict().keys()
    for name, tensor in nearest.state_dict().items():
        torch.testing.assert_close(found[name], tensor)
    assert (summary["start"], summary["model"]) == ("lstm", "bt_lstm")
    assert summary["start_error"] == pytest.approx(nearest.relative_error(w), rel=1e-5)
    assert 0.5 < summary["start_error"] < 1


def test_a_dense_run_goes_on_where_another_ended(make_config: MakeConfig, dense: Path) -> None:
    config = make_config("model=lstm", *SMALL, f"start='{dense}'", "name=begun", "task.learning_rate=0.0")
    summary = run.train(config)
    weights = [read_state(Path(folder) / "checkpoints" / "best.pt") for folder in (dense, config.run_dir)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert (summary["start"], summary["start_error"]) == ("lstm", 0.0)


def test_what_a_run_cannot_begin_with_is_named(make_config: MakeConfig, dense: Path) -> None:
    place = str(dense.relative_to(dense.parents[3]))  # below results_dir
    assert place.startswith("runs/")

    def begun(*words: str, start: str = place) -> None:
        run.train(make_config("model=bt_lstm", *SMALL, f"start='{start}'", "name=begun", *words))

    with pytest.raises(FileNotFoundError, match="runs/none is not the folder of a finished run"):
        begun(start="runs/none")
    with pytest.raises(
        ConfigError, match=rf"start={dense}: .*multiply to 57600 and 32, but the layer.s sizes are 57600 and"
    ):
        begun("modes.hidden=[2,2,2,4]")
    for word, said in (
        ("seed=1", "seed: 0 there, 1 here"),
        ("data.protocol=paper", "data.protocol: grouped there, paper"),
    ):
        with pytest.raises(ConfigError, match=f"learnt of other data.*{said}"):
            begun(word)
    factorised = make_config("model=tt_lstm", *SMALL)
    run.train(factorised)
    with pytest.raises(ConfigError, match=f"start={factorised.run_dir} is of model=tt_lstm"):
        begun(start=factorised.run_dir)
    change_config(dense, "task.network.depth", 3)
    with pytest.raises(ConfigError, match=rf"^{dense}: .*task.network has the key 'depth'"):
        begun()
    (dense / "summary.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"it has no summary\.json"):
        begun()


def test_the_experiment_begins_with_the_dense_run_of_the_same_fold(make_config: MakeConfig) -> None:
    started, of_dense = (
        make_config(f"experiment={experiment}", "data=ucf101", f"model={model}", "data.fold=3", "scale=default")
        for experiment, model in (("ucf101_compressed", "bt_lstm"), ("ucf101_groups", "lstm"))
    )
    # the name lists overrides of the command line, which are not composed here
    named = of_dense.run_dir.replace("default-fold", "default,scale.video.max_epochs=10-fold")
    assert f"{started.results_dir}/{started.start}" == named
