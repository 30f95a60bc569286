"""The pages of DRAW: bounds, differences between encoders, panels by glimpses, pictures."""

from collections.abc import Callable
from pathlib import Path
from shutil import copyfile

import pandas as pd
import pytest

from btrnn.reports.pages import page_of
from btrnn.reports.view import View, view_of

ROOT = Path(__file__).parent.parent
EXPERIMENT = "draw_mnist_5k"


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


def shown(results_dir: Path, experiment: str = EXPERIMENT) -> View:
    return view_of(results_dir, experiment)


def test_the_page_is_as_it_was(results_dir: Path, golden: Callable[[str, str], None]) -> None:
    (text,) = page_of(EXPERIMENT).report(results_dir, EXPERIMENT).texts.values()
    golden(f"{EXPERIMENT}.md", text)


def test_encoders_are_compared_with_the_dense_one_and_a_lower_bound_is_better(results_dir: Path) -> None:
    rows = {row["first_model"]: row for row in page_of(EXPERIMENT).differences(shown(results_dir))}
    ends = {model: [row[name] for name in ("mean", "low", "high")] for model, row in rows.items()}
    assert ends["tt_lstm"] == pytest.approx([0.0, -1.242, 1.242], abs=1e-3)
    assert ends["bt_lstm"] == pytest.approx([3.033, 2.890, 3.177], abs=1e-3)
    assert (rows["bt_lstm"]["verdict"], rows["tt_lstm"]["verdict"]) == ("worse", "no significant difference")
    assert rows["bt_lstm"]["text"] == "+3.03 nats [+2.89, +3.18]"
    assert rows["bt_lstm"]["first"] == "BT-LSTM, R = 4, N = 1"


def test_parts_of_the_bound_and_what_a_test_was_asked_for_are_compared_too(results_dir: Path) -> None:
    path = results_dir / f"{EXPERIMENT}.csv"
    runs = pd.read_csv(path)
    assert list(page_of(EXPERIMENT).values(shown(results_dir))["others"][0]["by"]) == ["reconstruction", "KL"]
    dense = runs["model"] == "lstm"
    varied = runs["seed"] + 0.1 * (runs["seed"] - 1) * ~dense
    runs["test/kl"] = (25.0 + 4 * ~dense) + varied
    runs["test/nll_importance"] = (98.0 - 2 * ~dense) + varied
    runs["test/digit_score"], runs["test/digit_score_true"] = 7.0 + 0.5 * runs["seed"], 9.5
    runs.to_csv(path, index=False)
    (tt, bt) = page_of(EXPERIMENT).values(shown(results_dir))["others"]
    assert (tt["first"], bt["first"], bt["second"]) == ("TT-LSTM", "BT-LSTM, R = 4, N = 1", "LSTM")
    assert bt["by"]["KL"] == "+4.00 [+3.75, +4.25]"
    assert bt["by"]["importance-weighted"] == "-2.00 [-2.25, -1.75]"
    (text,) = page_of(EXPERIMENT).report(results_dir, EXPERIMENT).texts.values()
    assert "test images have 9.50" in text
    assert page_of(EXPERIMENT).table(shown(results_dir).summary)[0]["digit score"] == "7.50 ± 0.50 (3)"


def test_an_estimate_that_not_all_runs_have_is_shown_of_those(results_dir: Path) -> None:
    path = results_dir / f"{EXPERIMENT}.csv"
    runs = pd.read_csv(path)
    alike = "+0.00 (the same in all 3)"
    for model, expected in (("tt_lstm", [alike, "-"]), ("bt_lstm", ["-", alike])):
        runs["test/nll_importance"] = (98.0 + runs["seed"]).where(runs["model"].isin(["lstm", model]))
        runs.to_csv(path, index=False)
        (text,) = page_of(EXPERIMENT).report(results_dir, EXPERIMENT).texts.values()
        parts = text.split("### The bound's parts")[1].split("###")[0]
        rows = [line.split(" | ") for line in parts.splitlines() if " - LSTM" in line]
        assert [row[-1].removesuffix(" |") for row in rows] == expected


def test_numbers_of_glimpses_are_panels_of_their_own(results_dir: Path) -> None:
    experiment = "draw_glimpses_mnist_5k"
    for glimpses, bound in ((4, 111.0), (16, 107.5)):
        name = f"bt-t{glimpses}"
        for model in ("lstm", "bt_lstm"):
            settings = {"num_glimpses": glimpses, "name": f"{model}-{name}"}
            write_runs(results_dir, experiment, {model: [bound + len(model)]}, **settings)
    view = shown(results_dir, experiment)
    rows = page_of(experiment).differences(view)
    assert [(row["num_glimpses"], row["mean"], row["place"]) for row in rows] == [
        *((4, 3, "glimpses 4"), (16, 3, "glimpses 16")),
    ]


def test_what_has_not_converged_is_named(results_dir: Path) -> None:
    runs = pd.read_csv(results_dir / f"{EXPERIMENT}.csv")
    fall = {"lstm": 0.05, "tt_lstm": 0.2, "bt_lstm": 0.05}  # nats an epoch
    rows = [
        {"experiment": EXPERIMENT, "name": row["name"], "seed": row["seed"], "epoch": epoch}
        | {"val/nll_bound": 100 - fall[row["model"]] * epoch}
        for row in runs.to_dict("records")
        for epoch in range(20)
    ]
    pd.DataFrame(rows).to_csv(results_dir / f"{EXPERIMENT}_epochs.csv", index=False)
    assert page_of(EXPERIMENT).values(shown(results_dir))["falls"] == ["TT-LSTM: 2"]
    (bound,) = page_of(EXPERIMENT).report(results_dir, EXPERIMENT).figures
    assert bound.path == Path("figures", f"{EXPERIMENT}_bound.png")


def test_pictures_of_every_encoder_are_drawn(tmp_path: Path) -> None:
    for file in page_of(EXPERIMENT).report(ROOT / "results", EXPERIMENT).figures:
        file.write(tmp_path)
        assert file.is_current(tmp_path)
    assert (tmp_path / "figures" / f"{EXPERIMENT}_generation.gif").exists()


def test_the_published_bound_stands_on_the_page_and_not_in_the_table(results_dir: Path) -> None:
    (text,) = page_of(EXPERIMENT).report(results_dir, EXPERIMENT).texts.values()
    assert "MNIST, T = 64: reported 87.40 [M] nats or less." in text
    rows = page_of(EXPERIMENT).table(shown(results_dir).summary)
    assert rows[0]["NLL bound, nats"] == "101.00 ± 1.00 (3) [98.52, 103.48]"


def test_sheets_show_what_each_model_drew() -> None:
    view = view_of(ROOT / "results", EXPERIMENT)
    files = {file.path.stem.removeprefix(f"{EXPERIMENT}_"): file for file in page_of(EXPERIMENT).figures(view)}
    ((_, tiles),) = files["reconstructions"].data
    assert {tile.above for tile in tiles} <= set(view.summary["label"])
    name = view.summary.set_index("label").loc[tiles[0].above, "name"]
    originals = view.results.pictures[f"{name}/originals"]
    height, width = originals.shape[1:]
    assert (tiles[0].image[:height, :width] == originals[0]).all()
    drawn = view.results.pictures[f"{name}/reconstructions"]
    assert (tiles[0].image[height + 2 : 2 * height + 2, :width] == drawn[0]).all()
