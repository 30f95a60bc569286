"""What can be counted from shapes alone: the paper's claims, and our own arithmetic on what it does not say."""

from pathlib import Path

from btrnn.complexity import bt_parameters, dense_parameters, tt_parameters
from btrnn.reports import parameters
from btrnn.reports.claims.rules import Finding, counted, paper_values, read_texts
from btrnn.reports.format import count
from btrnn.reports.render import fill
from btrnn.results.paper import read_paper

_PANELS = {"d2_r1_n1": (1, 1), "d2_r4_n1": (4, 1), "d2_r1_n2": (1, 2), "d3_r4_n1": (4, 1), "d4_r4_n1": (4, 1)}  # R, N


def exact_findings(results_dir: Path) -> dict[str, Finding]:
    """Return what `btrnn.complexity` counts of what a source claims."""
    value = read_paper(results_dir / "paper.csv")["value"]
    shape = _modes(value["method.in_modes"]), _modes(value["method.out_modes"])
    ratios = {rank: dense_parameters(*shape) / bt_parameters(*shape, rank, 2) for rank in (4, 1)}
    fewest = parameters.fewest().set_index("rank")["order"].to_dict()
    turns = fewest[1] == 8 and all(1 < fewest[rank] < 8 for rank in (2, 3, 4))
    abstract = int(ratios[4]) == int(value["method.compression_abstract"])
    poster = round(ratios[1], -4) == int(value["method.compression_poster"])
    return {
        "compression_abstract": Finding(counted(abstract), "exact", {"ratio": count(ratios[4])}),
        "compression_poster": Finding(counted(poster), "exact", {"ratio": count(ratios[1])}),
        "core_order": Finding(counted(turns), "exact", {"fewest": fewest}),
    }


def own_counts(results_dir: Path) -> list[dict[str, str]]:
    """Return what is counted here and stands in no source: a row each with `of`, `known`, `ours`, `it rests on`."""
    paper = read_paper(results_dir / "paper.csv")
    value = paper["value"]
    shape = _modes(value["method.in_modes"]), _modes(value["method.out_modes"])
    whole = int(value["method.whole_parameters.lstm"])
    compact = whole - dense_parameters(*shape) + bt_parameters(*shape, 4, 2)
    keys = parameters.grid()["paper_id"]
    known = [int(number) for number in value[keys]]
    values = paper_values(results_dir) | {
        "bt": lambda inputs, outputs, rank, blocks: count(bt_parameters(_modes(inputs), _modes(outputs), rank, blocks)),
        "tt": lambda inputs, outputs, rank: count(tt_parameters(_modes(inputs), _modes(outputs), rank)),
        "dense": lambda inputs, outputs: count(dense_parameters(_modes(inputs), _modes(outputs))),
        "whole_compression": f"{whole / compact:.1f}",
        "panels": _PANELS,
        "total": len(known),
        "lowest": count(min(known)),
        "highest": count(max(known)),
        "marks": ", ".join(sorted(set(paper["mark"][keys]))),
        "equal": parameters.equal_counts(results_dir),
    }
    return [
        {name.replace("rests_on", "it rests on"): fill(text, **values) for name, text in texts.items()}
        for texts in read_texts("counts").values()
    ]


def _modes(text: str) -> tuple[int, ...]:
    """Read modes as paper.csv writes them: 8x20x20x18."""
    return tuple(int(mode) for mode in text.split("x"))
