"""Task 4 (a): parameters of W against the core order d and the Tucker-rank R, from the closed form alone."""

from pathlib import Path

import pandas as pd

from btrnn.complexity import bt_parameters, dense_parameters, factorize
from btrnn.figures.file import FigureFile
from btrnn.figures.series import COLUMNS, draw_series
from btrnn.figures.style import RANK_LOOKS, Look
from btrnn.reports.render import render
from btrnn.results.paper import read_paper
from btrnn.results.schema import BT_LSTM, GREY, LSTM

INPUT_SIZE, OUTPUT_SIZE, NUM_BLOCKS = 4096, 256, 1  # the paper's
ORDERS, RANKS = range(1, 9), range(1, 5)
DENSE = dense_parameters([INPUT_SIZE], [OUTPUT_SIZE])
_TITLE = f"I = {INPUT_SIZE:,}, J = {OUTPUT_SIZE:,}, N = {NUM_BLOCKS}"


def grid() -> pd.DataFrame:
    """Count the parameters of every order and rank: order, rank, in_modes, out_modes, parameters, paper_id.

    Modes are balanced, and paired so that the fewest parameters result.
    """
    rows = []
    for order in ORDERS:
        modes = factorize(INPUT_SIZE, order), factorize(OUTPUT_SIZE, order)[::-1]
        texts = ["x".join(map(str, side)) for side in modes]
        for rank in RANKS:
            row = {"order": order, "rank": rank, "in_modes": texts[0], "out_modes": texts[1]}
            row |= {"parameters": bt_parameters(*modes, rank, NUM_BLOCKS)}
            rows.append(row | {"paper_id": f"sensitivity.parameters.r{rank}_d{order}"})
    return pd.DataFrame(rows)


def fewest() -> pd.DataFrame:
    """Return the row of `grid` with the fewest parameters for each rank."""
    table = grid()
    return table.loc[table.groupby("rank")["parameters"].idxmin()]


def equal_counts(results_dir: Path) -> int:
    """Count the parameters of `grid` that are the paper's."""
    table = grid()
    published = read_paper(results_dir / "paper.csv")["value"].reindex(table["paper_id"])
    return int((table["parameters"].astype(str).to_numpy() == published.to_numpy()).sum())


def table_texts(results_dir: Path) -> dict[Path, str]:
    """Return tables/parameters.md, each count beside the paper's."""
    orders = {order: rows.to_dict("records") for order, rows in grid().groupby("order")}
    found = {"equal": equal_counts(results_dir), "fewest": fewest().to_dict("records")}
    text = render("parameters", title=_TITLE, dense=DENSE, ranks=RANKS, orders=orders, **found)
    return {Path("tables/parameters.md"): text + "\n"}


def figure_files(_: Path) -> list[FigureFile]:
    """Return the paper's figure: parameters against the order, a line for each rank."""
    table = grid().rename(columns={"order": "x", "parameters": "mean"})
    table = table.assign(panel="", model=BT_LSTM.name, low=table["mean"], high=table["mean"])
    table["label"] = [f"R = {rank}" for rank in table["rank"]]
    dense = {"panel": "", "label": f"dense, {DENSE:,}", "model": LSTM.name, "x": float("nan")}
    dense |= dict.fromkeys(("mean", "low", "high"), DENSE)
    looks = {f"R = {rank}": RANK_LOOKS[rank] for rank in RANKS} | {f"dense, {DENSE:,}": Look(GREY, "", "--")}
    options = {"title": f"Block-term parameters, {_TITLE}", "x_label": "core order d", "y_label": "parameters of W"}
    data = pd.concat([table.sort_values("rank", kind="stable"), pd.DataFrame([dense])], ignore_index=True)[COLUMNS]
    return [FigureFile(Path("figures/parameters.png"), draw_series, data, options | {"log_y": True, "looks": looks})]
