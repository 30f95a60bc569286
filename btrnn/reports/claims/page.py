"""results/README.md and README's results block: every claim of the paper beside what was found here."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from btrnn.recovery.records import RECOVERED
from btrnn.reports.claims import rules
from btrnn.reports.claims.exact import exact_findings, own_counts
from btrnn.reports.claims.measured import measured_findings
from btrnn.reports.claims.rules import VERDICTS, Claim, make_claims
from btrnn.reports.format import markdown_table
from btrnn.reports.headline import headline
from btrnn.reports.render import render

FIGURE = "figures/complexity.png"  # of this page and README: it rests on no stand-in


def all_claims(results_dir: Path) -> list[Claim]:
    """Return every claim, in the order of the page."""
    return make_claims(results_dir, exact_findings(results_dir) | measured_findings(results_dir))


def page_texts(results_dir: Path, written: Collection[Path] = ()) -> dict[Path, str]:
    """Return README.md of the results; it links to files that are in `results_dir` or are `written` along with it."""
    claims = all_claims(results_dir)
    kinds = {kind: [claim for claim in claims if claim.kind == kind] for kind in ("counted", "trained", "timed")}
    text = render(
        "claims",
        headline=headline(results_dir),
        verdicts=by_verdict(claims),
        total=len(claims),
        figure=FIGURE if _is_there(FIGURE, results_dir, written) else "",
        kinds={kind: claims_table(group, results_dir, written=written) for kind, group in kinds.items()},
        counts=markdown_table(own_counts(results_dir)),
        rules=rules,
        recovered=RECOVERED,
    )
    return {Path("README.md"): text + "\n"}


def by_verdict(claims: list[Claim]) -> dict[str, list[Claim]]:
    """Return the claims of each verdict that occurs, in the order of `VERDICTS`."""
    found = Counter(claim.verdict for claim in claims)
    return {verdict: [claim for claim in claims if claim.verdict == verdict] for verdict in VERDICTS if found[verdict]}


def claims_table(claims: list[Claim], results_dir: Path, place: str = "", written: Collection[Path] = ()) -> str:
    """Return claims as a Markdown table, with links to the files that are there.

    Args:
        claims: The rows.
        results_dir: Where the files are.
        place: What leads from the page to `results_dir`.
        written: Files that will be there, from `results_dir`.
    """
    return markdown_table(
        [
            {"": claim.topic, "the paper claims": claim.claim, "paper": claim.paper, "ours": claim.ours}
            | {"n": claim.n, "verdict": f"**{claim.verdict}**", "command": f"`{claim.command}`"}
            | {"file": _link(claim.file, place) if _is_there(claim.file, results_dir, written) else "-"}
            for claim in claims
        ]
    )


def _is_there(file: str, results_dir: Path, written: Collection[Path]) -> bool:
    return bool(file) and (Path(file) in written or (results_dir / file).exists())


def _link(file: str, place: str) -> str:
    return f"[{Path(file).stem}]({place}{file})"
