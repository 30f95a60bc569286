"""What was found on real video, and the paper's claims beside what was found here: results/README.md and README."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from btrnn.benchmark.records import read_machines
from btrnn.complexity import bt_parameters, dense_parameters, tt_parameters
from btrnn.recovery.records import RECOVERED
from btrnn.reports.claims import rules
from btrnn.reports.claims.findings import STUDIES, all_findings, modes
from btrnn.reports.claims.rules import VERDICTS, Claim, make_claims
from btrnn.reports.pages import RATES
from btrnn.reports.render import marked, paper_values, render, text_table
from btrnn.reports.view import view_of
from btrnn.results.schema import BT_LSTM
from btrnn.results.store import collected_experiments, read_results
from btrnn.results.summary import read_paper


def all_claims(results_dir: Path) -> list[Claim]:
    """Return every claim, in the order of the page."""
    return make_claims(results_dir, all_findings(results_dir))


def page_texts(results_dir: Path, written: Collection[Path] = ()) -> dict[Path, str]:
    """Return README.md of the results; it links to files that are in `results_dir` or are `written` along with it."""
    paper = read_paper(results_dir / "paper.csv")
    known = _known(results_dir, "")
    there = [*written, *(path.relative_to(results_dir) for path in results_dir.glob("*/*"))]

    def table(kind: str) -> str:
        return claims_table([claim for claim in known["claims"] if claim["kind"] == kind], there)

    text = render(
        "claims",
        there=[path.as_posix() for path in there],
        table=table,
        published=paper[paper["section"] == "UCF11 published"].to_dict("records"),
        marked=marked,
        rules=rules,
        recovered=RECOVERED,
        **{"modes": modes, "bt": bt_parameters, "tt": tt_parameters, "dense": dense_parameters},
        **paper_values(results_dir),
        **known,
    )
    return {Path("README.md"): text + "\n"}


def readme_block(results_dir: Path, template: str) -> str:
    """Return what stands between markers of README, without blank lines at its ends; its links start beside README."""
    runs = [read_results(results_dir, name).runs for name in collected_experiments(results_dir)]
    return render(
        template,
        figure=f"figures/{STUDIES[0]}.png",
        num_runs=sum(map(len, runs)),
        devices=sorted({device for table in runs for device in table["device"] if device}),
        clocks=sorted({machine["processor"] for machine in read_machines(results_dir).values()}),
        **_known(results_dir, f"{results_dir.name}/"),
    )


def _known(results_dir: Path, place: str) -> dict[str, Any]:
    """Return what both pages say: the claims, those of each verdict that occurs, and the first lines.

    `place` is what leads from the page to `results_dir`, with a slash at its end. The first lines are of `studies`,
    none where these are not collected.
    """
    claims, studies = all_claims(results_dir), []
    verdicts = {verdict: [claim for claim in claims if claim["verdict"] == verdict] for verdict in VERDICTS}
    if set(STUDIES) <= set(collected_experiments(results_dir)):
        for view in (view_of(results_dir, name) for name in STUDIES):
            (ours,) = [row for row in RATES.differences(view) if row["first_model"] == BT_LSTM.name]
            studies.append({"view": view, "first": view.first, "ours": ours} | RATES.values(view))
    return {
        "claims": claims,
        "verdicts": {verdict: found for verdict, found in verdicts.items() if found},
        "studies": studies,
        "place": place,
    }


def claims_table(claims: list[Claim], there: Collection[Path], place: str = "") -> str:
    """Return claims as a Markdown table, with links to files that are `there`, by their paths in the results' folder.

    `place` is what leads from the page to that folder, with a slash at its end.
    """
    return text_table(
        [
            {"": claim["topic"], "the paper claims": claim["claim"], "paper": claim["paper"], "ours": claim["ours"]}
            | {"n": claim["n"], "verdict": f"**{claim['verdict']}**", "command": f"`{claim['command']}`"}
            | {"file": f"[{Path(claim['file']).stem}]({place}{claim['file']})" if Path(claim["file"]) in there else "-"}
            for claim in claims
        ]
    )
