"""The paper's claims that have to be measured: accuracy, convergence, pictures, captions, sensitivity, complexity."""

from pathlib import Path

import pandas as pd

from btrnn.benchmark.results.exponents import FAMILIES, FASTER, HOLDS, QUANTITIES
from btrnn.benchmark.results.report import medians
from btrnn.benchmark.results.settings import GRAPH
from btrnn.recovery import records
from btrnn.reports import complexity, tables
from btrnn.reports.claim import (
    COMPARABLE,
    LITTLE,
    Claim,
    Verdict,
    above_zero,
    headline_runs,
    in_share,
    no_worse,
    not_run,
)
from btrnn.reports.format import difference_text
from btrnn.results.differences import convergence, model_differences, paired_difference
from btrnn.results.paper import PAPER_MODELS, paper_model, paper_value, read_paper
from btrnn.results.schema import LSTM, TT_LSTM
from btrnn.results.store import read_results
from btrnn.results.summary import Row, panels, summarise

_UCF11 = ("make controls-ucf11 SCALE=extended", "tables/ucf11_actions.md")
_DRAW = ("make reproduce-draw SCALE=extended", "tables/draw_mnist_5k.md")
_CAPTIONING = ("make reproduce-captioning SCALE=extended", "tables/captioning_scenes.md")
_SENSITIVITY = ("make reproduce-sensitivity", "tables/ucf11_sensitivity_actions.md")
_COMPLEXITY = ("make complexity", "tables/complexity.md")


def measured_claims(results_dir: Path) -> list[Claim]:
    """Return the rows of what was measured; "not run" where the numbers are not there."""
    return [
        *_ucf11_claims(results_dir),
        *_efficiency(results_dir),
        _generation(results_dir),
        _captioning(results_dir),
        _recovery(results_dir),
        _rank(results_dir),
        *_complexity_claims(results_dir),
    ]


# ---- task 1


def _ucf11_claims(results_dir: Path) -> list[Claim]:
    paper = read_paper(results_dir / "paper.csv")
    accuracies = " / ".join(_marked(paper, f"ucf11.accuracy.{name}") for name in ("lstm", "tt_lstm", "bt_lstm_r4"))
    experiment, runs = headline_runs(results_dir, "ucf11", "ucf11_actions")
    topic = "accuracy of LSTM / TT-LSTM / BT-LSTM R = 4 on UCF11"
    if runs.empty:
        said = [
            ("accuracy", topic, accuracies),
            ("accuracy", _better("LSTM"), ""),
            ("accuracy", _better("TT-LSTM"), ""),
        ]
        said.append(("convergence", _FASTER, "figure [S]"))
        return [not_run(*words, *_UCF11) for words in said]
    summary = summarise(runs)
    cut = panels(summary)
    place = (_UCF11[0], f"tables/{experiment}.md")
    return [
        _accuracies(cut, topic, accuracies, place, results_dir),
        *_orderings(results_dir, experiment, summary, place),
        _faster(cut, read_results(results_dir, experiment).epochs, place),
    ]


_FASTER = "BT-LSTM converges faster than LSTM: epochs and seconds until the dense model's best validation loss"


def _better(other: str) -> str:
    return f"BT-LSTM R = 4 is more accurate than {other}"


def _of(panel: pd.DataFrame, model: str) -> Row | None:
    """Return a panel's row of one of the paper's models: LSTM, TT-LSTM of rank 4, BT-LSTM of rank 4."""
    ids = {"lstm": "ucf11.accuracy.lstm", "tt_lstm": "ucf11.accuracy.tt_lstm", "bt_lstm": "ucf11.accuracy.bt_lstm_r4"}
    rows: list[Row] = panel.to_dict("records")
    known = [(row, paper_model(row)) for row in rows]
    return next((row for row, model_ in known if model_ is not None and model_.paper_id == ids[model]), None)


def _marked(paper: pd.DataFrame, key: str) -> str:
    """Write a number of the paper with its mark; what is known from memory alone is only "reported"."""
    value, mark = paper["value"][key], paper["mark"][key]
    return f"{'reported ' if 'M' in mark else ''}{value} [{mark}]"


def _place(row: Row) -> str:
    return f"protocol {row['protocol']}, {row['scaling']} input"


def _accuracies(
    panels: list[pd.DataFrame], topic: str, published: str, place: tuple[str, str], results_dir: Path
) -> Claim:
    """Compare accuracies under the paper's own protocol and input; on other data no number can say anything."""
    first = panels[0]
    rows = [row for name in ("lstm", "tt_lstm", "bt_lstm") if (row := _of(first, name)) is not None]
    if not rows:
        return not_run("accuracy", topic, published, *_UCF11)
    ours = " / ".join(f"{row['test/accuracy']:.3f}" for row in rows)
    paper = read_paper(results_dir / "paper.csv")
    if rows[0]["stand_in"]:
        said = f"{ours} on {tables.data_name(rows[0]['source'])} ({_place(rows[0])})"
        return Claim("accuracy", topic, published, said, str(rows[0]["n"]), "not testable here", *place)
    inside = [
        row["test/accuracy_low"] <= paper_value(paper, paper_model(row)) <= row["test/accuracy_high"] for row in rows
    ]
    verdict = in_share(sum(inside), len(inside), on_stand_in=False)
    return Claim("accuracy", topic, published, f"{ours} ({_place(rows[0])})", str(rows[0]["n"]), verdict, *place)


def _orderings(results_dir: Path, experiment: str, summary: pd.DataFrame, place: tuple[str, str]) -> list[Claim]:
    """Say against LSTM and TT-LSTM in which settings BT-LSTM is better, as far as the intervals tell."""
    paper = read_paper(results_dir / "paper.csv")
    results = read_results(results_dir, experiment)
    compared = (LSTM.name, TT_LSTM.name)
    found = model_differences(summary, results, references=compared, paper=paper).to_dict("records")
    claims = []
    for other, marks in ((LSTM.label, "[S]"), (TT_LSTM.label, "[S, M]")):
        pair = (PAPER_MODELS[2].label, other)
        rows = [row for row in found if (row["first"], row["second"]) == pair]
        if not rows:
            claims.append(not_run("accuracy", _better(other), "", *_UCF11))
            continue
        better = [above_zero(row["low"]) for row in rows]
        ours = "; ".join(f"{difference_text(row, '.3f')} ({_place(row)})" for row in rows)
        ours = f"on {tables.data_name(rows[0]['source'])}: {ours}"
        verdict = in_share(sum(better), len(rows), on_stand_in=rows[0]["stand_in"])
        published = f"{rows[0]['paper_difference']:+.3f} {marks}"
        claims.append(Claim("accuracy", _better(other), published, ours, str(rows[0]["n"]), verdict, *place))
    return claims


def _faster(panels: list[pd.DataFrame], epochs: pd.DataFrame, place: tuple[str, str]) -> Claim:
    """Say in how many runs BT-LSTM needs fewer epochs and fewer seconds."""
    times = pd.DataFrame([row for panel in panels for row in convergence(panel, epochs).to_dict("records")])
    times = times[times["model"] == "bt_lstm"] if len(times) else times
    if times.empty:
        return not_run("convergence", _FASTER, "figure [S]", *_UCF11)
    fewer, sooner = times["epochs"] < times["dense_epochs"], times["seconds"] < times["dense_seconds"]
    middle = times[["dense_epochs", "epochs", "dense_seconds", "seconds"]].median()
    ours = (
        f"fewer epochs in {fewer.sum()} of {len(times)} runs (median {middle['epochs']:.0f} instead of "
        f"{middle['dense_epochs']:.0f}), fewer seconds in {sooner.sum()} ({middle['seconds']:.0f} instead of "
        f"{middle['dense_seconds']:.0f}), on {tables.data_name(times['source'].iloc[0])}"
    )
    verdict = in_share(int((fewer & sooner).sum()), len(times), on_stand_in=bool(times["stand_in"].iloc[0]))
    return Claim("convergence", _FASTER, "figure [S]", ours, str(times["seed"].nunique()), verdict, *place)


# ---- time

_BENCHMARK = ("make bench", "tables/benchmark.md")
_EFFICIENT = "BT-LSTM is more efficient: "


def _efficiency(results_dir: Path) -> list[Claim]:
    """Compare the times with the dense layer's: the paper's algorithm, and this project's on both devices."""
    how = {place: medians(results_dir, *place) for place in (("product", "cpu"), ("layer", "cpu"), ("layer", "cuda"))}
    of_authors, on_cpu, on_gpu = how.values()
    step = "training step"
    return [
        _quicker(
            "the paper's algorithm (the released code's order of contraction), the product W x, CPU",
            [
                (of_authors, "dense nn.Linear", "authors' order BT", phase, phase)
                for phase in ("forward", "forward+backward")
            ],
        ),
        _quicker("this project's contraction, a training step, CPU", [(on_cpu, "nn.LSTM", "btrnn.BTLSTM", step, "")]),
        _quicker(
            "this project's contraction, a training step, GPU",
            [
                (on_gpu, "nn.LSTM", "btrnn.BTLSTM", step, "eagerly"),
                (on_gpu, f"nn.LSTM{GRAPH}", f"btrnn.BTLSTM{GRAPH}", step, "both as CUDA graphs"),
            ],
        ),
    ]


def _quicker(what: str, compared: list[tuple[dict[tuple[str, str], float], str, str, str, str]]) -> Claim:
    """Judge by medians; each comparison is the times, whose, against whose, of which phase, and in what words."""
    said, quicker = [], []
    for times, dense, ours, phase, words in compared:
        if not {(dense, phase), (ours, phase)} <= times.keys():
            continue
        factor = times[dense, phase] / times[ours, phase]
        by = f"{factor:.1f} times faster" if factor > 1 else f"{1 / factor:.1f} times slower"
        milliseconds = f"{times[ours, phase]:.3g} instead of {times[dense, phase]:.3g} ms"
        said.append(f"{words} {by} ({milliseconds})".strip())
        quicker.append(factor > 1)
    if not said:
        return not_run("efficiency", _EFFICIENT + what, "[S]", *_BENCHMARK)
    verdict = in_share(sum(quicker), len(quicker), on_stand_in=False)
    return Claim("efficiency", _EFFICIENT + what, "[S]", "; ".join(said), "-", verdict, *_BENCHMARK)


# ---- tasks 2 and 3


def _of_models(runs: pd.DataFrame, rank: float | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the dense and the block-term runs, of several block-term settings the first."""
    dense, ours = runs[runs["model"] == "lstm"], runs[runs["model"] == "bt_lstm"]
    if rank is not None:
        ours = ours[ours["rank"] == rank]
    return dense, ours[ours["name"] == (ours["name"].iloc[0] if len(ours) else "")]


def _generation(results_dir: Path) -> Claim:
    """Judge whether images are comparable by the bound: at most `COMPARABLE` of it is lost."""
    said = ("generation", "DRAW with a BT-LSTM encoder draws images comparable to LSTM's", "figure [S]")
    experiment, runs = headline_runs(results_dir, "draw", "draw_mnist_5k")
    dense, ours = _of_models(runs) if experiment else (runs, runs)
    difference = paired_difference(ours, dense, "test/nll_bound") if len(dense) and len(ours) else None
    if difference is None or difference.n == 0:
        return not_run(*said, *_DRAW)
    bound = dense["test/nll_bound"].mean()
    first = ours.iloc[0]
    text = (
        f"test bound {difference_text(difference._asdict(), '.2f')} nats over {bound:.2f} on "
        f"{tables.data_name(first['source'])}, {first['parameters_input']:,.0f} instead of "
        f"{first['parameters_dense_input']:,.0f} weights of W"
    )
    stand_in, limit = bool(first["stand_in"]), COMPARABLE * bound
    verdict = no_worse(difference.mean, difference.high, limit, on_stand_in=stand_in)
    return Claim(*said, text, str(difference.n), verdict, _DRAW[0], f"tables/{experiment}.md")


def _captioning(results_dir: Path) -> Claim:
    """Judge captions by CIDEr: proper where no model's run is below the best constant caption; little is `LITTLE`."""
    said = ("captioning", "all models caption properly, with little improvement in BT-LSTM", "sample captions [S]")
    experiment, runs = headline_runs(results_dir, "captioning", "captioning_scenes")
    dense, ours = _of_models(runs) if experiment else (runs, runs)
    difference = paired_difference(ours, dense, "test/cider") if len(dense) and len(ours) else None
    if difference is None or difference.n == 0:
        return not_run(*said, *_CAPTIONING)
    score, first = dense["test/cider"].mean(), ours.iloc[0]
    text = (
        f"CIDEr {difference_text(difference._asdict(), '.3f')} over {score:.3f} on "
        f"{tables.data_name(first['source'])}, {first['parameters_input']:,.0f} instead of "
        f"{first['parameters_dense_input']:,.0f} weights of W; lowest of "
        f"all runs {runs['test/cider'].min():.3f}, one caption for all images {runs['test/cider_constant'].max():.3f}"
    )
    verdict = no_worse(-difference.mean, -difference.low, LITTLE * score, on_stand_in=bool(first["stand_in"]))
    if not first["stand_in"] and (runs["test/cider"] <= runs["test/cider_constant"]).any():
        verdict = "not reproduced"
    return Claim(*said, text, str(difference.n), verdict, _CAPTIONING[0], f"tables/{experiment}.md")


# ---- task 4


def _recovery(results_dir: Path) -> Claim:
    """Judge the panels on truths of their own shape: recovered where the median truth's best restart is near enough."""
    said = ("sensitivity", "block terms recover a 64 x 64 matrix from y = W x: five panels", "figure [S]")
    place = (_SENSITIVITY[0], "tables/recovery.md")
    rows = records.read(results_dir).rows
    panels = rows[rows["name"].isin(records.PANELS)]
    if panels.empty:
        return not_run(*said, *place)
    errors = panels.groupby(["truth", "name"])["error_best"].median()
    of_kind = {kind: errors[errors.index.get_level_values("truth") == kind] for kind in ("same_shape", "photograph")}
    own, photographs = of_kind["same_shape"], of_kind["photograph"]
    recovered = int((own < records.RECOVERED).sum())
    ours = f"{recovered} of {len(own)} on truths of their own shape"
    if len(photographs):
        ours += f"; photographs with a relative error of {photographs.min():.2f} to {photographs.max():.2f}"
    verdict = in_share(recovered, len(own), on_stand_in=False)
    verdict = "partly" if verdict == "reproduced" else verdict  # the paper's own matrix is not known
    return Claim(*said, ours, str(panels["seed"].nunique()), verdict, *place)


def _rank(results_dir: Path) -> Claim:
    """Judge whether accuracy rises with the rank, at the paper's d = 4 and N = 2."""
    paper = read_paper(results_dir / "paper.csv")
    published = " / ".join(_marked(paper, f"ucf11.accuracy.bt_lstm_r{rank}") for rank in (1, 2, 4))
    said = ("sensitivity", "accuracy of BT-LSTM on UCF11 rises with R = 1, 2, 4 (d = 4, N = 2)", published)
    experiment, runs = headline_runs(results_dir, "ucf11_sensitivity", "ucf11_sensitivity_actions")
    if experiment:
        runs = runs[(runs["order"] == 4) & (runs["num_blocks"] == 2) & (runs["model"] == "bt_lstm")]
    by_rank = {rank: runs[runs["rank"] == rank] for rank in (1, 2, 4)} if experiment else {}
    if not by_rank or any(rows.empty for rows in by_rank.values()):
        return not_run(*said, *_SENSITIVITY)
    steps = [paired_difference(by_rank[high], by_rank[low], "test/accuracy") for low, high in ((1, 2), (2, 4))]
    means = " / ".join(f"{rows['test/accuracy'].mean():.3f}" for rows in by_rank.values())
    steps_said = ", ".join(difference_text(step._asdict(), ".3f") for step in steps)
    ours = f"{means} on {tables.data_name(by_rank[1]['source'].iloc[0])}; steps {steps_said}"
    stand_in = bool(by_rank[1]["stand_in"].iloc[0])
    verdict = in_share(sum(above_zero(step.low) for step in steps), 2, on_stand_in=stand_in)
    return Claim(*said, ours, str(steps[0].n), verdict, _SENSITIVITY[0], f"tables/{experiment}.md")


# ---- complexity


def _complexity_claims(results_dir: Path) -> list[Claim]:
    """Judge the laws of each quantity: all families' exponents must be the law's."""
    fits = complexity.fitted(results_dir)
    paper = read_paper(results_dir / "paper.csv")
    claims = []
    for quantity in QUANTITIES:
        laws = "; ".join(f"{family} {complexity.law_text(family, quantity, paper)}" for family in FAMILIES)
        chosen = fits[fits["quantity"] == quantity]
        if chosen.empty:
            claims.append(not_run("complexity", f"law of {quantity}", laws, *_COMPLEXITY))
            continue
        groups = chosen.groupby("family", sort=False)["verdict"]
        verdicts = {str(family): complexity.overall(found) for family, found in groups}
        ours = "; ".join(f"{family} {complexity.WORDS[verdict]}" for family, verdict in verdicts.items())
        verdict: Verdict = "reproduced" if set(verdicts.values()) == {HOLDS} else "not tested"
        verdict = "not reproduced" if FASTER in verdicts.values() else verdict
        claims.append(Claim("complexity", f"law of {quantity}", laws, ours, "-", verdict, *_COMPLEXITY))
    return claims
