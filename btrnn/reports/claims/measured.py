"""What was measured of the paper's claims: accuracy, convergence, pictures, captions, sensitivity, time, complexity."""

from itertools import pairwise
from pathlib import Path

import pandas as pd

from btrnn.benchmark.exponents import FASTER, HOLDS, WORDS, fitted, overall
from btrnn.benchmark.tables import medians
from btrnn.recovery import records
from btrnn.recovery.records import SAME_SHAPE
from btrnn.recovery.records import summarise as summarise_recovery
from btrnn.reports.claims import rules
from btrnn.reports.claims.rules import Finding, Verdict, above_zero, in_share, read_texts, tells_apart
from btrnn.reports.format import count, difference_text
from btrnn.reports.tables import data_name
from btrnn.results.differences import convergence, model_differences, paired_difference
from btrnn.results.paper import BEST, PAPER_MODELS, paper_model, paper_value, read_paper
from btrnn.results.schema import BT_LSTM, LSTM, TT_LSTM
from btrnn.results.store import Results, collected_experiments, read_results
from btrnn.results.summary import Row, headline_scale, panels, summarise

Findings = dict[str, Finding]
_NUM_CLASSES = 11  # of UCF11


def measured_findings(results_dir: Path) -> Findings:
    """Return what was found of each claim whose numbers are there, by its name in claims.toml."""
    return {
        **_recognition(results_dir),
        **_no_worse(results_dir, "generation", "draw", "test/nll_bound", rules.COMPARABLE, ".2f"),
        **_no_worse(results_dir, "captioning", "captioning", "test/cider", -rules.LITTLE, ".3f"),
        **_recovery(results_dir),
        **_rank(results_dir),
        **_efficiency(results_dir),
        **_laws(results_dir),
    }


def headline_runs(results_dir: Path, *experiments: str) -> tuple[str, pd.DataFrame]:
    """Return the first of some experiments that is collected, with its runs of the largest scale; else ("", none).

    Where none is, that counts which is the first on a stand-in, `<experiment>_<source>`, and was finished last.
    """
    collected = collected_experiments(results_dir)
    found = {name: read_results(results_dir, name).runs for name in experiments if name in collected}
    if not found:
        near = [name for name in collected if name.startswith(f"{experiments[0]}_")]
        runs = {name: read_results(results_dir, name).runs for name in near}
        known = [name for name in near if name == f"{experiments[0]}_{runs[name]['source'].iloc[0]}"]
        found = {name: runs[name] for name in sorted(known, key=lambda name: runs[name]["finished"].max())[-1:]}
    for name, rows in found.items():
        return name, rows[rows["scale"] == headline_scale(rows)]
    return "", pd.DataFrame()


# ---- task 1


def _recognition(results_dir: Path) -> Findings:
    experiment, runs = headline_runs(results_dir, "ucf11")
    if runs.empty:
        return {}
    results = read_results(results_dir, experiment)._replace(runs=runs)
    summary = summarise(runs)
    known = [paper_model(row) for row in summary.to_dict("records")]
    summary = summary[[model in PAPER_MODELS[:3] for model in known]]  # LSTM, TT-LSTM and the best BT-LSTM
    found = _accuracies(summary, results_dir) | _orderings(summary, results)
    times = pd.concat([convergence(panel, results.epochs) for panel in panels(summary)]) if len(summary) else summary
    times = times[times["model"] == BT_LSTM.name] if len(times) else times
    if len(times):
        fewer, sooner = times["epochs"] < times["dense_epochs"], times["seconds"] < times["dense_seconds"]
        columns = ["dense_epochs", "epochs", "dense_seconds", "seconds"]
        values: dict[str, object] = {name: f"{times[name].median():.0f}" for name in columns}
        values |= {"fewer": fewer.sum(), "sooner": sooner.sum(), "total": len(times)} | _data(times)
        verdict = in_share(int((fewer & sooner).sum()), len(times), on_stand_in=_on_stand_in(times))
        found["convergence"] = Finding(verdict, str(times["seed"].nunique()), values)
    return {key: finding._replace(experiment=experiment) for key, finding in found.items()}


def _accuracies(summary: pd.DataFrame, results_dir: Path) -> Findings:
    """Compare accuracies under the paper's own protocol and input with the paper's."""
    if summary.empty:
        return {}
    paper = read_paper(results_dir / "paper.csv")
    first = panels(summary)[0]
    rows = first.to_dict("records")
    inside = [
        row["test/accuracy_low"] <= paper_value(paper, paper_model(row)) <= row["test/accuracy_high"] for row in rows
    ]
    values = {"accuracies": " / ".join(f"{row['test/accuracy']:.3f}" for row in rows), "setting": _setting(rows[0])}
    verdict = in_share(sum(inside), len(inside), on_stand_in=_on_stand_in(first))
    return {"accuracy": Finding(verdict, str(rows[0]["n"]), values | _data(first))}


def _orderings(summary: pd.DataFrame, results: Results) -> Findings:
    """Find against each other model in which settings the best BT-LSTM is better, as far as the intervals tell."""
    found = {}
    for other in (LSTM, TT_LSTM):
        pair = summary[summary["model"].isin([other.name, BEST.model])]
        differences = model_differences(pair, results, references=(other.name,)) if len(pair) else pair
        if differences.empty:
            continue
        rows = differences.to_dict("records")
        accuracies = pair.groupby(["protocol", "scaling"])["test/accuracy"].agg(list)
        telling = [tells_apart(accuracies[row["protocol"], row["scaling"]], _NUM_CLASSES) for row in rows]
        better = [told and above_zero(row["low"]) for told, row in zip(telling, rows, strict=True)]
        said = [f"{difference_text(row, '.3f')} ({_setting(row)})" for row in rows]
        verdict = in_share(sum(better), sum(telling), on_stand_in=_on_stand_in(differences))
        found[f"better_than_{other.name}"] = Finding(verdict, str(rows[0]["n"]), {"differences": said} | _data(pair))
    return found


# ---- tasks 2 and 3


def _no_worse(results_dir: Path, key: str, name: str, column: str, margin: float, form: str) -> Findings:
    """Judge whether the block-term model is worse than the dense one by at most a share of the dense one's number.

    Args:
        results_dir: Where the committed tables are.
        key: The claim.
        name: The experiment.
        column: The metric.
        margin: The share, positive where a lower number is better, negative where a higher one is.
        form: How the metric is written.
    """
    experiment, runs = headline_runs(results_dir, name)
    if runs.empty:
        return {}
    dense, ours = runs[runs["model"] == LSTM.name], runs[runs["model"] == BT_LSTM.name]
    ours = ours[ours["name"] == (ours["name"].iloc[0] if len(ours) else "")]  # of several settings the first
    difference = paired_difference(ours, dense, column)
    if difference.n == 0:
        return {}
    mean, sign = dense[column].mean(), 1 if margin > 0 else -1
    values = {"difference": difference_text(difference._asdict(), form), "dense": f"{mean:{form}}"} | _data(ours)
    values |= {"weights": count(float(ours["parameters_input"].iloc[0]))}
    values |= {"dense_weights": count(float(ours["parameters_dense_input"].iloc[0]))}
    far = difference.high if sign > 0 else -difference.low
    verdict = rules.no_worse(sign * difference.mean, far, sign * margin * mean, on_stand_in=_on_stand_in(ours))
    constant = f"{column}_constant"
    if constant in runs:  # proper captions: no run is below the best caption for all images
        values |= {"lowest": f"{runs[column].min():{form}}", "constant": f"{runs[constant].max():{form}}"}
        if not _on_stand_in(ours) and (runs[column] <= runs[constant]).any():
            verdict = "not reproduced"
    return {key: Finding(verdict, str(difference.n), values, experiment)}


# ---- task 4


def _recovery(results_dir: Path) -> Findings:
    """Judge the panels on truths of their own shape: recovered where the median truth's best restart is near enough."""
    rows = records.read(results_dir).rows
    shown = rows[rows["name"].isin(records.PANELS)]
    if shown.empty:
        return {}
    errors = summarise_recovery(shown).set_index("truth")["median_best"]
    own = errors[errors.index == SAME_SHAPE]
    photographs = errors[errors.index == "photograph"]
    recovered = int((own < records.RECOVERED).sum())
    verdict = in_share(recovered, len(own), on_stand_in=False)
    verdict = "partly" if verdict == "reproduced" else verdict  # the paper's own matrix is not known
    span = f"{photographs.min():.2f} to {photographs.max():.2f}" if len(photographs) else ""
    values = {"recovered": recovered, "total": len(own), "photographs": span}
    return {"recovery": Finding(verdict, str(shown["seed"].nunique()), values)}


def _rank(results_dir: Path) -> Findings:
    """Judge whether accuracy rises with the rank, at the paper's d = 4 and N = 2."""
    experiment, runs = headline_runs(results_dir, "ucf11_sensitivity")
    if runs.empty:
        return {}
    runs = runs[(runs["order"] == 4) & (runs["num_blocks"] == 2) & (runs["model"] == BT_LSTM.name)]
    by_rank = [runs[runs["rank"] == rank] for rank in (1, 2, 4)]
    if any(rows.empty for rows in by_rank):
        return {}
    means = [rows["test/accuracy"].mean() for rows in by_rank]
    steps = [paired_difference(high, low, "test/accuracy") for low, high in pairwise(by_rank)]
    telling = [tells_apart(pair, _NUM_CLASSES) for pair in pairwise(means)]
    rises = [told and above_zero(step.low) for told, step in zip(telling, steps, strict=True)]
    verdict = in_share(sum(rises), sum(telling), on_stand_in=_on_stand_in(runs))
    values = {"accuracies": " / ".join(f"{mean:.3f}" for mean in means)} | _data(runs)
    values |= {"steps": ", ".join(difference_text(step._asdict(), ".3f") for step in steps)}
    return {"rank": Finding(verdict, str(steps[0].n), values, experiment)}


# ---- time and complexity


def _efficiency(results_dir: Path) -> Findings:
    """Compare medians with the dense layer's: the paper's algorithm, and this project's on both devices."""
    found = {}
    timed = {key: texts for key, texts in read_texts("claims").items() if "compared" in texts}
    for key, texts in timed.items():
        times = medians(results_dir, *texts["measured"])
        pairs = [
            (how, times[dense, phase], times[ours, phase])
            for how, dense, ours, phase in texts["compared"]
            if {(dense, phase), (ours, phase)} <= times.keys()
        ]
        if pairs:
            verdict = in_share(sum(ours < dense for _, dense, ours in pairs), len(pairs), on_stand_in=False)
            found[key] = Finding(verdict, "-", {"times": [_times_text(*pair) for pair in pairs]})
    return found


def _times_text(how: str, dense: float, ours: float) -> str:
    factor = f"{dense / ours:.1f} times faster" if ours < dense else f"{ours / dense:.1f} times slower"
    return f"{how} {factor} ({ours:.3g} instead of {dense:.3g} ms)".strip()


def _laws(results_dir: Path) -> Findings:
    """Judge the laws of each quantity: all families' exponents must be the law's."""
    fits, found = fitted(results_dir), {}
    for quantity in dict.fromkeys(fits["quantity"]):
        judged = fits[fits["quantity"] == quantity].groupby("family", sort=False)["verdict"].agg(overall).to_dict()
        held = set(judged.values()) == {HOLDS}
        verdict: Verdict = "not reproduced" if FASTER in judged.values() else "reproduced" if held else "not tested"
        said = "; ".join(f"{family} {WORDS[verdict_]}" for family, verdict_ in judged.items())
        found[str(quantity).replace(" ", "_")] = Finding(verdict, "-", {"families": said})
    return found


def _data(rows: pd.DataFrame) -> dict[str, object]:
    return {"data": data_name(rows["source"].iloc[0])}


def _on_stand_in(rows: pd.DataFrame) -> bool:
    return bool(rows["stand_in"].iloc[0])


def _setting(row: Row) -> str:
    return f"protocol {row['protocol']}, {row['scaling']} input"
