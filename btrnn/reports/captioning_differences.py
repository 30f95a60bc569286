"""What a compact decoder costs in CIDEr: differences to the dense one, and what they amount to."""

import math

import pandas as pd

from btrnn.reports import tables
from btrnn.reports.format import difference_text, markdown_table, ratio
from btrnn.results.differences import settings_difference
from btrnn.results.store import Results
from btrnn.results.summary import Row


def differences(summary: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Compare each factorised decoder with the dense one, over the seeds that both have.

    Args:
        summary: Of `btrnn.results.summary.summarise`.
        results: Of the same runs.

    Returns:
        A row for each: label, against, compression (of W), compression_total, n, and mean, low, high of the difference
        in CIDEr times 100; low and high are NaN at n = 1.

    Raises:
        ResultsError: Two models captioned different images, as many as one another, with one seed.
    """
    rows = []
    records = summary.to_dict("records")
    for dense in [row for row in records if row["model"] == "lstm"]:
        for row in [row for row in records if row["model"] != "lstm"]:
            if any(row[used] != dense[used] for used in ("used_fewest", "used_most")):
                continue  # of another amount of data, which is another study
            found = settings_difference(row, dense, results.runs, "test/cider", results.predictions, "image")
            if found.n == 0:
                continue
            rows.append(
                {"label": row["label"], "against": dense["label"], "n": found.n}
                | {"compression": row["parameters_dense_input"] / row["parameters_input"]}
                | {"compression_total": row["parameters_dense_total"] / row["parameters_total"]}
                | {"mean": 100 * found.mean, "low": 100 * found.low, "high": 100 * found.high}
            )
    return pd.DataFrame(rows)


def _text(row: Row) -> str:
    return difference_text(row, ".1f")


def differences_table(rows: pd.DataFrame) -> str:
    """Write what `differences` gives as Markdown."""
    table = [
        {"difference in CIDEr": f"{row['label']} - {row['against']}"}
        | {"mean, 95 % interval": _text(row)}
        | {"compression of W": ratio(row["compression"]), "of the whole model": ratio(row["compression_total"])}
        | {"n": str(row["n"])}
        for row in rows.to_dict("records")
    ]
    return markdown_table(table)


def conclusion(rows: pd.DataFrame, summary: pd.DataFrame) -> str:
    """Say whether a compact decoder loses anything in CIDEr, at which compression, and whether the scores mean much."""
    said = []
    for row in rows.to_dict("records"):
        said.append(
            f"{row['label']}, with {ratio(row['compression'])} times fewer parameters in W "
            f"({ratio(row['compression_total'])} times fewer in all), {verdict(row)} "
            f"({_text(row)}, n = {row['n']})"
        )
    dense = summary[summary["model"] == "lstm"].iloc[0]
    cider, constant, true = (100 * dense[f"test/{name}"] for name in ("cider", "cider_constant", "cider_true"))
    others = "" if math.isnan(true) else f", true captions against one another {true:.1f}"
    pairs = ""
    if not math.isnan(dense["test/pairs_any"]):
        pairs = (
            f" Of the test images {dense['test/pairs_any']:.0%} have a caption of it in which at least one colour with "
            f"its shape is right ({dense['test/pairs_any_shuffled']:.0%} by chance), {dense['test/pairs']:.0%} one in "
            "which all that it names are."
        )
    return (
        f"**Captions, in short.** Does a compact decoder lose anything in CIDEr against the dense one? On "
        f"{tables.data_name(dense['source'])} {'; '.join(said)}. The dense one has {cider:.1f}, the best "
        f"caption for all images alike {constant:.1f}{others}.{pairs}"
    )


def ranks_conclusion(rows: pd.DataFrame, summary: pd.DataFrame) -> str:
    """Say from which compression on a compact decoder loses CIDEr."""
    records: list[Row] = rows.to_dict("records")
    kept = [row for row in records if verdict(row) != "loses"]
    if (rows["n"] == 1).all():
        found = "none can be judged by one seed"
    elif not kept:
        found = "all lose CIDEr"
    else:
        smallest = max(kept, key=lambda row: row["compression"])
        found = (
            f"{len(records) - len(kept)} of {len(records)} lose CIDEr; the smallest that is not significantly "
            f"different is {smallest['label']}, {ratio(smallest['compression'])} times smaller in W"
        )
    data = tables.data_name(summary["source"].iloc[0])
    worst, best = (choose(records, key=lambda row: row["mean"]) for choose in (min, max))
    return (
        f"**Ranks, in short.** On {data}, of the compact decoders {found}. Their differences to the dense one go from "
        f"{_text(worst)} ({worst['label']}) to "
        f"{_text(best)} ({best['label']})."
    )


def verdict(row: Row) -> str:
    """Say in which direction a difference goes, as far as its interval tells."""
    if math.isnan(row["low"]):
        return "cannot be judged by one seed"
    if row["low"] <= 0 <= row["high"]:
        return "is not significantly different"
    return "gains" if row["low"] > 0 else "loses"


def is_sweep(summary: pd.DataFrame) -> bool:
    """Say whether some model stands there with several ranks or numbers of blocks."""
    shapes = summary[["model", "rank", "num_blocks"]].drop_duplicates()
    return bool(shapes["model"].duplicated().any())
