"""The comparison of formats: what it counts is what is there."""

import pandas as pd
import pytest
import torch

from btrnn import LowRankLinear, TTLinear
from btrnn.recovery.formats import FORMATS, fit_error, kept_bytes
from btrnn.recovery.truths import KINDS, make_truth

from .conftest import ROOT


@pytest.mark.parametrize("one", FORMATS, ids=[one.name for one in FORMATS])
def test_shapes_are_of_the_size_that_the_page_says(one):
    layer = one.kind(*one.sizes, **one.ranks, device="meta")
    assert (layer.in_features, layer.out_features) == (57_600, 1_024)
    if one.name not in ("LowRankLinear", "KroneckerLinear"):
        assert layer.num_weights == pytest.approx(3_400, rel=0.1)
    small = one.kind(*one.small_sizes, **one.small_ranks, device="meta")
    assert (small.in_features, small.out_features) == (64, 64)
    assert small.num_weights == pytest.approx(512, rel=0.15)


def test_a_form_that_fits_has_no_error():
    (low_rank,) = (one for one in FORMATS if one.name == "LowRankLinear")
    (kronecker,) = (one for one in FORMATS if one.name == "KroneckerLinear")
    assert fit_error(low_rank, torch.from_numpy(make_truth("low_rank", 0))) < 1e-6
    assert fit_error(kronecker, torch.from_numpy(make_truth("kronecker", 0))) < 1e-6


def test_kept_bytes_are_what_the_backward_pass_needs():
    low_rank = LowRankLinear(5_760, 1_024, rank=3, bias=False)
    assert low_rank.plan(64).method == "torch"
    assert kept_bytes(low_rank, torch.randn(64, 5_760)) == 4 * 64 * 3  # V x, for the gradient of U
    assert kept_bytes(TTLinear((4, 5, 6), (3, 2, 4), tt_rank=3), torch.randn(8, 120)) > 0


def test_the_published_table_has_every_format():
    table = pd.read_csv(ROOT / "results" / "formats.csv").set_index("format")
    assert list(table.index) == ["dense", *(one.label for one in FORMATS)]
    assert {f"error_{kind}" for kind in KINDS} <= set(table.columns)
    for one in FORMATS:
        layer = one.kind(*one.sizes, **one.ranks, device="meta", bias=False)
        assert table.loc[one.label, "parameters"] == layer.num_weights
