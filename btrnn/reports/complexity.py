"""The paper's complexity table beside measured exponents: Markdown and a figure, from the benchmark's CSV files."""

import math
from functools import partial
from pathlib import Path

import pandas as pd

from btrnn.benchmark.results.costs import Family
from btrnn.benchmark.results.exponents import (
    FACTORS,
    FAMILIES,
    FASTER,
    HOLDS,
    MANY,
    QUANTITIES,
    SLOWER,
    TOLERANCE,
    UNCLEAR,
    WIDEST,
    Quantity,
    Ratio,
    exponents,
    measurements,
    ratios,
)
from btrnn.benchmark.results.report import read_all
from btrnn.figures.benchmark import exponents_against_input
from btrnn.figures.file import FigureFile
from btrnn.reports.format import markdown_table
from btrnn.results.paper import read_paper
from btrnn.results.summary import Row

SECTIONS = ("sweep", "memory", "memory_sweep")  # of the benchmark, that the laws are compared with
_NOTE = "Made by `python experiments/report.py` from results/benchmark_*.csv; do not edit."
_LETTERS = {"input": "I", "rank": "R", "blocks": "N", "order": "d"}
_PAPER_IDS = {"time forward": "time_forward", "time backward": "time_backward", "memory": "memory_backward"}
WORDS = {
    HOLDS: "holds",
    SLOWER: "consistent with a bound, not tested",
    FASTER: "does not hold",
    UNCLEAR: "not tested, interval too wide",
}


def table_texts(results_dir: Path) -> dict[Path, str]:
    """Return results/tables/complexity.md; nothing where no size was measured."""
    fits = fitted(results_dir)
    if fits.empty:
        return {}
    paper = read_paper(results_dir / "paper.csv")
    parts = ["# Complexity: the paper's laws and measured exponents", _NOTE, _ABOUT]
    parts += [_table(fits, paper), "## Each law in a sentence", "\n".join(_sentences(fits, paper))]
    parts += ["## Constants", _CONSTANTS, _ratio_table(ratios(read_all(results_dir, "cpu")))]
    parts += ["![Time and memory against the number of inputs](../figures/complexity.png)"]
    return {results_dir / "tables" / "complexity.md": "\n\n".join(parts) + "\n"}


def fitted(results_dir: Path) -> pd.DataFrame:
    """Return the exponents that the committed CSV files give; see `btrnn.benchmark.results.exponents.exponents`."""
    return exponents(measurements(read_all(results_dir, "cpu")))


def figure_files(results_dir: Path) -> list[FigureFile]:
    """Return the figure of times and memory against the number of inputs, with the slopes that were fitted."""
    measured = measurements(read_all(results_dir, "cpu"))
    shown = measured[measured["factor"] == "input"]
    if shown.empty:
        return []
    fits = exponents(shown)
    draw = partial(exponents_against_input, shown, fits, "Slopes of the larger sizes, and the paper's laws (dashed)")
    return [FigureFile(results_dir / "figures" / "complexity.png", shown, draw)]


_ABOUT = f"""Of a product W x at the paper's setting (57,600 inputs, 1,024 outputs, d = 4, R = 4, N = 2; 96 vectors) one
thing is varied at a time: I the inputs, R the rank, N the blocks, d the order. An exponent is the slope of the
logarithm of a time or a memory over that of the size, by least squares, with its 95 % interval by Student's t of the
distances from the law, which is no straight line in d; where there are {MANY} sizes or more, over the larger ones.
Beside it the slope of the law itself at the same sizes. Time: the best of the rounds, on the CPU of
[benchmark.md](benchmark.md); backward is both passes without the forward one. Memory: growth of the peak while a layer
is trained. A law holds where the exponents differ by at most {TOLERANCE:g} and the interval reaches no further than
{WIDEST:g} to either side. It does not hold where the interval begins above the law's. The laws count the order of
equation 4, and what was timed is this project's own order: an exponent below the law's is consistent with a bound from
above, and does not test the law."""

_CONSTANTS = """Laws leave constants out, and here constants decide. Both factorised products over the dense one, at the
paper's setting: by the laws, by the fewest operations of any order of contraction, and as measured. The laws count the
order of equation 4, in which every intermediate carries all ranks; the fewest operations need far less."""


def _table(fits: pd.DataFrame, paper: pd.DataFrame) -> str:
    rows = []
    for family, quantity, group in _laws(fits):
        cells = {
            f"in {letter}: law, measured [95 %]": _cell(group[group["factor"] == factor], factor in FACTORS[family])
            for factor, letter in _LETTERS.items()
        }
        row = {"": quantity, "product": family, "the paper's law": law_text(family, quantity, paper)}
        rows.append(row | cells | {"verdict": WORDS[overall(group["verdict"])]})
    return markdown_table(rows)


def _laws(fits: pd.DataFrame) -> list[tuple[Family, Quantity, pd.DataFrame]]:
    """Return each law's fits, in the order of the paper's table; those that were not measured are left out."""
    groups = []
    for quantity in QUANTITIES:
        for family in FAMILIES:
            group = fits[(fits["family"] == family) & (fits["quantity"] == quantity)]
            if not group.empty:
                groups.append((family, quantity, group))
    return groups


def law_text(family: str, quantity: str, paper: pd.DataFrame) -> str:
    """Write a law with its mark; what is known from memory alone is only "reported"."""
    known = paper.loc[f"complexity.{_PAPER_IDS[quantity]}.{family.lower()}"]
    return f"{'reported ' if 'M' in known['mark'] else ''}`{known['value']}` [{known['mark']}]"


def _cell(fit: pd.DataFrame, depends: bool) -> str:
    if not depends:
        return "-"
    return "not measured" if fit.empty else f"{_exponent(fit['law'].iloc[0])}, {_measured(fit.to_dict('records')[0])}"


def _exponent(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".removesuffix(".00")  # a sum with 0 has no minus zero


def _measured(row: Row) -> str:
    interval = "" if math.isnan(row["low"]) else f" [{row['low']:.2f}, {row['high']:.2f}]"
    return f"{row['slope']:.2f}{interval}"


def overall(verdicts: pd.Series) -> str:
    """Judge a law by all of its factors: it holds as far as it does in the worst of them."""
    return next(verdict for verdict in (FASTER, UNCLEAR, SLOWER, HOLDS) if verdict in set(verdicts))


def _sentences(fits: pd.DataFrame, paper: pd.DataFrame) -> list[str]:
    """Say of each law whether it holds, and where constants hide it."""
    lines = []
    for family, quantity, group in _laws(fits):
        said = [
            f"in {_LETTERS[row['factor']]} {_measured(row)}, the law {_exponent(row['law'])}: {row['verdict']}"
            for row in group.to_dict("records")
        ]
        line = f"- {family}, {quantity}, {law_text(family, quantity, paper)}, {WORDS[overall(group['verdict'])]}"
        lines.append(f"{line} ({'; '.join(said)}).{''.join(_hidden(row) for row in group.to_dict('records'))}")
    return lines


def _hidden(row: Row) -> str:
    """Say below which size constants hide a law: where all sizes give a smaller exponent than the larger ones."""
    if row["n_all"] == row["n"] or not row["slope_all"] < row["slope"] - TOLERANCE:
        return ""
    letter = _LETTERS[row["factor"]]
    return (
        f" Below {letter} = {row['smallest']:,} constants hide it: from {letter} = {row['all_smallest']:,} on the "
        f"exponent is {row['slope_all']:.2f}."
    )


def _ratio_table(rows: list[Ratio]) -> str:
    return markdown_table(
        [
            {"": row.quantity, "product": f"{row.family} / dense", "by the laws": _ratio(row.law)}
            | {"by the fewest operations": _ratio(row.operations), "measured": _ratio(row.measured)}
            for row in rows
        ]
    )


def _ratio(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
