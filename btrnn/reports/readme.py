"""README's generated blocks: the main claims with a figure, and the times of four layers."""

from pathlib import Path

from btrnn.benchmark.records import read_machines
from btrnn.benchmark.tables import medians, read_all
from btrnn.reports.claims.findings import STUDIES
from btrnn.reports.claims.page import all_claims, by_verdict, headline
from btrnn.reports.render import render
from btrnn.results.store import collected_experiments, read_results

_LAYERS = ("nn.LSTM", "btrnn.LSTM", "btrnn.TTLSTM", "btrnn.BTLSTM")
_PHASES = ("forward", "training step")


def readme_block(results_dir: Path) -> str:
    """Return what stands between README's markers, without blank lines at its ends; its links start beside README."""
    claims = all_claims(results_dir)
    runs = [read_results(results_dir, name).runs for name in collected_experiments(results_dir)]
    return render(
        "readme_block",
        claims=[claim for claim in claims if "brief" in claim],
        headline=headline(results_dir, f"{results_dir.name}/"),
        figure=f"figures/{STUDIES[0]}.png",
        verdicts=by_verdict(claims),
        num_runs=sum(map(len, runs)),
        devices=sorted({device for table in runs for device in table["device"] if device}),
        clocks=sorted({machine["processor"] for machine in read_machines(results_dir).values()}),
        place=results_dir.name,
    )


def speed_block(results_dir: Path) -> str:
    """Return a table of the times and the memory of four layers at the paper's setting (CPU), if measured."""
    times = medians(results_dir, "layer", "cpu")
    memory = read_all(results_dir, "cpu").get("memory")
    kept = {}
    if memory is not None:
        chosen = memory[(memory["factor"] == "allocator") & (memory["value"] == 1)]
        kept = dict(zip(chosen["implementation"], chosen["peak_mib"], strict=True))
    rows = [
        {"name": name, "peak": kept.get(name, float("nan"))} | {phase: times[name, phase] for phase in _PHASES}
        for name in _LAYERS
        if {(name, phase) for phase in _PHASES} <= times.keys()
    ]
    return render("speed_block", rows=rows)
