"""Figures show the numbers they are given, under one colour a model, and notice when they are out of date."""

from functools import partial
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from btrnn.figures import file as figure_file
from btrnn.figures import video as figures
from btrnn.figures.file import FigureFile
from btrnn.figures.series import draw_series
from btrnn.figures.style import Look, png_bytes
from btrnn.reports import video
from btrnn.reports.view import View, view_of
from btrnn.results.schema import MODELS as TABLE
from btrnn.results.store import collect, write_results
from tests.run_folders import CLASSES, MODELS, write_study

PAPER = Path(__file__).parent.parent / "results" / "paper.csv"
TITLE = "Actions (stand-in), scale study, n = 2"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> View:
    results_dir = tmp_path_factory.mktemp("results")
    copyfile(PAPER, results_dir / "paper.csv")
    list(write_study(results_dir, seeds=2, epochs=5, models=(*MODELS, "toy")))
    write_results(collect(results_dir, "ucf11_actions")[0], results_dir, "ucf11_actions")
    return view_of(results_dir, "ucf11_actions")


@pytest.fixture
def loss(study: View) -> pd.DataFrame:
    return study.epoch_series("train/loss", video.panel_name)


@pytest.fixture
def files(study: View) -> dict[str, FigureFile]:
    return {file.path.stem.removeprefix("ucf11_actions_"): file for file in video.PAGE.figures(study)}


def drawn(file: FigureFile) -> Figure:
    figure = file.draw()
    assert isinstance(figure, Figure)
    return figure


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_are_the_means_over_seeds_of_every_model(study: View, loss: pd.DataFrame) -> None:
    figure = draw_series(loss, TITLE, "epoch", "training loss")
    assert figure.get_suptitle() == TITLE
    assert [axis.get_title() for axis in figure.axes] == [
        "random split, raw input",
        "random split, normalised input",
        "grouped split, raw input",
        "grouped split, normalised input",
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
    figure = draw_series(loss, TITLE, "epoch", "training loss")
    looks = [[(line.get_color(), line.get_linestyle()) for line in axis.lines] for axis in figure.axes]
    assert all(look == looks[0] for look in looks)
    assert looks[0][:3] == [(model.color, model.line) for model in TABLE[:3]]
    assert len({color for color, _ in looks[0]}) == 4


def test_accuracy_against_parameters_shows_ours_and_the_papers_own_split(
    study: View, files: dict[str, FigureFile]
) -> None:
    figure = drawn(files["parameters"])
    assert all(axis.get_xscale() == "log" for axis in figure.axes)
    lines: list[list[Any]] = [list(axis.lines) for axis in figure.axes]
    shown = [{line.get_ydata()[0] for line in panel if line.get_linestyle() == "None"} for panel in lines]
    published = {0.697, 0.796, 0.853, 0.803, 0.784}
    assert published <= shown[0] & shown[1]
    assert not published & (shown[2] | shown[3])
    rows = study.summary[(study.summary["protocol"] == "grouped") & (study.summary["scaling"] == "raw")]
    points = [line.get_xydata()[0].tolist() for line in lines[2] if len(line.get_xdata()) == 1]
    for model in ("tt_lstm", "bt_lstm", "toy"):  # where it belongs, though another is near
        row = rows[rows["model"] == model].iloc[0]
        assert [row["parameters_input"], row["test/accuracy"]] in points
    baseline = rows.loc[rows["model"] == "logistic_regression", "test/accuracy"].iloc[0]
    assert any(list(line.get_ydata()) == [baseline] * 2 for line in lines[2])  # a horizontal line
    assert legend(figure)[-1] == "the paper, on UCF11"


def test_lines_of_one_model_are_told_apart() -> None:
    rows = [(f"R = {rank}", x, 0.1 * rank) for rank in (1, 2) for x in (2.0, 3.0)]
    table = pd.DataFrame(rows, columns=["label", "x", "mean"]).assign(panel="", model="bt_lstm", low=0.0, high=1.0)
    faded, styled = (
        draw_series(table, TITLE, "x", "y", looks=looks).axes[0].lines
        for looks in (None, {"R = 1": Look("red", "o", ":"), "R = 2": Look("blue", "s", "-")})
    )
    assert [line.get_alpha() for line in faded] == [1.0, 0.65]
    assert [line.get_color() for line in styled] == ["red", "blue"]


def test_points_have_their_notes_and_a_place_its_vertical_line() -> None:
    table = pd.DataFrame({"panel": "", "label": "a", "model": "toy", "x": [1.0, 2.0], "mean": 0.5, "low": 0, "high": 1})
    figure = draw_series(
        table.assign(note=["R = 1", "R = 2"]), TITLE, "x", "y", bars=True, vertical=(1.5, "the paper's")
    )
    assert [text.get_text() for text in figure.axes[0].texts] == ["R = 1", "R = 2"]
    assert list(figure.axes[0].lines[0].get_xdata()) == [1.5, 1.5]


# ---- files


@pytest.fixture
def file(loss: pd.DataFrame) -> FigureFile:
    return FigureFile(Path("figures/loss.png"), loss, partial(draw_series, loss, TITLE, "epoch", "training loss"))


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
    assert not file._replace(data=other).is_current(tmp_path)
    titled = partial(draw_series, file.data, "Another title", "epoch", "training loss")
    assert not file._replace(draw=titled).is_current(tmp_path)


@pytest.mark.parametrize("changed", ["btrnn.figures.series", "btrnn.figures.style", "btrnn.figures.video"])
def test_a_figure_is_stale_where_the_code_that_draws_it_changes(
    file: FigureFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    file.write(tmp_path)
    source = figure_file.inspect.getsource

    def edited(module: Any) -> str:
        return source(module) + "# edited" * (module.__name__ == changed)

    monkeypatch.setattr(figure_file.inspect, "getsource", edited)
    assert file.is_current(tmp_path) == (changed == "btrnn.figures.video")  # which does not draw this one


def test_figures_of_a_study_are_written(files: dict[str, FigureFile], tmp_path: Path) -> None:
    assert next(iter(files)) == "accuracy"  # with which the page opens
    for file in files.values():
        file.write(tmp_path)
        with Image.open(tmp_path / file.path) as image:
            assert np.asarray(image.convert("L")).std() > 5
        assert TITLE in drawn(file).get_suptitle()


def test_confusion_matrix_writes_each_count_in_its_cell() -> None:
    counts = pd.DataFrame(np.zeros((11, 11), dtype=int), index=CLASSES, columns=CLASSES)
    counts.loc["kick", "punch"] = 7
    figure = figures.confusion_matrix(counts, TITLE)
    (axis,) = figure.axes
    assert [(text.get_text(), *text.get_position()) for text in axis.texts] == [("7", 6, 5)]
    assert [tick.get_text() for tick in axis.get_yticklabels()][3] == "dance a"
    shares: Any = axis.images[0].get_array()
    assert shares[5, 6] == 1.0


def test_figures_leave_global_settings_alone(loss: pd.DataFrame) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    png_bytes(draw_series(loss, TITLE, "epoch", "loss"), 50)
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
        return png_bytes(draw_series(loss, TITLE, "epoch", "loss"), 50)

    with mpl.rc_context():
        mpl.rcdefaults()
        plain = draw()
    with mpl.rc_context(settings):
        assert draw() == plain
