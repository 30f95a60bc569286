"""Maps of which a part is never trained, against plain products; a run of each, and of other small models."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from btrnn import BTLSTM, LSTM
from btrnn.engine import run
from btrnn.models.fixed_maps import Averaged, Blind, Frozen, Projected
from btrnn.nn.input_map import BlockTerm, InputMap, MapPlace
from btrnn.nn.rates import parameter_groups
from btrnn.results.store import read_run
from btrnn.results.summary import summarise

MAPS = [Averaged(2, 4, 6, 1), Projected(5, seed=3), Frozen(BlockTerm((4, 6), (2, 4), 2, 2)), Blind()]


@pytest.mark.parametrize("input_map", MAPS, ids=lambda found: type(found).__name__)
def test_a_step_trains_what_is_to_be_trained_and_nothing_else(input_map: InputMap) -> None:
    layer = LSTM(24, 8, num_layers=2, input_map=input_map if not isinstance(input_map, Frozen) else MAPS[0])
    if isinstance(input_map, Frozen):
        layer = LSTM(24, 8, input_map=input_map)
    before = {name: value.clone() for name, value in (*layer.named_parameters(), *layer.named_buffers())}
    optimizer = torch.optim.Adam(parameter_groups(layer, 1e-2))
    layer(torch.randn(5, 3, 24))[0].square().sum().backward()
    optimizer.step()
    after = dict((*layer.named_parameters(), *layer.named_buffers()))
    fixed = {name for name, value in before.items() if torch.equal(value, after[name])}
    frozen = isinstance(input_map, Frozen)
    expected = {name for name in before if name.startswith("input_maps.0") and (frozen or "projection" in name)}
    assert fixed == expected


def test_averages_are_those_of_squares() -> None:
    place = MapPlace(0, 1, 4, 4 * 6 * 3, 2, {"device": None, "dtype": torch.float64})
    made = Averaged(2, 4, 6).build(place)
    x = torch.randn(2, 3, 72, dtype=torch.float64)
    picture = x.reshape(2, 3, 4, 6, 3)
    squares = [
        picture[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean(dim=(2, 3))
        for row in range(2)
        for column in range(3)
    ]
    torch.testing.assert_close(made(x), torch.cat(squares, dim=-1) @ made.dense.weight.T)
    assert Averaged(20).num_values == 144
    assert Averaged(4).num_values == 3600


def test_a_projection_follows_from_its_seed_and_keeps_the_size_of_its_input() -> None:
    place = MapPlace(0, 1, 4, 5_000, 2, {"device": None, "dtype": None})
    made, again, other = (Projected(64, seed).build(place) for seed in (1, 1, 2))
    assert torch.equal(made.projection, again.projection)
    assert not torch.equal(made.projection, other.projection)
    x = torch.ones(1, 5_000) * 3  # all alike, as neighbouring pixels are
    assert 0.7 < float((x @ made.projection).square().mean().sqrt()) / 3 < 1.3
    torch.testing.assert_close(made(x), x @ made.projection @ made.dense.weight.T)
    assert set(made.state_dict()) == {"dense.weight"}


def test_a_frozen_map_is_the_one_that_it_freezes() -> None:
    torch.manual_seed(0)
    frozen = LSTM(24, 8, input_map=Frozen(BlockTerm((4, 6), (2, 4), 2, 2)))
    torch.manual_seed(0)
    trained = BTLSTM((4, 6), (2, 4), tucker_rank=2, num_blocks=2)
    x = torch.randn(5, 3, 24)
    assert torch.equal(frozen(x)[0], trained(x)[0])
    assert frozen.input_map.facts() == trained.input_map.facts()


def test_a_blind_layer_gives_what_one_with_no_input_weights_gives() -> None:
    torch.manual_seed(0)
    blind, seeing = LSTM(24, 8, num_layers=2, input_map=Blind()), LSTM(24, 8, num_layers=2)
    seeing.load_state_dict(blind.state_dict(), strict=False)
    with torch.no_grad():
        seeing.input_maps[0].weight.zero_()
    x = torch.randn(5, 3, 24)
    torch.testing.assert_close(blind(x)[0], seeing(x)[0])
    assert blind.num_input_parameters == seeing.num_input_parameters - 4 * 8 * 24


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="side must divide height 120 and width 160, got 7"):
        Averaged(7)
    with pytest.raises(ValueError, match=r"a picture of \(120, 160, 3\) has 57600 values, but the layer reads 24"):
        LSTM(24, 8, input_map=Averaged(4))
    with pytest.raises(ValueError, match="num_values must be at least 1, got 0"):
        Projected(0)


@pytest.mark.parametrize(
    ("choice", "of_w", "rank"),
    [
        ("averaged_lstm", 1024 * 3600, 3600),
        ("projected_lstm", 1024 * 64, 64),
        ("frozen_bt_lstm", 3392, 4),
        ("tr_lstm model.layer.tr_rank=[6,2,2,2,2,2,2,2]", 472, 6),
    ],
)
def test_a_run_of_each(make_config: Callable[..., DictConfig], choice: str, of_w: int, rank: int) -> None:
    model, *ranks = choice.split()
    words = ("experiment=ucf11", f"model={model}", *ranks, "scale.video.max_epochs=1", "optimizer.scaled=true")
    config = make_config(*words, "data.scaling=normalized")
    run.train(config)
    summary = read_run(Path(config.run_dir)).runs.iloc[0]
    assert (summary["model"], summary["parameters_input"], summary["rank"]) == (model, of_w, rank)
    assert summary["parameters_dense_input"] == 58_982_400


@pytest.mark.parametrize(
    ("choice", "total", "label"),
    [
        ("double_bt_lstm", 3392 + 1408 + 1024 + 257 * 11, "BT-LSTM, U too, R = 4"),  # W, U, bias, classifier
        ("small_lstm model.layer.hidden_size=1", 4 * (57_600 + 1 + 1) + 2 * 11, "small LSTM, units = 1"),
    ],
)
def test_what_else_is_smaller_than_the_dense_model(
    make_config: Callable[..., DictConfig], choice: str, total: int, label: str
) -> None:
    model, *sizes = choice.split()
    config = make_config("experiment=ucf11", f"model={model}", *sizes, "scale.video.max_epochs=1")
    run.train(config)
    (summary,) = summarise(read_run(Path(config.run_dir)).runs).to_dict("records")
    assert (summary["parameters_total"], summary["label"]) == (total, label)
