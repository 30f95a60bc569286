"""What a compact decoder costs in CIDEr: differences to the dense one, image by image, and what they amount to."""

import math

import pandas as pd

from btrnn import comparison, tables
from btrnn.comparison import Row
from btrnn.files import ResultsError
from btrnn.formatting import count, markdown_table, ratio
from btrnn.reports import common
from btrnn.statistics import paired_bootstrap


def differences(summary: pd.DataFrame, captions: pd.DataFrame) -> pd.DataFrame:
    """Compare each factorised decoder with the dense one, image by image, over the seeds that both have.

    Returns:
        A row for each: label, compression (of W), compression_total, n, and mean, low, high of the difference in CIDEr
        times 100; low and high are NaN at n = 1.

    Raises:
        ResultsError: Two models captioned different images with one seed.
    """
    rows = []
    records = summary.to_dict("records")
    for dense in [row for row in records if row["model"] == "lstm"]:
        for row in [row for row in records if row["model"] != "lstm"]:
            paired = 100 * _paired(row, dense, captions)
            if paired.empty:
                continue
            seeds, images = (paired.index.get_level_values(level) for level in ("seed", "image"))
            interval = paired_bootstrap(paired, seeds, images)
            several = interval.num_seeds > 1
            rows.append(
                {"label": row["label"], "against": dense["label"], "n": interval.num_seeds}
                | {"compression": row["parameters_dense_input"] / row["parameters_input"]}
                | {"compression_total": row["parameters_dense_total"] / row["parameters_total"]}
                | {"mean": interval.estimate, "num_images": interval.num_units}
                | {"low": interval.low if several else math.nan, "high": interval.high if several else math.nan}
            )
    return pd.DataFrame(rows)


def _paired(first: Row, second: Row, captions: pd.DataFrame) -> pd.Series:
    """Return the first model's CIDEr minus the second's, by seed and image."""
    sides = [
        comparison.rows_of(row, captions).set_index(["seed", "image"])["cider"].sort_index() for row in (first, second)
    ]
    seeds = set(sides[0].index.get_level_values("seed")) & set(sides[1].index.get_level_values("seed"))
    left, right = (side[side.index.isin(seeds, level="seed")] for side in sides)
    if not left.index.equals(right.index):
        raise ResultsError(
            f"{first['experiment']}: {first['name']} and {second['name']} captioned different images with the same "
            "seed, so they cannot be paired; were the data changed between them? Run both again"
        )
    difference: pd.Series = left - right
    return difference


def differences_table(rows: pd.DataFrame) -> str:
    """Write what `differences` gives as Markdown."""
    table = [
        {"difference in CIDEr": f"{row['label']} - {row['against']}"}
        | {"mean, 95 % interval": common.difference_text(row, ".1f")}
        | {"compression of W": ratio(row["compression"]), "of the whole model": ratio(row["compression_total"])}
        | {"n": str(row["n"]), "images": count(row["num_images"])}
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
            f"({common.difference_text(row, '.1f')}, n = {row['n']})"
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
            f"{len(records) - len(kept)} of {len(records)} lose CIDEr; the smallest that loses nothing that can be "
            f"told is {smallest['label']}, {ratio(smallest['compression'])} times smaller in W"
        )
    data = tables.data_name(summary["source"].iloc[0])
    worst, best = (choose(records, key=lambda row: row["mean"]) for choose in (min, max))
    return (
        f"**Ranks, in short.** On {data}, of the compact decoders {found}. Their differences to the dense one go from "
        f"{common.difference_text(worst, '.1f')} ({worst['label']}) to "
        f"{common.difference_text(best, '.1f')} ({best['label']})."
    )


def verdict(row: Row) -> str:
    """Say in which direction a difference goes, as far as its interval tells."""
    if math.isnan(row["low"]):
        return "cannot be judged by one seed"
    if row["low"] <= 0 <= row["high"]:
        return "loses nothing that can be told"
    return "gains" if row["low"] > 0 else "loses"


def is_sweep(summary: pd.DataFrame) -> bool:
    """Say whether some model stands there with several ranks or numbers of blocks."""
    shapes = summary[["model", "rank", "num_blocks"]].drop_duplicates()
    return bool(shapes["model"].duplicated().any())
