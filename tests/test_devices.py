"""The layers on every device that is here, against float64 on the CPU: where there is a GPU, on it too."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import btrnn
from btrnn.engine import run
from btrnn.engine.config import register
from btrnn.models.captioner import Captioner, caption_loss
from btrnn.ops import dispatch

from .conftest import ROOT
from .test_training_step import fit, generation, video

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
MODES = {"in_modes": (4, 5, 6), "hidden_modes": (2, 4, 2)}
LSTMS = {
    "lstm": lambda: btrnn.LSTM(120, 16, batch_first=True),
    "tt_lstm": lambda: btrnn.TTLSTM(**MODES, tt_rank=3, batch_first=True),
    "bt_lstm": lambda: btrnn.BTLSTM(**MODES, tucker_rank=2, num_blocks=3, batch_first=True),
}
LAYERS = LSTMS | {"bt_gru": lambda: btrnn.BTGRU(**MODES, tucker_rank=2, num_blocks=3, batch_first=True)}


def outcome(layer: btrnn.LSTM, x: Tensor, lengths: Tensor | None) -> list[Tensor]:
    """Return the output, and the gradients of its sum of squares by the input and all parameters."""
    x = x.clone().requires_grad_()
    if lengths is None:
        output, _ = layer(x)
    else:
        output, _ = layer(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        assert isinstance(output, PackedSequence)
        output, _ = pad_packed_sequence(output, batch_first=True)
    return [output, *torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])]


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return how far a tensor of any device and type is from one of float64 on the CPU."""
    return float((found.detach().cpu().double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", LAYERS)
@pytest.mark.parametrize("ragged", [False, True])
def test_layers_agree_with_float64(model: str, device: str, ragged: bool) -> None:
    torch.manual_seed(0)
    layer, x = LAYERS[model](), torch.randn(8, 7, 120)
    lengths = torch.tensor([7, 3, 1, 7, 5, 2, 4, 6]) if ragged else None
    expected = outcome(copy.deepcopy(layer).double(), x.double(), lengths)
    found = outcome(layer.to(device), x.to(device), lengths)
    for one, other in zip(found, expected, strict=True):
        assert one.device.type == device
        error = relative_error(one, other)
        assert error < 1e-4, f"relative error {error:.1e} of a tensor of shape {tuple(one.shape)}"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("kind", [btrnn.LSTM, btrnn.GRU])
def test_recurrent_dropout_agrees_with_float64(
    kind: type[btrnn.LSTM | btrnn.GRU], device: str, ragged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mask(like: Tensor, probability: float, _order: Tensor | None = None) -> Tensor | None:
        """Drop every third number: what is drawn differs between devices."""
        kept = (torch.arange(like.numel(), device=like.device) % 3 > 0).to(like.dtype)
        return 1.5 * kept.view(like.shape) if probability else None

    monkeypatch.setattr(kind, "_mask", staticmethod(mask))
    torch.manual_seed(0)
    layer, x = kind(12, 16, batch_first=True, bidirectional=True, recurrent_dropout=0.5), torch.randn(8, 7, 12)
    lengths = torch.tensor([7, 3, 1, 7, 5, 2, 4, 6]) if ragged else None
    expected = outcome(copy.deepcopy(layer).double(), x.double(), lengths)
    found = outcome(layer.to(device), x.to(device), lengths)
    assert all(relative_error(one, other) < 1e-4 for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", LSTMS)
def test_captioner_learns_on_the_device(model: str, device: str) -> None:
    torch.manual_seed(0)
    captioner = Captioner(LSTMS[model](), vocabulary_size=30, num_channels=12).to(device)
    features, lengths = torch.randn(6, 4, 12, device=device), torch.tensor([8, 3, 5, 8, 4, 6])
    tokens = torch.randint(4, 30, (6, 8), device=device)
    tokens[torch.arange(8, device=device) >= lengths.to(device).unsqueeze(1)] = 0
    optimizer = torch.optim.Adam(captioner.parameters(), lr=1e-2, fused=True)
    losses = []
    for _ in range(40):
        loss = caption_loss(captioner(features, tokens, lengths), tokens)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_records_the_device_that_trained_it(device: str, tmp_path: Path) -> None:
    words = [
        "experiment=draw",
        "data=mnist_5k",
        "scale=smoke",
        "model=bt_lstm",
        f"results_dir={tmp_path}",
        "logger=none",
    ]
    words += [f"trainer.accelerator={device}", "+trainer.limit_train_batches=3"]
    words.append(f"trainer.graph={str(device == 'cuda').lower()}")
    register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        summary = run.train(compose("train", words))
    assert torch.device(summary["device"]).type == device
    assert not summary["native_kernel"] or device == "cpu"
    assert summary["peak_memory_mib"] > 0
    assert summary["test/nll_bound"] > 0


if "cuda" in DEVICES:

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("ragged", [False, True])
    @pytest.mark.parametrize("model", LAYERS)
    def test_other_types_and_autocast_on_a_gpu(model: str, ragged: bool, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        layer, x = LAYERS[model]().cuda(), torch.randn(8, 7, 120, device="cuda")
        assert dispatch.has_fused_steps(layer.weight_hh_l0)
        lengths = torch.tensor([7, 3, 1, 7, 5, 2, 4, 6]) if ragged else None
        expected = outcome(copy.deepcopy(layer).cpu().double(), x.cpu().double(), lengths)
        found = [outcome(copy.deepcopy(layer).to(dtype), x.to(dtype), lengths)]
        if dtype != torch.float64:
            with torch.autocast("cuda", dtype):
                found.append(outcome(layer, x, lengths))
        for results in found:
            for one, other in zip(results, expected, strict=True):
                assert relative_error(one, other) < (1e-10 if dtype == torch.float64 else 0.1)

    @pytest.mark.parametrize("itemsize", [4, 8])
    def test_a_gpus_plans_are_taken_and_agree_with_the_definition(itemsize: int) -> None:
        dtype = {4: torch.float32, 8: torch.float64}[itemsize]
        layer = btrnn.BTLinear((8, 20, 20, 18), (16, 4, 4, 4), tucker_rank=4, num_blocks=2, bias=False)
        x = torch.randn(16, 57_600, dtype=torch.float64)
        expected = x @ layer.to_dense().double().T
        layer.to("cuda", dtype)
        assert layer.plan(16).method == "batched"
        assert relative_error(layer(x.to("cuda", dtype)), expected) < 1e-5

    @pytest.mark.parametrize("model", LAYERS)
    def test_layers_replay_as_cuda_graphs(model: str) -> None:
        torch.manual_seed(0)
        layer, x = LAYERS[model]().cuda(), torch.randn(8, 7, 120, device="cuda")
        expected = torch.autograd.grad(layer(x)[0].square().sum(), list(layer.parameters()))
        replay = torch.cuda.make_graphed_callables(layer, (torch.randn_like(x),))
        for _ in range(2):
            found = torch.autograd.grad(replay(x)[0].square().sum(), list(layer.parameters()))
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("make", [video, generation])
    @pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
    def test_training_steps_replay_as_one_cuda_graph_with_the_same_masks(make: Callable, precision: str) -> None:
        options = {"accelerator": "cuda", "precision": precision, "gradient_clip_val": 0.5}
        with_graphs, without = fit(make, graph=True, **options), fit(make, **options)
        tolerance = 1e-4 if precision == "32-true" else 2e-2
        for one, other in ((with_graphs.losses, without.losses), (with_graphs.weights, without.weights)):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
