"""Where torch's private names are missing or answer wrongly, the layers compute the same by public operations."""

import subprocess
import sys

import pytest

from .conftest import ROOT

COMPUTE = """
import sys
import torch
torch.manual_seed(0)
with torch.device("cpu"):
    def break_it(what):
        if what == "a missing name":
            del torch._C._functorch.is_legacy_batchedtensor
        elif what == "a wrong answer":
            torch._C._functorch.is_legacy_batchedtensor = lambda tensor: True
        elif what == "missing products":
            torch.ops.mkldnn._linear_pointwise = None
        elif what == "wrong products":
            right = torch.ops.mkldnn._reorder_linear_weight
            torch.ops.mkldnn._reorder_linear_weight = lambda weight, rows: right(2 * weight, rows)
    break_it(sys.argv[1])
    from btrnn import BTLSTM, LSTM, TTLSTM, native
    from btrnn.ops import private_torch
    layers = [LSTM(960, 64), TTLSTM((8, 10, 12), (4, 4, 4), tt_rank=2), BTLSTM((8, 10, 12), (4, 4, 4), tucker_rank=2)]
    x = torch.randn(24, 16, 960)
    print(private_torch.KNOWS_CONTEXT, private_torch.HAS_ONEDNN)
    for layer in layers:
        with native.disabled():
            output, _ = layer(x)
            output.square().sum().backward()
        print(float(output.sum()), *(float(parameter.grad.abs().sum()) for parameter in layer.parameters()))
"""


def computed(what: str) -> tuple[str, list[list[float]]]:
    command = [sys.executable, "-c", COMPUTE, what]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    said, *lines = done.stdout.splitlines()
    return said, [[float(number) for number in line.split()] for line in lines]


@pytest.fixture(scope="module")
def usual() -> tuple[str, list[list[float]]]:
    return computed("nothing")


def test_the_names_of_this_torch_answer(usual):
    assert usual[0] == "True True"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("a missing name", "False True"),
        ("a wrong answer", "False True"),
        ("missing products", "True False"),
        ("wrong products", "True False"),
    ],
)
def test_without_them_the_numbers_are_the_same(usual, what, said):
    found = computed(what)
    assert found[0] == said
    for got, wanted in zip(found[1], usual[1], strict=True):
        assert got == pytest.approx(wanted, rel=1e-3)
