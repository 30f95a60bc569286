"""A claim of the paper: the rules by which a verdict is found, and its texts filled with what was found.

Ceiling and chance: where two accuracies are both at the ceiling, or both near chance, their
difference tells nothing. A stand-in gives no verdict: what holds of it, holds of other data than the claim is about.
"""

import tomllib
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from math import isnan
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

from btrnn.reports.render import fill, paper_values

Verdict = Literal["reproduced", "partly", "not reproduced", "not testable here", "not tested", "not run"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
CEILING, NEAR_CHANCE = 0.98, 1.5  # an accuracy; a multiple of chance
Claim = dict[str, Any]


class Finding(NamedTuple):
    """What was found of one claim: `n` is on how many seeds it rests, `values` fill the claim's texts."""

    verdict: Verdict = "not run"
    n: str = "0"
    values: Mapping[str, object] = MappingProxyType({})
    experiment: str = ""


@cache
def claim_texts() -> dict[str, dict[str, Any]]:
    """Read claims.toml."""
    return tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))


def make_claims(results_dir: Path, findings: Mapping[str, Finding]) -> list[Claim]:
    """Fill the claims of claims.toml with what was found; one without a finding is "not run".

    Returns:
        For each claim: key, kind ("counted", "trained" or "timed"), topic and short (what it is about, in a word and in
        a few), claim (the paper's), paper (its number, with its mark), ours (what was found), brief (that in README's
        table; none where that leaves it out), n (on how many seeds it rests; "exact", or "-" where it is timed),
        verdict, command (makes our number), file (where it stands, from results/; "" where there is none).
    """
    values, claims = paper_values(results_dir), []
    for key, texts in claim_texts().items():
        found = findings.get(key, Finding())
        known = values | dict(found.values)
        said: Claim = {
            name: fill(texts[name], **known) if found.values else "-" for name in ("ours", "brief") if name in texts
        }
        said |= {"paper": fill(texts["paper"], **values), "n": found.n, "verdict": found.verdict}
        file = texts["file"] if found.values or "{" not in texts["file"] else ""
        claims.append(texts | said | {"key": key, "file": file.format(experiment=found.experiment)})
    return claims


def in_share(holding: Iterable[Any]) -> Verdict:
    """Judge a claim by whether it holds in each setting that was tried: reproduced in all, partly in some."""
    tried = [bool(holds) for holds in holding]
    if not tried:
        return "not tested"
    return "reproduced" if all(tried) else "partly" if any(tried) else "not reproduced"


def at_most(mean: float, far: float, limit: float) -> Verdict:
    """Judge a claim that a difference is no more than a limit: partly where its mean alone is not.

    `mean` is the difference, worse or either way as the claim has it, `far` the far end of its 95 % interval, NaN where
    there is none, which tests nothing.
    """
    if isnan(far):
        return "not tested"
    return in_share([True, far <= limit]) if mean <= limit else "not reproduced"


def are_comparable(accuracies: Collection[float], num_classes: int) -> bool:
    """Return whether accuracies can be compared at all: not where all are at the ceiling, or all near chance."""
    return min(accuracies) < CEILING and max(accuracies) > NEAR_CHANCE / num_classes
