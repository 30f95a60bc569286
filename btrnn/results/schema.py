"""What the rows of runs say: the table of models, and each task's settings, measures and order of columns."""

import zlib
from dataclasses import dataclass
from math import nan
from typing import Literal

from btrnn.storage.files import ResultsError
from btrnn.storage.stand_ins import STAND_INS

BLUE, GREEN, ORANGE, PURPLE = "#0072B2", "#009E73", "#E69F00", "#CC79A7"  # of Okabe and Ito; others are of Tol
RED, SKY, GREY = "#D55E00", "#56B4E9", "#666666"
_RANK, _BLOCKS, _ORDER = ("R", "rank", None), ("N", "num_blocks", None), ("d", "order", None)
Line = str | tuple[int, tuple[int, ...]]  # a dash pattern as matplotlib has it: offset, and lengths on and off


@dataclass(frozen=True)
class Model:
    """A row of the table of models: all that tables and figures know of one.

    Attributes:
        name: As in the column `model` of runs.
        label: As it is shown.
        color, marker, line: As matplotlib writes them; line and marker say what the colour says.
        dense: Its map is not factorised: the others are compared with it.
        shape: What of its shape its label says: letter, column, and the value that the label leaves out.
        hollow: Drawn larger and hollow, as another model's mark nearly hides it.
    """

    name: str
    label: str
    color: str
    marker: str
    line: Line
    dense: bool = False
    shape: tuple[tuple[str, str, int | float | None], ...] = (_RANK, _BLOCKS, _ORDER)
    hollow: bool = False

    @property
    def cell(self) -> str:
        """The recurrent cell, which its name ends in: lstm or gru."""
        return self.name.rpartition("_")[2]


LSTM = Model("lstm", "LSTM", BLUE, "s", "--", dense=True, shape=())
TT_LSTM = Model("tt_lstm", "TT-LSTM", ORANGE, "^", "-.", shape=(("R", "rank", 4.0), ("d", "order", 4.0)), hollow=True)
_BT_SHAPE = (_RANK, ("N", "num_blocks", 2.0), ("d", "order", 4.0))
BT_LSTM = Model("bt_lstm", "BT-LSTM", GREEN, "o", "-", shape=_BT_SHAPE)
DOUBLE_BT_LSTM = Model("double_bt_lstm", "BT-LSTM, U too", "#661100", "2", (0, (4, 1, 1, 1)), shape=_BT_SHAPE)
TR_LSTM = Model("tr_lstm", "TR-LSTM", PURPLE, "v", (0, (5, 1)))
CP_LSTM = Model("cp_lstm", "CP-LSTM", RED, "P", (0, (3, 1, 1, 1)), shape=(_RANK, _ORDER))
TUCKER_LSTM = Model("tucker_lstm", "Tucker-LSTM", SKY, "X", (0, (1, 1)))
HT_LSTM = Model("ht_lstm", "HT-LSTM", "#999933", "<", (0, (3, 1, 1, 1, 1, 1)))
KRONECKER_LSTM = Model("kronecker_lstm", "Kronecker-LSTM", "#8C510A", ">", (0, (8, 2)), shape=(_BLOCKS,))
LOW_RANK_LSTM = Model("low_rank_lstm", "low-rank LSTM", "#000000", "*", (0, (2, 4)), shape=(_RANK,))
GRU = Model("gru", "GRU", "#332288", "p", (0, (6, 2, 1, 2)), dense=True, shape=())
TT_GRU = Model("tt_gru", "TT-GRU", "#AA4499", "d", (0, (2, 1)), shape=TT_LSTM.shape)
BT_GRU = Model("bt_gru", "BT-GRU", "#117733", "h", (0, (9, 1)), shape=_BT_SHAPE)
LOGISTIC_REGRESSION = Model("logistic_regression", "logistic regression on mean frames", GREY, "D", ":", shape=())
NEAREST_NEIGHBOUR = Model(
    "nearest_neighbour", "1-nearest neighbour on mean frames", "#BBBBBB", "x", (0, (1, 3)), shape=()
)
_VALUES = (("values", "rank", None),)
AVERAGED_LSTM = Model("averaged_lstm", "LSTM on averaged pixels", "#4477AA", "3", (0, (6, 1)), shape=_VALUES)
PROJECTED_LSTM = Model("projected_lstm", "LSTM on a random projection", "#EE6677", "4", (0, (4, 2)), shape=_VALUES)
FROZEN_BT_LSTM = Model("frozen_bt_lstm", "BT-LSTM, W frozen", "#AAAA00", "+", (0, (1, 2)), shape=_BT_SHAPE)
BASELINES = (LOGISTIC_REGRESSION, NEAREST_NEIGHBOUR)  # fitted in one go to mean frames, without a training loop
_OTHER_MAPS = (TR_LSTM, CP_LSTM, TUCKER_LSTM, HT_LSTM, KRONECKER_LSTM, LOW_RANK_LSTM)
BLIND_LSTM = Model("blind_lstm", "LSTM, blind", "#999999", "|", (0, (1, 5)), shape=())
_UNITS = (("units", "hidden_size", None),)
SMALL_LSTM = Model("small_lstm", "small LSTM", "#882255", "1", (0, (7, 3)), shape=_UNITS)
_FIXED_MAPS = (AVERAGED_LSTM, PROJECTED_LSTM, FROZEN_BT_LSTM, BLIND_LSTM)  # of which a part is never trained
# in the order of tables and legends
MODELS = (
    *(LSTM, TT_LSTM, BT_LSTM, DOUBLE_BT_LSTM, SMALL_LSTM, *_OTHER_MAPS, *_FIXED_MAPS, GRU, TT_GRU, BT_GRU),
    *BASELINES,
)
DENSE_MODELS = tuple(model.name for model in MODELS if model.dense)
_OTHER_COLORS, _OTHER_MARKERS = ("#882255", "#44AA99", "#CC6677"), ("8", "H", "1", "2")


def model_of(name: str, label: str = "") -> Model:
    """Return a model's row of the table; one that is not in it has its label, or name, and a marker by its name."""
    for model in MODELS:
        if model.name == name:
            return model
    number = zlib.crc32(name.encode())
    color, marker = (choice[number % len(choice)] for choice in (_OTHER_COLORS, _OTHER_MARKERS))
    return Model(name, label or name, color, marker, "-")


def model_position(name: str) -> tuple[int, str]:
    """Return where a model stands in a table, to sort by: in the order of `MODELS`, then by name."""
    names = [model.name for model in MODELS]
    return (names.index(name) if name in names else len(names), name)


RUN_KEY = ("experiment", "name", "seed")
LATER_COLUMNS: dict[
    str, bool | str | float
] = {  # columns that runs of older versions do not have, and what they would say
    **{"scaled": False, "fold": "", "frame_order": "time", "pixel_order": "rows", "train_limit": nan},
    **{"passes": 1.0, "num_groups": nan, "num_classes": nan, "start": "", "start_error": nan, "precision": "32-true"},
    "hidden_size": nan,
    **{f"test/{name}": nan for name in ("nll_importance", "digit_score", "digit_score_true")},
}
_LAYER = ("in_modes", "hidden_modes", "rank", "num_blocks", "order", "learning_rate", "scaled", "epochs")
PARAMETERS = ("parameters_input", "parameters_total", "parameters_dense_input", "parameters_dense_total")
_MACHINE = (
    *("num_train", "num_val", "num_test", "seconds", "seconds_per_epoch", "steps_per_second", "peak_memory_mib"),
    *("device", "threads", "versions", "git_commit", "git_dirty", "command", "finished"),
)
TEXT_COLUMNS = (  # text also where it is empty, or reads as a number
    *("experiment", "name", "model", "model_label", "source", "init", "scale", "in_modes", "hidden_modes", "device"),
    *("versions", "git_commit", "git_dirty", "command", "finished", "protocol", "scaling", "binarization", "attention"),
    *("encoder", "split", "tokenizer", "clip", "group", "caption", "fold", "frame_order", "pixel_order"),
    *("start", "precision"),
)
_OF_EPOCH = ("learning_rate", "first_gradient_norm", "examples_per_second", "seconds")


@dataclass(frozen=True)
class Schema:
    """The columns of one task's tables, and the metric that it is judged by.

    Attributes:
        prefixes: With one of which the names of its experiments begin.
        published: The source of the data that published numbers are of.
        data: What is said of the data and the task. Runs that differ in one of these never stand in one table.
        metrics, averaged: Numbers of a finished run, of the test split not in all, and which are averaged over seeds.
        main: The metric of the test split that the task is judged by.
        label, form, times, unit: Its name; how it is written, multiplied with what; what stands behind a difference.
        margin: Of a difference that is of no importance, fixed before any was measured.
        lower_is_better: As for a bound in nats.
        monitor: Chooses the epoch, and between learning rates; without its split. The lowest is best.
        epoch_metrics: Numbers of an epoch.
        predictions, prediction_columns: A run's file of test examples, if any; the first column names the example.
        pictures: What arrays.npz of a run shows: what its own weights drew, or test data, the same for every run.
        counted, folded: What of the data is counted, beside examples; whether runs have folds, averaged over as seeds.
    """

    prefixes: tuple[str, ...]
    published: str
    data: tuple[str, ...]
    metrics: tuple[str, ...]
    averaged: tuple[str, ...]
    main: str
    label: str
    margin: float
    monitor: str
    epoch_metrics: tuple[str, ...]
    form: str = ".3f"
    times: int = 1
    unit: str = ""
    lower_is_better: bool = False
    predictions: str = ""
    prediction_columns: tuple[str, ...] = ()
    pictures: Literal["none", "of the run", "of the data"] = "none"
    counted: tuple[str, ...] = ()
    folded: bool = False

    @property
    def settings(self) -> tuple[str, ...]:
        """Runs that differ in any of these are never averaged: what is left to vary is the seed, and a name's fold."""
        model = ("experiment", "origin", "name", "model", "model_label", "source", "stand_in")
        *texts, last = self.data
        return (*model, *texts, "init", "scale", last, *_LAYER)

    @property
    def controls(self) -> tuple[str, ...]:
        """Settings of the data that make a run a control, where they are not as expected (`LATER_COLUMNS`)."""
        return tuple(name for name in self.data if name in LATER_COLUMNS)

    @property
    def panel(self) -> tuple[str, ...]:
        """Rows that differ in any of these never stand in the same table or panel of a figure."""
        return ("experiment", "source", "stand_in", *self.data, "scale", "scaled")

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table of runs."""
        fold = ("fold",) * self.folded
        known = (*RUN_KEY, *fold, *self.settings[3:], "hidden_size", *self.counted, *PARAMETERS)
        return (*known, "epoch_chosen", *self.metrics, *_MACHINE)

    @property
    def epoch_columns(self) -> tuple[str, ...]:
        """Of the table of epochs."""
        return (*RUN_KEY, "epoch", "step", *self.epoch_metrics, *_OF_EPOCH)


_ACCURACIES = ("train/accuracy_last", "train/accuracy", "val/accuracy", "test/accuracy", "test/accuracy_last")
VIDEO = Schema(
    prefixes=("ucf11", "ucf101", "weizmann"),
    published="ucf11",
    data=(
        *("protocol", "scaling", "frame_order", "pixel_order", "start", "precision"),
        *("train_limit", "passes", "num_clips"),
    ),
    metrics=(
        *("train/loss_last", "train/accuracy_last", "train/accuracy", "val/loss", "val/accuracy"),
        *("test/loss", "test/accuracy", "test/accuracy_last", "start_error"),
    ),
    averaged=(*_ACCURACIES, "val/loss", "start_error"),
    main="test/accuracy",
    label="test accuracy",
    margin=0.03,
    monitor="loss",
    epoch_metrics=("train/loss", "train/accuracy", "val/loss", "val/accuracy"),
    predictions="predictions.csv",
    prediction_columns=("clip", "group", "label", "predicted", "predicted_last"),
    counted=("num_groups", "num_classes"),
    folded=True,
)

_BOUND = ("nll_bound", "reconstruction", "kl")
_BOUNDS = tuple(f"{split}/{part}" for split in ("train", "val", "test") for part in _BOUND)
_ESTIMATES = ("test/nll_importance", "test/digit_score", "test/digit_score_true")  # of tests that were asked for them
GENERATION = Schema(
    prefixes=("draw",),
    published="mnist",
    data=("binarization", "attention", "start", "precision", "train_limit", "passes", "latent_size", "num_glimpses"),
    metrics=(*(f"train/{part}_last" for part in _BOUND), *_BOUNDS, *_ESTIMATES),
    averaged=(*_BOUNDS, *_ESTIMATES),
    main="test/nll_bound",
    label="NLL bound, nats",
    margin=1.0,
    form=".2f",
    unit=" nats",
    lower_is_better=True,
    monitor="nll_bound",
    epoch_metrics=_BOUNDS[:6],
    pictures="of the run",
)

_SCORES = tuple(f"test/{name}" for name in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider"))
CAPTIONING = Schema(
    prefixes=("captioning",),
    published="coco",
    data=("encoder", "grid", "split", "tokenizer", "start", "precision", "vocabulary_size", "beam_size"),
    metrics=(
        *("train/loss_last", "train/loss", "val/loss", "test/loss", "test/perplexity"),
        *(*_SCORES, "test/cider_constant", "test/cider_true"),
    ),
    averaged=("train/loss", "val/loss", "test/perplexity", *_SCORES, "test/cider_constant", "test/cider_true"),
    main="test/cider",
    label="CIDEr, times 100",
    margin=0.03,
    form=".1f",
    times=100,
    monitor="loss",
    epoch_metrics=("train/loss", "val/loss"),
    predictions="captions.csv",
    prediction_columns=("image", "caption", "cider"),
    pictures="of the data",
)

SCHEMAS = (VIDEO, GENERATION, CAPTIONING)


def schema_of(experiment: str) -> Schema:
    """Return the schema of an experiment's runs.

    Raises:
        ResultsError: Its name does not begin with that of a task.
    """
    for schema in SCHEMAS:
        if experiment.split("_")[0] in schema.prefixes:
            return schema
    prefixes = ", ".join(prefix for schema in SCHEMAS for prefix in schema.prefixes)
    raise ResultsError(f"the name of experiment {experiment!r} does not begin with that of a task: {prefixes}")


def is_named_for(experiment: str, source: str, stand_in: bool) -> bool:
    """Return whether an experiment's name ends in that of its stand-in; on other data, in that of none."""
    if stand_in:
        return experiment.endswith(f"_{source}")
    return not experiment.endswith(tuple(f"_{name}" for name in STAND_INS))
