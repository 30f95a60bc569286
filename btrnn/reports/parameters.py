"""Task 4 (a): parameters of W against the core order d and the Tucker-rank R, from the closed form alone."""

from pathlib import Path

import pandas as pd

from btrnn.complexity import bt_parameters, dense_parameters, factorize
from btrnn.figures.file import RANK_LOOKS, FigureFile, Look
from btrnn.figures.series import COLUMNS, draw_series
from btrnn.reports.render import Report, render
from btrnn.results.schema import BT_LSTM, GREY, LSTM
from btrnn.results.summary import Row, read_paper

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
        inputs, outputs = factorize(INPUT_SIZE, order), factorize(OUTPUT_SIZE, order)[::-1]
        texts = {"in_modes": "x".join(map(str, inputs)), "out_modes": "x".join(map(str, outputs))}
        for rank in RANKS:
            row = {"order": order, "rank": rank, "parameters": bt_parameters(inputs, outputs, rank, NUM_BLOCKS)}
            rows.append(row | texts | {"paper_id": f"sensitivity.parameters.r{rank}_d{order}"})
    return pd.DataFrame(rows)


def fewest() -> pd.DataFrame:
    """Return the row of `grid` with the fewest parameters for each rank."""
    table = grid()
    return table.loc[table.groupby("rank")["parameters"].idxmin()]


def report(results_dir: Path) -> Report:
    """Return tables/parameters.md, each count beside the paper's, and the paper's figure: a line for each rank."""
    table = grid()
    published = read_paper(results_dir / "paper.csv")["value"].reindex(table["paper_id"])
    orders = {order: rows.to_dict("records") for order, rows in table.groupby("order")}
    equal = int((table["parameters"].astype(str).to_numpy() == published.to_numpy()).sum())
    found = {"fewest": fewest().to_dict("records"), "equal": equal}
    text = render("parameters", title=_TITLE, dense=DENSE, ranks=RANKS, orders=orders, **found) + "\n"

    lines = table.sort_values("rank", kind="stable").rename(columns={"order": "x", "parameters": "mean"})
    lines = lines.assign(panel="", model=BT_LSTM.name, low=lines["mean"], high=lines["mean"])
    lines["label"] = "R = " + lines["rank"].astype(str)
    dense = {"panel": "", "label": f"dense, {DENSE:,}", "model": LSTM.name, "x": float("nan")}
    dense |= dict.fromkeys(("mean", "low", "high"), DENSE)
    data = pd.concat([lines, pd.DataFrame([dense])], ignore_index=True)[COLUMNS]
    looks = {f"R = {rank}": RANK_LOOKS[rank] for rank in RANKS} | {dense["label"]: Look(GREY, "", "--")}
    options: Row = {
        "title": f"Block-term parameters, {_TITLE}",
        "x_label": "core order d",
        "y_label": "parameters of W",
    }
    options |= {"log_y": True, "looks": looks}
    figure = FigureFile(Path("figures/parameters.png"), draw_series, data, options)
    return Report({Path("tables/parameters.md"): text}, [figure])
