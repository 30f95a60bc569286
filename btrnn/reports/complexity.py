"""The paper's complexity table beside measured exponents: Markdown and a figure, from the benchmark's CSV files."""

import math
from itertools import product
from pathlib import Path

from btrnn.benchmark import exponents
from btrnn.benchmark.exponents import FACTORS, FAMILIES, QUANTITIES, TOLERANCE, WORDS, fitted, overall, ratios
from btrnn.benchmark.tables import read_all
from btrnn.figures.benchmark import complexity_files as figure_files
from btrnn.reports.claims.rules import paper_values
from btrnn.reports.render import render
from btrnn.results.summary import Row

__all__ = ["figure_files", "table_texts"]
_LETTERS = {"input": "I", "rank": "R", "blocks": "N", "order": "d"}
_PAPER_IDS = {"time forward": "time_forward", "time backward": "time_backward", "memory": "memory_backward"}


def table_texts(results_dir: Path) -> dict[Path, str]:
    """Return tables/complexity.md; nothing where no size was measured."""
    fits = fitted(results_dir)
    if fits.empty:
        return {}
    law, laws = paper_values(results_dir)["law"], []
    groups = dict(list(fits.groupby(["quantity", "family"], sort=False)))
    for quantity, family in [key for key in product(QUANTITIES, FAMILIES) if key in groups]:
        rows = {row["factor"]: _written(row) for row in groups[quantity, family].to_dict("records")}
        verdict = WORDS[overall(groups[quantity, family]["verdict"])]
        known = {"law": law(f"{_PAPER_IDS[quantity]}.{family.lower()}"), "factors": FACTORS[family]}
        laws.append({"family": family, "quantity": quantity, "verdict": verdict, "rows": rows} | known)
    text = render(
        "complexity",
        laws=laws,
        letters=_LETTERS,
        ratios=ratios(read_all(results_dir, "cpu")),
        many=exponents.MANY,
        tolerance=TOLERANCE,
        widest=exponents.WIDEST,
    )
    return {Path("tables/complexity.md"): text + "\n"}


def _written(row: Row) -> Row:
    """Write a fit's numbers; `hidden` where all sizes give a smaller exponent than the larger ones, by constants."""
    interval = "" if math.isnan(row["low"]) else f" [{row['low']:.2f}, {row['high']:.2f}]"
    law = f"{round(row['law'], 2) + 0.0:.2f}".removesuffix(".00")  # a sum with 0 has no minus zero
    hidden = row["n_all"] != row["n"] and row["slope_all"] < row["slope"] - TOLERANCE
    texts = {"letter": _LETTERS[row["factor"]], "law": law, "measured": f"{row['slope']:.2f}{interval}"}
    return row | texts | {"hidden": hidden}
