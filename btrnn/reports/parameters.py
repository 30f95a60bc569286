"""Task 4 (a): parameters of W against the core order d and the Tucker-rank R, from the closed form alone."""

from functools import partial
from pathlib import Path

import pandas as pd

from btrnn.complexity import bt_parameters, dense_parameters, factorize
from btrnn.figures.file import FigureFile
from btrnn.figures.sizes import parameters_against_order
from btrnn.reports.format import count, markdown_table
from btrnn.reports.render import render
from btrnn.results.comparison import read_paper

INPUT_SIZE, OUTPUT_SIZE, NUM_BLOCKS = 4096, 256, 1  # the paper's
ORDERS, RANKS = range(1, 9), range(1, 5)
DENSE = dense_parameters([INPUT_SIZE], [OUTPUT_SIZE])
_TITLE = f"I = {INPUT_SIZE:,}, J = {OUTPUT_SIZE:,}, N = {NUM_BLOCKS}"


def grid() -> pd.DataFrame:
    """Count the parameters of every order and rank: order, rank, in_modes, out_modes, parameters.

    Modes are balanced, and paired so that the fewest parameters result.
    """
    rows = []
    for order in ORDERS:
        modes = factorize(INPUT_SIZE, order), factorize(OUTPUT_SIZE, order)[::-1]
        texts = ["x".join(map(str, side)) for side in modes]
        for rank in RANKS:
            row = {"order": order, "rank": rank, "in_modes": texts[0], "out_modes": texts[1]}
            rows.append(row | {"parameters": bt_parameters(*modes, rank, NUM_BLOCKS)})
    return pd.DataFrame(rows)


def table_texts(results_dir: Path) -> dict[Path, str]:
    """Return tables/parameters.md, each count beside the paper's."""
    table, paper = grid(), read_paper(results_dir / "paper.csv")["value"]
    published = paper.reindex([f"sensitivity.parameters.r{row.rank}_d{row.order}" for row in table.itertuples()])
    wide = table.assign(parameters=table["parameters"].map(count)).pivot_table(
        index=["order", "in_modes", "out_modes"], columns="rank", values="parameters", aggfunc="first"
    )
    text = render(
        "parameters",
        title=_TITLE,
        equal=int((table["parameters"].astype(str).to_numpy() == published.to_numpy()).sum()),
        total=len(table),
        dense=count(DENSE),
        fewest=table.loc[table.groupby("rank")["parameters"].idxmin()].to_dict("records"),
        table=markdown_table(wide.rename(columns=lambda rank: f"R = {rank}").reset_index().rename(columns={"order": "d", "in_modes": "I", "out_modes": "J"}).astype(str).to_dict("records")),
    )
    return {Path("tables/parameters.md"): text + "\n"}


def figure_files(results_dir: Path) -> list[FigureFile]:  # noqa: ARG001  # the same for any results
    """Return the paper's figure."""
    draw = partial(parameters_against_order, grid(), DENSE, f"Block-term parameters, {_TITLE}")
    return [FigureFile(Path("figures/parameters.png"), grid(), draw)]
