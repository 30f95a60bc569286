"""Layers in two processes that train together (DistributedDataParallel)."""

import subprocess
import sys

from .conftest import ROOT

PROCESS = """
import sys
from datetime import timedelta

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from btrnn import BTLSTM, GRU, LSTM
from btrnn.nn.input_map import BlockTerm

rank, place = int(sys.argv[1]), sys.argv[2]
store = distributed.FileStore(place, 2)
distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
hidden_map = BlockTerm((2, 4), (2, 4), 2)
kinds = (
    lambda: LSTM(16, 8),
    lambda: BTLSTM((4, 4), (2, 4), tucker_rank=2, num_layers=2, bidirectional=True, hidden_map=hidden_map),
    lambda: GRU(16, 8, hidden_map=hidden_map),
)
for make in kinds:
    torch.manual_seed(rank)  # the first process's numbers are taken
    layer, x = make().double(), torch.randn(5, 4, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    parallel = DistributedDataParallel(layer)
    for _ in range(2):
        layer.zero_grad()
        parallel(x[:, 2 * rank : 2 * rank + 2])[0].square().mean().backward()
    found = {name: parameter.grad.clone() for name, parameter in layer.named_parameters()}
    layer.zero_grad()
    layer(x)[0].square().mean().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-9, atol=1e-12)
distributed.destroy_process_group()
"""


def test_two_processes_have_the_gradients_of_the_whole_batch(tmp_path):
    command = [sys.executable, "-c", PROCESS]
    begun = [subprocess.Popen([*command, str(rank), str(tmp_path / "store")], cwd=ROOT) for rank in range(2)]
    assert [process.wait(timeout=120) for process in begun] == [0, 0]
