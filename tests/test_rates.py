"""The learning rates of `btrnn.nn.rates`: which parameter has which, and how far one step moves a layer's output."""

import copy
from math import prod, sqrt

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from btrnn import BTLSTM, LSTM, TTLSTM, BTLinear, TTLinear
from btrnn.models import VideoClassifier
from btrnn.nn.rates import ORDINARY_FAN_IN, parameter_groups

LR = 1e-6  # so small that a step of all factors is linear in it
MAPS = {
    "tt, d = 4": lambda: TTLinear((5, 6, 8, 12), (8, 4, 4, 4), tt_rank=4, bias=False, dtype=torch.float64),
    "tt, d = 2": lambda: TTLinear((40, 72), (32, 16), tt_rank=6, bias=False, dtype=torch.float64),
    "bt, R = 4": lambda: BTLinear((5, 6, 8, 12), (8, 4, 4, 4), tucker_rank=4, num_blocks=2, bias=False).double(),
    "bt, R = 1": lambda: BTLinear((12, 15, 16), (8, 8, 8), tucker_rank=1, num_blocks=3, bias=False).double(),
    "bt, d = 2": lambda: BTLinear((48, 60), (16, 32), tucker_rank=5, bias=False).double(),
}


def rates(model: nn.Module, lr: float = 1.0, **options) -> dict[str, float]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, lr, **options)
    found = [names[parameter] for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(names.values())  # each once
    return {names[parameter]: group["lr"] for group in groups for parameter in group["params"]}


def moved(layer: nn.Module, x: torch.Tensor, only: str = "") -> float:
    """Return how far one step of Adam from zero moves W x, as a root mean square in units of 256 lr."""
    before = layer(x).detach()
    groups = parameter_groups(layer, LR)
    if only:
        groups = [group for group in groups if group["params"][0] is dict(layer.named_parameters())[only]]
    optimizer = torch.optim.Adam(groups, eps=1e-300)
    (layer(x) * torch.randn_like(before)).sum().backward()
    optimizer.step()
    return float((layer(x) - before).detach().square().mean().sqrt()) / (ORDINARY_FAN_IN * LR)


@pytest.mark.parametrize("in_features", [64, 256, 5000])
def test_a_step_of_a_dense_layer_moves_it_as_far_whatever_its_fan_in(in_features):
    layer = nn.Linear(in_features, 128, bias=False, dtype=torch.float64)
    assert moved(layer, torch.ones(1, in_features, dtype=torch.float64)) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("name", MAPS)
def test_a_step_of_all_factors_moves_the_output_about_as_far_as_an_ordinary_layer(name):
    found = []
    for seed in range(8):
        torch.manual_seed(seed)
        layer = MAPS[name]()
        found.append(moved(layer, torch.ones(1, layer.in_features, dtype=torch.float64)))
    mean = sum(found) / len(found)
    assert 1 / 2.5 < mean < 1.25, found  # all together: K parts of 1/K that point partly in different directions


@pytest.mark.parametrize("name", MAPS)
def test_each_of_the_factors_alone_moves_it_by_its_share(name):
    shares = len(MAPS[name]().operands())
    for parameter, _ in MAPS[name]().named_parameters():
        found = []
        for seed in range(12):
            torch.manual_seed(seed)
            layer = MAPS[name]()
            found.append(shares * moved(layer, torch.ones(1, layer.in_features, dtype=torch.float64), parameter))
        assert 1 / 1.8 < sqrt(sum(value**2 for value in found) / len(found)) < 1.8, (parameter, found)


def test_more_inputs_move_a_factorised_map_as_far():
    found = []
    for in_modes in ((4, 4, 4), (8, 8, 8), (24, 24, 24)):
        values = []
        for seed in range(12):
            torch.manual_seed(seed)
            layer = TTLinear(in_modes, (8, 8, 8), tt_rank=4, bias=False, dtype=torch.float64)
            values.append(moved(layer, torch.ones(1, prod(in_modes), dtype=torch.float64)))
        found.append(sum(values) / len(values))
    assert max(found) < 1.5 * min(found), found


def test_rates_do_not_depend_on_how_the_scale_is_shared_among_factors():
    layer = TTLinear((8, 8), (4, 4), tt_rank=3)
    before = {name: rate / parameter.detach().norm() for (name, parameter), rate in with_rates(layer)}
    with torch.no_grad():
        layer.cores[0].mul_(10)
        layer.cores[1].div_(10)
    after = {name: rate / parameter.detach().norm() for (name, parameter), rate in with_rates(layer)}
    for name, relative in before.items():
        torch.testing.assert_close(after[name], relative, rtol=1e-5, atol=0)


def with_rates(model: nn.Module):
    return zip(model.named_parameters(), rates(model).values(), strict=True)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, LSTM])
def test_matrices_of_recurrent_layers_go_by_their_fan_in(kind):
    found = rates(kind(1024, 64, num_layers=2, bidirectional=True))
    assert {rate for name, rate in found.items() if "bias" in name} == {1.0}
    assert {rate for name, rate in found.items() if "weight_hh" in name} == {4.0}
    ours = {"input_maps.0.weight", "input_maps.1.weight"} if kind is LSTM else {"weight_ih_l0", "weight_ih_l0_reverse"}
    assert {found[name] for name in ours} == {0.25}
    above = "input_maps.2.weight" if kind is LSTM else "weight_ih_l1"
    assert found[above] == 2.0


def test_a_whole_network():
    recurrent = TTLSTM((8, 8, 16), (4, 4, 8), tt_rank=4, num_layers=2)
    network = nn.ModuleDict({"video": VideoClassifier(recurrent, 11), "words": nn.Embedding(20, 512)})
    network["norm"], network["picture"] = nn.LayerNorm((4, 512)), nn.Conv2d(16, 8, 4)
    found = rates(network, 1e-3)
    assert found["video.classifier.weight"] == pytest.approx(2e-3)
    assert found["picture.weight"] == pytest.approx(1e-3)  # 16 x 4 x 4 inputs
    assert {found[name] for name in ("words.weight", "norm.weight", "norm.bias", "picture.bias")} == {1e-3}
    assert parameter_groups(network, 1e-3)[0]["lr"] == 1e-3  # what a logger shows
    assert len({found[f"video.recurrent.input_maps.0.cores.{k}"] for k in range(3)}) == 3


def test_all_matrices_of_attention_go_by_their_fan_in():
    found = rates(nn.MultiheadAttention(32, 2))
    assert found["in_proj_weight"] == found["out_proj.weight"] == 8.0
    assert found["in_proj_bias"] == found["out_proj.bias"] == 1.0
    apart = rates(nn.MultiheadAttention(32, 2, kdim=64, vdim=16))
    assert [apart[f"{kind}_proj_weight"] for kind in "qkv"] == [8.0, 4.0, 16.0]


def test_another_ordinary_layer():
    assert rates(nn.Linear(512, 3), fan_in=1024) == {"weight": 2.0, "bias": 1.0}


def test_copied_compiled_and_loaded_networks_have_the_same_rates():
    model = BTLSTM((8, 8), (4, 4), tucker_rank=2)
    expected = list(rates(model).values())
    assert list(rates(copy.deepcopy(model)).values()) == expected
    assert list(rates(torch.compile(model)).values()) == expected
    other = BTLSTM((8, 8), (4, 4), tucker_rank=2)
    other.load_state_dict(model.state_dict())
    assert list(rates(other).values()) == expected


def test_pruned_and_parametrised_weights():
    layer = nn.Linear(512, 3)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    assert rates(layer) == {"bias": 1.0, "weight_orig": 0.5}
    normed = parametrizations.weight_norm(nn.Linear(512, 3))
    assert rates(normed) == {
        "bias": 1.0,
        "parametrizations.weight.original0": 1.0,  # the rows' norms, which are no matrix
        "parametrizations.weight.original1": 0.5,
    }
    factorised = TTLinear((8, 8), (4, 4), tt_rank=3)
    whole = rates(factorised)["cores.0"]
    prune.identity(factorised.cores, "0")
    factorised(torch.zeros(1, 64))
    assert rates(factorised)["cores.0_orig"] == pytest.approx(whole)


def test_a_shared_matrix_stands_in_one_group():
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)
    second.weight = first.weight
    found = rates(nn.Sequential(first, second, nn.Embedding(3, 64)))
    assert found["0.weight"] == 4.0


def test_schedulers_keep_the_ratios():
    model = BTLSTM((8, 8), (4, 4), tucker_rank=2)
    optimizer = torch.optim.AdamW(parameter_groups(model, 1e-3))
    before = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    model(torch.randn(3, 2, 64))[0].sum().backward()
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate / 2 for rate in before])


def test_a_saved_optimizer_fits_a_network_whose_numbers_have_changed():
    model = BTLSTM((8, 8), (4, 4), tucker_rank=1)  # whose factors have equal rates at first
    optimizer = torch.optim.Adam(parameter_groups(model, 1e-2))
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(3, 2, 64))[0].sum().backward()
        optimizer.step()
    again = torch.optim.Adam(parameter_groups(model, 1e-2))
    again.load_state_dict(optimizer.state_dict())
    assert [group["lr"] for group in again.param_groups] == [group["lr"] for group in optimizer.param_groups]


def test_what_has_no_rate_is_refused():
    with pytest.raises(ValueError, match=r"cores|has no numbers yet"):
        parameter_groups(nn.Sequential(TTLinear((8, 8), (4, 4), tt_rank=3, device="meta")), 1e-3)
    layer = TTLinear((8, 8), (4, 4), tt_rank=3)
    nn.init.zeros_(layer.cores[0])
    with pytest.raises(ValueError, match="TTLinear stands for a W of size 0"):
        parameter_groups(layer, 1e-3)
    for options in ({"lr": 0.0}, {"lr": 1e-3, "fan_in": 0}):
        with pytest.raises(ValueError, match="must be positive"):
            parameter_groups(layer, **options)
