"""Task 4 (a): parameters of W against the core order d and the Tucker-rank R, from the closed form alone."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from btrnn.complexity import bt_parameters, dense_parameters, factorize
from btrnn.figures.file import FigureFile
from btrnn.figures.style import GREY, RANK_STYLES, drawing
from btrnn.reports.format import count, markdown_table
from btrnn.results.paper import read_paper

INPUT_SIZE, OUTPUT_SIZE, NUM_BLOCKS = 4096, 256, 1  # the paper's
ORDERS, RANKS = range(1, 9), range(1, 5)
DENSE = dense_parameters([INPUT_SIZE], [OUTPUT_SIZE])


def grid() -> pd.DataFrame:
    """Count the parameters of every order and rank: order, rank, in_modes, out_modes, parameters.

    Modes are balanced, and paired so that the fewest parameters result.
    """
    rows = []
    for order in ORDERS:
        in_modes, out_modes = factorize(INPUT_SIZE, order), factorize(OUTPUT_SIZE, order)[::-1]
        for rank in RANKS:
            row = {"order": order, "rank": rank, "in_modes": _text(in_modes), "out_modes": _text(out_modes)}
            rows.append(row | {"parameters": bt_parameters(in_modes, out_modes, rank, NUM_BLOCKS)})
    return pd.DataFrame(rows)


def _text(modes: tuple[int, ...]) -> str:
    return "x".join(map(str, modes))


def draw(table: pd.DataFrame) -> Figure:
    """Draw parameters against order on a log scale, a line for each rank, and the dense matrix's."""
    with drawing():
        figure = Figure(figsize=(7.2, 4.8), layout="constrained")
        axis = figure.add_subplot()
        axis.axhline(DENSE, color=GREY, ls="--", lw=2, label=f"dense, {DENSE:,}")
        for rank, line in table.groupby("rank"):
            style = RANK_STYLES[int(str(rank))]
            look: Any = {"color": style.color, "marker": style.marker, "ls": style.line, "lw": 2, "ms": 7}
            axis.plot(line["order"], line["parameters"], label=f"R = {rank}", **look)
        axis.set_yscale("log")
        axis.set_xlabel("core order d")
        axis.set_ylabel("parameters of W")
        axis.legend()
        figure.suptitle(f"Block-term parameters, I = {INPUT_SIZE:,}, J = {OUTPUT_SIZE:,}, N = {NUM_BLOCKS}")
        return figure


def table_texts(results_dir: Path) -> dict[Path, str]:
    """Return results/tables/parameters.md, each count beside the paper's."""
    table = grid()
    paper = read_paper(results_dir / "paper.csv")
    published = [
        int(paper["value"][f"sensitivity.parameters.r{row['rank']}_d{row['order']}"])
        for row in table.to_dict("records")
    ]
    equal = int((table["parameters"] == published).sum())
    fewest = table.loc[table.groupby("rank")["parameters"].idxmin()].to_dict("records")
    turns = "; ".join(f"R = {row['rank']}: d = {row['order']} ({count(row['parameters'])})" for row in fewest)
    rows = []
    for _, line in table.groupby("order"):
        first = line.iloc[0]
        counts = {f"R = {row['rank']}": count(row["parameters"]) for row in line.to_dict("records")}
        rows.append({"d": str(first["order"]), "I": first["in_modes"], "J": first["out_modes"]} | counts)
    text = (
        f"# Parameters of a block-term W: I = {INPUT_SIZE:,}, J = {OUTPUT_SIZE:,}, N = {NUM_BLOCKS}\n\n"
        "Made by `python experiments/report.py` from the closed form P = N (sum_k I_k J_k R + R^d); do not edit.\n\n"
        f"{equal} of {len(table)} counts equal those of the paper's figure (results/paper.csv). Dense: {DENSE:,}. "
        f"Fewest: {turns}.\n\n"
        f"{markdown_table(rows)}\n\n![Parameters against d and R](../figures/parameters.png)\n"
    )
    return {results_dir / "tables" / "parameters.md": text}


def figure_files(results_dir: Path) -> list[FigureFile]:
    """Return the paper's figure."""
    table = grid()
    return [FigureFile(results_dir / "figures" / "parameters.png", table, partial(draw, table))]
