"""Figures show the numbers they are given, under one colour a model, and notice when they are out of date."""

import errno
import importlib
import runpy
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from btrnn.figures import file as figure_file
from btrnn.figures.dots import draw_dots
from btrnn.figures.file import Appearance, FigureFile, png_bytes
from btrnn.figures.pictures import Tile, draw_animation, draw_heat_maps, draw_tiles, sheet
from btrnn.figures.series import draw_series
from btrnn.reports.pages import page_of
from btrnn.reports.view import View, view_of
from btrnn.results.schema import MODELS as TABLE
from btrnn.results.schema import model_of
from btrnn.results.store import collect, write_results
from tests.run_folders import CLASSES, MODELS, write_study

ROOT = Path(__file__).parent.parent
TITLE = "Motions (stand-in), scale study, n = 2"
OPTIONS: dict[str, Any] = {"title": TITLE, "x_label": "epoch", "y_label": "training loss"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> View:
    results_dir = tmp_path_factory.mktemp("results")
    copyfile(ROOT / "results" / "paper.csv", results_dir / "paper.csv")
    list(write_study(results_dir, seeds=2, epochs=5, models=(*MODELS, "toy")))
    write_results(collect(results_dir, "ucf11_motions")[0], results_dir, "ucf11_motions")
    return view_of(results_dir, "ucf11_motions")


@pytest.fixture
def loss(study: View) -> pd.DataFrame:
    return study.epoch_series({"": "train/loss"})


@pytest.fixture
def files(study: View) -> dict[str, FigureFile]:
    return {file.path.stem.removeprefix("ucf11_motions_"): file for file in page_of(study.experiment).figures(study)}


def drawn(file: FigureFile) -> Figure:
    figure = file.draw()
    assert isinstance(figure, Figure)
    return figure


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_panels_that_share_an_axis_all_show_their_points(loss: pd.DataFrame) -> None:
    shifted = [loss.assign(panel=f"panel {shift}", mean=loss["mean"] + shift) for shift in (0, 100, -100)]
    figure = draw_series(pd.concat(shifted), **OPTIONS)
    for axis in figure.axes:
        low, high = axis.get_ylim()
        assert all(low < y < high for line in axis.lines for y in np.asarray(line.get_ydata(), float))


def test_curves_are_the_means_over_seeds_of_every_model(study: View, loss: pd.DataFrame) -> None:
    figure = draw_series(loss, **OPTIONS)
    assert figure.get_suptitle() == TITLE
    assert [axis.get_title() for axis in figure.axes] == [
        "protocol paper, scaling raw",
        "protocol paper, scaling normalized",
        "protocol grouped, scaling raw",
        "protocol grouped, scaling normalized",
    ]
    assert [figure.axes[place].get_ylabel() for place in (0, 2)] == ["training loss"] * 2
    assert legend(figure) == ["LSTM", "TT-LSTM", "BT-LSTM, R = 4", "toy, R = 5, d = 3"]
    epochs = study.results.epochs
    runs = epochs[epochs["name"] == "tt_lstm_grouped_raw_study"].groupby("epoch")["train/loss"]
    line = figure.axes[2].lines[1]
    np.testing.assert_array_equal(line.get_xdata(), np.arange(5) + 1)
    np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), runs.mean())
    band = np.asarray(figure.axes[2].collections[1].get_paths()[0].vertices)[:, 1]
    assert (band.min(), band.max()) == (runs.min().min(), runs.max().max())


def test_each_model_has_the_look_of_its_row_in_the_table_in_every_panel(loss: pd.DataFrame) -> None:
    figure = draw_series(loss, **OPTIONS)
    appearances = [[(line.get_color(), line.get_linestyle()) for line in axis.lines] for axis in figure.axes]
    assert all(appearance == appearances[0] for appearance in appearances)
    assert appearances[0][:3] == [(model.color, model.line) for model in TABLE[:3]]
    assert len({color for color, _ in appearances[0]}) == 4


def test_accuracy_against_parameters_shows_every_model_where_it_belongs(
    study: View, files: dict[str, FigureFile]
) -> None:
    figure = drawn(files["parameters"])
    assert all(axis.get_xscale() == "log" for axis in figure.axes)
    lines: list[list[Any]] = [list(axis.lines) for axis in figure.axes]
    rows = study.summary[(study.summary["protocol"] == "grouped") & (study.summary["scaling"] == "raw")]
    points = [line.get_xydata()[0].tolist() for line in lines[2] if len(line.get_xdata()) == 1]
    for model in ("lstm", "tt_lstm", "bt_lstm", "toy"):  # though another is near
        row = rows[rows["model"] == model].iloc[0]
        assert [row["parameters_input"], row["test/accuracy"]] in points
    baseline = rows.loc[rows["model"] == "logistic_regression", "test/accuracy"].iloc[0]
    assert any(list(line.get_ydata()) == [baseline] * 2 for line in lines[2])  # a horizontal line
    (legend,) = figure.legends
    assert "BT-LSTM, R = 4" in [text.get_text() for text in legend.get_texts()]  # the only one: no note beside it
    assert not any(text.get_text() for axis in figure.axes for text in axis.texts)
    titles = [axis.get_title() for axis in figure.axes]
    whole = lines[titles.index(titles[2].replace("W", "the whole model"))]
    assert [rows.loc[rows["model"] == "lstm", name].iloc[0] for name in ("parameters_total", "test/accuracy")] in [
        line.get_xydata()[0].tolist() for line in whole if len(line.get_xdata()) == 1
    ]


def test_lines_of_one_model_are_told_apart() -> None:
    rows = [(f"R = {rank}", x, 0.1 * rank) for rank in (1, 2) for x in (2.0, 3.0)]
    table = pd.DataFrame(rows, columns=["label", "x", "mean"]).assign(panel="", model="bt_lstm", low=0.0, high=1.0)
    same, styled = (
        draw_series(table, **OPTIONS, appearances=appearances).axes[0].lines
        for appearances in (None, {"R = 1": Appearance("red", "o", ":"), "R = 2": Appearance("blue", "s", "-")})
    )
    assert [line.get_color() for line in same] == [model_of("bt_lstm").color] * 2
    assert len({(line.get_linestyle(), line.get_markerfacecolor()) for line in same}) == 2
    assert [line.get_color() for line in styled] == ["red", "blue"]


def test_dots_stand_in_their_rows_with_bars_as_far_as_is_known() -> None:
    table = pd.DataFrame(
        [
            ("A", "LSTM", "lstm", 0.5, 0.25, 0.625),
            ("A", "BT", "bt_lstm", 0.75, np.nan, np.nan),
            ("B", "BT", "bt_lstm", 0.25, 0.125, 0.5),
        ],
        columns=["row", "label", "model", "mean", "low", "high"],
    )
    figure = draw_dots(
        table, title=TITLE, x_label="accuracy", appearances={"BT": Appearance("red", "x", "")}, vertical=0.0
    )
    (axis,) = figure.axes
    dense, ours = (container.lines[0] for container in axis.containers)
    assert [line.get_xdata().tolist() for line in (dense, ours)] == [[0.5], [0.75, 0.25]]
    assert [np.rint(line.get_ydata()).tolist() for line in (dense, ours)] == [[0], [0, 1]]
    assert dense.get_ydata()[0] < ours.get_ydata()[0], "below one another"
    assert [text.get_text() for text in axis.get_yticklabels()] == ["A", "B"]
    assert (dense.get_color(), ours.get_color()) == (model_of("lstm").color, "red")
    bars = [container.lines[2][0].get_segments() for container in axis.containers]
    assert [segment[:, 0].tolist() for segment in bars[0]] == [[0.25, 0.625]]
    assert [segment[:, 0].tolist() for segment in bars[1]] == [[0.75, 0.75], [0.125, 0.5]]
    assert legend(figure) == ["LSTM", "BT"]


def test_points_have_their_notes_and_a_place_its_vertical_line() -> None:
    table = pd.DataFrame({"panel": "", "label": "a", "model": "toy", "x": [1.0, 2.0], "mean": 0.5, "low": 0, "high": 1})
    noted = table.assign(note=["R = 1", "R = 2"])
    figure = draw_series(noted, **OPTIONS, bars=True, vertical=(1.5, "the paper's"))
    assert [text.get_text() for text in figure.axes[0].texts] == ["R = 1", "R = 2"]
    assert list(figure.axes[0].lines[0].get_xdata()) == [1.5, 1.5]


# ---- files


@pytest.fixture
def file(loss: pd.DataFrame) -> FigureFile:
    return FigureFile(Path("figures/loss.png"), draw_series, loss, OPTIONS)


def test_a_figure_lies_below_its_output_folder_and_knows_what_it_shows(file: FigureFile, tmp_path: Path) -> None:
    assert not file.is_current(tmp_path)
    file.write(tmp_path)
    assert file.is_current(tmp_path)
    with Image.open(tmp_path / "figures" / "loss.png") as image:
        assert image.width > 900
        assert image.info["SHA256"] == file.digest


def test_a_figure_is_stale_where_its_data_or_its_texts_change(file: FigureFile, tmp_path: Path) -> None:
    file.write(tmp_path)
    other = file.data.assign(mean=file.data["mean"] + 1e-6)
    assert not replace(file, data=other).is_current(tmp_path)
    assert not replace(file, options=OPTIONS | {"title": "Another title"}).is_current(tmp_path)
    assert not replace(file, options=OPTIONS | {"appearances": {"LSTM": Appearance("red", "o", ":")}}).is_current(
        tmp_path
    )


@pytest.mark.parametrize("changed", ["btrnn.figures.series", "btrnn.figures.file", "btrnn.figures.pictures"])
def test_a_figure_is_stale_where_the_code_that_draws_it_changes(
    file: FigureFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    file.write(tmp_path)
    source = figure_file.inspect.getsource

    def edited(module: Any) -> str:
        return source(module) + "# edited" * (module.__name__ == changed)

    monkeypatch.setattr(figure_file.inspect, "getsource", edited)
    assert file.is_current(tmp_path) == (changed == "btrnn.figures.pictures")  # which does not draw this one


def test_the_picture_of_the_decomposition_in_readme_is_what_its_code_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    figure = importlib.import_module("method_drawing").FIGURE
    assert figure.is_current(ROOT / "docs"), "run `python docs/method_drawing.py`"
    assert f"](docs/{figure.path})" in (ROOT / "README.md").read_text()
    assert "x: one frame, 57,600 = 8" in "".join(text.get_text() for text in figure.draw().axes[0].texts)


def test_a_picture_that_cannot_be_written_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "assets/block_term.png")

    monkeypatch.setattr(FigureFile, "write", full)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "docs" / "method_drawing.py"), run_name="__main__")
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_figures_of_a_study_are_written(files: dict[str, FigureFile], tmp_path: Path) -> None:
    assert next(iter(files)) == "accuracy"  # with which the page opens
    for file in files.values():
        file.write(tmp_path)
        with Image.open(tmp_path / file.path) as image:
            assert np.asarray(image.convert("L")).std() > 5
        assert TITLE in drawn(file).get_suptitle()


def test_the_confusion_of_classes_counts_the_clips_of_all_seeds(study: View, files: dict[str, FigureFile]) -> None:
    (table,) = files["confusion_grouped_raw"].data.values()
    tested = study.results.predictions[study.results.predictions["name"] == "bt_lstm_grouped_raw_study"]
    assert table.index.tolist() == table.columns.tolist() == CLASSES
    assert table.loc["kick", "punch"] == ((tested["label"] == 5) & (tested["predicted"] == 6)).sum()
    assert table.sum().sum() == len(tested)


def test_a_heat_map_writes_each_number_in_its_cell_and_leaves_white_what_is_not_there() -> None:
    counts = pd.DataFrame(np.full((11, 11), np.nan), index=CLASSES, columns=CLASSES)
    counts.loc["kick", "punch"] = 7
    figure = draw_heat_maps({"": counts}, title=TITLE, x_label="predicted", y_label="true")
    (axis,) = figure.axes
    assert [(text.get_text(), *text.get_position()) for text in axis.texts if text.get_text()] == [("7", 6, 5)]
    assert [tick.get_text() for tick in axis.get_yticklabels()][3] == "dance_a"
    two = {name: pd.DataFrame({1.0: [0.25, 0.5]}, index=[2.0, 3.0]) for name in ("a", "b")}
    figure = draw_heat_maps(two, title=TITLE, x_label="R", y_label="d", form=".3f")
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["0.250", "0.500"]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["2", "3"]


def test_tiles_stand_in_rows_with_their_texts_and_places_can_be_empty() -> None:
    grey, color = np.zeros((4, 8), dtype=np.uint8), np.zeros((8, 4, 3), dtype=np.uint8)
    rows = [("first", [Tile(grey, "above", ("a caption", "another"))]), ("second", [None, Tile(color)])]
    figure = draw_tiles(rows, title=TITLE)
    assert [axis.get_ylabel() for axis in figure.axes] == ["first", "", "second", ""]
    assert [len(axis.images) for axis in figure.axes] == [1, 0, 0, 1]
    assert figure.axes[0].get_title() == "above"
    assert figure.axes[0].get_xlabel() == "a caption\nanother"


def test_a_sheet_has_every_image_at_its_place_and_grey_between() -> None:
    images = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1) * np.ones((1, 1, 4, 5), dtype=np.uint8)
    laid = sheet(images)
    assert laid.shape == (4 + 2 + 4, 3 * 5 + 2 * 2)
    for row in range(2):
        for column in range(3):
            assert (laid[6 * row : 6 * row + 4, 7 * column : 7 * column + 5] == 3 * row + column).all()
    assert (laid[4:6] == 128).all()


def test_an_animation_shows_a_shorter_model_s_last_canvas_to_the_end() -> None:
    short, long = (np.full((steps, 2, 6, 6), 10 * steps, dtype=np.uint8) for steps in (1, 3))
    frames = draw_animation({"short": short, "long": long}, title="DRAW")
    assert len(frames) == 3 + 5
    for frame in frames:
        pixels = np.asarray(frame)
        assert (pixels == 10).sum() >= 2 * 18 * 18  # enlarged three times
        assert (pixels == 30).sum() >= 2 * 18 * 18


def test_figures_leave_global_settings_alone(loss: pd.DataFrame) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    png_bytes(draw_series(loss, **OPTIONS), 50)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    "settings",
    [
        {"text.usetex": True},
        {"font.size": 30, "font.family": "serif", "lines.linewidth": 9, "path.sketch": (5, 100, 2)},
        {"xtick.direction": "in", "xtick.labelsize": 30, "ytick.right": True, "axes.formatter.use_locale": True},
        {"savefig.bbox": "tight", "savefig.transparent": True, "savefig.facecolor": "red", "savefig.dpi": 10},
    ],
)
def test_figures_do_not_depend_on_the_users_settings(loss: pd.DataFrame, settings: dict[str, Any]) -> None:
    import matplotlib as mpl

    def draw() -> bytes:
        return png_bytes(draw_series(loss, **OPTIONS), 50)

    with mpl.rc_context():
        mpl.rcdefaults()
        plain = draw()
    with mpl.rc_context(settings):
        assert draw() == plain
