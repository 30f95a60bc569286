"""Where torch's private names are missing or answer wrongly, the layers compute the same by public operations.

What is at work when the package is imported does not make them look so.
"""

import subprocess
import sys

import pytest

from .conftest import ROOT

COMPUTE = """
import os
import sys
import torch
from torch._subclasses import FakeTensorMode
for what in sys.argv[1:]:  # each in a process of its own, which has torch already
    sys.stdout.flush()
    if not os.fork():
        break
    assert os.wait()[1] == 0
else:
    sys.exit()
print(what)
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
    break_it(what)
    def bring_in(row):
        from btrnn.ops import dispatch
        return row
    if what == "a mode at import":
        with FakeTensorMode():
            bring_in(None)
    elif what == "a transform at import":
        torch.func.vmap(bring_in)(torch.ones(2))
    from btrnn import BTLSTM, LSTM, TTLSTM, native
    from btrnn.ops import dispatch
    layers = [LSTM(960, 64), TTLSTM((8, 10, 12), (4, 4, 4), tt_rank=2), BTLSTM((8, 10, 12), (4, 4, 4), tucker_rank=2)]
    x = torch.randn(24, 16, 960)
    print(dispatch.KNOWS_CONTEXT, dispatch.HAS_ONEDNN)
    for layer in layers:
        with native.disabled():
            output, _ = layer(x)
            output.square().sum().backward()
        print(float(output.sum()), *(float(parameter.grad.abs().sum()) for parameter in layer.parameters()))
"""


CASES = {
    "nothing": "True True",
    "a missing name": "False True",
    "a wrong answer": "False True",
    "missing products": "True False",
    "wrong products": "True False",
    "a mode at import": "True True",
    "a transform at import": "True True",
}


@pytest.fixture(scope="module")
def computed() -> dict[str, tuple[str, list[list[float]]]]:
    """What is said and computed where the name's part of torch is broken."""
    command = [sys.executable, "-c", COMPUTE, *CASES]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lines, layers = iter(done.stdout.splitlines()), range(3)
    return {what: (next(lines), [[*map(float, next(lines).split())] for _ in layers]) for what in lines}


def test_the_names_of_this_torch_answer(computed):
    assert computed["nothing"][0] == CASES["nothing"]


@pytest.mark.parametrize("what", list(CASES)[1:])
def test_without_them_the_numbers_are_the_same(computed, what):
    said, found = computed[what]
    assert said == CASES[what]
    for got, wanted in zip(found, computed["nothing"][1], strict=True):
        assert got == pytest.approx(wanted, rel=1e-3)
