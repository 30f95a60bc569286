"""results/README.md: every claim of the paper beside what was found here, and by which rule that is said."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from btrnn.formatting import markdown_table
from btrnn.recovery.records import RECOVERED
from btrnn.reports.claim import CEILING, COMPARABLE, LITTLE, VERDICTS, Claim
from btrnn.reports.claims_exact import exact_claims
from btrnn.reports.claims_measured import measured_claims

_TOPICS = (
    *("parameters", "compression", "accuracy", "convergence", "efficiency", "generation", "captioning"),
    *("sensitivity", "complexity"),
)
_NOTE = "Made by `python experiments/report.py` from the CSV files in this folder; do not edit."
_RULES = f"""- n: how many seeds a number rests on.
- Counted: reproduced where every number is equal.
- A number on a data set that is not here: not testable here. What is claimed of models on it (one is better, faster):
  reproduced where it holds in every setting that was tried; partly where in some, and at best so where the data are
  a stand-in; not reproduced where in none.
- One model is better where the 95 % interval of the difference leaves out 0: paired bootstrap over seeds and clips for
  accuracies, Student's t over paired seeds else. One seed tells nothing.
- Faster: fewer epochs and fewer seconds until the dense model's best validation loss, in every run.
- Comparable images: the bound is worse by at most {COMPARABLE:.0%} of the dense encoder's, with the whole interval;
  partly where the mean alone is.
- Proper captions: in every run a higher CIDEr than the best caption for all images alike. Little improvement: as with
  images, with {LITTLE:.0%} of the dense model's CIDEr.
- Accuracy that rises, on a stand-in: not testable here where the lowest is {CEILING} or more, for nothing can rise.
- Recovered: the median truth's best restart is below a relative error of {RECOVERED:g}. The paper's own matrix is not
  known, so that this is partly at best.
- Laws of complexity: O() bounds from above; one that grows more slowly is kept. Slopes and tolerances:
  [complexity.md](tables/complexity.md).
- Not run: the numbers are not in this folder; the command makes them."""
_FILES = """- `paper.csv`: every number of the paper, each with a mark: [S] read in poster, abstract or released code,
  [D] derived by arithmetic, [M] from the literature by memory, which is shown as "reported".
- `<experiment>.csv`, `<experiment>_epochs.csv`: a row for each run, and for each run and epoch. `benchmark_*.csv`: a
  row for each time or memory. `arrays/`: predictions and pictures.
- `tables/`, `figures/`: made from these alone, by `make tables`. `weights/`: trained models, each with a card.
- [deviations.md](deviations.md): where ours differs from the paper on purpose.
- [tried_and_lost.md](tried_and_lost.md): what was tried, and lost."""


def all_claims(results_dir: Path) -> list[Claim]:
    """Return every claim, in the order of topics."""
    claims = exact_claims(results_dir) + measured_claims(results_dir)
    return sorted(claims, key=lambda claim: _TOPICS.index(claim.topic))


def page_texts(results_dir: Path, written: Collection[Path] = ()) -> dict[Path, str]:
    """Return results/README.md, which links to files that are there or are `written` along with it."""
    claims = all_claims(results_dir)
    found = Counter(claim.verdict for claim in claims)
    counts = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict])
    parts = ["# What holds of the paper, and what does not", _NOTE]
    parts += [
        f"Of {len(claims)} claims: **{counts}**.",
        _by_topic(claims),
        claims_table(claims, results_dir, written=written),
    ]
    parts += ["## How the verdicts are found", _RULES, "## What is in this folder", _FILES]
    return {results_dir / "README.md": "\n\n".join(parts) + "\n"}


def _by_topic(claims: list[Claim]) -> str:
    """Say in a line for each topic what became of its claims."""
    lines = []
    for topic in _TOPICS:
        found = Counter(claim.verdict for claim in claims if claim.topic == topic)
        said = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict])
        lines.append(f"- {topic}: {said}")
    return "\n".join(lines)


def claims_table(claims: list[Claim], results_dir: Path, place: str = "", written: Collection[Path] = ()) -> str:
    """Write claims as a Markdown table, with links to the files that are there.

    Args:
        claims: The rows.
        results_dir: Where the files are.
        place: What leads from the page to `results_dir`.
        written: Files that will be there.
    """

    def link(file: str) -> str:
        path = results_dir / file
        return f"[{path.stem}]({place}{file})" if path.exists() or path in written else "-"

    return markdown_table(
        [
            {"": claim.topic, "the paper claims": claim.claim, "paper": claim.paper or "-", "ours": claim.ours}
            | {"n": claim.n, "verdict": f"**{claim.verdict}**", "command": f"`{claim.command}`"}
            | {"file": link(claim.file)}
            for claim in claims
        ]
    )
