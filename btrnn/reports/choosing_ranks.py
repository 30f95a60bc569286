"""What more parameters buy, and what they cost: measured error and time against the parameters of W."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from btrnn.benchmark.settings import SWEEPS
from btrnn.benchmark.tables import read_all
from btrnn.complexity import bt_parameters, tt_parameters
from btrnn.figures.file import FigureFile
from btrnn.figures.sizes import against_parameters
from btrnn.recovery import records
from btrnn.reports.claims.measured import headline_runs
from btrnn.reports.format import markdown_table
from btrnn.reports.render import render
from btrnn.reports.tables import data_name
from btrnn.results.schema import BT_LSTM
from btrnn.results.statistics import mean_interval

_TIME = "time of the matmul"
_COLUMNS = ["panel", "data", "measure", "series", "parameters", "setting", "mean", "low", "high"]
_Row = dict[str, object]


def measured(results_dir: Path) -> pd.DataFrame:
    """Gather what was measured of shapes of many sizes; a study that is not there is left out.

    Returns:
        A row for each shape: `panel`, `data`, `measure`, `series` (BT, TT, ..), `parameters` (of W), `setting`, `mean`
        and its 95 % interval `low`, `high`.
    """
    rows = [*_matrices(results_dir), *_clips(results_dir), *_times(results_dir)]
    return pd.DataFrame(rows, columns=_COLUMNS)


def figure_files(results_dir: Path) -> list[FigureFile]:
    """Return the figure; none where nothing was measured."""
    table = measured(results_dir)
    path = Path("figures/choosing_ranks.png")
    return [] if table.empty else [FigureFile(path, table, partial(against_parameters, table))]


def table_texts(results_dir: Path) -> dict[Path, str]:
    """Return tables/choosing_ranks.md; nothing where no study is there."""
    table = best_of_each_size(results_dir)
    return {Path("tables/choosing_ranks.md"): render("choosing_ranks", table=table) + "\n"} if table else {}


def best_of_each_size(results_dir: Path) -> str:
    """Return a table: of each study's block-term shapes those that no smaller one beats; "" where there is no study."""
    table = measured(results_dir)
    rows = []
    for panel, shapes in table[(table["series"] == "BT") & (table["panel"] != _TIME)].groupby("panel", sort=False):
        ordered = shapes.sort_values("parameters", kind="stable")
        before = ordered["mean"].cummin().shift(fill_value=float("inf"))
        for row in ordered[ordered["mean"] < before].to_dict("records"):
            interval = "" if pd.isna(row["low"]) else f" [{row['low']:.3f}, {row['high']:.3f}]"
            place = {"": f"{panel}, {row['data']}", "parameters of W": f"{row['parameters']:,.0f}"}
            rows.append(place | {"shape": row["setting"], "error": f"{row['mean']:.3f}{interval}"})
    return markdown_table(rows)


def _row(place: _Row, series: str, parameters: int, values: "pd.Series[float]", setting: str) -> _Row:
    interval = mean_interval(values.to_numpy(dtype=float), bounds=(0.0, float("inf")))
    numbers = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    return place | {"series": series, "parameters": parameters, "setting": setting} | numbers


def _matrices(results_dir: Path) -> Iterator[_Row]:
    table = records.read(results_dir).rows
    place: _Row = {"panel": "recovery of photographs", "data": "64 x 64", "measure": "relative error"}
    # of the kinds of matrices that the study has, photographs are the one that nobody made for it
    for _, group in table[table["truth"] == "photograph"].groupby(["form", "order", "rank"], sort=False):
        first = group.iloc[0]
        family = first["form"][:2].upper()
        setting = f"d = {first['order']}, R = {first['rank']}" + f", N = {first['num_blocks']:g}" * (family == "BT")
        yield _row(place, family, int(first["parameters"]), group["error_best"], setting)
        if family == "BT" and (group["error_best_rank"] < 1).all():
            yield _row(place, "best rank (SVD)", int(first["parameters"]), group["error_best_rank"], "")


def _clips(results_dir: Path) -> Iterator[_Row]:
    experiment, runs = headline_runs(results_dir, "ucf11_sensitivity")
    for _, group in runs[runs["model"] == BT_LSTM.name].groupby("name", sort=False) if experiment else ():
        first = group.iloc[0]
        place: _Row = {"panel": "action recognition", "data": data_name(first["source"]), "measure": "test error"}
        setting = f"d = {first['order']:g}, R = {first['rank']:g}, N = {first['num_blocks']:g}"
        yield _row(place, "BT", int(first["parameters_input"]), 1 - group["test/accuracy"], setting)


def _times(results_dir: Path) -> Iterator[_Row]:
    """Yield the matmul's times over R, N and d, at 57,600 inputs and 1,024 outputs."""
    sweep = read_all(results_dir, "cpu").get(
        "sweep", pd.DataFrame(columns=["phase", "factor", "value", "implementation", "best_ms"])
    )
    both = sweep[sweep["phase"] == "forward+backward"].set_index(["factor", "value", "implementation"])["best_ms"]
    place: _Row = {"panel": _TIME, "data": "57,600 x 1,024 (CPU)", "measure": "forward + backward, ms (best)"}
    seen = set()
    for factor, letter in (("rank", "R"), ("blocks", "N"), ("order", "d")):
        for value, shape in SWEEPS[factor].items():
            counts = {
                "BT": ("btrnn BT", bt_parameters(shape.in_modes, shape.out_modes, shape.rank, shape.num_blocks)),
                "TT": ("btrnn TT", tt_parameters(shape.in_modes, shape.out_modes, shape.rank)),
                "dense": ("dense nn.Linear", shape.in_features * shape.out_features),
            }
            for series, (implementation, parameters) in counts.items():
                time = both.get((factor, value, implementation), float("nan"))
                if time > 0 and (series, parameters) not in seen:  # NaN is not
                    seen.add((series, parameters))
                    yield _row(place, series, parameters, pd.Series([time]), f"{letter} = {value}")
