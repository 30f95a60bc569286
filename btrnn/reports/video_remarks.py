"""What is said of Task 1's numbers in Markdown: what they bear out, how they were made, what they cannot tell."""

import pandas as pd

from btrnn import tables
from btrnn.comparison import Row


def headline(summary: pd.DataFrame) -> str:
    """Say in Markdown what holds of the paper's parameters and accuracies; `summary` as in `conclusion`."""
    text = "**In short.** The parameter counts of W, and so its compressions, are the paper's to the last digit."
    if summary["source"].iloc[0] != "ucf11":
        text += " Its accuracies are neither confirmed nor refuted: UCF11 itself was not on the machine."
    return text


def handicap(summary: pd.DataFrame) -> str:
    """Say in Markdown what differs between the models beside their maps; `summary` as in `conclusion`."""
    text = "The dense LSTM alone drops a quarter of its inputs, as in the released code"
    if summary["scale"].iloc[0] != "paper":
        text += "; every model's learning rate was chosen at scale `default`"
    return f"{text}."


def conclusion(rows: pd.DataFrame, summary: pd.DataFrame) -> str:
    """Say in Markdown what of the paper's claims the runs bear out.

    Args:
        rows: Of `btrnn.predictions.differences`.
        summary: Of `btrnn.comparison.summarise`; names the data, and holds the baseline.
    """
    source = summary["source"].iloc[0]
    parts = [headline(summary)]
    place = "On UCF11" if source == "ucf11" else "On the stand-in"
    for other in rows["second"].unique():
        against = [
            f"{_verdict(row)} with protocol `{row['protocol']}` and `{row['scaling']}` input "
            f"({tables.difference_text(row, '')})"
            for row in rows[rows["second"] == other].to_dict("records")
        ]
        parts.append(f"{place} {rows['first'].iloc[0]} against {other} is {'; '.join(against)}.")
    parts.append(handicap(summary))
    baseline = summary[summary["model"] == "logistic_regression"].drop_duplicates("protocol")
    if not baseline.empty:
        scores = " and ".join(
            f"{row['test/accuracy']:.3f} with protocol `{row['protocol']}`" for row in baseline.to_dict("records")
        )
        parts.append(f"For comparison: logistic regression on mean frames, which sees no motion, scores {scores}.")
    return " ".join(parts)


def _verdict(row: Row) -> str:
    """Say whether the first model is better, as far as the interval of the difference tells."""
    if row["n"] == 1 or row["low"] <= 0 <= row["high"]:
        return "not told apart"
    return "more accurate" if row["low"] > 0 else "less accurate"


def notes(summary: pd.DataFrame) -> str:
    """Say in Markdown how the numbers of one scale were made, and what they cannot tell."""
    first = summary.iloc[0]
    lines = []
    if first["stand_in"]:
        lines.append(
            f"**The data are {tables.data_name(first['source'])}, not UCF11.** The paper's accuracies are of UCF11: "
            "they stand here for orientation, and no difference to them is given."
        )
    lines.append(
        "Paper's accuracy: random split, raw input, 500 epochs. [S]: read in the poster, the abstract or the "
        'released code. [M], "reported": from the literature, by memory.'
    )
    if "paper" in set(summary["protocol"]):
        lines.append(
            "Protocol `paper`: random split of the clips, so that clips of one group stand on both sides; "
            "the epoch is chosen by the loss on the test split, as the authors did. "
            "Both flatter the accuracy."
        )
    if "grouped" in set(summary["protocol"]):
        lines.append(
            "Protocol `grouped`: no group stands in two splits; the epoch is chosen by the loss on the "
            "validation split; tested once."
        )
    lines.append(
        "Training accuracy is the mean over the last epoch's own steps, so with dropout where a model has it (the "
        "dense LSTM drops inputs too, as in the released code). Learning rates: chosen on validation data below scale "
        "`paper`."
    )
    lines.append("Scaling `raw`: pixels from -128 to 127, as the authors. `normalized`: mean 0, sd 1 a colour channel.")
    lines.append(
        "The seed draws split, frames and initial weights. Intervals of means: Student's t over the n seeds; "
        "none at n = 1. Intervals of differences: paired bootstrap over seeds and clips (`grouped`: groups)."
    )
    return "\n".join(f"- {line}" for line in lines)
