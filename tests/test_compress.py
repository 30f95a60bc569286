"""`btrnn.compress`: nothing of a model changes but how its W are made, and nothing at all where it is refused."""

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence

import btrnn
from btrnn import GRU, LSTM, BTLinear, TTLinear, compress
from btrnn.nn import low_rank
from btrnn.nn.compress import CompressedLayer
from btrnn.nn.hierarchical_tucker import HierarchicalTucker
from btrnn.nn.input_map import BlockTerm, InputMap, MapPlace, TensorTrain
from btrnn.nn.kronecker import CanonicalPolyadic, Kronecker
from btrnn.nn.tensor_ring import TensorRing
from btrnn.nn.tucker import Tucker

EXACT = {"rtol": 0, "atol": 1e-12}


@dataclass(frozen=True)
class LowRank(InputMap):
    """A map of somebody else's: of a low rank, with what `compress` needs."""

    rank: int

    def build(self, place: MapPlace) -> nn.Module:
        return TwoMatrices(place, self.rank, bias=False)

    def from_dense(self, place, weight, bias=None):
        rank = min(self.rank, *weight.shape)
        made = TwoMatrices(place, rank, bias=bias is not None)
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        made.up.weight.copy_(left[:, :rank] * values[:rank])
        made.down.weight.copy_(right[:rank])
        if bias is not None:
            made.up.bias.copy_(bias)
        return made


class TwoMatrices(nn.Module):
    def __init__(self, place: MapPlace, rank: int, bias: bool) -> None:
        super().__init__()
        self.down = nn.Linear(place.in_features, rank, bias=False, **place.factory)
        self.up = nn.Linear(rank, place.out_features, bias=bias, **place.factory)

    def to_dense(self):
        return self.up.weight @ self.down.weight

    def forward(self, x):
        return self.up(self.down(x))


class WithoutFromDense(InputMap):
    def build(self, place: MapPlace) -> nn.Module:
        return nn.Linear(place.in_features, place.out_features, bias=False, **place.factory)


class Classifier(nn.Module):
    """A recurrent layer of 16 inputs and 8 hidden features, and two linear layers on its last step."""

    def __init__(self, recurrent: nn.Module, features: int = 8) -> None:
        super().__init__()
        self.recurrent = recurrent
        factory = {"dtype": next(recurrent.parameters()).dtype}
        self.head = nn.Sequential(nn.Linear(features, 9, **factory), nn.ReLU(), nn.Linear(9, 4, **factory))

    def forward(self, x):
        return self.head(self.recurrent(x)[0])


# nothing is lost: each W is small, and what stands for it is as general
FULL = {
    "tt": (TensorTrain((4, 4), (2, 4), 64), TensorTrain((2, 4), (3, 3), 64), TensorTrain((3, 3), (2, 2), 64)),
    "bt": (BlockTerm((4, 4), (2, 4), 32), BlockTerm((2, 4), (3, 3), 12), BlockTerm((3, 3), (2, 2), 12)),
    "own": (LowRank(16), LowRank(8), LowRank(4)),
}
OURS = {nn.LSTM: LSTM, LSTM: LSTM, nn.GRU: GRU, GRU: GRU}
each_source = pytest.mark.parametrize("make", OURS, ids=["torch_lstm", "our_lstm", "torch_gru", "our_gru"])


# ---- what is the same


SHAPES = [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}, {"bias": False, "num_layers": 3}]


@pytest.mark.parametrize("number", range(len(FULL)), ids=FULL)
@each_source
def test_with_full_ranks_it_computes_what_the_dense_model_did(make, number):
    recurrent, first, last = list(FULL.values())[number]
    options = SHAPES[(number + list(OURS).index(make)) % len(SHAPES)]  # each once with every map, and with every source
    model = Classifier(make(16, 8, dtype=torch.float64, **options), 16 if options.get("bidirectional") else 8)
    inputs, lengths = torch.randn(3, 5, 16, dtype=torch.float64), torch.tensor([5, 3, 2])
    packed = pack_padded_sequence(inputs, lengths, batch_first=True)
    wanted, wanted_packed = model(inputs), model.recurrent(packed)[0]
    before = sum(parameter.numel() for parameter in model.parameters())
    maps = {"recurrent": recurrent, "head.2": last} | ({} if options.get("bidirectional") else {"head.0": first})
    report = compress(model, maps)
    torch.testing.assert_close(model(inputs), wanted, **EXACT)
    torch.testing.assert_close(model.recurrent(packed)[0].data, wanted_packed.data, **EXACT)
    assert type(model.recurrent) is OURS[make]
    assert [layer.name for layer in report.layers] == sorted(
        maps, key=[name for name, _ in model.named_modules()].index
    )
    assert max(layer.relative_error for layer in report.layers) < 1e-12
    assert report.num_parameters_before == before
    assert report.num_parameters_after == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("make", "lost"),
    [
        (nn.LSTM, TensorTrain((4, 4), (2, 4), 2)),
        (LSTM, BlockTerm((4, 4), (2, 4), 1, 2)),
        (nn.GRU, BlockTerm((4, 4), (2, 4), 1, 2)),
        (nn.GRU, Tucker((4, 4), (2, 4), (2, 3))),
        (GRU, CanonicalPolyadic((4, 4), (2, 4), 2)),
        (nn.LSTM, Kronecker((4, 4), (2, 4), 2)),
        (LSTM, TensorRing((4, 4), (2, 2, 2), (2, 3, 2, 1, 3))),
        (nn.GRU, HierarchicalTucker((4, 4), (2, 4), 2, 3)),
        (GRU, low_rank.LowRank(3)),
        *((make, LowRank(3)) for make in OURS),
    ],
)
def test_what_is_lost_is_the_nearest_map_s_and_is_reported(make, lost):
    layer = make(16, 8, num_layers=2, bidirectional=True, dtype=torch.float64)
    model = nn.ModuleDict({"encoder": layer})
    dense = OURS[make](16, 8, num_layers=2, bidirectional=True, dtype=torch.float64)
    dense.load_state_dict(layer.state_dict())
    report = compress(model, {"encoder": lost})
    made = model["encoder"]
    reconstructed = [part.to_dense().detach() for part in made.input_maps]
    originals = [part.weight.detach() for part in dense.input_maps]
    squares = [
        sum(float((w**2).sum()) for w in each)
        for each in (originals, [a - b for a, b in zip(originals, reconstructed, strict=True)])
    ]
    row = report.layers[0]
    kind = f"{'nn' if issubclass(make, nn.RNNBase) else 'btrnn'}.{make.__name__}"
    assert row == CompressedLayer(
        *("encoder", kind, lost, 4 * 8 * made.num_gates * 16, made.num_input_parameters),
        pytest.approx((squares[1] / squares[0]) ** 0.5),
    )
    assert 0.1 < row.relative_error < 1
    # beside W all is exact: the dense layer with the reconstructed W computes the same
    for part, weight in zip(dense.input_maps, reconstructed, strict=True):
        part.weight.data.copy_(weight)
    x, (h, c) = torch.randn(5, 3, 16, dtype=torch.float64), torch.randn(2, 4, 3, 8, dtype=torch.float64)
    state = (h, c) if made.num_states == 2 else h
    for got, wanted in zip(made(x, state)[1], dense(x, state)[1], strict=True):
        torch.testing.assert_close(got, wanted, **EXACT)


def test_a_linear_layer_becomes_what_from_dense_gives():
    model = nn.Sequential(nn.Linear(16, 6), nn.Linear(6, 8, bias=False))
    dense = copy.deepcopy(model)
    report = compress(model, {"0": TensorTrain((4, 4), (2, 3), 2), "1": BlockTerm((2, 3), (2, 4), 2, 2)})
    first = TTLinear.from_dense(dense[0].weight.detach(), (4, 4), (2, 3), tt_rank=2, bias=dense[0].bias.detach())
    second = BTLinear.from_dense(dense[1].weight.detach(), (2, 3), (2, 4), tucker_rank=2, num_blocks=2)
    x = torch.randn(3, 16)
    assert torch.equal(model(x), second(first(x)))
    assert model[1].bias is None
    for row, made, old in zip(report.layers, (first, second), dense, strict=True):
        assert row.num_weights_after == made.num_weights
        assert row.num_weights_before == old.weight.numel()
        assert row.relative_error == pytest.approx(made.relative_error(old.weight))


@each_source
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [False, True])
def test_type_mode_and_options_stay(make, dtype, training):
    options = {"num_layers": 2, "dropout": 0.25, "batch_first": True, "bidirectional": True}
    if OURS[make] is make:
        options |= {"gate_activation": "hard_sigmoid", "recurrent_init": "orthogonal"}
        options |= {"input_dropout": 0.1, "recurrent_dropout": 0.2} | ({"forget_bias": 2.0} if make is LSTM else {})
    layer = make(16, 8, **options).to(dtype)
    model = nn.Sequential(layer, nn.Identity()).train(training)
    compress(model, {"0": BlockTerm((4, 4), (2, 4), 2)})
    made = model[0]
    for name, value in options.items():
        assert getattr(made, name) == value
    assert made.input_map == BlockTerm((4, 4), (2, 4), 2)
    assert {part.training for part in made.modules()} == {training}
    assert {(parameter.dtype, parameter.device.type) for parameter in made.parameters()} == {(dtype, "cpu")}
    assert made(torch.randn(3, 5, 16, dtype=dtype))[0].isfinite().all()


@pytest.mark.parametrize(
    "frozen", [("weight_ih",), ("weight_hh",), ("bias_ih", "bias_hh"), ("bias_ih",), ("weight", "bias")]
)
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU])
def test_what_is_frozen_stays_frozen(make, frozen):
    layer = make(16, 8, bidirectional=True)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(not (name.startswith(frozen) and "reverse" in name))
    model = nn.Sequential(layer)
    compress(model, {"0": TensorTrain((4, 4), (2, 4), 2)})
    for name, parameter in model[0].named_parameters():
        kind = "weight_ih" if name.startswith("input_maps") else name.split("_l")[0].replace("bias_hn", "bias")
        backwards = "reverse" in name or name.startswith("input_maps.1")
        gone = kind in frozen or (kind == "bias" and len(frozen) == 2) or "weight" in frozen
        assert parameter.requires_grad == (not (gone and backwards)), name
    linear = nn.Sequential(nn.Linear(16, 8))
    linear[0].weight.requires_grad_(False)
    compress(linear, {"0": LowRank(2)})
    assert {name for name, parameter in linear.named_parameters() if parameter.requires_grad} == {"0.up.bias"}


def test_a_factorised_hidden_map_stays_as_it_is():
    layer = GRU(16, 8, hidden_map=TensorTrain((2, 4), (2, 4), 2), dtype=torch.float64)
    layer.hidden_maps[0].cores[1].requires_grad_(False)
    holder, x = nn.ModuleList([layer]), torch.randn(5, 3, 16, dtype=torch.float64)
    compress(holder, {"0": LowRank(16)})
    torch.testing.assert_close(holder[0](x)[0], layer(x)[0], **EXACT)
    frozen = [name for name, parameter in holder[0].named_parameters() if not parameter.requires_grad]
    assert frozen == ["hidden_maps.0.cores.1"]


def test_it_trains_and_is_saved_as_any_model_and_leaves_the_old_layer_alone():
    torch.manual_seed(0)
    old = nn.LSTM(16, 8)
    before = copy.deepcopy(old.state_dict())
    model = Classifier(old)
    compress(model, {"recurrent": BlockTerm((4, 4), (2, 4), 2), "head.*": LowRank(2)})
    x, wanted = torch.randn(5, 3, 16), torch.randn(5, 3, 4)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.02), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (model(x) - wanted).square().mean()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in old.state_dict().items())
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for same in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(same(x), model(x))
    compact = Classifier(LSTM(16, 8, input_map=BlockTerm((4, 4), (2, 4), 2)))
    compress(compact, {"head.*": LowRank(2)})
    compact.load_state_dict(model.state_dict())  # as a model that was built compact
    assert torch.equal(compact(x), model(x))


# ---- which layers


class Named(nn.Module):
    """Layers at several depths, in torch's containers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": nn.LSTM(16, 16), "norm": nn.LayerNorm(16), "out": nn.Linear(16, 16)})
        self.blocks = nn.ModuleList([nn.Linear(16, 16) for _ in range(2)])
        self.attention = nn.MultiheadAttention(16, 2)


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        ({"encoder.out": 1}, {"encoder.out": 1}),
        ({"encoder.*": 1}, {"encoder.rnn": 1, "encoder.out": 1}),
        ({nn.Linear: 1}, {"encoder.out": 1, "blocks.0": 1, "blocks.1": 1}),
        ({nn.LSTM: 1}, {"encoder.rnn": 1}),
        ({nn.RNNBase: 1}, {"encoder.rnn": 1}),
        ({nn.Module: 2, nn.Linear: 1}, {"encoder.rnn": 2, "encoder.out": 2, "blocks.0": 2, "blocks.1": 2}),
        ({nn.Linear: 1, "blocks.*": 2, "blocks.1": 3}, {"encoder.out": 1, "blocks.0": 2, "blocks.1": 3}),
        ({"*.1": 1, "blocks.?": 2}, {"blocks.0": 2, "blocks.1": 1}),
    ],
)
def test_a_name_goes_before_a_pattern_and_that_before_a_type(keys, chosen):
    model = Named()
    untouched = {name: part for name, part in model.named_modules() if name not in chosen and not list(part.children())}
    report = compress(model, {key: LowRank(rank) for key, rank in keys.items()})
    assert {layer.name: layer.input_map.rank for layer in report.layers} == chosen
    assert all(model.get_submodule(name) is part for name, part in untouched.items())
    out, _ = model.attention(*[torch.randn(3, 2, 16)] * 3)  # reads its linear layer's weight, so that one is not taken
    assert out.shape == (3, 2, 16)


def test_a_layer_that_stands_in_two_places_is_replaced_in_both_by_one():
    shared = nn.Linear(16, 16)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Linear(16, 16))
    report = compress(model, {"2": LowRank(2)})
    assert model[0] is model[2]
    assert model[0] is not shared
    assert isinstance(model[3], nn.Linear)
    assert [layer.name for layer in report.layers] == ["0"]
    assert report.num_parameters_after == 2 * 32 + 16 + 17 * 16


def test_the_report_is_a_table():
    model = nn.Sequential(nn.Linear(64, 36), nn.ReLU(), nn.Linear(36, 10))
    report = compress(model, {"0": TensorTrain((8, 8), (6, 6), 4)})
    lines = str(report).splitlines()
    assert lines[0].split(" | ")[0] == "| layer"
    assert "| 0     | nn.Linear | TensorTrain(in_modes=(8, 8), hidden_modes=(6, 6), rank=4) |" in lines[2]
    assert [cell.strip() for cell in lines[2].split("|")[4:7]] == ["2,304", "384", "6.0"]
    assert float(lines[2].split("|")[7]) == pytest.approx(report.layers[0].relative_error, rel=0.01)
    assert len({len(line) for line in lines[:3]}) == 1
    assert lines[-1] == "Parameters of the whole module: 2,710 before, 790 after, a compression of 3.4."


# ---- what is refused


def hooked(model: Classifier) -> None:
    model.head[0].register_forward_hook(lambda *_: None)


def pruned(model: Classifier) -> None:
    prune.l1_unstructured(model.head[0], "weight", amount=0.5)


def parametrized(model: Classifier) -> None:
    parametrizations.weight_norm(model.head[0])


def tied(model: Classifier) -> None:
    model.embedding = nn.Embedding(9, 8)
    model.head[0].weight = model.embedding.weight


def without_numbers(model: Classifier) -> None:
    model.head[0] = nn.Linear(8, 9, device="meta")


def not_finite(model: Classifier) -> None:
    model.head[0].weight.data[0, 0] = torch.nan


def of_complex_numbers(model: Classifier) -> None:
    model.head[0] = nn.Linear(8, 9, dtype=torch.complex64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (hooked, r"head\.0 \(nn\.Linear\) is called through hooks"),
        (pruned, r"head\.0 \(nn\.Linear\) is called through hooks.*pruning"),
        (parametrized, r"head\.0 \(nn\.Linear\) is parametrized.*remove_parametrizations"),
        (tied, r"head\.0 \(nn\.Linear\) shares parameters with embedding\.weight"),
        (without_numbers, r"head\.0 \(nn\.Linear\) must hold real numbers, got torch\.float32 on the device meta"),
        (of_complex_numbers, r"head\.0 \(nn\.Linear\) must hold real numbers, got torch\.complex64"),
        (not_finite, r"head\.0 \(nn\.Linear\): the weight of shape \(9, 8\) holds NaN"),
    ],
)
def test_a_layer_that_is_more_or_less_than_its_numbers_is_refused(change: Callable[[Classifier], None], said: str):
    model = Classifier(nn.LSTM(16, 8))
    change(model)
    refuse(model, {"recurrent": FULL["tt"][0], "head.0": TensorTrain((2, 4), (3, 3), 2)}, said)


def refuse(model: nn.Module, maps: dict, said: str) -> None:
    """Check that `compress` says this, and changes nothing."""
    parts, numbers = dict(model.named_modules()), {name: id(tensor) for name, tensor in model.named_parameters()}
    with pytest.raises(ValueError, match=said):
        compress(model, maps)
    assert dict(model.named_modules()) == parts
    assert {name: id(tensor) for name, tensor in model.named_parameters()} == numbers


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        (
            {"recurrent": TensorTrain((4, 5), (2, 4), 2)},
            r"recurrent \(nn\.LSTM\): in_modes \(4, 5\) and .* multiply to 20 and 8, but .* sizes are 16 and 8",
        ),
        ({"head.2": BlockTerm((3, 3), (2, 3), 2)}, r"head\.2 \(nn\.Linear\): .* multiply to 9 and 6, .* are 9 and 4"),
        (
            {"head.1": LowRank(2)},
            r"maps\['head\.1'\] fits no nn\.Linear.*'head\.1' is of type nn\.ReLU.*'head\.0' \(nn",
        ),
        ({"decoder.*": LowRank(2)}, r"maps\['decoder\.\*'\] fits no .*there are 'recurrent' \(nn\.LSTM\), 'head\.0'"),
        ({nn.Conv2d: LowRank(2)}, r"Conv2d.*fits no nn\.Linear.*there are 'recurrent'"),
        ({"head.*": LowRank(2), "heads": LowRank(2)}, r"maps\['heads'\] fits no"),
        ({}, "maps is empty"),
        ({"head.*": WithoutFromDense()}, r"head\.0 \(nn\.Linear\): WithoutFromDense has no way .*define from_dense"),
    ],
)
def test_keys_and_maps_that_do_not_fit_are_named(maps, said):
    refuse(Classifier(nn.LSTM(16, 8)), maps, said)


def test_what_is_no_map_is_named(unchecked):
    for wrong in (BTLinear, LowRank, "bt"):
        refuse(Classifier(nn.LSTM(16, 8)), {"head.0": wrong}, r"maps\['head\.0'\] must be a map such as BlockTerm")


def test_layers_that_an_encoder_reads_past_are_replaced_where_it_calls_them():
    encoder = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, batch_first=True, dropout=0.0)
    model, x = nn.TransformerEncoder(encoder, 2).eval(), torch.randn(2, 3, 16)
    refuse(model, {"layers.*.linear1": LowRank(16)}, r"layers\.0\.linear1.*set_fastpath_enabled\(False\)")
    expected = model(x)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert len(compress(model, {"layers.*.linear1": LowRank(16)}).layers) == 2
        for padding in (None, torch.tensor([[False] * 3, [False, False, True]])):
            model(x, src_key_padding_mask=padding)
        torch.testing.assert_close(model(x), expected, atol=1e-4, rtol=1e-4)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.Sequential(nn.Conv2d(1, 1, 1)), "Sequential holds no layer .*: no nn.Linear"),
        (lambda: LSTM(16, 8, input_map=LowRank(2)), "LSTM holds no layer"),
        (lambda: nn.LSTM(16, 8), "itself the nn.LSTM.*holder"),
        (lambda: nn.Linear(16, 8), "itself the nn.Linear.*holder"),
        (lambda: nn.Sequential(nn.LSTM(16, 8, proj_size=2)), r"0 \(nn\.LSTM\): .*proj_size must be 0, got 2"),
    ],
)
def test_modules_without_a_layer_to_replace_are_refused(make, said):
    refuse(make(), {nn.Module: LowRank(2)}, said)


def test_the_way_around_for_a_layer_alone():
    layer = nn.LSTM(16, 8)
    holder = nn.ModuleList([layer])
    compress(holder, {"0": LowRank(16)})
    x = torch.randn(5, 3, 16)
    torch.testing.assert_close(holder[0](x)[0], layer(x)[0], atol=1e-5, rtol=1e-4)


def test_a_subclass_is_not_taken_for_what_it_was_made_of():
    class Doubling(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = nn.Sequential(Doubling(16, 8), nn.Linear(8, 8))
    compress(model, {nn.Linear: LowRank(2)})
    assert type(model[0]) is Doubling
    refuse(nn.Sequential(Doubling(16, 8), nn.Linear(8, 8)), {"0": LowRank(2)}, "'0' is of type Doubling")


def test_all_sizes_are_checked_before_the_first_decomposition(monkeypatch):
    made = []
    monkeypatch.setattr(TTLinear, "from_dense", lambda *given, **_: made.append(given))
    maps = {"recurrent": TensorTrain((4, 4), (2, 4), 2), "head.2": TensorTrain((3, 3), (5, 1), 2)}
    refuse(Classifier(nn.LSTM(16, 8)), maps, r"head\.2")
    assert made == []


def test_parts_of_ours_with_hooks_or_parametrizations_are_refused():
    for change in (
        lambda layer: layer.input_maps[0].register_forward_hook(lambda *_: None),
        lambda layer: parametrizations.weight_norm(layer.input_maps[0]),
        lambda layer: parametrizations.weight_norm(layer, "weight_hh_l0"),
    ):
        model = nn.Sequential(LSTM(16, 8))
        change(model[0])
        refuse(model, {"0": LowRank(2)}, r"0 \(btrnn\.LSTM\) is (called through hooks|parametrized)")


def test_weights_of_zeros_have_no_error():
    model = nn.Sequential(nn.Linear(16, 8))
    nn.init.zeros_(model[0].weight)
    assert compress(model, {"0": TensorTrain((4, 4), (2, 4), 2)}).layers[0].relative_error == 0


def test_it_is_public():
    assert btrnn.compress is compress
