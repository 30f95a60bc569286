"""The comparison of formats: what it counts is what is there."""

from importlib.util import find_spec

import pandas as pd
import pytest
import torch

from btrnn import LowRankLinear, TTLinear
from btrnn.benchmark.measure import formats
from btrnn.benchmark.measure.formats import FORMATS, block_terms, compare, equation, kept_bytes, optimal_path
from btrnn.benchmark.records import FORMATS_FILE
from btrnn.benchmark.settings import TINY
from btrnn.nn.kronecker import Kronecker
from btrnn.nn.low_rank import LowRank
from btrnn.recovery.maps import MAPS, from_dense, make
from btrnn.recovery.records import EQUAL_MAPS
from btrnn.recovery.truths import KINDS, make_truth
from btrnn.reports.publishing import publish

from .conftest import ROOT

NAMES = [type(one.map).__name__ for one in FORMATS]
PEERS = [pytest.param(one, library, id=f"{one.label}-{library}") for one in FORMATS for library in one.peers]


@pytest.mark.parametrize("one", FORMATS, ids=NAMES)
def test_shapes_are_of_the_size_that_the_page_says(one):
    layer = one.build(device="meta")
    assert (layer.in_features, layer.out_features) == (57_600, 1_024)
    if not isinstance(one.map, LowRank | Kronecker):
        assert layer.num_weights == pytest.approx(3_400, rel=0.1)


@pytest.mark.parametrize("name", MAPS)
def test_fitted_shapes_are_of_the_size_that_the_page_says(name):
    small = make(name, device="meta")
    assert (small.in_features, small.out_features) == (64, 64)
    assert small.num_weights == pytest.approx(512, rel=0.15)


def test_every_format_is_timed_and_fitted():
    fitted = [(EQUAL_MAPS[name], type(one)) for name, one in MAPS.items()]
    assert fitted == [(one.label, type(one.map)) for one in FORMATS]


def test_a_form_that_fits_has_no_error():
    for name in ("low_rank", "kronecker"):
        truth = torch.from_numpy(make_truth(name, 0))
        assert from_dense(name, truth).relative_error(truth) < 1e-6


def test_kept_bytes_are_what_the_backward_pass_needs():
    low_rank = LowRankLinear(5_760, 1_024, rank=3, bias=False)
    assert low_rank.plan(64).method == "torch"
    x = torch.randn(64, 5_760)
    assert kept_bytes(low_rank, list(low_rank.parameters()), x) == 4 * 64 * 3  # V x, for the gradient of U
    train = TTLinear((4, 5, 6), (3, 2, 4), tt_rank=3)
    assert kept_bytes(train, list(train.parameters()), torch.randn(8, 120)) > 0


@pytest.mark.parametrize("one", FORMATS, ids=NAMES)
def test_opt_einsum_contracts_the_same_network(one):
    layer = one.build()
    x, d_output = torch.randn(2, 57_600), torch.randn(2, 1_024)
    other = optimal_path(layer, rows=2)
    output, right = other.call(x), layer(x)
    torch.testing.assert_close(output, right, atol=1e-4, rtol=1e-3)
    output.backward(d_output)
    right.backward(d_output)
    for weight, given in zip(layer.weights(), other.gradients(), strict=True):
        torch.testing.assert_close(given.reshape(weight.shape), weight.grad, atol=1e-3, rtol=1e-3)


def test_blocks_are_summed_and_a_single_one_is_no_axis():
    two, one = (LowRankLinear(4, 3, rank=2).network, block_terms(TINY).build(TINY).network)
    assert equation(two).count("b") == 0
    assert all("b" in term for term in equation(one).split("->")[0].split(",")[1:])


@pytest.mark.parametrize(("one", "library"), PEERS)
def test_layers_of_others_are_of_the_size_of_ours(one, library):
    pytest.importorskip(library)
    ours, peer = one.build(), one.peers[library]
    made = peer.build(ours)
    assert sum(parameter.numel() for parameter in made.parameters()) == pytest.approx(ours.num_weights, rel=0.06)
    if peer.numbers is not None:
        x = torch.randn(2, 57_600)
        torch.testing.assert_close(made(x), ours(x), atol=1e-4, rtol=1e-3)


def test_a_row_has_all_that_is_installed():
    table = compare([block_terms(TINY), formats.tensor_train(TINY)], TINY, rounds=2).set_index("format")
    assert list(table.index) == ["dense", "block terms", "tensor train"]
    dense = TINY.in_features * TINY.out_features
    assert table.loc["dense", ["parameters", "ratio", "kept_mib"]].tolist() == [dense, 1, 0]
    assert (table[["forward_ms", "step_ms"]] > 0).all(axis=None)
    assert (table.loc["block terms":, ["opt_einsum_forward_ms", "opt_einsum_step_ms", "opt_einsum_kept_mib"]] > 0).all(
        axis=None
    )
    for library in formats.LIBRARIES:
        columns = [f"{library}_{name}" for name in ("parameters", "forward_ms", "step_ms", "kept_mib")]
        assert table.loc["dense", columns].isna().all()
        for one in (block_terms(TINY), formats.tensor_train(TINY)):
            there = find_spec(library) is not None and library in one.peers
            assert table.loc[one.label, columns].notna().all() == there
            assert table.loc[one.label, columns].isna().all() != there


def test_a_product_of_other_numbers_is_refused(monkeypatch):
    plain = formats.contracted

    def wrong(*arguments):
        built = plain(*arguments)
        call = built.call
        built.call = lambda x: 1.01 * call(x)
        return built

    monkeypatch.setattr(formats, "contracted", wrong)
    with pytest.raises(RuntimeError, match=r"block terms: the result of opt_einsum is .* away from ours"):
        compare([block_terms(TINY)], TINY, rounds=1)


def test_own_numbers_are_published_by_name(tmp_path):
    own = tmp_path / "local" / FORMATS_FILE
    own.parent.mkdir()
    own.write_text("format\ndense\n")
    assert publish(tmp_path, ["formats"]) == [tmp_path / FORMATS_FILE]
    assert (tmp_path / FORMATS_FILE).read_text() == own.read_text()


def test_the_published_table_has_every_format():
    table = pd.read_csv(ROOT / "results" / FORMATS_FILE).set_index("format")
    assert list(table.index) == ["dense", *(one.label for one in FORMATS)]
    assert {f"error_{kind}" for kind in KINDS} <= set(table.columns)
    for one in FORMATS:
        assert table.loc[one.label, "parameters"] == one.build(device="meta").num_weights
        for library in formats.LIBRARIES:
            assert pd.notna(table.loc[one.label, f"{library}_step_ms"]) == (library in one.peers)


def test_no_published_product_is_slower_than_both_the_dense_one_and_the_optimal_path():
    table = pd.read_csv(ROOT / "results" / FORMATS_FILE).set_index("format")
    for column in ("forward_ms", "step_ms"):
        ours = table[column].drop("dense")
        slower = table[f"opt_einsum_{column}"].drop("dense").clip(lower=table.loc["dense", column])
        assert (ours <= 1.1 * slower).all()
