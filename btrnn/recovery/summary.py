"""What the fits of Task 4 (b) say together: errors averaged over truths, beside those of the best rank. No torch."""

import pandas as pd

from btrnn.recovery.records import RECOVERED
from btrnn.results.statistics import mean_interval

SAME_SHAPE = "same_shape"
TRUTHS = {  # in the order of tables and figures
    "photograph": "photograph",
    "smooth": "smooth field",
    "low_rank": "low rank (4)",
    "kronecker": "Kronecker product",
    "random": "random",
    SAME_SHAPE: "a map of the same shape",
}
_NUMBERS_OF_A_RANK = 128  # 64 + 64
NEARER = 0.9  # times the best rank's error: what is less ahead may come from ranks being whole numbers
_SHAPE = ["name", "form", "order", "rank", "num_blocks", "parameters", "num_restarts"]


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Average over the truths of a kind: a row for each shape and kind, kinds in the order of `TRUTHS`.

    Columns: the shape's, truth, n, share_recovered, median_best (over the truths, of the best restart), and of
    `error_best`, `error_median`, `error_from_dense`, `error_best_rank` the mean, `_low` and `_high` (95 %, by t).
    """
    summaries = []
    for (_, truth), group in rows.groupby(["name", "truth"], sort=False):
        row = {str(column): group[column].iloc[0] for column in _SHAPE}
        row |= {"truth": truth, "n": len(group), "share_recovered": group["share_recovered"].mean()}
        row |= {"median_best": group["error_best"].median()}
        for column in ("error_best", "error_median", "error_from_dense", "error_best_rank"):
            interval = mean_interval(group[column].to_numpy(), bounds=(0.0, float("inf")))
            row |= {column: interval.mean, f"{column}_low": interval.low, f"{column}_high": interval.high}
        summaries.append(row)
    table = pd.DataFrame(summaries)
    table["truth"] = pd.Categorical(table["truth"], list(TRUTHS))
    table = table.sort_values(["truth", "parameters", "name"], ignore_index=True)
    return table.assign(truth=table["truth"].astype(str))


def compare_with_rank(table: pd.DataFrame) -> pd.DataFrame:
    """Count, for each kind of truth, the block-term shapes that come nearer than the best rank of as many numbers.

    Nearer by a tenth (`NEARER`), that is; and only shapes count that have the numbers for a rank of 1.

    Args:
        table: Of `summarise`.

    Returns:
        A row for each: truth, nearer, shapes, and the shape whose error is smallest beside the best rank's: name,
        parameters, error_best, error_best_rank.
    """
    rows = []
    chosen = table[table["form"].str.startswith("bt") & (table["parameters"] >= _NUMBERS_OF_A_RANK)]
    for truth, group in chosen.groupby("truth", sort=False):
        nearer = int((group["error_best"] < NEARER * group["error_best_rank"]).sum())
        ratios = group["error_best"].clip(lower=RECOVERED) / group["error_best_rank"].clip(lower=RECOVERED)
        best = group.iloc[
            int(ratios.to_numpy().argmin())
        ]  # of equals that with the fewest parameters, which stands first
        shown = {key: best[key] for key in ("name", "parameters", "error_best", "error_best_rank")}
        rows.append({"truth": truth, "nearer": nearer, "shapes": len(group)} | shown)
    return pd.DataFrame(rows)


def shape_name(name: str) -> str:
    """Write bt_d2_r4_n1 as "BT, d = 2, R = 4, N = 1"."""
    form, *letters = name.split("_")
    return ", ".join(
        [form.upper(), *(f"{'d' if part[0] == 'd' else part[0].upper()} = {part[1:]}" for part in letters)]
    )
