"""What more parameters buy, and what they cost: measured error and time against the parameters of W, in one figure."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btrnn.benchmark.results.report import read_all
from btrnn.benchmark.results.settings import SWEEPS
from btrnn.complexity import bt_parameters, tt_parameters
from btrnn.figures.file import FigureFile
from btrnn.figures.style import BLUE, PURPLE, SKY, drawing
from btrnn.recovery import records
from btrnn.reports import tables
from btrnn.reports.claim import headline_runs
from btrnn.reports.format import markdown_table
from btrnn.results.schema import BT_LSTM, TT_LSTM
from btrnn.results.statistics import mean_interval

_COLUMNS = ["panel", "data", "series", "parameters", "mean", "low", "high", "setting"]
_MATRICES, _CLIPS, _TIME = "recovery of photographs", "action recognition", "time of the product"
_TRUTH = "photograph"  # of the kinds of matrices that the recovery study has, the one that nobody made for it
_Y_LABELS = {
    _MATRICES: "relative error",
    _CLIPS: "test error, 95 % interval",
    _TIME: "forward + backward, ms (best)",
}
_DENSE = "dense"


class _Look(NamedTuple):
    color: str
    marker: str


_LOOKS = {
    "BT": _Look(BT_LSTM.color, BT_LSTM.marker),
    "TT": _Look(TT_LSTM.color, TT_LSTM.marker),
    "best rank (SVD)": _Look(SKY, "x"),
    _DENSE: _Look(BLUE, "s"),
}


def measured(results_dir: Path) -> pd.DataFrame:
    """Gather what was measured of shapes of many sizes; a study that is not there is left out.

    Returns:
        A row for each shape: `panel`, `data`, `series` (BT, TT, ..), `parameters` (of W), `setting`, `mean`, `low`,
        `high`.
    """
    parts = [_matrices(results_dir), _clips(results_dir), _times(results_dir)]
    return pd.DataFrame([row for part in parts for row in part], columns=_COLUMNS)


def _row(
    panel: str, series: str, parameters: int, values: pd.Series, setting: str, data: str = ""
) -> dict[str, object]:
    interval = mean_interval(values.to_numpy(dtype=float), bounds=(0.0, float("inf")))
    numbers = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    place = {"panel": panel, "data": data, "series": series, "parameters": parameters, "setting": setting}
    return place | numbers


def _matrices(results_dir: Path) -> list[dict[str, object]]:
    table = records.read(results_dir).rows
    rows = []
    for _, group in table[table["truth"] == _TRUTH].groupby(["form", "order", "rank"], sort=False):
        first = group.iloc[0]
        family, parameters = first["form"][:2].upper(), int(first["parameters"])
        blocks = f", N = {first['num_blocks']:g}" if family == "BT" else ""
        setting = f"d = {first['order']}, R = {first['rank']}{blocks}"
        rows.append(_row(_MATRICES, family, parameters, group["error_best"], setting))
        if family == "BT" and (group["error_best_rank"] < 1).all():
            rows.append(_row(_MATRICES, "best rank (SVD)", parameters, group["error_best_rank"], ""))
    return rows


def _clips(results_dir: Path) -> list[dict[str, object]]:
    experiment, runs = headline_runs(results_dir, "ucf11_sensitivity", "ucf11_sensitivity_actions")
    if not experiment:
        return []
    rows = []
    for _, group in runs[runs["model"] == BT_LSTM.name].groupby("name", sort=False):
        first = group.iloc[0]
        setting = f"d = {first['order']:g}, R = {first['rank']:g}, N = {first['num_blocks']:g}"
        parameters, data = int(first["parameters_input"]), tables.data_name(first["source"])
        rows.append(_row(_CLIPS, "BT", parameters, 1 - group["test/accuracy"], setting, data))
    return rows


def _times(results_dir: Path) -> list[dict[str, object]]:
    """Return the product's times over R, N and d, at 57,600 inputs and 1,024 outputs."""
    sections = read_all(results_dir, "cpu")
    if "sweep" not in sections:
        return []
    sweep = sections["sweep"]
    both = sweep[sweep["phase"] == "forward+backward"].set_index(["factor", "value", "implementation"])["best_ms"]
    rows = {}
    for factor, letter in (("rank", "R"), ("blocks", "N"), ("order", "d")):
        for value, shape in SWEEPS[factor].items():
            counts = {
                "btrnn BT": ("BT", bt_parameters(shape.in_modes, shape.out_modes, shape.rank, shape.num_blocks)),
                "btrnn TT": ("TT", tt_parameters(shape.in_modes, shape.out_modes, shape.rank)),
                "dense nn.Linear": (_DENSE, shape.in_features * shape.out_features),
            }
            for implementation, (series, parameters) in counts.items():
                time = both.get((factor, value, implementation), float("nan"))
                if time > 0 and (series, parameters) not in rows:  # NaN is not
                    setting = f"{letter} = {value}"
                    rows[series, parameters] = _row(_TIME, series, parameters, pd.Series([time]), setting)
    return list(rows.values())


def figure_files(results_dir: Path) -> list[FigureFile]:
    """Return the figure; none where nothing was measured."""
    table = measured(results_dir)
    if table.empty:
        return []
    draw: Callable[[], Figure] = partial(error_and_time, table)
    return [FigureFile(Path("figures", "choosing_ranks.png"), table, draw)]


def error_and_time(table: pd.DataFrame) -> Figure:
    """Draw error and time against the parameters of W, a panel for each study; bars: 95 % intervals over seeds."""
    panels = list(dict.fromkeys(table["panel"]))
    with drawing():
        figure = Figure(figsize=(5.0 * len(panels), 4.8), layout="constrained")
        handles: dict[str, Any] = {}
        for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for series, points in table[table["panel"] == panel].groupby("series", sort=False):
                handles[str(series)] = _points(axis, str(series), points)
            axis.set_xscale("log")
            data = table.loc[table["panel"] == panel, "data"].iloc[0]
            axis.set_title(f"{panel}\n{data}" if data else panel)
            axis.set_xlabel("parameters of W")
            axis.set_ylabel(_Y_LABELS[panel])
            axis.set_ylim(bottom=0)
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles))
        return figure


def _points(axis: Axes, series: str, points: pd.DataFrame) -> Any:
    look = _LOOKS.get(series, _Look(PURPLE, "v"))
    points = points.sort_values("parameters")
    bars = [(points["mean"] - points["low"]).fillna(0), (points["high"] - points["mean"]).fillna(0)]
    return axis.errorbar(
        points["parameters"], points["mean"], bars, fmt=look.marker, color=look.color, ms=7, capsize=3, lw=1.5
    )


def best_of_each_size(results_dir: Path) -> str:
    """Write a table: of each study's block-term shapes those that no smaller one beats; "" where there is no study."""
    table = measured(results_dir)
    shapes = table[(table["series"] == "BT") & (table["panel"] != _TIME)].sort_values("parameters", kind="stable")
    rows = []
    for panel, group in shapes.groupby("panel", sort=False):
        before = group["mean"].cummin().shift(fill_value=float("inf"))
        for row in group[group["mean"] < before].to_dict("records"):
            interval = "" if pd.isna(row["low"]) else f" [{row['low']:.3f}, {row['high']:.3f}]"
            rows.append(
                {"": str(panel), "parameters of W": f"{row['parameters']:,.0f}", "shape": row["setting"]}
                | {"error": f"{row['mean']:.3f}{interval}"}
            )
    return markdown_table(rows) if rows else ""
