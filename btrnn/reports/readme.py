"""README's results block: the main claims, a figure, and on what the numbers rest."""

from pathlib import Path

from btrnn.benchmark.results.records import read_machines
from btrnn.reports.claims.page import FIGURE, all_claims, by_verdict
from btrnn.reports.render import render
from btrnn.results.store import collected_experiments, read_results


def readme_block(results_dir: Path) -> str:
    """Return what stands between README's markers, without blank lines at its ends; its links start beside README."""
    claims = all_claims(results_dir)
    runs = [read_results(results_dir, name).runs for name in collected_experiments(results_dir)]
    return render(
        "readme_block",
        claims=[claim for claim in claims if claim.brief],
        figure=FIGURE if (results_dir / FIGURE).exists() else "",
        verdicts=by_verdict(claims),
        num_runs=sum(map(len, runs)),
        devices=sorted({device for table in runs for device in table["device"] if device}),
        clocks=sorted({machine["processor"] for machine in read_machines(results_dir).values()}),
        place=results_dir.name,
    )
