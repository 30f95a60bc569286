"""What code around nn.LSTM or nn.GRU calls, reads and gives, and may expect of ours; torch's are the reference."""

import copy
import gc
import pickle
import subprocess
import sys
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations, prune, weight_norm
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import btrnn
from btrnn import (
    BTGRU,
    BTLSTM,
    GRU,
    LSTM,
    TRLSTM,
    TTGRU,
    TTLSTM,
    BTLinear,
    CPLinear,
    HTLinear,
    KroneckerLinear,
    LowRankLinear,
    LowRankLSTM,
    TRLinear,
    TTLinear,
    TuckerLinear,
)
from btrnn.nn.input_map import BlockTerm, InputMap, MapPlace
from btrnn.ops import native

from .conftest import ROOT

pytestmark = pytest.mark.programs  # all of them: what is computed or read without a program is another way
HIDDEN_MAP = BlockTerm((2, 4), (2, 4), 2)
LAYERS = {
    "dense": lambda **options: LSTM(16, 8, **options),
    "tt": lambda **options: TTLSTM((4, 4), (2, 4), tt_rank=2, **options),
    "bt": lambda **options: BTLSTM((4, 4), (2, 4), tucker_rank=2, **options),
    "bt-hidden": lambda **options: BTLSTM((4, 4), (2, 4), tucker_rank=2, hidden_map=HIDDEN_MAP, **options),
    "gru": lambda **options: GRU(16, 8, **options),
    "tt-gru": lambda **options: TTGRU((4, 4), (2, 4), tt_rank=2, **options),
    "bt-gru": lambda **options: BTGRU((4, 4), (2, 4), tucker_rank=2, **options),
    "gru-hidden": lambda **options: GRU(16, 8, hidden_map=HIDDEN_MAP, **options),
    "tr": lambda **options: TRLSTM((4, 4), (2, 2, 2), tr_rank=2, **options),
    "low_rank": lambda **options: LowRankLSTM(16, 8, rank=2, **options),
}
OF_LSTM = {"forget_bias"}  # the options that an LSTM alone has
MAPS = {
    "tt": lambda **options: TTLinear((4, 4), (2, 4), tt_rank=2, **options),
    "bt": lambda **options: BTLinear((4, 4), (2, 4), tucker_rank=2, **options),
    "tr": lambda **options: TRLinear((4, 4), (2, 2, 2), tr_rank=2, **options),
    "cp": lambda **options: CPLinear((4, 4), (2, 4), cp_rank=2, **options),
    "tucker": lambda **options: TuckerLinear((4, 4), (2, 4), tucker_rank=2, **options),
    "ht": lambda **options: HTLinear((4, 4), (2, 4), ht_rank=2, **options),
    "kronecker": lambda **options: KroneckerLinear((4, 4), (2, 4), num_terms=2, **options),
    "low_rank": lambda **options: LowRankLinear(16, 8, rank=2, **options),
}
each_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
each_lstm = pytest.mark.parametrize("make", [LAYERS[kind] for kind in ("dense", "tt", "bt")])
each_map = pytest.mark.parametrize("make", MAPS.values(), ids=MAPS)


def state_of(layer, *batch, dtype=None):
    """Draw what a layer of 8 hidden numbers carries: h and c of an LSTM, h of a GRU."""
    shape = (layer.num_layers * layer.num_directions, *batch, 8)
    parts = tuple(torch.randn(shape, dtype=dtype) for _ in range(layer.num_states))
    return parts if layer.mode == "LSTM" else parts[0]


def parts_of(state):
    return (state,) if isinstance(state, torch.Tensor) else state


# ---- shapes


@each_layer
@pytest.mark.parametrize("way", [nullcontext, native.disabled])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_first": True, "dtype": torch.float64},
        {"bidirectional": True, "num_layers": 2},
        {"input_dropout": 0.5, "recurrent_dropout": 0.5, "bias": False},
    ],
)
def test_a_batch_of_no_sequences_gives_empty_tensors_and_gradients_of_zero(make, way, options, with_state):
    layer = make(**options)
    kind = {"dtype": options.get("dtype")}
    shape = (0, 5, 16) if layer.batch_first else (5, 0, 16)
    x = torch.randn(shape, **kind, requires_grad=True)
    rows = layer.num_layers * layer.num_directions
    state = state_of(layer, 0, **kind) if with_state else None
    with way():
        output, final = layer(x, state)
        (output.sum() + sum(part.sum() for part in parts_of(final))).backward()
        with torch.no_grad():
            assert layer(x, state)[0].shape == output.shape
    assert output.shape == (*shape[:2], 8 * layer.num_directions)
    assert {part.shape for part in parts_of(final)} == {(rows, 0, 8)}
    assert x.grad.shape == shape
    assert all((parameter.grad == 0).all() for parameter in layer.parameters())


@each_layer
@pytest.mark.parametrize("shape", [(0, 3, 16), (0, 16), (3, 0, 16)])
def test_a_sequence_without_steps_is_refused_by_its_length(make, shape):
    with pytest.raises(ValueError, match=f"length of 0.*{shape[0]}, "):
        make(batch_first=shape[0] == 3)(torch.randn(shape))


@pytest.mark.parametrize("kind", ["gru", "bt-gru", "gru-hidden"])
def test_a_gru_refuses_other_states_than_one_tensor(kind, unchecked):
    layer, x, state = LAYERS[kind](), torch.randn(5, 3, 16), torch.zeros(1, 3, 8)
    for given, said in (((state, state), "one tensor.*tuple"), (state.half(), "a state.*float16")):
        with pytest.raises(ValueError, match=said):
            layer(x, given)
    with pytest.raises(ValueError, match=r"\(1, 3, 8\), got \[\(1, 2, 8\)\]"):
        layer(x, state[:, :2])
    with pytest.raises(ValueError, match=r"float32.*float64"):
        layer(x.double())


@each_lstm
def test_wrong_types_and_states_are_refused(make, unchecked):
    layer, x, state = make(), torch.randn(5, 3, 16), torch.zeros(1, 3, 8)
    packed = pack_padded_sequence(x[..., 1:], torch.tensor([5, 3, 1]))
    for arguments, said in (
        ((x.double(),), r"float32.*float64.*\.to\(torch\.float32\), or the layer"),
        ((x.long(),), r"float32.*int64"),
        ((x, (state, state.half())), r"a state.*float16"),
        ((x.numpy(),), "a tensor.*ndarray"),
        ((x.tolist(),), "a tensor.*list"),
        ((x, state), "two tensors.*Tensor"),
        ((x, (state, state, state)), "two tensors"),
        ((x, (state, None)), "two tensors"),
        ((x[:, 0], (state, state)), r"\(layers x directions, H\) = \(1, 8\)"),
        ((packed,), r"I = 16.*\(9, 15\)"),
    ):
        with pytest.raises(ValueError, match=said):
            layer(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x.bfloat16(), (state, state.bfloat16()))


@each_map
def test_a_map_refuses_another_type_than_its_own(make, unchecked):
    for x in (torch.zeros(3, 16).double(), torch.zeros(3, 16).long()):
        with pytest.raises(ValueError, match=f"float32.*{x.dtype}"):
            make()(x)
    with pytest.raises(ValueError, match=r"16 = (4x4|16) features"):
        make()(torch.tensor(1.0))


@each_layer
def test_sizes_that_are_no_integers_and_probabilities_that_are_no_numbers_are_refused(make, unchecked):
    for options, said in (
        ({"num_layers": 1.5}, "num_layers.*1.5"),
        ({"dropout": "0.5"}, "dropout.*'0.5'"),
        ({"recurrent_dropout": float("nan")}, "recurrent_dropout.*nan"),
        ({"input_dropout": True}, "input_dropout.*True"),
    ):
        with pytest.raises(ValueError, match=said):
            make(**options)
    for sizes, said in (((16.0, 8), "input_size.*16.0"), ((16, "8"), "hidden_size.*'8'")):
        with pytest.raises(ValueError, match=said):
            LSTM(*sizes)
    for modes, said in (
        ((16, 8), "in_modes.*sequence.*16"),
        (((4, 4), ("2", "4")), "hidden_modes.*'2'"),
        (((4.0, 4), (2, 4)), r"in_modes.*4\.0"),
        (((4, 4), (8,)), r"\(4, 4\).*hidden_modes \(8,\)"),
        (((), ()), "at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            BTLSTM(*modes, tucker_rank=2)


# ---- what is called and read


@each_layer
def test_it_is_called_by_torchs_names(make):
    layer, x = make(), torch.randn(5, 3, 16)
    state = state_of(layer, 3)
    assert torch.equal(layer(input=x, hx=state)[0], layer(x, state)[0])
    assert torch.equal(layer(hx=None, input=x)[0], layer(x)[0])


@each_layer
@pytest.mark.parametrize("bias", [False, True])
def test_it_has_torchs_attributes(make, bias):
    options = {"bias": bias, "num_layers": 2, "bidirectional": True, "dropout": 0.25, "batch_first": True}
    layer = make(**options)
    reference = getattr(nn, layer.mode)(16, 8, **options)
    for name in (*options, "input_size", "hidden_size", "proj_size", "mode"):
        assert getattr(layer, name) == getattr(reference, name), name
        assert type(getattr(layer, name)) is type(getattr(reference, name)), name
    layer.flatten_parameters()
    listed = [parameter for each in layer.all_weights for parameter in each]
    assert len(layer.all_weights) == 4
    assert {id(parameter) for parameter in listed} == {id(parameter) for parameter in layer.parameters()}


def test_arguments_by_place_and_the_projection():
    layer = LSTM(3, 4, 2, False, True, 0.5, True, 0)
    found = (layer.num_layers, layer.bias, layer.batch_first, layer.dropout, layer.bidirectional)
    assert found == (2, False, True, 0.5, True)
    with pytest.raises(ValueError, match=r"proj_size must be 0, got 2.*nn.Linear\(4, 2\)"):
        LSTM(3, 4, proj_size=2)


@each_layer
def test_parameters_have_torchs_names(make):
    options = {"num_layers": 2, "bidirectional": True}
    layer = make(**options)
    named = {name for name, _ in layer.named_parameters() if "_maps." not in name and "bias_hn" not in name}
    theirs = dict(getattr(nn, layer.mode)(16, 8, **options).named_parameters())
    hidden = {name for name in theirs if "weight_hh" in name and not layer.hidden_maps}
    assert named == hidden | {name.replace("bias_hh", "bias") for name in theirs if "bias_hh" in name}


@each_lstm
def test_earlier_names_load(make):
    options = {"num_layers": 2, "bidirectional": True}
    layer = make(**options)
    earlier = {
        name.replace("_l0_reverse", ".1").replace("_l1_reverse", ".3").replace("_l0", ".0").replace("_l1", ".2"): value
        for name, value in layer.state_dict().items()
    }
    assert "weight_hh.3" in earlier
    other = make(**options)
    other.load_state_dict(earlier)
    x = torch.randn(5, 3, 16)
    assert torch.equal(other(x)[0], layer(x)[0])


@pytest.mark.parametrize("kind", ["dense", "gru"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_loads_torchs_names_after_the_original_is_gone(kind, copied):
    layer = LAYERS[kind](num_layers=2, bidirectional=True)
    reference = getattr(nn, layer.mode)(16, 8, num_layers=2, bidirectional=True)
    other, x = copied(layer), torch.randn(5, 3, 16)
    del layer
    gc.collect()
    other.load_state_dict(reference.state_dict())
    torch.testing.assert_close(other(x)[0], reference(x)[0])


@pytest.mark.parametrize("kind", ["dense", "gru"])
def test_a_pruned_layer_of_torchs_loads(kind):
    layer = LAYERS[kind]()
    reference = getattr(nn, layer.mode)(16, 8)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        prune.random_unstructured(reference, name, amount=0.5)
    prune.random_unstructured(layer.input_maps[0], "weight", amount=0.1)
    prune.random_unstructured(layer, "weight_hh_l0", amount=0.1)
    layer.load_state_dict(reference.state_dict())
    x = torch.randn(5, 3, 16)
    torch.testing.assert_close(layer(x)[0], reference(x)[0])


# ---- reset


def reset(module: nn.Module) -> None:
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()


RESETS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"forget_bias": 1.0, "recurrent_init": "orthogonal"},
    {"bias": False},
]


def drawable(make, options):
    """Leave out what a layer does not have."""
    layer = make()
    without = OF_LSTM if layer.mode == "GRU" else set()
    without = without | ({"recurrent_init"} if layer.hidden_maps else set())
    return {name: value for name, value in options.items() if name not in without}


@each_layer
@pytest.mark.parametrize("options", RESETS)
def test_a_reset_draws_everything_as_the_layer_was_made(make, options):
    options = drawable(make, options)
    torch.manual_seed(3)
    layer = make(**options)
    drawn = {name: value.clone() for name, value in layer.state_dict().items()}
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(torch.nan)
    torch.manual_seed(3)
    layer.reset_parameters()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, drawn[name]), name
    layer.apply(reset)
    assert all(p.isfinite().all() for p in layer.parameters())
    assert all(
        not torch.equal(p, drawn[name]) or (name.startswith("bias_l") and "forget_bias" in options)
        for name, p in layer.named_parameters()
    )


@each_layer
@pytest.mark.parametrize("options", RESETS)
def test_a_layer_without_numbers_is_initialised_by_a_reset(make, options):
    layer = make(device="meta", **drawable(make, options))
    layer.apply(reset)
    assert all(parameter.is_meta for parameter in layer.parameters())
    layer = layer.to_empty(device="cpu")
    layer.apply(reset)
    assert layer(torch.randn(5, 3, 16))[0].isfinite().all()


@each_map
def test_a_reset_gives_a_map_the_scale_of_a_linear_layer_again(make):
    layer = make()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(3)
    layer.reset_parameters()
    assert float(layer.to_dense().detach().square().sum()) == pytest.approx(8 / 3, rel=1e-4)


def last_weight(layer: nn.Module) -> tuple[nn.Module, str]:
    """Return the module that holds the last tensor that W is made of, and the tensor's name."""
    *_, name = [name for name, _ in layer.named_parameters() if name != "bias"]
    path, _, name = name.rpartition(".")
    return layer.get_submodule(path), name


@each_map
@pytest.mark.parametrize("hook", [lambda *place: prune.l1_unstructured(*place, amount=1), parametrizations.weight_norm])
def test_a_reset_reaches_what_is_behind_a_computed_tensor(make, hook):
    layer = make()
    hook(*last_weight(layer))
    before = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}
    layer.reset_parameters()
    assert [name for name, parameter in layer.named_parameters() if torch.equal(parameter, before[name])] == []


@each_map
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_a_reset_that_could_not_last_is_refused(make):
    layer = make()
    weight_norm(*last_weight(layer))
    with pytest.raises(RuntimeError, match="computed from others"):
        layer.reset_parameters()


# ---- traces


class Packing(nn.Module):
    """Packs, and unpacks what comes back."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x, lengths):
        output, _ = self.layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return pad_packed_sequence(output)[0]


def trace(module: nn.Module, *arguments):
    """Trace without any warning, but that it is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*deprecated")
        return torch.jit.trace(module, arguments, check_trace=False)


def assert_same(traced, layer, *arguments):
    for got, wanted in zip(traced(*arguments)[:2], layer(*arguments)[:2], strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


STACKED = {"batch_first": True, "bidirectional": True, "num_layers": 2}


@pytest.mark.parametrize(
    ("make", "options"), [*((make, STACKED) for make in LAYERS.values()), (LAYERS["dense"], {}), (LAYERS["bt-gru"], {})]
)
def test_a_trace_takes_any_batch_size_but_refuses_another_length(make, options, unchecked):
    layer = make(**options)
    x = torch.randn(2, 3, 16) if layer.batch_first else torch.randn(3, 2, 16)
    traced = trace(layer, x)
    assert_same(traced, layer, x)
    assert_same(traced, layer, x[:1] if layer.batch_first else x[:, :1])
    with pytest.raises(RuntimeError):
        traced(x[:, :2] if layer.batch_first else x[:2])
    state = state_of(layer, 2)
    assert_same(trace(layer, x, state), layer, x, state)
    with torch.no_grad():
        assert_same(trace(layer.eval(), torch.randn(3, 16)), layer, torch.randn(3, 16))


@each_layer
def test_a_trace_takes_packed_sequences_of_other_lengths(make, unchecked):
    module, x = Packing(make(bidirectional=True)), torch.randn(4, 3, 16)
    traced = trace(module, x, torch.tensor([4, 2, 3]))
    for lengths in ([4, 2, 3], [4, 1, 4], [1, 4, 1]):
        assert_same(traced, module, x, torch.tensor(lengths))


@each_map
def test_a_trace_of_a_map_takes_any_batch(make, unchecked):
    layer = make()
    traced = trace(layer, torch.randn(2, 3, 16))
    x = torch.randn(4, 1, 16)
    torch.testing.assert_close(traced(x), layer(x), rtol=1e-4, atol=1e-5)


# ---- the package's names

NAMES = """
import sys
import btrnn
assert btrnn.complexity.factorize(57_600, 4) == (16, 16, 15, 15)
import btrnn.figures.series, btrnn.results.store
assert "torch" not in sys.modules
from btrnn import *
assert complexity is btrnn.complexity and BTLSTM is btrnn.nn.lstm.BTLSTM
assert callable(btrnn.nn.rates.parameter_groups)  # a module that nothing has imported yet
"""


def test_modules_and_classes_are_found_when_asked_for_and_without_torch_where_it_is_not_needed():
    subprocess.run([sys.executable, "-c", NAMES], check=True, cwd=ROOT)
    assert set(btrnn.__all__) <= set(dir(btrnn))
    with pytest.raises(AttributeError, match=r"no attribute 'BTLSTMs'.*BTLSTM"):
        _ = btrnn.BTLSTMs
    with pytest.raises(AttributeError, match=r"btrnn\.nn.*no attribute 'rate'"):
        _ = btrnn.nn.rate


# ---- what is done with it


@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.tensor])
def test_sizes_are_integers_of_any_kind_and_cannot_overflow(kind, unchecked):
    modes = [kind(8), kind(20), kind(20), kind(18)], (kind(k) for k in (100, 2, 2, 2))
    block_terms = BTLSTM(*modes, tucker_rank=kind(2), num_blocks=kind(2), num_layers=kind(1), device="meta")
    train = TTLSTM((kind(4), kind(4)), (2, 4), tt_rank=[kind(2)])
    assert (block_terms.input_size, block_terms.hidden_size) == (57_600, 800)
    assert block_terms.input_maps[0].out_features == 3_200
    for layer in (block_terms, train, LSTM(kind(16), kind(8))):
        assert all(type(size) is int for size in (layer.input_size, layer.hidden_size, layer.num_layers))
    for numbers in (block_terms.in_modes, block_terms.hidden_modes, (block_terms.tucker_rank,), train.tt_rank):
        assert all(type(number) is int for number in numbers)


@each_layer
@pytest.mark.parametrize("way", [nullcontext, native.disabled])
def test_many_gradients_are_computed_at_once(make, way):
    layer = make(bidirectional=True, dtype=torch.float64)
    x = torch.randn(5, 40, 16, dtype=torch.float64, requires_grad=True)
    sources = [x, *layer.parameters()]
    with way():
        output, _ = layer(x)
        weights = torch.randn(3, *output.shape, dtype=torch.float64)
        found = torch.autograd.grad(output, sources, weights, retain_graph=True, is_grads_batched=True)
        for k in range(3):
            torch.testing.assert_close([grads[k] for grads in found], [*one_by_one(output, sources, weights[k])])


@each_layer
@pytest.mark.parametrize("way", [nullcontext, native.disabled])
def test_a_finished_graph_goes_back_under_transforms_and_with_tangents(make, way):
    layer = make(bidirectional=True, dtype=torch.float64)
    x = torch.randn(5, 40, 16, dtype=torch.float64, requires_grad=True)
    sources = [x, *layer.parameters()]
    with way():
        output, _ = layer(x)
        weights, others = torch.randn(2, 3, *output.shape, dtype=torch.float64)
        wanted = [[*one_by_one(output, sources, weight)] for weight in others]
        found = torch.vmap(lambda weight: one_by_one(output, sources, weight))(others)
        for k in range(3):
            torch.testing.assert_close([grads[k] for grads in found], wanted[k])
        with forward_ad.dual_level():  # going back is linear in what it begins with
            found = one_by_one(output, sources, forward_ad.make_dual(weights[0], others[0]))
            tangents = [forward_ad.unpack_dual(grad).tangent for grad in found]
        torch.testing.assert_close(tangents, wanted[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_a_gru_has_the_type_of_its_input_as_torchs(dtype):
    x = torch.randn(3, 2, 6).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, wanted = btrnn.GRU(6, 4)(x), torch.nn.GRU(6, 4)(x)
    assert [part.dtype for part in found] == [part.dtype for part in wanted] == [dtype, dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_orthogonal_recurrence_is_drawn_in_half_types_too(dtype):
    weight = btrnn.LSTM(4, 4, recurrent_init="orthogonal", dtype=dtype).weight_hh_l0.float()
    torch.testing.assert_close(weight.T @ weight, torch.eye(4), atol=0.02, rtol=0)


@pytest.mark.parametrize("way", [nullcontext, native.disabled])
def test_a_wide_maps_finished_graph_goes_back_under_transforms_and_with_tangents(way):
    layer = BTLinear((8, 20, 20, 18), (4, 4, 4, 4), tucker_rank=2)
    x = torch.randn(4, 57_600, requires_grad=True)
    sources = [x, *layer.parameters()]
    with way():
        output = layer(x)
        weight, *others = torch.randn(4, *output.shape)
        wanted = [[*one_by_one(output, sources, other)] for other in others]
        found = torch.vmap(lambda other: one_by_one(output, sources, other))(torch.stack(others))
        for k in range(3):
            torch.testing.assert_close([grads[k] for grads in found], wanted[k], atol=1e-4, rtol=1e-4)
        with forward_ad.dual_level():
            found = one_by_one(output, sources, forward_ad.make_dual(weight, others[0]))
            tangents = [forward_ad.unpack_dual(grad).tangent for grad in found]
        torch.testing.assert_close(tangents, wanted[0], atol=1e-4, rtol=1e-4)


def one_by_one(output, sources, weights):
    return torch.autograd.grad(output, sources, weights, retain_graph=True)


@each_layer
def test_a_saved_state_loads_without_trust(make, tmp_path):
    _, state = make()(torch.randn(5, 3, 16))
    torch.save(state, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    for of_saved, part in zip(parts_of(saved), parts_of(state), strict=True):
        assert torch.equal(of_saved, part)


@each_layer
def test_an_exported_layer_is_saved_and_loaded(make, tmp_path):
    layer, x = make().eval(), torch.randn(5, 3, 16)
    torch.export.save(torch.export.export(layer, (x,)), tmp_path / "layer.pt2")
    exported = torch.export.load(tmp_path / "layer.pt2").module()
    torch.testing.assert_close(exported(x)[0], layer(x)[0])


class Fixed(InputMap):
    """A matrix that is no parameter, or with `learnt` one, and does not say what it is."""

    def __init__(self, learnt: bool = False) -> None:
        self.learnt = learnt

    def build(self, place: MapPlace) -> nn.Module:
        made = nn.Linear(place.in_features, place.out_features, bias=False, **place.factory)
        if not self.learnt:
            weight = made.weight.detach()
            del made.weight
            made.register_buffer("weight", weight)
        return made


@pytest.mark.parametrize("make", [LSTM, GRU])
@pytest.mark.parametrize("bias", [False, True])
def test_u_may_be_a_map_without_parameters(make, bias):
    """Fixed, or of a kind that lists none, such as a quantised one."""
    options = {"bias": bias, "num_layers": 2, "dtype": torch.float64}
    layer, dense = make(16, 8, hidden_map=Fixed(), **options), make(16, 8, **options)
    state = layer.state_dict()
    for k in range(2):
        state[f"weight_hh_l{k}"] = state.pop(f"hidden_maps.{k}.weight")
    dense.load_state_dict(state)
    x = torch.randn(5, 3, 16, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], dense(x)[0], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"float64.*float32"):
        layer(x.float())


OWN_HIDDEN = {
    "own-hidden": lambda: LSTM(16, 8, hidden_map=Fixed(learnt=True)),
    "own-hidden-gru": lambda: GRU(16, 8, hidden_map=Fixed(learnt=True)),
    "own-hidden-without-bias": lambda: LSTM(16, 8, bias=False, hidden_map=Fixed(learnt=True)),
}


@pytest.mark.parametrize("make", (LAYERS | OWN_HIDDEN).values(), ids=LAYERS | OWN_HIDDEN)
def test_a_replica_of_data_parallel_computes_what_the_layer_does(make):
    layer, x = make(), torch.randn(5, 3, 16)
    replica = layer._replicate_for_data_parallel()
    with_parts = [(layer, replica)]
    for module, copied in with_parts:  # as torch.nn.parallel.replicate does: tensors are attributes, no parameters
        for name, part in module._modules.items():
            copied._modules[name] = part._replicate_for_data_parallel()
            with_parts.append((part, copied._modules[name]))
        for name, parameter in module._parameters.items():
            setattr(copied, name, None if parameter is None else parameter.clone())
    assert not list(replica.parameters())
    assert torch.equal(replica(x)[0], layer(x)[0])


@each_layer
def test_code_that_draws_every_linear_layer_leaves_it_alone(make):
    layer = make()
    before = [parameter.clone() for parameter in layer.parameters()]

    def init(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            module.bias.data.fill_(0.01)

    nn.Sequential(layer).apply(init)
    assert all(torch.equal(old, new) for old, new in zip(before, layer.parameters(), strict=True))


@each_layer
@pytest.mark.parametrize(
    "register",
    [
        nn.Module.register_forward_pre_hook,
        nn.Module.register_forward_hook,
        nn.Module.register_full_backward_pre_hook,
        nn.Module.register_full_backward_hook,
    ],
)
def test_hooks_of_every_module_run_whichever_is_alone(make, register):
    layer, called = make(num_layers=2), set()
    modules = {name for name, module in layer.named_modules() if type(module) is not nn.ModuleList}
    for name in modules:
        register(layer.get_submodule(name), lambda *_, name=name: called.add(name))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="For backward hooks to be called")
        layer(torch.randn(5, 3, 16, requires_grad=True))[0].sum().backward()
    assert called == modules


@each_layer
def test_a_layer_is_made_and_called_with_tensors_that_are_only_planned(make):
    with FakeTensorMode():
        output, _ = make()(torch.randn(5, 3, 16))
    assert output.shape == (5, 3, 8)
    output, _ = make(device="meta")(torch.empty(5, 3, 16, device="meta"))
    assert (output.is_meta, output.shape) == (True, (5, 3, 8))


@pytest.mark.parametrize("kind", [BTLinear, TRLinear])
def test_a_map_is_made_from_a_matrix_where_it_is_whatever_the_default_device(kind):
    sizes = {"tucker_rank": 2, "num_blocks": 2} if kind is BTLinear else {"tr_rank": 2}
    weight = torch.randn(8, 16)
    expected = kind.from_dense(weight, (4, 4), (2, 4), **sizes)
    with torch.device("meta"):
        made = kind.from_dense(weight, (4, 4), (2, 4), **sizes)
    assert torch.equal(made.to_dense(), expected.to_dense())


@pytest.mark.parametrize("kind", [BTLinear, TTLinear, TRLinear])
def test_matrices_and_biases_of_another_shape_are_refused(kind, unchecked):
    sizes = {BTLinear: "tucker_rank", TTLinear: "tt_rank", TRLinear: "tr_rank"}
    weight, rank = torch.randn(8, 16), {sizes[kind]: 2}
    layer = kind((4, 4), (2, 4), **rank)
    for other in (weight[0], weight[:1], weight.new_zeros(())):
        with pytest.raises(ValueError, match=r"weight of shape \(8, 16\)"):
            layer.relative_error(other)
    with pytest.raises(ValueError, match=r"bias must have the shape \(8,\), got \(1,\)"):
        kind.from_dense(weight, (4, 4), (2, 4), **rank, bias=torch.ones(1))
    with pytest.raises(ValueError, match=r"real numbers.*got torch\.int64"):
        kind.from_dense(weight.long(), (4, 4), (2, 4), **rank)


def test_a_map_of_two_matrices_is_made_from_a_matrix_alone(unchecked):
    with pytest.raises(ValueError, match=r"\(out_features, in_features\), got \(16,\)"):
        LowRankLinear.from_dense(torch.randn(16), rank=2)


@pytest.mark.parametrize("wrong", ["bt", BlockTerm, None])
def test_what_is_no_map_is_refused(wrong, unchecked):
    with pytest.raises(ValueError, match=r"input_map must be a map such as BlockTerm\(\.\.\), got"):
        LSTM(16, 8, input_map=wrong)
    with pytest.raises(ValueError, match="hidden_map must be a map"):
        GRU(16, 8, hidden_map=wrong)
