"""Layers as ONNX files: another program gives the same numbers, for any batch size, without a dense W."""

from math import prod
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import btrnn
from btrnn.nn.input_map import BlockTerm
from tests.factorised_maps import MAPS

STEPS = 3
SMALL_U = BlockTerm((16, 8), (16, 8), rank=2)
LAYERS = {
    "bt": lambda: btrnn.BTLSTM((8, 8, 16), (4, 4, 8), tucker_rank=2, num_blocks=2, hidden_map=SMALL_U),
    "tt": lambda: btrnn.TTGRU((8, 8, 16), (4, 4, 8), tt_rank=3),
    "two layers": lambda: btrnn.BTLSTM((4, 8), (4, 4), tucker_rank=2, num_layers=2, bidirectional=True),
    "dense": lambda: btrnn.LSTM(32, 16),
}


def run(layer: nn.Module, example: torch.Tensor, batch_axis: int, path: Path) -> onnxruntime.InferenceSession:
    """Write a layer as an ONNX file that takes any batch size, and open it."""
    free = ({batch_axis: torch.export.Dim("batch")},)
    options = {"dynamo": True, "external_data": False, "optimize": False}  # optimising would multiply U out
    torch.onnx.export(layer.eval(), (example,), path, dynamic_shapes=free, **options)
    return onnxruntime.InferenceSession(path)


@pytest.mark.usefixtures("unchecked")  # while it is exported, sizes are symbols
@pytest.mark.parametrize("name", LAYERS)
def test_a_recurrent_layer_runs_as_an_onnx_file(name: str, tmp_path: Path) -> None:
    layer = LAYERS[name]()
    session = run(layer, torch.randn(STEPS, 2, layer.input_size), 1, tmp_path / "layer.onnx")
    x = torch.randn(STEPS, 5, layer.input_size)
    output, *states = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    expected, last = layer(x)
    torch.testing.assert_close(torch.from_numpy(output), expected)
    for state, one in zip(states, last if isinstance(last, tuple) else (last,), strict=True):
        torch.testing.assert_close(torch.from_numpy(state), one)
    kept = sum(prod(tensor.dims) for tensor in onnx.load(tmp_path / "layer.onnx").graph.initializer)
    numbers = sum(parameter.numel() for parameter in layer.parameters())
    assert numbers <= kept <= numbers + 100  # sizes


@pytest.mark.parametrize("name", MAPS)
def test_a_map_runs_as_an_onnx_file(name: str, tmp_path: Path) -> None:
    layer = MAPS[name]()
    session = run(layer, torch.randn(2, 12), 0, tmp_path / "map.onnx")
    x = torch.randn(7, 12)
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), layer(x))
