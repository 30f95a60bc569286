"""Memory and provenance, as a run notes them."""

import subprocess
import sys

import torch

from btrnn.engine import machine
from btrnn.engine.machine import git_state, peak_memory_mib, provenance, start_memory_anew

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


def test_the_command_keeps_no_secret(monkeypatch):
    monkeypatch.setattr(
        "sys.argv", ["train.py", "seed=0", "+logger.api_key=123", "--token=abc", "hydra.env.PASSWORD_X=a=b"]
    )
    assert provenance()["command"] == (
        "python train.py seed=0 +logger.api_key=HIDDEN --token=HIDDEN hydra.env.PASSWORD_X=HIDDEN"
    )
    monkeypatch.setattr("sys.argv", ["bench.py", "+logger.settings={api_key: 123}", '{"a": [{"wandbToken" : "123"}]}'])
    assert "123" not in provenance()["command"]
    monkeypatch.setattr("sys.argv", ["train.py", "model.num_tokens=5", "data.keyframes=3", "start=runs/monkey"])
    assert provenance()["command"] == "python train.py model.num_tokens=5 data.keyframes=3 start=runs/monkey"
