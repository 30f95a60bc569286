"""What was found of the paper's claims, each from the CSV files in results/."""

from collections.abc import Callable
from math import isnan
from pathlib import Path

import pandas as pd

from btrnn.benchmark.tables import medians, medians_alone
from btrnn.complexity import bt_parameters, dense_parameters
from btrnn.recovery import records
from btrnn.recovery.records import SAME_SHAPE, summarise
from btrnn.reports import shapes
from btrnn.reports.claims import rules
from btrnn.reports.claims.rules import Finding, Verdict, in_share
from btrnn.reports.rates import RATES
from btrnn.reports.render import count, difference_text, fill, span, split_name
from btrnn.reports.view import View, published_view
from btrnn.results.differences import BETTER, NO_VERDICT, against, convergence, model_differences, paired_difference
from btrnn.results.schema import BT_LSTM, LSTM, TT_LSTM
from btrnn.results.summary import MAIN_MODELS, Row, panels, read_paper

Findings = dict[str, Finding]
Studied = list[tuple[View, pd.DataFrame, str]]
_NUM_CLASSES = 11  # of UCF11
STUDIES = ("ucf101_rates", "ucf101_rates_raw")  # models that were given the same search for the rate, on real video
APART, RIVALS, PEOPLE = "ucf101_groups", "ucf101_rivals", "weizmann"  # no clips of a group, or person, on both sides


def all_findings(results_dir: Path) -> Findings:
    """Return what was found of each claim whose numbers are there, by its name in claims.toml."""
    found, studied = _counted(results_dir) | _recovery(results_dir) | _efficiency(results_dir), _studied(results_dir)
    found |= _orderings(studied) | _convergence(studied)
    for names, judge in _TRAINED.items():
        views = [view for name in names if (view := published_view(results_dir, name))]
        if view := min(views, key=lambda view: bool(view.first["stand_in"]), default=None):
            for key, finding in judge(view).items():
                verdict: Verdict = "not testable here" if view.first["stand_in"] else finding.verdict
                found[key] = finding._replace(verdict=verdict, experiment=view.experiment)
    if found.get("accuracy", Finding()).verdict in ("not run", "not testable here"):
        found |= _elsewhere(studied)
    return found


def _counted(results_dir: Path) -> Findings:
    """Return what `btrnn.complexity` counts of what a source claims."""
    value = read_paper(results_dir / "paper.csv")["value"]
    shape = modes(value["method.in_modes"]), modes(value["method.out_modes"])
    ratios = {rank: dense_parameters(*shape) / bt_parameters(*shape, rank, 2) for rank in (4, 1)}
    fewest = shapes.fewest().groupby("rank")["order"].agg(list).to_dict()
    turns = fewest[1] == [8] and all(1 < order < 8 for rank in (2, 3, 4) for order in fewest[rank])
    abstract = int(ratios[4]) == int(value["method.compression_abstract"])
    poster = round(ratios[1], -4) == int(value["method.compression_poster"])
    return {
        "compression_abstract": Finding(in_share([abstract]), "exact", {"ratio": count(ratios[4])}),
        "compression_poster": Finding(in_share([poster]), "exact", {"ratio": count(ratios[1])}),
        "core_order": Finding(in_share([turns]), "exact", {"fewest": fewest}),
    }


def modes(text: str) -> tuple[int, ...]:
    """Read modes as paper.csv writes them: 8x20x20x18."""
    return tuple(int(mode) for mode in text.split("x"))


def _recognition(view: View) -> Findings:
    summary = view.summary[view.summary["paper_id"].isin(MAIN_MODELS)]
    if summary.empty:
        return {}
    first = panels(summary)[0].to_dict("records")
    known = [row for row in first if not isnan(row["test/accuracy_low"])]  # without an interval nothing is inside it
    inside = [row["test/accuracy_low"] <= row["paper"] <= row["test/accuracy_high"] for row in known]
    return {"accuracy": Finding(in_share(inside), str(first[0]["n"]), _accuracies(view, first))}


def _accuracies(view: View, rows: list[Row]) -> dict[str, str]:
    """Return the accuracies of the paper's models, and where they were reached."""
    reached = " / ".join(f"{row['test/accuracy']:.3f}" for row in rows)
    setting = f"{split_name(rows[0])}, {rows[0]['scaling']} input"
    return {"accuracies": reached, "data": view.data, "setting": setting}


def _elsewhere(studied: Studied) -> Findings:
    """Show what the models reach on raw input of other real video, as in the paper: it is no test of its numbers."""
    for view, panel, place in studied:
        if place == "raw input":
            values = _accuracies(view, panel.to_dict("records"))
            return {"accuracy": Finding("not testable here", span(panel["n"]), values, view.experiment)}
    return {}


def _studied(results_dir: Path) -> Studied:
    """Return the panels that tell of the paper's models on real video, and what each is called.

    On UCF101-11 and Weizmann each model at the rate that validation clips chose, and UCF11 where it was run. Features
    are left out: the claims are about pixels.
    """
    rated = [(view, RATES.compared(view)) for name in STUDIES if (view := published_view(results_dir, name))]
    others = [view for name in (APART, RIVALS, PEOPLE, "ucf11") if (view := published_view(results_dir, name))]
    found = []
    for view, rows in [*rated, *((view, view.summary) for view in others if not view.first["stand_in"])]:
        for panel in panels(rows[rows["plain"] & rows["paper_id"].isin(MAIN_MODELS)]):
            first = panel.iloc[0].to_dict()
            place = split_name(first) if first["protocol"] == "group_folds" else f"{first['scaling']} input"
            place += ", rates scaled by layer" if first["scaled"] else ""
            found.append((view, panel, place))
    return found


def _orderings(studied: Studied) -> Findings:
    """Find in which settings BT-LSTM is better than each other model, as far as the intervals tell."""
    found = {}
    for other in (LSTM, TT_LSTM):
        better, said, seeds = [], [], []
        for view, panel, place in studied:
            pair = panel[panel["model"].isin([other.name, BT_LSTM.name])]
            classes = int(pair["num_classes"].fillna(_NUM_CLASSES).iloc[0])
            for row in model_differences(pair, view.results, asked=against(other.name)).to_dict("records"):
                if rules.are_comparable(list(pair["test/accuracy"]), classes) and row["verdict"] not in NO_VERDICT:
                    better.append(row["verdict"] == BETTER)
                said.append(f"{view.data}: {difference_text(row, '.3f')} ({place})")
                seeds.append(row["n"])
        if said:
            values, experiment = {"differences": said}, studied[0][0].experiment
            found[f"better_than_{other.name}"] = Finding(in_share(better), span(pd.Series(seeds)), values, experiment)
    return found


def _convergence(studied: Studied) -> Findings:
    """Find in which runs BT-LSTM reaches the dense model's best loss in fewer epochs and less time."""
    judged: list[bool] = []
    said, counts, runs = [], [], []
    for view, panel, place in studied:
        times = convergence(panel, view.results.epochs).query("model == @BT_LSTM.name")
        if len(times):
            faster = (times["epochs"] < times["dense_epochs"]) & (times["seconds"] < times["dense_seconds"])
            ours, dense = times["epochs"].fillna(float("inf")).median(), times["dense_epochs"].median()
            never = f"never in {times['epochs'].isna().sum()}"
            epochs = f"{ours:.0f} instead of {dense:.0f} epochs" if ours < float("inf") else never
            said.append(f"{view.data}: in {faster.sum()} of {len(times)} runs, {epochs} ({place})")
            counts.append(f"{view.data}: {faster.sum()} of {len(times)} ({place})")
            judged += [*faster] if len(times) > 1 else []  # one run says nothing about others
            runs.append(len(times))
    if not said:
        return {}
    values = {"runs": said, "counts": counts}
    return {"convergence": Finding(in_share(judged), span(pd.Series(runs)), values, studied[0][0].experiment)}


def _block_terms_and_dense(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the runs of BT-LSTM and of LSTM, of several settings the first."""
    ours, dense = (runs[runs["model"] == model.name] for model in (BT_LSTM, LSTM))
    return ours[ours["name"] == ours["name"].min()], dense[dense["name"] == dense["name"].min()]


def _near_dense(view: View, *, or_better: bool) -> Finding | None:
    """Judge whether the block-term model is as good as the dense one, or better where it may be, up to the margin."""
    schema, (ours, dense) = view.schema, _block_terms_and_dense(view.results.runs)
    difference = paired_difference(ours, dense, schema.main)
    if difference.n == 0:
        return None
    said = difference_text(difference._asdict(), schema.form, schema.times)
    values = {"difference": said, "dense": _shown(view, dense[schema.main].mean()), "data": view.data}
    values |= {"weights": count(float(ours["parameters_input"].iloc[0]))}
    values |= {"dense_weights": count(float(ours["parameters_dense_input"].iloc[0]))}
    mean, low, high = difference.mean, difference.low, difference.high
    worse, far = (mean, high) if schema.lower_is_better else (-mean, -low)
    distance = (worse, far) if or_better else (abs(mean), max(-low, high))
    return Finding(rules.at_most(*distance, schema.margin), str(difference.n), values)


def _generation(view: View) -> Findings:
    """Judge how near the bounds are; beside them stand those on the data that replace MNIST where it is missing."""
    near, part = _near_dense(view, or_better=True), published_view(view.results_dir, "draw")
    if near is None:
        return {}
    beside = _near_dense(part, or_better=True) if part and part.experiment != view.experiment else None
    smaller = fill("{{ data }}: {{ difference }}", **beside.values) if beside else ""
    return {"generation": near._replace(values=dict(near.values) | {"smaller": smaller})}


def _captioning(view: View) -> Findings:
    """Judge whether captions are proper, no run of a model below one caption for all images, and how near BT is."""
    runs, main = view.results.runs, view.schema.main
    runs = runs[runs["model"].isin([LSTM.name, TT_LSTM.name, BT_LSTM.name])]
    proper = (runs[main] > runs[f"{main}_constant"]).groupby(runs["model"]).all()
    ends = {"lowest": runs[main].min(), "constant": runs[f"{main}_constant"].max()}
    ends |= {"true_captions": runs[f"{main}_true"].mean()}
    values = {name: _shown(view, value) for name, value in ends.items()} | {"data": view.data}
    found = {"captions_proper": Finding(in_share(proper), span(runs.groupby("model")["seed"].nunique()), values)}
    if near := _near_dense(view, or_better=False):
        ours, dense = _block_terms_and_dense(runs)
        perplexity = difference_text(paired_difference(ours, dense, "test/perplexity")._asdict(), ".2f")
        values = {"perplexity": perplexity, "dense_perplexity": f"{dense['test/perplexity'].mean():.2f}"}
        found["captions_improvement"] = near._replace(values=dict(near.values) | values)
    return found


def _shown(view: View, value: float) -> str:
    return f"{view.schema.times * value:{view.schema.form}}"


_TRAINED: dict[tuple[str, ...], Callable[[View], Findings]] = {  # by the experiments, the paper's own data first
    ("ucf11",): _recognition,
    ("draw", "draw_mnist"): _generation,
    ("captioning", "captioning_flickr8k"): _captioning,
}


def _recovery(results_dir: Path) -> Findings:
    """Judge the panels on truths of their own shape: recovered where the median truth's best restart is near enough."""
    rows = records.read(results_dir).rows
    shown = rows[rows["name"].isin(records.PANELS)]
    if shown.empty:
        return {}
    errors = summarise(shown).set_index("truth")["median_best"]
    recovered = errors[errors.index == SAME_SHAPE] < records.RECOVERED
    photographs = errors[errors.index == "photograph"]
    verdict = in_share(recovered)
    verdict = "partly" if verdict == "reproduced" else verdict  # the paper's own matrix is not known
    span = f"{photographs.min():.2f} to {photographs.max():.2f}" if len(photographs) else ""
    values = {"recovered": recovered.sum(), "total": len(recovered), "photographs": span}
    return {"recovery": Finding(verdict, str(shown["seed"].nunique()), values)}


def _efficiency(results_dir: Path) -> Findings:
    """Compare medians with the dense layer's: the paper's algorithm, and this project's on both devices.

    Layers were measured several times, side by side and one by one: the ratio is from the lowest to the highest.
    """
    found = {}
    for key, texts in rules.claim_texts().items():
        section, device = texts.get("measured", ("", ""))
        measured = [medians(results_dir, section, device)] if section else []
        measured += medians_alone(results_dir, device) if section == "layer" else []
        verdicts: list[bool] = []
        factors, said = [], []
        for how, dense, ours, phase in texts.get("compared", ()):
            pair = (dense, phase), (ours, phase)
            both = [tuple(times[one] for one in pair) for times in measured if set(pair) <= times.keys()]
            if both:
                verdicts += [mine < other for other, mine in both]
                faster = [other / mine for other, mine in both]
                factors.append(f"{how} {_factor_text(min(faster), max(faster))} than {dense.split(',')[0]}".strip())
                said.append(f"{factors[-1]} ({both[0][1]:.3g} instead of {both[0][0]:.3g} ms)")
        if factors:
            found[key] = Finding(in_share(verdicts), "-", {"factors": factors, "times": said})
    return found


def _factor_text(least: float, most: float) -> str:
    """Write how many times as fast something is, at least and at most."""
    slower = most < 1
    ends = [f"{end:.1f}" for end in ((1 / most, 1 / least) if slower else (least, most))]
    return f"{' to '.join(dict.fromkeys(ends))} times {'slower' if slower else 'faster'}"
