"""Hooks on parameters, such as pruning's: a layer computes with what they compute, after loading and in every step."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm

from .test_drop_in import LAYERS

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated", "ignore:.*spectral_norm. is deprecated")

PLACES = {  # where the parameters of each kind of layer are, as torch's functions are told it
    "U": ("dense tt bt gru", lambda layer: (layer, "weight_hh_l1_reverse")),
    "a factor of U": ("bt-hidden gru-hidden", lambda layer: (layer.hidden_maps[3].factors, "1")),
    "the core of U": ("bt-hidden gru-hidden", lambda layer: (layer.hidden_maps[0], "core")),
    "U by number": ("dense tt bt", lambda layer: (layer.weight_hh, "3")),
    "bias": ("dense tt bt gru", lambda layer: (layer, "bias_l0")),
    "W": ("dense", lambda layer: (layer.input_maps[0], "weight")),
    "a TT-core": ("tt", lambda layer: (layer.input_maps[0].cores, "1")),
    "the core": ("bt", lambda layer: (layer.input_maps[0], "core")),
    "a factor": ("bt", lambda layer: (layer.input_maps[0].factors, "0")),
}
HOOKS = {
    "pruning": (lambda *place: prune.l1_unstructured(*place, amount=0.5), prune.remove),
    "pruning twice": (
        lambda *place: (prune.l1_unstructured(*place, amount=0.5), prune.random_unstructured(*place, amount=0.5)),
        prune.remove,
    ),
    "weight norm": (weight_norm, remove_weight_norm),
    "spectral norm": (spectral_norm, remove_spectral_norm),
}
CASES = [
    (kind, place, hook)
    for place, (kinds, _) in PLACES.items()
    for kind in kinds.split()
    for hook in HOOKS
    if place != "bias" or hook.startswith("pruning")  # the norms need a matrix
]


def make(kind: str) -> nn.Module:
    return LAYERS[kind](num_layers=2, bidirectional=True)


@pytest.mark.parametrize(("kind", "place", "hook"), CASES)
def test_hooks_compute_what_the_layer_computes_with(kind, place, hook):
    torch.manual_seed(0)
    (add, remove), find = HOOKS[hook], PLACES[place][1]
    trained, fresh, x = make(kind), make(kind), torch.randn(5, 3, 16)
    for layer in (trained, fresh):
        add(*find(layer))
    optimizer, outputs = torch.optim.SGD(trained.parameters(), lr=1.0), []
    for _ in range(2):
        optimizer.zero_grad()
        output, _ = trained(x)
        output.square().sum().backward()
        optimizer.step()
        outputs.append(output)
    assert not torch.equal(*outputs)
    trained.eval()
    fresh.eval()
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh(x)[0], trained(x)[0])

    with torch.no_grad():
        trained(x)  # so that what the hook has computed has no graph, which could not be copied
        file = io.BytesIO()
        torch.save(trained, file)
        file.seek(0)
        for copied in (copy.deepcopy(trained), torch.load(file, weights_only=False)):
            assert torch.equal(copied(x)[0], trained(x)[0])
            for parameter in copied.parameters():
                parameter.mul_(2)
            assert not torch.equal(copied(x)[0], trained(x)[0])

    remove(*find(trained))
    assert trained.state_dict().keys() == make(kind).state_dict().keys()
    torch.testing.assert_close(trained(x)[0], fresh(x)[0])


@pytest.mark.parametrize(("kind", "place"), [(kind, place) for kind, place, hook in CASES if hook == "weight norm"])
def test_parametrizations_compute_what_the_layer_computes_with(kind, place):
    layer, x = make(kind), torch.randn(5, 3, 16)
    expected, find = layer(x)[0], PLACES[place][1]
    if place == "U by number":
        with pytest.raises(TypeError, match="weight_hh_l0"):
            parametrizations.weight_norm(*find(layer))
        assert torch.equal(layer(x)[0], expected)
        return
    parametrizations.weight_norm(*find(layer))
    torch.testing.assert_close(layer(x)[0], expected)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.endswith("original0"):
                parameter.mul_(3)
    assert not torch.allclose(layer(x)[0], expected)


def test_u_by_number_is_what_the_layer_holds_and_nothing_more():
    layer = make("bt")
    named = dict(layer.named_parameters())
    assert len(layer.weight_hh) == 4
    assert [id(weight) for weight in layer.weight_hh] == [id(p) for name, p in named.items() if "weight_hh" in name]
    assert layer.weight_hh[-1] is layer.weight_hh_l1_reverse
    prune.l1_unstructured(layer.weight_hh, "1", amount=0.5)
    prune.l1_unstructured(layer, "weight_hh_l0", amount=0.5)
    assert {"1_orig", "0_orig"} < {name for name, _ in layer.weight_hh.named_parameters()}
    assert {"1_mask", "0_mask"} == {name for name, _ in layer.weight_hh.named_buffers()}
    assert [name for name in layer.state_dict() if name[:1].isdigit() or name.startswith("weight_hh.")] == []
    assert prune.is_pruned(layer.weight_hh)
    prune.remove(layer.weight_hh, "1")
    assert isinstance(layer.weight_hh_l0_reverse, nn.Parameter)
    assert len(layer._forward_pre_hooks) == 1
    layer.weight_hh.requires_grad_(False)
    assert not layer.weight_hh_l1.requires_grad
    assert not hasattr(layer.weight_hh, "4")
    assert "0" not in vars(layer.weight_hh)


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if "hidden" not in kind])
def test_a_weight_may_be_a_tensor_that_is_set_before_each_call(kind):
    """As code does that drops entries of U (Merity et al., ICLR 2018)."""
    layer, x = LAYERS[kind](), torch.randn(5, 3, 16)
    raw = nn.Parameter(layer.weight_hh_l0.detach().clone())
    del layer.weight_hh_l0
    expected = []
    for factor in (1.0, 0.0):
        layer.weight_hh_l0 = factor * raw
        output, _ = layer(x)
        output.sum().backward()
        expected.append(output)
    assert raw.grad is not None
    assert not torch.equal(*expected)


@pytest.mark.parametrize("kind", LAYERS)
def test_parameters_may_be_given_with_the_call(kind):
    layer, other, x = make(kind), make(kind), torch.randn(5, 3, 16)
    called = torch.func.functional_call(layer, dict(other.named_parameters()), (x,))
    assert torch.equal(called[0], other(x)[0])
