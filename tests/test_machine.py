"""Memory and provenance, as a run notes them."""

import shlex
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf

from btrnn.engine import machine
from btrnn.engine.config import ConfigError
from btrnn.engine.machine import git_state, peak_memory_mib, provenance, start_memory_anew
from btrnn.engine.secret_keys import refuse_secret_words, refuse_secrets

from .conftest import ROOT

CPU = torch.device("cpu")


def test_peak_memory_is_that_since_the_last_start_also_where_garbage_refers_to_itself():
    start_memory_anew()
    before = peak_memory_mib(CPU)
    cycle = [torch.ones(50_000_000)]  # 191 MiB
    cycle.append(cycle)
    peak = peak_memory_mib(CPU)
    assert 180 < peak - before < 260
    del cycle
    start_memory_anew()
    assert peak_memory_mib(CPU) < peak - 150


def test_git_state_names_the_commit():
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=ROOT)
    state = git_state()
    assert state["git_commit"] == head.stdout.strip()
    assert isinstance(state["git_dirty"], bool)


def test_git_state_is_not_that_of_a_project_around(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
    (tmp_path / "machine.py").write_text("")  # as below a virtual environment: there, but not kept by git
    monkeypatch.setattr(machine, "_HERE", tmp_path / "machine.py")
    assert git_state.__wrapped__() == {"git_commit": None, "git_dirty": None}


def test_the_command_can_be_given_again_on_another_machine(monkeypatch):
    said = ["train.py", "model=bt_lstm", "modes={input: [320, 180]}", "seed=0,1", "data_dir=/mine", "results_dir=/mine"]
    monkeypatch.setattr(sys, "argv", said)
    assert provenance()["command"] == "python train.py model=bt_lstm 'modes={input: [320, 180]}' seed=0,1"


def test_a_script_started_by_its_whole_path_is_said_as_from_the_repositorys_folder(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/btrnn/experiments/train.py", "seed=0"])
    assert provenance()["command"] == "python experiments/train.py seed=0"


def test_the_command_keeps_no_secret(monkeypatch):
    monkeypatch.setattr(
        "sys.argv", ["train.py", "seed=0", "+logger.api_key=123", "--token=abc", "hydra.env.PASSWORD_X=a=b"]
    )
    assert provenance()["command"] == (
        "python train.py seed=0 +logger.api_key=HIDDEN --token=HIDDEN hydra.env.PASSWORD_X=HIDDEN"
    )
    monkeypatch.setattr("sys.argv", ["bench.py", "+logger.settings={api_key: 123}", '{"a": [{"wandbToken" : "123"}]}'])
    assert "123" not in provenance()["command"]


@pytest.mark.parametrize(
    "name",
    [
        *("key", "token", "logger.token", "logger.api_key", "WANDB_API_KEY", "hf.token.2", "secrets.wandb", "APIKey"),
        *(
            "apikey",
            "x.apiKeys",
            "authtoken",
            "api_key_2",
            "private-key-file",
            "client_secret_id",
            "+a.sshKey",
            "TOKEN",
        ),
    ],
)
def test_a_name_of_a_secret_is_known_by_its_words(name, monkeypatch):
    for word in (f"{name}=123", f"+a={{b: [{{'{name}' : 123}}]}}"):
        monkeypatch.setattr("sys.argv", ["train.py", word])
        assert "123" not in provenance()["command"]
        with pytest.raises(ConfigError, match="named like a secret"):
            refuse_secret_words([word])
    with pytest.raises(ConfigError, match="named like a secret"):
        refuse_secrets(OmegaConf.create({"a": [{name: 123}]}))


@pytest.mark.parametrize(
    "word",
    [
        *("model.num_tokens=5", "data.keyframes=3", "start=runs/monkey", "key_dim=3", "monkey=3", "turkey.legs=2"),
        *("{keyDim: 3}", "token_dropout=0.1", "hockey=1", "tokenizer=ptb", "keys=[a]", "secretary=x"),
    ],
)
def test_what_only_looks_like_a_name_of_a_secret_is_none(word, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", word])
    assert provenance()["command"] == shlex.join(["python", "train.py", word])
    refuse_secret_words([word])
    refuse_secrets(OmegaConf.create({word.partition("=")[0].strip("{}").partition(":")[0]: 1}))
