"""A claim of the paper, what became of it here, and the rules by which that is said."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from btrnn.results.store import collected_experiments, read_results
from btrnn.results.summary import headline_scale

Verdict = Literal["reproduced", "partly", "not reproduced", "not testable here", "not tested", "not run"]
VERDICTS: tuple[Verdict, ...] = (
    *("reproduced", "partly", "not reproduced"),
    *("not testable here", "not tested", "not run"),
)
COMPARABLE = 0.02  # of the dense model's bound: so much worse still draws comparable images
LITTLE = 0.05  # of the dense model's CIDEr: so much lower still is no loss


@dataclass(frozen=True)
class Claim:
    """One row of results/README.md.

    Attributes:
        topic: What it is about.
        claim: What the paper claims.
        paper: Its number, with its mark.
        ours: What was found here.
        n: On how many seeds it rests; "exact" where it is counted, "-" where it is timed.
        verdict: What became of it.
        command: What makes our number.
        file: Where it stands, from results/.
    """

    topic: str
    claim: str
    paper: str
    ours: str
    n: str
    verdict: Verdict
    command: str
    file: str


def counted(right: bool) -> Verdict:
    """Judge a claim that can be counted exactly."""
    return "reproduced" if right else "not reproduced"


def in_share(holding: int, total: int, *, on_stand_in: bool) -> Verdict:
    """Judge a claim about a data set that was tried in several settings.

    It is reproduced where it holds in all of them, partly where in some. A stand-in gives no verdict: what holds of it,
    holds of other data than the claim is about.
    """
    if total == 0:
        return "not run"
    if on_stand_in:
        return "not testable here"
    if holding == 0:
        return "not reproduced"
    return "reproduced" if holding == total else "partly"


def no_worse(mean: float, far: float, limit: float, *, on_stand_in: bool) -> Verdict:
    """Judge a claim that a number is not worse than another by more than a limit.

    Args:
        mean: By how much it is worse.
        far: The far end of that difference's interval.
        limit: By how much it may be.
        on_stand_in: Whether the data are not the paper's; see `in_share`.

    Returns:
        "reproduced" where the whole interval is within the limit, "partly" where the mean alone is: more seeds would
        tell.
    """
    if on_stand_in:
        return "not testable here"
    if not mean <= limit:
        return "not reproduced"
    return "reproduced" if far <= limit else "partly"


def above_zero(low: float) -> bool:
    """Say whether a difference is positive as far as its 95 % interval tells; without an interval nothing is told."""
    return bool(low > 0)  # NaN is not


def not_run(topic: str, claim: str, paper: str, command: str, file: str) -> Claim:
    """Return the row of a claim whose numbers are not there yet."""
    return Claim(topic, claim, paper, "-", "0", "not run", command, file)


def headline_runs(results_dir: Path, *experiments: str) -> tuple[str, pd.DataFrame]:
    """Return the first of some experiments that is collected, with its runs of the largest scale; else ("", none)."""
    collected = collected_experiments(results_dir)
    for name in experiments:
        if name in collected:
            runs = read_results(results_dir, name).runs
            return name, runs[runs["scale"] == headline_scale(runs)]
    return "", pd.DataFrame()
