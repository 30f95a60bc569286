"""The paper's claims that can be counted: parameters and compressions."""

from pathlib import Path

import pandas as pd

from btrnn.comparison import PAPER_MODELS, PaperModel, read_paper
from btrnn.complexity import bt_parameters, dense_parameters
from btrnn.formatting import count
from btrnn.reports.claim import Claim, counted

_COMMAND = "make test"
_FILE = "paper.csv"
PANELS = ("d2_r1_n1", "d2_r4_n1", "d2_r1_n2", "d3_r4_n1", "d4_r4_n1")


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


def _ucf11(paper: pd.DataFrame) -> Claim:
    pairs = [(int(paper["value"][f"ucf11.parameters.{_key(model)}"]), int(model.parameters)) for model in _factorised()]
    return Claim(
        *("parameters", "W of TT-LSTM, BT-LSTM R = 4, 2, 1 on UCF11, instead of 58,982,400"),
        *(", ".join(count(theirs) for theirs, _ in pairs), ", ".join(count(ours) for _, ours in pairs)),
        *("exact", counted(all(theirs == ours for theirs, ours in pairs)), _COMMAND, "tables/ucf11_actions.md"),
    )


def _compression(paper: pd.DataFrame) -> Claim:
    dense = PAPER_MODELS[0].parameters
    pairs = [
        (int(paper["value"][f"ucf11.compression.{_key(model)}"]), int(dense // model.parameters))
        for model in _factorised()
    ]
    return Claim(
        *("compression", "of W: TT-LSTM, BT-LSTM R = 4 (the abstract's), 2, 1 (the poster's 8 x 10^4)"),
        *(", ".join(count(theirs) for theirs, _ in pairs), ", ".join(count(ours) for _, ours in pairs)),
        *("exact", counted(all(theirs == ours for theirs, ours in pairs)), _COMMAND, "tables/ucf11_actions.md"),
    )


def _whole_model(paper: pd.DataFrame) -> Claim:
    values = paper["value"]
    whole = [int(values[f"method.whole_parameters.{name}"]) for name in ("lstm", "bt_lstm_r4")]
    rest = whole[0] - PAPER_MODELS[0].parameters  # U, bias and classifier, which nobody compresses
    block_term = next(model for model in PAPER_MODELS if model.paper_id.endswith("bt_lstm_r4"))
    ours = (PAPER_MODELS[0].parameters + rest) / (block_term.parameters + rest)
    return Claim(
        *("compression", "of the whole model, BT-LSTM R = 4: far less, because U stays dense"),
        *(f"{count(whole[0])} / {count(whole[1])} = {values['method.whole_compression.bt_lstm_r4']}", f"{ours:.1f}"),
        *("exact", counted(round(ours) == int(values["method.whole_compression.bt_lstm_r4"]))),
        *(_COMMAND, "tables/ucf11_actions.md"),
    )


def _block_term(paper: pd.DataFrame, section: str, setting: str, what: str, ranks: tuple[int, int]) -> Claim:
    values = paper["value"]
    inputs, outputs = (modes(values[f"{section}.{name}"]) for name in ("in_modes", "out_modes"))
    theirs = [int(values[f"{section}.parameters.{model}"]) for model in ("lstm", "bt_lstm")]
    ours = [dense_parameters(inputs, outputs), bt_parameters(inputs, outputs, *ranks)]
    return Claim(
        *("parameters", f"{what}, dense and BT ({setting}; modes {values[f'{section}.in_modes']})"),
        *(", ".join(map(count, theirs)), ", ".join(map(count, ours))),
        *("exact", counted(theirs == ours), _COMMAND, _FILE),
    )


def _panels(paper: pd.DataFrame) -> Claim:
    values = paper["value"]
    theirs = [int(values[f"recovery.parameters.{panel}"]) for panel in PANELS]
    ours = [
        bt_parameters(modes(values[f"recovery.in_modes.{panel}"]), modes(values[f"recovery.out_modes.{panel}"]), *ranks)
        for panel, ranks in zip(PANELS, ((1, 1), (4, 1), (1, 2), (4, 1), (4, 1)), strict=True)
    ]
    return Claim(
        *("parameters", "panels of the recovery of a 64 x 64 matrix, instead of 4,096"),
        *(f"reported {', '.join(map(count, theirs))}", ", ".join(map(count, ours))),
        *("exact", counted(theirs == ours), _COMMAND, _FILE),
    )


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
    return Claim(
        *("sensitivity", "the figure of parameters against d = 1..8 and R = 1..4 (I = 4,096, J = 256, N = 1)"),
        *("32 counts, 49 to 4,194,308", f"{equal} of {len(theirs)} equal"),
        *("exact", counted(equal == len(theirs)), _COMMAND, _FILE),
    )


def _shape_of_the_figure(paper: pd.DataFrame) -> Claim:
    _, ours = _counts(paper)
    lowest = {rank: min(range(1, 9), key=lambda order, rank=rank: ours[rank, order]) for rank in range(1, 5)}
    right = lowest[1] == 8 and all(1 < lowest[rank] < 8 for rank in (2, 3, 4))
    return Claim(
        *("sensitivity", "parameters fall sharply with d, then rise, except for R = 1"),
        *("figure [S]", "fewest at " + ", ".join(f"d = {order} (R = {rank})" for rank, order in lowest.items())),
        *("exact", counted(right), _COMMAND, _FILE),
    )
