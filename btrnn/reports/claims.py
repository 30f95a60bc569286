"""results/README.md: every claim of the paper beside what was found here, and by which rule that is said."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from btrnn.recovery.records import RECOVERED
from btrnn.reports.claim import COMPARABLE, LITTLE, VERDICTS, Claim
from btrnn.reports.claims_exact import Count, exact_claims, own_counts
from btrnn.reports.claims_measured import measured_claims
from btrnn.reports.format import markdown_table

_KINDS = {  # of claim, and their topics in the order of the page
    "What can be counted, from shapes alone": ("compression", "core order"),
    "What needs training": ("accuracy", "convergence", "generation", "captioning", "sensitivity"),
    "What needs a clock": ("efficiency", "complexity"),
}
_NOTE = "Made by `python experiments/report.py` from the CSV files in this folder; do not edit."
_RULES = f"""- Marks: [S] read in the poster, the abstract or the released code, [D] derived by arithmetic, [M] from the
  literature by memory, shown as "reported".
- n: how many seeds a number rests on.
- Counted: reproduced where every number is equal.
- A stand-in gives no verdict, whatever its numbers: not testable here.
- What is claimed of models on a data set (one is better, faster): reproduced where it holds in every setting that was
  tried, partly where in some, not reproduced where in none.
- One model is better where the 95 % interval of the difference leaves out 0. All differences: the mean over paired
  seeds, with Student's t. One seed tells nothing.
- Faster: fewer epochs and fewer seconds until the dense model's best validation loss, in every run.
- Comparable images: the bound is worse by at most {COMPARABLE:.0%} of the dense encoder's, with the whole interval;
  partly where the mean alone is.
- Proper captions: in every run a higher CIDEr than the best caption for all images alike. Little improvement: as with
  images, with {LITTLE:.0%} of the dense model's CIDEr.
- Recovered: the median truth's best restart is below a relative error of {RECOVERED:g}. The paper's own matrix is not
  known, so that this is partly at best.
- Efficiency: faster than the dense layer, by medians, at 57,600 inputs and 256 hidden features.
- Laws of complexity are reproduced where every exponent is the law's. They count the order of equation 4, and what was
  timed is another order: a smaller exponent is consistent with a bound from above, and tests nothing. Slopes,
  intervals and tolerances: [complexity.md](tables/complexity.md).
- Not run: the numbers are not in this folder; the command makes them."""
_FILES = """- `paper.csv`: every number of the paper, each with its mark.
- `<experiment>.csv`, `<experiment>_epochs.csv`: a row for each run, and for each run and epoch. `benchmark_*.csv`: a
  row for each time or memory. `arrays/`: predictions and pictures.
- `tables/`, `figures/`: made from these alone, by `make tables`. `weights/`: trained models, each with a card.
- [deviations.md](deviations.md): where ours differs from the paper on purpose.
- [tried_and_lost.md](tried_and_lost.md): what was tried, and lost."""


def all_claims(results_dir: Path) -> list[Claim]:
    """Return every claim, in the order of kinds and topics."""
    claims = exact_claims(results_dir) + measured_claims(results_dir)
    order = [topic for topics in _KINDS.values() for topic in topics]
    return sorted(claims, key=lambda claim: order.index(claim.topic))


def page_texts(results_dir: Path, written: Collection[Path] = ()) -> dict[Path, str]:
    """Return results/README.md, which links to files that are there or are `written` along with it."""
    claims = all_claims(results_dir)
    kinds = {kind: [claim for claim in claims if claim.topic in topics] for kind, topics in _KINDS.items()}
    parts = ["# What holds of the paper, and what does not", _NOTE]
    parts.append("\n".join(f"- {kind}: {_verdicts(of_kind)}." for kind, of_kind in kinds.items()))
    for kind, of_kind in kinds.items():
        parts += [f"## {kind}", claims_table(of_kind, results_dir, written=written)]
    parts += ["## What the paper does not say, by our own arithmetic", counts_table(own_counts(results_dir))]
    parts += ["## How the verdicts are found", _RULES, "## What is in this folder", _FILES]
    return {results_dir / "README.md": "\n\n".join(parts) + "\n"}


def _verdicts(claims: list[Claim]) -> str:
    """Say how many claims there are, and what became of them."""
    found = Counter(claim.verdict for claim in claims)
    said = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict])
    return f"{len(claims)} claims, **{said}**"


def counts_table(counts: list[Count]) -> str:
    """Write counts that no source gives as a Markdown table."""
    return markdown_table([dict(zip(("of", "known", "ours", "it rests on"), row, strict=True)) for row in counts])


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
