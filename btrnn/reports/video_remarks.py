"""What is said of Task 1's numbers in Markdown: what they bear out, how they were made, what they cannot tell."""

import pandas as pd

from btrnn.reports import tables
from btrnn.reports.format import difference_text
from btrnn.results.summary import Row


def caveat(summary: pd.DataFrame, rates: str) -> str:
    """Say in Markdown what differs between the models beside their maps.

    Args:
        summary: As in `conclusion`.
        rates: A link to accuracies against the learning rate, or "".
    """
    text = "The dense LSTM alone drops a quarter of its inputs, as in the released code."
    if summary["scale"].iloc[0] != "paper":
        text += " Learning rates were chosen at scale `default` under protocol `grouped`, whatever the protocol here."
    if rates:
        text += f" What the rate does to each model's accuracy: {rates}; read it before comparing these rows."
    return text


def conclusion(rows: pd.DataFrame, summary: pd.DataFrame, rates: str) -> str:
    """Say in Markdown what of the paper's claims the runs bear out.

    Args:
        rows: Of `btrnn.results.differences.accuracy_differences`.
        summary: Of `btrnn.results.summary.summarise`; names the data, and holds the baseline.
        rates: As in `caveat`.
    """
    source = summary["source"].iloc[0]
    parts = []
    place = "On UCF11" if source == "ucf11" else "On the stand-in"
    for other in rows["second"].unique():
        against = [
            f"{_verdict(row)} with protocol `{row['protocol']}` and `{row['scaling']}` input "
            f"({difference_text(row, '.3f')})"
            for row in rows[rows["second"] == other].to_dict("records")
        ]
        parts.append(f"{place} {rows['first'].iloc[0]} against {other} is {'; '.join(against)}.")
    parts.append(caveat(summary, rates))
    baseline = summary[summary["model"] == "logistic_regression"].drop_duplicates("protocol")
    if not baseline.empty:
        scores = " and ".join(
            f"{row['test/accuracy']:.3f} with protocol `{row['protocol']}`" for row in baseline.to_dict("records")
        )
        parts.append(f"For comparison: logistic regression on mean frames, which sees no motion, scores {scores}.")
    return " ".join(parts)


def _verdict(row: Row) -> str:
    """Say whether the first model is better, as far as the interval of the difference tells."""
    if not (row["low"] > 0 or row["high"] < 0):  # NaN is neither: one seed tells nothing
        return "not significantly different"
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
    lines.append("Training accuracy is the mean over the last epoch's own steps, so with dropout where a model has it.")
    lines.append("Scaling `raw`: pixels from -128 to 127, as the authors. `normalized`: mean 0, sd 1 a colour channel.")
    lines.append(
        "The seed draws split, frames and initial weights. Intervals: Student's t over the n seeds, of differences "
        "over the n paired differences; none at n = 1."
    )
    return "\n".join(f"- {line}" for line in lines)
