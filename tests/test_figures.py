"""Figures show the numbers they are given, under one colour a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from btrnn.figures import video as figures
from btrnn.figures.style import png_bytes
from btrnn.results.paper import beside_paper, read_paper
from btrnn.results.store import collect
from btrnn.results.summary import curves, panels, summarise
from tests.run_folders import CLASSES, write_study

PAPER = Path(__file__).parent.parent / "results" / "paper.csv"
Study = tuple[pd.DataFrame, pd.DataFrame]  # summary, epochs
TITLE = "Actions (stand-in), scale study, n = 2"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    results_dir = tmp_path_factory.mktemp("results")
    list(write_study(results_dir, seeds=2, epochs=5))
    results, _ = collect(results_dir, "ucf11_actions")
    return summarise(results.runs), results.epochs


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


@pytest.mark.parametrize(
    ("column", "draw", "labels"),
    [
        ("train/loss", figures.training_loss, ["training loss", "training loss"]),
        ("val/accuracy", figures.accuracy, ["test accuracy", "validation accuracy"]),
    ],
)
def test_curves_are_the_means_over_seeds(
    study: Study, column: str, draw: Callable[[pd.DataFrame, str], Figure], labels: list[str]
) -> None:
    table = curves(study[0], study[1], column)
    figure = draw(table, TITLE)
    assert figure.get_suptitle() == TITLE
    assert titles(figure) == [
        "random split, raw input",
        "random split, normalised input",
        "grouped split, raw input",
        "grouped split, normalised input",
    ]
    assert [figure.axes[place].get_ylabel() for place in (0, 2)] == labels
    assert legend(figure) == ["LSTM", "TT-LSTM", "BT-LSTM, R = 4"]
    shown = table[(table["protocol"] == "grouped") & (table["scaling"] == "raw") & (table["model"] == "tt_lstm")]
    line = figure.axes[2].lines[1]
    np.testing.assert_array_equal(line.get_xdata(), shown["epoch"])
    np.testing.assert_array_equal(line.get_ydata(), shown["mean"])
    band = np.asarray(figure.axes[2].collections[1].get_paths()[0].vertices)[:, 1]
    assert (band.min(), band.max()) == (shown["low"].min(), shown["high"].max())


def test_each_model_has_one_colour_and_line_style_of_its_own(study: Study) -> None:
    figure = figures.training_loss(curves(study[0], study[1], "train/loss"), TITLE)
    looks = [[(line.get_color(), line.get_linestyle()) for line in axis.lines] for axis in figure.axes]
    assert all(look == looks[0] for look in looks)
    assert len({color for color, _ in looks[0]}) == len({style for _, style in looks[0]}) == 3


def test_accuracy_against_parameters_shows_ours_and_the_papers_own_split(study: Study) -> None:
    paper = read_paper(PAPER)
    rows = pd.concat([beside_paper(panel, paper) for panel in panels(study[0])], ignore_index=True)
    figure = figures.accuracy_against_parameters(rows, TITLE)
    assert all(axis.get_xscale() == "log" for axis in figure.axes)
    lines: list[list[Any]] = [list(axis.lines) for axis in figure.axes]
    shown = [{line.get_ydata()[0] for line in panel if line.get_markerfacecolor() == "none"} for panel in lines]
    published = {0.697, 0.796, 0.853, 0.803, 0.784}
    assert published <= shown[0] & shown[1]
    assert not published & (shown[2] | shown[3])
    ours = rows[(rows["protocol"] == "grouped") & (rows["scaling"] == "raw") & (rows["model"] == "bt_lstm")]
    points = [line.get_xydata()[0].tolist() for line in lines[2] if len(line.get_xdata()) == 1]
    assert [3_392.0, ours["test/accuracy"].iloc[0]] in points
    assert legend(figure)[-2:] == ["paper, on UCF11", "paper, reported"]
    tensor_train = rows[(rows["protocol"] == "grouped") & (rows["scaling"] == "raw") & (rows["model"] == "tt_lstm")]
    assert [3_360.0, tensor_train["test/accuracy"].iloc[0]] in points  # where it belongs, though BT-LSTM is near


def test_confusion_matrix_writes_each_count_in_its_cell() -> None:
    counts = pd.DataFrame(np.zeros((11, 11), dtype=int), index=CLASSES, columns=CLASSES)
    counts.loc["kick", "punch"] = 7
    figure = figures.confusion_matrix(counts, TITLE)
    (axis,) = figure.axes
    assert [(text.get_text(), *text.get_position()) for text in axis.texts] == [("7", 6, 5)]
    assert [tick.get_text() for tick in axis.get_yticklabels()][3] == "dance a"
    shares: Any = axis.images[0].get_array()
    assert shares[5, 6] == 1.0


def test_figures_leave_global_settings_alone(study: Study) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    png_bytes(figures.accuracy(curves(study[0], study[1], "val/accuracy"), TITLE), 50)
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
def test_figures_do_not_depend_on_the_users_settings(study: Study, settings: dict[str, Any]) -> None:
    import matplotlib as mpl

    def draw() -> bytes:
        return png_bytes(figures.accuracy(curves(study[0], study[1], "val/accuracy"), TITLE), 50)

    with mpl.rc_context():
        mpl.rcdefaults()
        plain = draw()
    with mpl.rc_context(settings):
        assert draw() == plain
