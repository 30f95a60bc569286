"""results/README.md: what was found on real video, and every claim of the paper beside what was found here."""

from collections.abc import Collection
from pathlib import Path

from btrnn.recovery.records import RECOVERED
from btrnn.reports.claims import rules
from btrnn.reports.claims.findings import STUDIES, all_findings, counters
from btrnn.reports.claims.rules import VERDICTS, Claim, make_claims
from btrnn.reports.format import marked, text_table
from btrnn.reports.pages import RATES
from btrnn.reports.render import paper_values, render
from btrnn.reports.view import view_of
from btrnn.results.paper import read_paper
from btrnn.results.schema import BT_LSTM
from btrnn.results.store import collected_experiments


def all_claims(results_dir: Path) -> list[Claim]:
    """Return every claim, in the order of the page."""
    return make_claims(results_dir, all_findings(results_dir))


def page_texts(results_dir: Path, written: Collection[Path] = ()) -> dict[Path, str]:
    """Return README.md of the results; it links to files that are in `results_dir` or are `written` along with it."""
    claims, paper = all_claims(results_dir), read_paper(results_dir / "paper.csv")
    there = [*written, *(path.relative_to(results_dir) for path in results_dir.glob("*/*"))]
    kinds = {kind: [claim for claim in claims if claim["kind"] == kind] for kind in ("counted", "trained", "timed")}
    text = render(
        "claims",
        headline=headline(results_dir),
        verdicts=by_verdict(claims),
        total=len(claims),
        there=[path.as_posix() for path in there],
        kinds={kind: claims_table(group, there) for kind, group in kinds.items()},
        published=paper[paper["section"] == "UCF11 published"].to_dict("records"),
        marked=marked,
        rules=rules,
        recovered=RECOVERED,
        **paper_values(results_dir),
        **counters(),
    )
    return {Path("README.md"): text + "\n"}


def headline(results_dir: Path, place: str = "") -> str:
    """Return the first lines of README and of the claims, "" where the studies are not collected.

    Args:
        results_dir: Where the rows are.
        place: What leads from the page to `results_dir`, with a slash at its end.
    """
    if not set(STUDIES) <= set(collected_experiments(results_dir)):
        return ""
    studies = []
    for view in (view_of(results_dir, name) for name in STUDIES):
        (ours,) = [row for row in RATES.differences(view) if row["first_model"] == BT_LSTM.name]
        studies.append({"view": view, "first": view.first, "ours": ours} | RATES.values(view))
    return render("headline", studies=studies, place=place)


def by_verdict(claims: list[Claim]) -> dict[str, list[Claim]]:
    """Return the claims of each verdict that occurs, in the order of `VERDICTS`."""
    found = {verdict: [claim for claim in claims if claim["verdict"] == verdict] for verdict in VERDICTS}
    return {verdict: claims for verdict, claims in found.items() if claims}


def claims_table(claims: list[Claim], there: Collection[Path], place: str = "") -> str:
    """Return claims as a Markdown table.

    Args:
        claims: The rows.
        there: The files that can be linked to, from the folder of results.
        place: What leads from the page to that folder, with a slash at its end.
    """
    return text_table(
        [
            {"": claim["topic"], "the paper claims": claim["claim"], "paper": claim["paper"], "ours": claim["ours"]}
            | {"n": claim["n"], "verdict": f"**{claim['verdict']}**", "command": f"`{claim['command']}`"}
            | {"file": f"[{Path(claim['file']).stem}]({place}{claim['file']})" if Path(claim["file"]) in there else "-"}
            for claim in claims
        ]
    )
