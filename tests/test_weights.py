"""Exported weights: the same numbers bit for bit, and nothing else passes for them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from btrnn.engine import run
from btrnn.engine.config import ConfigError
from btrnn.engine.weights import _digest, export_weights, moved, read_weights
from btrnn.reports.writing import card_texts
from btrnn.results.exported import LARGEST_BYTES, add_to_index, weights_dir
from btrnn.results.store import collect, write_results
from btrnn.storage.files import ResultsError
from tests.run_folders import change_config, write_run

from .conftest import ROOT
from .processes import run_script

sys.path.insert(0, str(ROOT / "scripts"))
import export_weights as script

sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture
def trained(make_config: Callable[..., DictConfig]) -> DictConfig:
    """A finished run of one epoch, collected."""
    config = make_config("scale.video.max_epochs=1")
    run.train(config)
    results_dir = Path(config.results_dir)
    write_results(collect(results_dir, "ucf11")[0], results_dir, "ucf11")
    return config


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def test_exported_weights_give_the_reported_numbers_bit_for_bit(trained, videos_dir):
    results_dir, run_dir = Path(trained.results_dir), Path(trained.run_dir)
    script.main([str(run_dir), "--results-dir", str(results_dir)])
    (path,) = results_dir.glob("weights/*.safetensors")
    assert path.name == f"ucf11-{trained.name}-seed0.safetensors"
    assert path.stat().st_size < LARGEST_BYTES
    summary = json.loads((run_dir / "summary.json").read_text())
    best = torch.load(run_dir / "checkpoints" / "best.pt")
    weights = read_weights(path)
    assert weights.state.keys() == best.keys()
    assert all(torch.equal(weights.state[name], best[name]) for name in best)
    assert weights.reported == {key: value for key, value in summary.items() if key.startswith("test/")}
    outcome = run_script(ROOT / "experiments" / "evaluate.py", path, "--data-dir", videos_dir)
    assert outcome.returncode == 0, outcome.stderr
    metrics = json.loads(outcome.stdout)
    assert metrics == {key: summary[key] for key in ("test/loss", "test/accuracy")}
    assert f'"test/accuracy": {summary["test/accuracy"]}' in outcome.stderr
    assert str(results_dir) not in header(path)["config"]  # no folder of this machine goes along
    assert str(videos_dir) not in header(path)["config"]


def test_a_run_whose_data_had_an_earlier_name_gives_its_numbers_again(trained, tmp_path, videos_dir):
    run_dir = Path(trained.run_dir)
    change_config(run_dir, "data._target_", "btrnn.data.video.dataset.UCF11")
    reported = json.loads((run_dir / "summary.json").read_text())["test/accuracy"]
    assert run.evaluate(run_dir)["test/accuracy"] == reported
    saved = OmegaConf.load(run_dir / "config.yaml")
    saved.logger = None
    parts = {"config": OmegaConf.to_yaml(saved), "reported": "{}", "vocabulary": ""}
    assert "dataset.UCF11" in parts["config"]
    state = read_weights(run_dir).state
    path = tmp_path / "old.safetensors"
    save_file(state, path, parts | {"sha256": _digest([*parts.values()], state)})
    assert read_weights(path).config.data._target_ == "btrnn.data.video.dataset.VideoClips"


def test_the_card_says_what_the_committed_table_says(trained):
    results_dir, run_dir = Path(trained.results_dir), Path(trained.run_dir)
    script.main([str(run_dir), "--results-dir", str(results_dir)])
    summary = json.loads((run_dir / "summary.json").read_text())
    (card,) = results_dir.glob("weights/ucf11-*.md")
    text = card.read_text()
    assert text.startswith("# TT-LSTM: action recognition on UCF11\n")
    assert f"| {summary['test/accuracy']:.6g}" in text
    for said in ("3,360 of W", summary["git_commit"], summary["command"], "MIT", "Protocol `paper`", "scaling raw"):
        assert said in text, said
    listed = (results_dir / "weights" / "README.md").read_text()
    assert f"({card.name})" in listed
    assert f"({card.stem}.safetensors)" in listed
    texts = card_texts(results_dir)
    assert {path: (results_dir / path).read_text() for path in texts} == texts


def test_a_model_that_is_too_large_gets_a_card_with_the_command_that_makes_it(trained, monkeypatch):
    results_dir, run_dir = Path(trained.results_dir), Path(trained.run_dir)
    monkeypatch.setattr(script, "LARGEST_BYTES", 1_000_000)
    script.main([str(run_dir), "--results-dir", str(results_dir)])
    assert not list(results_dir.glob("weights/*.safetensors"))
    (card,) = results_dir.glob("weights/ucf11-*.md")
    assert json.loads((run_dir / "summary.json").read_text())["command"] in card.read_text()
    assert "none: 1.1 MB" in (results_dir / "weights" / "README.md").read_text()


def test_another_seed_takes_the_place_of_the_first(tmp_path):
    folders = [write_run(tmp_path, "bt_lstm", seed) for seed in (0, 1)]
    for folder in folders:
        (folder / "checkpoints").mkdir()
        torch.save({"weight": torch.zeros(2)}, folder / "checkpoints" / "best.pt")
        (folder / "config.yaml").write_text(f"experiment: x\ndata_dir: data\nresults_dir: {tmp_path}\nlogger: null\n")
    write_results(collect(tmp_path, "ucf11_motions")[0], tmp_path, "ucf11_motions")
    for folder in folders:
        script.main([str(folder), "--results-dir", str(tmp_path)])
    names = sorted(path.name for path in (tmp_path / "weights").iterdir())
    stem = f"ucf11_motions-{folders[1].parent.name}-seed1"
    assert names == ["README.md", "index.csv", f"{stem}.md", f"{stem}.safetensors"]
    assert pd.read_csv(tmp_path / "weights" / "index.csv")["seed"].tolist() == [1]
    card = (tmp_path / "weights" / f"{stem}.md").read_text()
    assert "**Trained and tested on Motions (stand-in)**" in card
    assert " (2) [" in card  # the mean over both seeds stands beside


def exported(tmp_path: Path) -> Path:
    """A file of weights of a run folder that holds next to nothing."""
    run_dir = tmp_path / "runs" / "ucf11" / "name" / "seed0"
    (run_dir / "checkpoints").mkdir(parents=True)
    torch.save({"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3)}, run_dir / "checkpoints" / "best.pt")
    (run_dir / "config.yaml").write_text(
        "experiment: x\ndata_dir: data\nresults_dir: results\nlogger: {mode: offline}\n"
    )
    (run_dir / "summary.json").write_text('{"test/accuracy": 0.1, "seed": 0}')
    path = tmp_path / "weights.safetensors"
    assert export_weights(run_dir, path, largest=10_000) == path.stat().st_size
    return path


def test_what_was_changed_after_the_export_is_refused(tmp_path):
    path = exported(tmp_path)
    assert read_weights(path).reported == {"test/accuracy": 0.1}
    assert read_weights(path).config.logger is None
    content = path.read_bytes()
    for name, changed in {
        "a weight": content[:-1] + bytes([content[-1] ^ 1]),
        "the reported number": content.replace(b'accuracy\\": 0.1', b'accuracy\\": 0.9'),
        "the configuration": content.replace(b"data_dir: data", b"data_dir: dbta"),
    }.items():
        assert changed != content, name
        path.write_bytes(changed)
        with pytest.raises(ConfigError, match=r"is not what was exported: the digest"):
            read_weights(path)
    path.write_bytes(content[:-5])
    with pytest.raises(ConfigError, match="not a readable safetensors file"):
        read_weights(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ConfigError, match=r"was not written by scripts/export_weights.py: its header has no config"):
        read_weights(path)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*other\.safetensors"):
        read_weights(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{task: {_target_: joblib.load, filename: x.pkl}}", "task._target_ is joblib.load, which is no network"),
        ("{data: {sets: [{_target_: btrnn.storage.atomic.replace_file}]}}", r"data.sets.0._target_ is btrnn.storage"),
        ("{model: {layer: {_target_: btrnn.data.encoders.torch.load}}}", "which is no network"),
        ("{model: {layer: {_target_: btrnn.nn.compress.compress}}}", "which is no network"),
        ("{task: {_target_: btrnn.nowhere.LSTM}}", "which is no network"),
        ("{data_dir: '${oc.env:HOME}'}", "data_dir is .*refers to nothing else"),
        ("{logger: {project: theirs}}", "it has a logger"),
        ("{experiment: [", "holds no readable configuration"),
        ("[]", "holds no run's configuration"),
    ],
)
def test_a_file_of_weights_calls_no_code_but_networks_and_data(tmp_path, value, said):
    path = exported(tmp_path)
    given = read_weights(path)
    text = value
    if value.startswith("{") and value.endswith("}"):
        text = OmegaConf.to_yaml(OmegaConf.merge(given.config, OmegaConf.create(value)))
    parts = {"config": text, "reported": header(path)["reported"], "vocabulary": ""}
    save_file(given.state, path, parts | {"sha256": _digest([*parts.values()], given.state)})
    with pytest.raises(ConfigError, match=said):
        read_weights(path)


def test_weights_of_another_network_are_refused(trained, tmp_path, videos_dir):
    run_dir = Path(trained.run_dir)
    checkpoint = run_dir / "checkpoints" / "best.pt"
    state = torch.load(checkpoint)
    torch.save({name: tensor for name, tensor in state.items() if "classifier" not in name}, checkpoint)
    export_weights(run_dir, tmp_path / "w.safetensors", largest=10**7)
    assert load_file(tmp_path / "w.safetensors").keys() < state.keys()
    with pytest.raises(ConfigError, match=r"(?s)w\.safetensors does not hold weights of the network .*classifier"):
        run.evaluate(tmp_path / "w.safetensors", data_dir=videos_dir)


def test_an_export_that_fails_leaves_the_weights_of_another_seed(tmp_path):
    folders = [write_run(tmp_path, "bt_lstm", seed) for seed in (0, 1)]
    kept = weights_dir(tmp_path) / f"ucf11_motions-{folders[0].parent.name}-seed0.safetensors"
    kept.parent.mkdir()
    kept.write_bytes(b"weights")
    with pytest.raises(FileNotFoundError, match="is not a finished run"):
        script.main([str(folders[1]), "--results-dir", str(tmp_path)])
    assert kept.read_bytes() == b"weights"


def test_the_export_names_what_is_missing(tmp_path):
    outcome = run_script(ROOT / "scripts" / "export_weights.py", tmp_path)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(f"error: {tmp_path} is not a finished run: it has no summary.json")
    exported(tmp_path)
    row = {"experiment": "ucf11", "name": "name", "seed": 0, "file": "", "bytes": 1}
    add_to_index(tmp_path, row)
    with pytest.raises(ResultsError, match=r"ucf11-name-seed0 was exported, but is not in ucf11\.csv"):
        card_texts(tmp_path)
    add_to_index(tmp_path, row | {"file": "gone.safetensors"})
    with pytest.raises(ResultsError, match=r"lists gone\.safetensors, which is not there"):
        card_texts(tmp_path)


def test_folders_move_and_nothing_else_does():
    data = {"root": "mnist", "cache_dir": "mnist/cache", "source": "mnist"}
    config = DictConfig(
        {"data_dir": "mnist", "results_dir": "runs", "data": data, "start": "runs/draw/lstm/seed0", "run_dir": "runs/a"}
    )
    assert moved(config, data_dir="/there", results_dir="results") == {
        **{"data_dir": "/there", "results_dir": "results", "start": "runs/draw/lstm/seed0", "run_dir": "results/a"},
        "data": {"root": "/there", "cache_dir": "/there/cache", "source": "mnist"},
    }
    config = DictConfig({"data_dir": "/x/data", "results_dir": "/x", "a": [{"root": "/x/database"}], "files": "/xy"})
    assert moved(config, data_dir="data", results_dir="results") == {
        **{"data_dir": "data", "results_dir": "results", "a": [{"root": "results/database"}], "files": "/xy"}
    }
