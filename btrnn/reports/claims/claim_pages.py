"""The pages that say what was found of the paper's claims: results/README.md, and blocks of README."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from btrnn.complexity import bt_parameters, dense_parameters, tt_parameters
from btrnn.recovery import records
from btrnn.reports.claims import rules
from btrnn.reports.claims.attribution import CONTROLS, SMALL_W, attribution
from btrnn.reports.claims.findings import APART, PEOPLE, RIVALS, STUDIES, all_findings, modes
from btrnn.reports.claims.headline import at_last_epoch, headline_rows, over_sizes
from btrnn.reports.claims.made_on import made_on
from btrnn.reports.claims.rules import Claim
from btrnn.reports.pages import page_of
from btrnn.reports.rates import RATES
from btrnn.reports.render import difference_text, marked, paper_values, render, text_table
from btrnn.reports.sensitivity import SENSITIVITY
from btrnn.reports.view import published_view, view_of
from btrnn.results.differences import BETTER, EQUIVALENT, WORSE
from btrnn.results.schema import BT_LSTM, VIDEO
from btrnn.results.store import collected_experiments
from btrnn.results.summary import Row, read_paper

_EITHER_WAY = (  # what a difference has in common with that of the second minus the first
    *("n", "test_per_training", "p_different", "p_equivalent", "overlap_p_different", "overlap_p_equivalent"),
)


def all_claims(results_dir: Path) -> list[Claim]:
    """Return every claim, in the order of the page."""
    return rules.make_claims(results_dir, all_findings(results_dir))


def page_texts(
    results_dir: Path, written: Collection[Path] = (), known: dict[str, Any] | None = None
) -> dict[Path, str]:
    """Return README.md of the results; it links to files that are in `results_dir` or are `written` along with it."""
    paper, known = read_paper(results_dir / "paper.csv"), known or all_known(results_dir)
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
        recovered=records.RECOVERED,
        margin=VIDEO.margin,
        claimed=_claimed(known["settings"]),
        **{"modes": modes, "bt": bt_parameters, "tt": tt_parameters, "dense": dense_parameters},
        **paper_values(results_dir),
        **{"place": ""} | known,
    )
    return {Path("README.md"): text + "\n"}


def readme_block(results_dir: Path, template: str, known: dict[str, Any] | None = None) -> str:
    """Return what stands between markers of README, without blank lines at its ends; its links start beside README."""
    return render(
        template,
        figure=f"figures/{STUDIES[0]}.png",
        **paper_values(results_dir),
        **{"place": f"{results_dir.name}/"} | (known or all_known(results_dir)),
    )


def all_known(results_dir: Path) -> dict[str, Any]:
    """Return what both pages say: the claims, those of each verdict that occurs, and `studies`, if they are collected.

    A page also says `place`, what leads from it to `results_dir`, with a slash at its end. This takes seconds.
    """
    claims = all_claims(results_dir)
    studies: list[Row] = []
    verdicts: dict[str, list[Claim]] = {}
    for claim in sorted(claims, key=lambda claim: rules.VERDICTS.index(claim["verdict"])):
        verdicts.setdefault(claim["verdict"], []).append(claim)
    if set(STUDIES) <= (there := set(collected_experiments(results_dir))):
        for name in (*STUDIES, *[control for control in CONTROLS if control in there]):
            view = view_of(results_dir, name)
            ours = [row for row in RATES.differences(view) if row["first_model"] == BT_LSTM.name]
            study = {"view": view, "first": view.first, "ours": ours[0] if ours else {}, "small": name == SMALL_W}
            studies.append(study | RATES.values(view))
    known: dict[str, Any] = {"claims": claims, "verdicts": verdicts, "studies": studies}
    known["changes"] = attribution([study["view"] for study in studies])
    shown_too = {"captions": "captioning_flickr8k", "apart": APART, "rivals": RIVALS, "people": PEOPLE}
    shown_too |= {"features": "ucf101_features", "maps": "ucf101_maps"}
    for key, name in shown_too.items():
        shown = published_view(results_dir, name)
        page = page_of(name)
        known[key] = {"view": shown, "rows": page.differences(shown) if shown else []}
        known[key]["controls"] = page.controls(shown) if shown else []
        known[key]["others"] = page.values(shown).get("others", []) if shown else []
    for key, summed in {"over_sizes": over_sizes, "last": at_last_epoch}.items():
        known["apart"][key] = summed(known["apart"]["view"]) if known["apart"]["view"] else {}
    known["turned"] = [_turned(row) for row in known["rivals"]["rows"] if row["plain"] and row["first_model"] == "lstm"]
    if shapes := published_view(results_dir, "ucf101_sensitivity"):
        shown = SENSITIVITY.shown(shapes)
        known["shapes"] = {"view": shown} | SENSITIVITY.values(shown)
    return known | {"settings": headline_rows(known)} | made_on(results_dir)


def _claimed(settings: list[Row]) -> dict[bool, list[Row]]:
    """Return the settings in which something is claimed of BT-LSTM and LSTM, by whether overlapping splits leave it."""
    claiming = (BETTER, WORSE, EQUIVALENT)
    rows = [row for row in settings if row["ours"] and row["ours"]["verdict"].startswith(claiming)]
    stand = [row["ours"]["overlap_verdict"] == row["ours"]["verdict"] for row in rows]
    return {stands: [row for row, one in zip(rows, stand, strict=True) if one == stands] for stands in (True, False)}


def _turned(row: Row) -> Row:
    """Return a difference as the second minus the first."""
    turned = {"first": row["second"], "second": row["first"]} | {name: row[name] for name in _EITHER_WAY}
    for name in ("verdict", "overlap_verdict"):
        turned[name] = {BETTER: WORSE, WORSE: BETTER}.get(row[name], row[name])
    turned |= {"mean": 0 - row["mean"], "low": 0 - row["high"], "high": 0 - row["low"]}  # no -0.0
    return turned | {"text": difference_text(turned, VIDEO.form)}


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
