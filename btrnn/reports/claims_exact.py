"""The paper's claims that can be counted: parameters and compressions."""

from pathlib import Path

import pandas as pd

from btrnn.comparison import PAPER_MODELS, PaperModel, read_paper
from btrnn.complexity import bt_parameters, dense_parameters
from btrnn.formatting import count
from btrnn.reports.claim import Claim, counted

_COMMAND = "make test"
_FILE = "paper.csv"
_TABLE = "tables/ucf11_actions.md"
_FIGURE = "tables/parameters.md"
_PANELS = {"d2_r1_n1": (1, 1), "d2_r4_n1": (4, 1), "d2_r1_n2": (1, 2), "d3_r4_n1": (4, 1), "d4_r4_n1": (4, 1)}  # R, N


def exact_claims(results_dir: Path) -> list[Claim]:
    """Return the rows of what is counted from shapes alone, by `btrnn.complexity`."""
    paper = read_paper(results_dir / "paper.csv")
    return [
        _ucf11(paper),
        _compression(paper),
        _whole_model(paper),
        _block_term(paper, "draw", "d=4 R=4 N=1", "encoder of DRAW: W", (4, 1)),
        _block_term(paper, "captioning", "d=3 R=2 N=2", "decoder of captions: W", (2, 2)),
        _panels(paper),
        _figure(paper),
        _shape_of_the_figure(paper),
    ]


def modes(text: str) -> tuple[int, ...]:
    """Read modes as paper.csv writes them: 8x20x20x18."""
    return tuple(int(mode) for mode in text.split("x"))


def _factorised() -> list[PaperModel]:
    return [model for model in PAPER_MODELS if model.model in ("tt_lstm", "bt_lstm")]


def _key(model: PaperModel) -> str:
    return model.paper_id.removeprefix("ucf11.accuracy.")


def _exact(topic: str, claim: str, paper: str, ours: str, right: bool, file: str = _FILE) -> Claim:
    return Claim(topic, claim, paper, ours, "exact", counted(right), _COMMAND, file)


def _numbers(values: list[int]) -> str:
    return ", ".join(map(count, values))


def _ucf11(paper: pd.DataFrame) -> Claim:
    theirs = [int(paper["value"][f"ucf11.parameters.{_key(model)}"]) for model in _factorised()]
    ours = [int(model.parameters) for model in _factorised()]
    what = "W of TT-LSTM, BT-LSTM R = 4, 2, 1 on UCF11, instead of 58,982,400"
    return _exact("parameters", what, _numbers(theirs), _numbers(ours), theirs == ours, _TABLE)


def _compression(paper: pd.DataFrame) -> Claim:
    theirs = [int(paper["value"][f"ucf11.compression.{_key(model)}"]) for model in _factorised()]
    ours = [int(PAPER_MODELS[0].parameters // model.parameters) for model in _factorised()]
    what = "of W: TT-LSTM, BT-LSTM R = 4 (the abstract's), 2, 1 (the poster's 8 x 10^4)"
    return _exact("compression", what, _numbers(theirs), _numbers(ours), theirs == ours, _TABLE)


def _whole_model(paper: pd.DataFrame) -> Claim:
    values = paper["value"]
    dense, compact = (int(values[f"method.whole_parameters.{name}"]) for name in ("lstm", "bt_lstm_r4"))
    theirs = values["method.whole_compression.bt_lstm_r4"]
    rest = dense - PAPER_MODELS[0].parameters  # U, bias and classifier, which nobody compresses
    block_term = next(model for model in PAPER_MODELS if model.paper_id.endswith("bt_lstm_r4"))
    ours = dense / (block_term.parameters + rest)
    what = "of the whole model, BT-LSTM R = 4: far less, because U stays dense"
    published = f"{count(dense)} / {count(compact)} = {theirs}"
    return _exact("compression", what, published, f"{ours:.1f}", round(ours) == int(theirs), _TABLE)


def _block_term(paper: pd.DataFrame, section: str, setting: str, what: str, ranks: tuple[int, int]) -> Claim:
    values = paper["value"]
    inputs, outputs = (modes(values[f"{section}.{name}"]) for name in ("in_modes", "out_modes"))
    theirs = [int(values[f"{section}.parameters.{model}"]) for model in ("lstm", "bt_lstm")]
    ours = [dense_parameters(inputs, outputs), bt_parameters(inputs, outputs, *ranks)]
    said = f"{what}, dense and BT ({setting}; modes {values[f'{section}.in_modes']})"
    return _exact("parameters", said, _numbers(theirs), _numbers(ours), theirs == ours)


def _panels(paper: pd.DataFrame) -> Claim:
    values = paper["value"]
    theirs = [int(values[f"recovery.parameters.{panel}"]) for panel in _PANELS]
    shapes = [[modes(values[f"recovery.{side}_modes.{panel}"]) for side in ("in", "out")] for panel in _PANELS]
    ours = [bt_parameters(i, j, *ranks) for (i, j), ranks in zip(shapes, _PANELS.values(), strict=True)]
    what = "panels of the recovery of a 64 x 64 matrix, instead of 4,096"
    return _exact("parameters", what, f"reported {_numbers(theirs)}", _numbers(ours), theirs == ours)


def _counts(paper: pd.DataFrame) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
    """Return the figure's counts by rank and order, the paper's and ours."""
    values = paper["value"]
    theirs, ours = {}, {}
    for rank in range(1, 5):
        for order in range(1, 9):
            shape = [modes(values[f"sensitivity.{side}_modes_d{order}"]) for side in ("in", "out")]
            theirs[rank, order] = int(values[f"sensitivity.parameters.r{rank}_d{order}"])
            ours[rank, order] = bt_parameters(shape[0], shape[1], rank, 1)
    return theirs, ours


def _figure(paper: pd.DataFrame) -> Claim:
    theirs, ours = _counts(paper)
    equal = sum(theirs[place] == ours[place] for place in theirs)
    what = "the figure of parameters against d = 1..8 and R = 1..4 (I = 4,096, J = 256, N = 1)"
    published = f"{len(theirs)} counts, {count(min(theirs.values()))} to {count(max(theirs.values()))}"
    return _exact("sensitivity", what, published, f"{equal} of {len(theirs)} equal", equal == len(theirs), _FIGURE)


def _shape_of_the_figure(paper: pd.DataFrame) -> Claim:
    _, ours = _counts(paper)
    fewest = {}
    for rank in range(1, 5):
        of_rank = {order: ours[rank, order] for order in range(1, 9)}
        fewest[rank] = min(of_rank, key=of_rank.__getitem__)
    right = fewest[1] == 8 and all(1 < fewest[rank] < 8 for rank in (2, 3, 4))
    said = "fewest at " + ", ".join(f"d = {order} (R = {rank})" for rank, order in fewest.items())
    what = "parameters fall sharply with d, then rise, except for R = 1"
    return _exact("sensitivity", what, "figure [S]", said, right, _FIGURE)
