"""What is said of DRAW: bounds, differences between encoders, and the sentences on attention and glimpses."""

from pathlib import Path
from shutil import copyfile

import pandas as pd
import pytest

from btrnn.reports import generation

ROOT = Path(__file__).parent.parent


def write_runs(results_dir: Path, experiment: str, bounds: dict[str, list[float]], **settings: object) -> None:
    """Write invented runs, a seed for each of a model's bounds."""
    template = pd.read_csv(ROOT / "results" / "draw_mnist_5k.csv")
    rows = []
    for model, values in bounds.items():
        like = template[template["model"] == model].iloc[0]
        for seed, bound in enumerate(values):
            rows.append(like.to_dict() | {"experiment": experiment, "seed": seed, "test/nll_bound": bound} | settings)
    path = results_dir / f"{experiment}.csv"
    old = [pd.read_csv(path)] if path.exists() else []
    pd.concat([*old, pd.DataFrame(rows)]).to_csv(path, index=False)


@pytest.fixture
def results_dir(tmp_path: Path) -> Path:
    copyfile(ROOT / "results" / "paper.csv", tmp_path / "paper.csv")
    write_runs(
        tmp_path,
        "draw_mnist_5k",
        {"lstm": [100.0, 101.0, 102.0], "tt_lstm": [100.5, 101.0, 101.5], "bt_lstm": [103.0, 104.1, 105.0]},
    )
    return tmp_path


def test_readme_tells_a_difference_from_chance(results_dir: Path) -> None:
    text = generation.readme_part(results_dir, "draw_mnist_5k", "results")
    assert (
        "the TT-LSTM encoder is not significantly different from the dense one (+0.00 [-1.24, +1.24] nats, n = 3)"
        in text
    )
    assert "the BT-LSTM, R = 4, N = 1 encoder is worse than the dense one (+3.03 [+2.89, +3.18] nats, n = 3)" in text
    assert "attention:" not in text
    assert "101.00 ± 1.00 (3) [98.52, 103.48]" in text


def test_readme_speaks_of_attention_and_of_glimpses_where_they_were_run(results_dir: Path) -> None:
    attention = {"lstm": [120.0, 122.0], "bt_lstm": [121.0, 123.5]}
    write_runs(results_dir, "draw_attention_mnist_5k", attention, attention="read 2x2, write 5x5", scale="default")
    for glimpses, bound in ((4, 111.0), (16, 107.5)):
        name = f"bt-t{glimpses}"
        write_runs(results_dir, "draw_glimpses_mnist_5k", {"bt_lstm": [bound]}, num_glimpses=glimpses, name=name)
    text = generation.readme_part(results_dir, "draw_mnist_5k", "results")
    assert "With attention, at scale `default` (" in text
    said = "nats; the BT-LSTM, R = 4, N = 1 encoder is not significantly different"
    assert f"LSTM 121.00 ± 1.41, BT-LSTM, R = 4, N = 1 122.25 ± 1.77 {said}" in text
    assert "n = 1): 111.00 with 4, 107.50 with 16 nats." in text
    assert "(results/tables/draw_attention_mnist_5k.md), [draw_glimpses" in text


def test_the_published_bound_stands_beside_the_dense_encoder_alone(results_dir: Path) -> None:
    (text,) = generation.table_texts(results_dir, "draw_mnist_5k").values()
    table = text[text.index("| encoder") :].split("\n\n")[0]
    heads, _, *rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    published = heads.index("published, MNIST, T = 64")
    assert [row[published] for row in rows] == ["reported <= 87.40 [M]", "-", "-"]
