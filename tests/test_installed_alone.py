"""The layers as somebody has them who installed torch and jaxtyping alone, and the examples in their docstrings."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

from .conftest import ROOT

ALONE = """
import sys
import warnings
from importlib.machinery import PathFinder

find = PathFinder.find_spec
refused = {"numpy", "lightning", "hydra", "omegaconf", "pandas", "scipy", "sklearn", "wandb"}


def without_the_others(name, path=None, target=None):
    return None if name.split(".")[0] in refused else find(name, path, target)


PathFinder.find_spec = staticmethod(without_the_others)
warnings.simplefilter("ignore")  # torch says that it has no NumPy

import importlib
import pkgutil

import torch

import btrnn

for name in ("ops", "nn", "models"):
    package = importlib.import_module(f"btrnn.{name}")
    for module in pkgutil.walk_packages(package.__path__, f"btrnn.{name}."):
        importlib.import_module(module.name)
assert btrnn.complexity.factorize(16, 2) == (4, 4)
assert not refused & {name.split(".")[0] for name in sys.modules}
options = {"num_layers": 2, "bidirectional": True}
for layer in (btrnn.LSTM(16, 8, **options), btrnn.BTLSTM((4, 4), (2, 4), tucker_rank=2, **options)):
    layer(torch.randn(5, 3, 16))[0].sum().backward()
train = btrnn.TTLinear.from_dense(torch.randn(4, 9), (3, 3), (2, 2), tt_rank=9)
assert train(torch.randn(2, 9)).shape == (2, 4)
"""


def test_the_layers_need_torch_and_jaxtyping_alone():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def modules() -> list[str]:
    names = ["btrnn.complexity"]
    for name in ("ops", "nn", "models"):
        package = importlib.import_module(f"btrnn.{name}")
        names += [module.name for module in pkgutil.walk_packages(package.__path__, f"btrnn.{name}.")]
    return names


@pytest.mark.parametrize("name", modules())
def test_the_examples_give_what_they_say(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *(("complexity", name) for name in ("bt_parameters", "tt_parameters", "dense_parameters", "factorize")),
        *(("nn.linear", name) for name in ("BTLinear", "TTLinear", "BTLinear.from_dense", "TTLinear.from_dense")),
        *(("nn.lstm", name) for name in ("LSTM", "TTLSTM", "BTLSTM")),
        *(("nn.kronecker", name) for name in ("CPLinear", "KroneckerLinear", "KroneckerLinear.from_dense")),
        *(("nn.low_rank", name) for name in ("LowRankLinear", "LowRankLinear.from_dense", "LowRankLSTM")),
        *(("nn.tensor_ring", name) for name in ("TRLinear", "TRLSTM")),
        ("nn.tucker", "TuckerLinear"),
        ("nn.hierarchical_tucker", "HTLinear"),
        ("nn.compress", "compress"),
    ],
)
def test_what_is_public_has_an_example(module, name):
    found = {
        test.name: test.examples for test in doctest.DocTestFinder().find(importlib.import_module(f"btrnn.{module}"))
    }
    assert found[f"btrnn.{module}.{name}"]
