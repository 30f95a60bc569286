"""A claim of the paper, the rules by which a verdict is found, and the texts of claims.toml filled with what was found.

Margins: how much worse still counts as no worse. Ceiling and floor: where two accuracies are both at one of them, their
difference tells nothing. A stand-in gives no verdict: what holds of it, holds of other data than the claim is about.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from btrnn.reports.format import marked
from btrnn.reports.render import fill
from btrnn.results.paper import read_paper

Verdict = Literal["reproduced", "partly", "not reproduced", "not testable here", "not tested", "not run"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "partly", "not reproduced", "not testable here", "not tested", "not run")
NOT_RUN: Verdict = "not run"
COMPARABLE = 0.02  # of the dense model's bound: so much worse still draws comparable images
LITTLE = 0.05  # of the dense model's CIDEr: so much lower still is no loss
CEILING, FLOOR = 0.98, 1.5  # of an accuracy; of chance, as a multiple of it


class Finding(NamedTuple):
    """What was found of one claim: `n` is on how many seeds it rests, `values` fill the claim's texts."""

    verdict: Verdict
    n: str
    values: Mapping[str, object]
    experiment: str = ""


@dataclass(frozen=True)
class Claim:
    """One row of results/README.md.

    Attributes:
        key: Its name in claims.toml.
        kind: "counted", "trained" or "timed".
        topic, short: What it is about, in one word and in a few.
        claim: What the paper claims.
        paper: Its number, with its mark.
        ours: What was found here.
        n: On how many seeds it rests; "exact" where it is counted, "-" where it is timed.
        verdict: What became of it.
        command: What makes our number.
        file: Where it stands, from results/; "" where it is not there.
        brief: `ours` in README's table; "" where that leaves the claim out.
    """

    key: str
    kind: str
    topic: str
    short: str
    claim: str
    paper: str
    ours: str
    n: str
    verdict: Verdict
    command: str
    file: str
    brief: str = ""


def make_claims(results_dir: Path, findings: Mapping[str, Finding]) -> list[Claim]:
    """Fill the claims of claims.toml with what was found; one without a finding is "not run"."""
    values, claims = paper_values(results_dir), []
    for key, texts in read_texts("claims").items():
        found = findings.get(key)
        known = values | dict(found.values if found else {})
        filled: dict[str, str] = {
            name: fill(texts[name], **known) if found else "-" for name in ("ours", "brief") if name in texts
        }
        filled |= {"paper": fill(texts["paper"], **values), "file": texts["file"]}
        if "{" in texts["file"]:
            filled["file"] = texts["file"].format(experiment=found.experiment) if found else ""
        n, verdict = (found.n, found.verdict) if found else ("0", NOT_RUN)
        said = {name: text for name, text in (texts | filled).items() if name not in ("measured", "compared")}
        claims.append(Claim(key=key, n=n, verdict=verdict, **said))
    return claims


def read_texts(name: str) -> dict[str, dict[str, Any]]:
    """Read claims.toml or counts.toml."""
    return tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text(encoding="utf-8"))


def paper_values(results_dir: Path) -> dict[str, Callable[..., str]]:
    """Return what the texts of claims may ask of results/paper.csv, by name."""
    table = read_paper(results_dir / "paper.csv")

    def value(key: str) -> str:
        return str(table["value"][key])

    def paper(key: str) -> str:
        number = value(key)
        return marked(f"{int(number):,}" if number.isdigit() else number, table["mark"][key])

    def law(key: str) -> str:
        return marked(f"`{value(f'complexity.{key}')}`", table["mark"][f"complexity.{key}"])

    def gap(first: str, second: str) -> str:
        marks = sorted({table["mark"][key] for key in (first, second)}, reverse=True)
        return f"{float(value(first)) - float(value(second)):+.3f} [{', '.join(marks)}]"

    return {"value": value, "paper": paper, "law": law, "gap": gap}


def counted(right: bool) -> Verdict:
    """Judge a claim that can be counted exactly."""
    return "reproduced" if right else "not reproduced"


def in_share(holding: int, total: int, *, on_stand_in: bool) -> Verdict:
    """Judge a claim that was tried in `total` settings: reproduced where it holds in all, partly where in some."""
    if on_stand_in:
        return "not testable here"
    if total == 0:
        return "not tested"
    return "reproduced" if holding == total else "partly" if holding else "not reproduced"


def no_worse(mean: float, far: float, limit: float, *, on_stand_in: bool) -> Verdict:
    """Judge a claim that a number is not worse than another by more than a limit.

    Args:
        mean: By how much it is worse.
        far: The far end of that difference's 95 % interval; NaN at one seed.
        limit: By how much it may be.
        on_stand_in: Whether the data are not the paper's.

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
    """Return whether a difference is positive as far as its 95 % interval tells; without one (NaN) nothing is told."""
    return bool(low > 0)


def tells_apart(accuracies: Any, num_classes: int) -> bool:
    """Return whether accuracies can be compared at all: not where all are at the ceiling, or all near chance."""
    return not (min(accuracies) >= CEILING or max(accuracies) <= FLOOR / num_classes)
