"""What can be counted from shapes alone: the paper's claims, and our own arithmetic on what it does not say."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from btrnn.complexity import bt_parameters, dense_parameters
from btrnn.reports import tables
from btrnn.reports.claim import Claim, counted
from btrnn.reports.format import count
from btrnn.results.paper import PAPER_MODELS, PaperModel, read_paper

_COMMAND = "make test"
_TABLE = "tables/ucf11_actions.md"
_FIGURE = "tables/parameters.md"
_PANELS = {"d2_r1_n1": (1, 1), "d2_r4_n1": (4, 1), "d2_r1_n2": (1, 2), "d3_r4_n1": (4, 1), "d4_r4_n1": (4, 1)}  # R, N
_DENSE = int(PAPER_MODELS[0].parameters)


class Count(NamedTuple):
    """A number that no source gives in this form: it confirms nothing.

    Attributes:
        what: Of what.
        known: What is known of it, each number with its mark.
        ours: What the closed forms give.
        remark: What the count rests on.
    """

    what: str
    known: str
    ours: str
    remark: str


def exact_claims(results_dir: Path) -> list[Claim]:
    """Return the rows of what a source claims and `btrnn.complexity` can count."""
    paper = read_paper(results_dir / "paper.csv")
    return [*_compressions(paper), _shape_of_the_figure(paper)]


def own_counts(results_dir: Path) -> list[Count]:
    """Return what is counted here and stands in no source, or in none that was read."""
    paper = read_paper(results_dir / "paper.csv")
    return [
        _ucf11(paper),
        _whole_model(paper),
        _task(paper, "draw", "W of DRAW's encoder, dense / BT (d=4 R=4 N=1)", (4, 1)),
        _task(paper, "captioning", "W of the captions' decoder, dense / BT (d=3 R=2 N=2)", (2, 2)),
        _panels(paper),
        _figure(paper),
    ]


def modes(text: str) -> tuple[int, ...]:
    """Read modes as paper.csv writes them: 8x20x20x18."""
    return tuple(int(mode) for mode in text.split("x"))


def _number(paper: pd.DataFrame, key: str) -> str:
    return tables.marked(count(int(paper["value"][key])), paper["mark"][key])


def _numbers(values: list[int]) -> str:
    return " / ".join(map(count, values))


def _compressions(paper: pd.DataFrame) -> list[Claim]:
    ratios = {model.rank: _DENSE / model.parameters for model in PAPER_MODELS if model.model == "bt_lstm"}
    abstract, poster = (int(paper["value"][f"method.compression_{place}"]) for place in ("abstract", "poster"))
    rows = (
        ("R = 4, N = 2 (the abstract)", "abstract", ratios[4], int(ratios[4]) == abstract),
        ("R = 1, N = 2 (the poster), to one digit", "poster", ratios[1], round(ratios[1], -4) == poster),
    )
    return [
        Claim(
            topic="compression",
            claim=f"compression of W by BT-LSTM, {setting}",
            paper=_number(paper, f"method.compression_{place}"),
            ours=count(ratio),
            n="exact",
            verdict=counted(right),
            command=_COMMAND,
            file=_TABLE,
        )
        for setting, place, ratio, right in rows
    ]


def _figure_counts(paper: pd.DataFrame) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
    """Return the figure's counts by rank and order: those of paper.csv, and ours."""
    values = paper["value"]
    known, ours = {}, {}
    for rank in range(1, 5):
        for order in range(1, 9):
            shape = [modes(values[f"sensitivity.{side}_modes_d{order}"]) for side in ("in", "out")]
            known[rank, order] = int(values[f"sensitivity.parameters.r{rank}_d{order}"])
            ours[rank, order] = bt_parameters(shape[0], shape[1], rank, 1)
    return known, ours


def _shape_of_the_figure(paper: pd.DataFrame) -> Claim:
    _, ours = _figure_counts(paper)
    fewest = {}
    for rank in range(1, 5):
        of_rank = {order: ours[rank, order] for order in range(1, 9)}
        fewest[rank] = min(of_rank, key=of_rank.__getitem__)
    right = fewest[1] == 8 and all(1 < fewest[rank] < 8 for rank in (2, 3, 4))
    said = "fewest at " + ", ".join(f"d = {order} (R = {rank})" for rank, order in fewest.items())
    what = "parameters fall sharply with d, then rise, except for R = 1"
    return Claim("core order", what, "figure [S]", said, "exact", counted(right), _COMMAND, _FIGURE)


# ---- our own arithmetic


def _factorised() -> list[PaperModel]:
    return [model for model in PAPER_MODELS if model.model in ("tt_lstm", "bt_lstm")]


def _ucf11(paper: pd.DataFrame) -> Count:
    keys = [f"ucf11.parameters.{model.paper_id.removeprefix('ucf11.accuracy.')}" for model in _factorised()]
    known = " / ".join(_number(paper, key) for key in keys)
    ours = _numbers([int(model.parameters) for model in _factorised()])
    what = f"W of TT-LSTM, BT-LSTM R = 4, 2, 1 on UCF11, instead of {count(_DENSE)}"
    return Count(what, known, ours, "the released code's shapes; they give both published compressions")


def _whole_model(paper: pd.DataFrame) -> Count:
    dense, compact = (f"method.whole_parameters.{name}" for name in ("lstm", "bt_lstm_r4"))
    rest = int(paper["value"][dense]) - _DENSE  # U, bias and classifier, which nobody compresses
    block_term = next(model for model in PAPER_MODELS if model.paper_id.endswith("bt_lstm_r4"))
    ours = (_DENSE + rest) / (block_term.parameters + rest)
    known = f"{_number(paper, dense)} over {_number(paper, compact)}"
    remark = "far less than the compression of W, because U stays dense"
    return Count("compression of the whole model, BT-LSTM R = 4", known, f"{ours:.1f}", remark)


def _task(paper: pd.DataFrame, section: str, what: str, ranks: tuple[int, int]) -> Count:
    inputs, outputs = (modes(paper["value"][f"{section}.{name}"]) for name in ("in_modes", "out_modes"))
    known = " / ".join(_number(paper, f"{section}.parameters.{model}") for model in ("lstm", "bt_lstm"))
    ours = _numbers([dense_parameters(inputs, outputs), bt_parameters(inputs, outputs, *ranks)])
    remark = f"the factorisation is not published; {paper['value'][f'{section}.in_modes']} is one that fits"
    return Count(what, known, ours, remark)


def _panels(paper: pd.DataFrame) -> Count:
    values = paper["value"]
    keys = [f"recovery.parameters.{panel}" for panel in _PANELS]
    ours = []
    for panel, ranks in _PANELS.items():
        shape = [modes(values[f"recovery.{side}_modes.{panel}"]) for side in ("in", "out")]
        ours.append(bt_parameters(shape[0], shape[1], *ranks))
    known = " / ".join(_number(paper, key) for key in keys)
    what = "panels of the recovery of a 64 x 64 matrix, instead of 4,096"
    return Count(what, known, _numbers(ours), "modes that fit the counts")


def _figure(paper: pd.DataFrame) -> Count:
    known, ours = _figure_counts(paper)
    equal = sum(known[place] == ours[place] for place in known)
    marks = ", ".join(sorted({paper["mark"][f"sensitivity.parameters.r{rank}_d{order}"] for rank, order in known}))
    return Count(
        "the figure of parameters against d = 1..8 and R = 1..4 (I = 4,096, J = 256, N = 1)",
        f"{len(known)} counts, {count(min(known.values()))} to {count(max(known.values()))} [{marks}]",
        f"{equal} of {len(known)} equal",
        "the figure's factorisations are not published; balanced powers of two",
    )
