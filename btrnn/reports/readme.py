"""README's generated blocks: the main claims with a figure, and the times of four layers."""

from pathlib import Path

import pandas as pd

from btrnn.benchmark.records import read_machines
from btrnn.benchmark.tables import medians, read_all
from btrnn.reports import headline
from btrnn.reports.claims.page import all_claims, by_verdict
from btrnn.reports.render import render
from btrnn.results.store import collected_experiments, read_results


def readme_block(results_dir: Path) -> str:
    """Return what stands between README's markers, without blank lines at its ends; its links start beside README."""
    claims = all_claims(results_dir)
    runs = [read_results(results_dir, name).runs for name in collected_experiments(results_dir)]
    return render(
        "readme_block",
        claims=[claim for claim in claims if claim.brief],
        headline=headline.headline(results_dir, f"{results_dir.name}/"),
        figure=headline.FIGURE if headline.headline(results_dir) else "",
        verdicts=by_verdict(claims),
        num_runs=sum(map(len, runs)),
        devices=sorted({device for table in runs for device in table["device"] if device}),
        clocks=sorted({machine["processor"] for machine in read_machines(results_dir).values()}),
        place=results_dir.name,
    )


_LAYERS = ("nn.LSTM", "btrnn.LSTM", "btrnn.TTLSTM", "btrnn.BTLSTM")


def speed_block(results_dir: Path) -> str:
    """Return a table of the times and the memory of four layers at the paper's setting (CPU), if measured."""
    times = medians(results_dir, "layer", "cpu")
    memory = read_all(results_dir, "cpu").get(
        "memory", pd.DataFrame(columns=["factor", "value", "implementation", "peak_mib"])
    )
    kept = memory[(memory["factor"] == "allocator") & (memory["value"] == 1)].set_index("implementation")["peak_mib"]
    phases = ("forward", "training step")
    rows = [
        {
            "name": name,
            "peak": kept.get(name, float("nan")),
            "factor": times[_LAYERS[0], phases[1]] / times[name, phases[1]],
        }
        | {phase.split()[0]: times[name, phase] for phase in phases}
        for name in _LAYERS
        if {(layer, phase) for layer in (name, _LAYERS[0]) for phase in phases} <= times.keys()
    ]
    return render("speed_block", rows=rows)
