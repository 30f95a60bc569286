"""What is said of the paper's claims: nothing that the committed tables do not bear out."""

import math
import re
from itertools import product
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from btrnn.benchmark.records import RecordFile, record, section_path
from btrnn.benchmark.settings import Point
from btrnn.recovery import records
from btrnn.reports import shapes
from btrnn.reports.benchmark import speed_block
from btrnn.reports.claims import claim_pages, findings
from btrnn.reports.claims.attribution import CONTROLS, NO_DROPOUT, SMALL_W
from btrnn.reports.claims.claim_figures import claim_figures
from btrnn.reports.claims.claim_pages import readme_block
from btrnn.reports.claims.findings import STUDIES, all_findings
from btrnn.reports.claims.rules import VERDICTS, Claim, are_comparable, at_most, claim_texts, in_share
from btrnn.reports.view import view_of
from btrnn.results.differences import convergence, paired_difference
from btrnn.results.schema import model_of, schema_of
from btrnn.results.statistics import holm
from btrnn.results.store import collect, write_results
from tests.caption_folders import write_run as write_caption_run
from tests.run_folders import write_folds, write_run

from .conftest import ROOT


def results_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    copyfile(ROOT / "results" / "paper.csv", folder / "paper.csv")
    return folder


def keep(results_dir: Path, experiment: str) -> None:
    write_results(collect(results_dir, experiment)[0], results_dir, experiment)


def found(results_dir: Path, key: str) -> Claim:
    (claim,) = [claim for claim in claim_pages.all_claims(results_dir) if claim["key"] == key]
    return claim


def rows(table: str) -> list[list[str]]:
    """Return the cells of a Markdown table, without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


# ---- what is counted, and the page


def test_without_results_what_is_counted_is_reproduced_and_the_rest_is_not_run(tmp_path):
    results_dir = results_folder(tmp_path)
    claims = claim_pages.all_claims(results_dir)
    assert [claim["key"] for claim in claims] == list(claim_texts())
    verdicts = {claim["key"]: claim["verdict"] for claim in claims}
    exact = all_findings(results_dir)
    assert len(exact) == 3
    assert {verdicts[key] for key in exact} == {"reproduced"}
    assert {verdict for key, verdict in verdicts.items() if key not in exact} == {"not run"}
    assert {claim["kind"] for claim in claims} == {"counted", "trained", "timed"}
    assert {claim["topic"] for claim in claims} == {
        *("compression", "core order", "accuracy", "convergence", "efficiency", "generation", "captioning"),
        "sensitivity",
    }


def test_the_page_and_the_block_without_results(tmp_path, golden):
    results_dir = results_folder(tmp_path / "results")
    (text,) = claim_pages.page_texts(results_dir).values()
    golden("claims.md", text)
    golden("readme_block.md", readme_block(results_dir, "readme_results") + "\n")


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """What is known of the committed results."""
    return claim_pages.all_known(ROOT / "results")


def test_the_committed_page_opens_with_at_most_six_lines_and_a_figure(known):
    (text,) = claim_pages.page_texts(ROOT / "results", known=known).values()
    lines = text.split("##")[0].splitlines()
    advice = [line for line in lines[: lines.index("", 4)] if line.startswith("- **")]
    assert 3 <= len(advice) <= 6
    assert lines.index(advice[0]) < 6, "first of all, when to use it"
    answers = [line for line in lines if re.match(rf"- \*\*({'|'.join(VERDICTS)})", line, re.IGNORECASE)]
    assert 1 <= len(answers) <= 6
    assert sum(int(re.search(r"\((\d+) of", line)[1]) for line in answers) == len(claim_texts())
    assert any(line.startswith("![") for line in lines)


def test_the_readme_block_has_six_to_eight_claims_in_short_lines(known):
    block = readme_block(ROOT / "results", "readme_results", known)
    claims, settings, changes = (rows(table) for table in re.findall(r"(?:^\|.*\n)+", block, flags=re.MULTILINE))
    assert 6 <= len(claims) <= 8
    assert len(settings) == 7
    assert len(changes) == 9
    assert max(map(len, block.splitlines())) <= 200
    assert len(rows(speed_block(ROOT / "results"))) == 4


def test_the_answer_says_what_the_most_similar_training_clip_tells(known):
    runs = pd.read_csv(ROOT / "results" / "ucf101_rates.csv")
    reached = runs.loc[runs["model"] == "nearest_neighbour", "test/accuracy"].mean()
    first, *others = known["settings"]
    assert first["scores"]["nearest_neighbour"] == f"{reached:.3f}"
    assert {"lstm", "tt_lstm", "bt_lstm", "logistic_regression"} < first["scores"].keys()
    rate = float(next(model["rate"] for model in known["studies"][0]["models"] if model["label"] == "BT-LSTM"))
    chosen = runs[(runs["model"] == "bt_lstm") & (runs["learning_rate"] == rate)]
    assert first["copied"]["mean"] == pytest.approx(chosen["test/accuracy"].mean() - reached)
    assert first["copied"]["text"] in readme_block(ROOT / "results", "readme_answer", known)
    assert not any(row["copied"] for row in others)


def test_the_gap_is_attributed_by_differences_of_paired_seeds(known):
    runs = pd.concat(
        pd.read_csv(ROOT / "results" / f"{name}.csv").assign(dropout=name != NO_DROPOUT, small=name == SMALL_W)
        for name in (*STUDIES, *CONTROLS)
    )

    def accuracies(
        model: str, scaling: str, rate: float, *, dropout: bool = True, small: bool = False
    ) -> "pd.Series[float]":
        is_it = (runs["model"] == model) & (runs["scaling"] == scaling) & (runs["dropout"] == dropout)
        is_it &= (runs["small"] == small) & np.isclose(runs["learning_rate"], rate)
        return runs[is_it].set_index("seed")["test/accuracy"]

    own = {
        (model["label"], study["first"]["scaling"]): float(model["rate"])
        for study in known["studies"][:2]
        for model in study["models"]
    }
    bare = {model["label"].rpartition(" ")[2]: float(model["rate"]) for model in known["studies"][2]["models"]}
    fitting = {model["label"]: float(model["rate"]) for model in known["studies"][3]["models"]}
    found = known["changes"]["changes"]
    for scaling in ("raw", "normalized"):
        dense = accuracies("lstm", scaling, own["LSTM", scaling])
        all_inputs = accuracies("lstm", scaling, bare[scaling], dropout=False)
        ours = accuracies("bt_lstm", scaling, own["BT-LSTM", scaling])
        at_paper = [accuracies(model, scaling, 1e-4) for model in ("lstm", "bt_lstm")]
        all_at_paper = accuracies("lstm", scaling, 1e-4, dropout=False)
        small = [
            accuracies(model_of(name).name, scaling, fitting[model_of(name).label], small=True)
            for name in ("lstm", "bt_lstm")
        ]
        expected = [dense - at_paper[0], all_at_paper - at_paper[0], all_inputs - dense, small[0] - dense]
        shared = accuracies("lstm", scaling, own["BT-LSTM", scaling])
        expected += [at_paper[1] - at_paper[0], ours - shared, ours - dense, ours - all_inputs, small[1] - small[0]]
        for said, differences in zip(found.values(), expected, strict=True):
            known_ones = differences.dropna()
            assert said[scaling]["n"] == len(known_ones)
            if known_ones.empty:  # a small W on input that is small itself
                assert said[scaling]["text"] == "-"
                continue
            assert said[scaling]["mean"] == pytest.approx(known_ones.mean())
            alike = len(known_ones) == 2 and known_ones.max() - known_ones.min() < 1e-6
            behind = "(the same in both), n = 2" if alike else "["
            assert said[scaling]["text"].startswith(f"{known_ones.mean():+.3f} {behind}")
            assert np.isnan(said[scaling]["low"]) == alike
    scaled = [accuracies("lstm", scaling, own["LSTM", scaling]) for scaling in ("raw", "normalized")]
    assert known["changes"]["scaled"]["LSTM"]["mean"] == pytest.approx((scaled[1] - scaled[0]).mean())


def test_the_difference_with_fewer_clips_is_of_means_over_their_numbers_by_fold(known):
    runs = pd.read_csv(ROOT / "results" / "ucf101_groups.csv").query("train_limit > 0")
    accuracies = runs.pivot_table("test/accuracy", ["train_limit", "fold"], ["model", "rank"], dropna=False)
    of_fold = (accuracies["bt_lstm"][4.0] - accuracies["lstm"].mean(axis=1)).groupby("fold").mean()
    ends = stats.t.interval(0.95, len(of_fold) - 1, of_fold.mean(), of_fold.sem())
    found_ = known["apart"]["over_sizes"]
    assert found_["text"] == f"{of_fold.mean():+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]"
    error = math.sqrt(
        (1 / 5 + (runs["num_test"] / runs["num_train"]).groupby(runs["train_limit"]).mean().min()) * of_fold.var()
    )
    assert found_["overlap_p"] == pytest.approx(2 * stats.t.sf(abs(of_fold.mean()) / error, 4))


def test_the_difference_at_the_last_epoch_stands_beside_that_at_the_chosen_one(known):
    runs = pd.read_csv(ROOT / "results" / "ucf101_groups.csv")
    plain = runs[runs["train_limit"].isna() & (runs["pixel_order"] == "rows")]
    plain = plain[plain["frame_order"].isna() | (plain["frame_order"] == "time")]
    plain = plain[(plain["model"] == "lstm") | ((plain["model"] == "bt_lstm") & (plain["rank"] == 4))]
    last = plain.pivot_table("test/accuracy_last", ["fold", "seed"], "model").dropna()
    differences = (last["bt_lstm"] - last["lstm"]).groupby("fold").mean()
    found_ = known["apart"]["last"]
    assert found_["text"].startswith(f"{differences.mean():+.3f} [")
    assert found_["chosen"] == {
        label: plain.loc[plain["model"] == name, "epoch_chosen"].median() + 1
        for label, name in (("BT-LSTM", "bt_lstm"), ("LSTM", "lstm"))
    }
    assert found_["text"] in readme_block(ROOT / "results", "readme_answer", known)


def test_p_values_are_corrected_for_splits_that_overlap_as_nadeau_and_bengio_do(known):
    runs = pd.read_csv(ROOT / "results" / "ucf101_rates.csv")
    rates = {model["label"]: float(model["rate"]) for model in known["studies"][0]["models"]}
    chosen = [runs[(runs["model"] == "lstm") & np.isclose(runs["learning_rate"], rates["LSTM"])]]
    for name, label in (("tt_lstm", "TT-LSTM"), ("bt_lstm", "BT-LSTM")):
        chosen.append(runs[(runs["model"] == name) & np.isclose(runs["learning_rate"], rates[label])])
    dense, *others = (rows.set_index("seed")["test/accuracy"] for rows in chosen)
    differences = [(other - dense).dropna() for other in others]  # the family, BT-LSTM second
    share = (chosen[2]["num_test"] / chosen[2]["num_train"]).mean()
    (first, *_) = known["settings"]
    for overlap, name in ((0.0, ""), (share, "overlap_")):
        p_values: dict[str, list[float]] = {"different": [], "equivalent": []}
        for found in differences:
            error = math.sqrt((1 / len(found) + overlap) * found.var(ddof=1))
            p_values["different"].append(2 * stats.t.sf(abs(found.mean()) / error, len(found) - 1))
            p_values["equivalent"].append(stats.t.sf((0.03 - abs(found.mean())) / error, len(found) - 1))
        for kind, values in p_values.items():
            assert first["ours"][f"{name}p_{kind}"] == pytest.approx(holm(values)[1])
    assert first["ours"]["test_per_training"] == pytest.approx(282 / 1013)


def test_the_page_says_which_verdicts_stand_where_splits_overlap(known):
    (text,) = claim_pages.page_texts(ROOT / "results", known=known).values()
    compared = rows(re.search(r"(?:^\|.*\n)+", text.split("### Splits that overlap")[1], flags=re.MULTILINE)[0])
    ours = [row["ours"] for row in known["settings"]]
    assert [cells[-2] for cells in compared] == [row["verdict"] for row in ours]
    stand = [row["overlap_verdict"] == row["verdict"] for row in ours]
    assert [cells[-1] == "the same" for cells in compared] == stand
    assert ("do not stand" in text) == (not all(stand))
    assert "Of the other settings nothing is claimed" in text
    (first, *_) = known["settings"]
    lost = {"overlap_verdict": "no significant difference"}  # as if the correction took the first verdict
    settings = [first | {"ours": first["ours"] | lost}, *known["settings"][1:]]
    (study, *studies) = known["studies"]
    otherwise = known | {"settings": settings, "studies": [study | {"ours": study["ours"] | lost}, *studies]}
    (text,) = claim_pages.page_texts(ROOT / "results", known=otherwise).values()
    place = "UCF101-11, random split, normalized input; with overlap: no significant difference"
    assert f"**These verdicts do not stand**: equivalent within 0.03 ({place})." in text
    said = "equivalent within 0.03, but with a correction for splits that overlap: no significant difference)"
    assert said in readme_block(ROOT / "results", "readme_answer", otherwise)
    assert "but with a correction" not in readme_block(ROOT / "results", "readme_answer", known)


def test_a_difference_the_other_way_round_has_its_verdicts_turned(known):
    row = known["rivals"]["rows"][0] | {"verdict": "worse", "overlap_verdict": "no significant difference"}
    turned = claim_pages._turned(row)
    assert (turned["verdict"], turned["overlap_verdict"]) == ("better", "no significant difference")
    assert (turned["mean"], turned["low"], turned["high"]) == (-row["mean"], -row["high"], -row["low"])
    assert turned["overlap_p_different"] == row["overlap_p_different"]


def test_the_figures_of_claims_show_what_their_tables_say(known):
    scores, gap = (file.data for file in claim_figures(known))
    settings = {f"{row['data']},\n{row['setting']}": row["scores"] for row in known["settings"]}
    assert set(scores["row"]) == set(settings)
    labels = {"LSTM": "lstm", "BT-LSTM": "bt_lstm", "TT-LSTM": "tt_lstm"}
    for row in scores[scores["label"].isin(labels)].to_dict("records"):
        assert f"{row['mean']:.3f}" == settings[row["row"]][labels[row["label"]]]
    changes = [by[scaling] for by in known["changes"]["changes"].values() for scaling in ("raw", "normalized")]
    found = [row for row in changes if row["n"]]
    for column in ("mean", "low", "high"):  # NaN where a few seeds differ alike, and have no interval
        np.testing.assert_array_equal(gap[column], [row[column] for row in found])
    wide = gap.dropna(subset="low")
    assert (wide["low"] < wide["mean"]).all()
    assert len(wide)


def test_a_number_of_the_paper_that_differs_is_not_reproduced(tmp_path):
    results_dir = results_folder(tmp_path)
    path = results_dir / "paper.csv"
    path.write_text(re.sub(r"(method.compression_abstract,.*,)17388(,)", r"\g<1>17389\2", path.read_text()))
    path.write_text(re.sub(r"(sensitivity.parameters.r2_d5,.*,)192(,)", r"\g<1>193\2", path.read_text()))
    claim = found(results_dir, "compression_abstract")
    assert (claim["paper"], claim["ours"], claim["verdict"]) == ("17,389 [S]", "17,388", "not reproduced")
    (text,) = shapes.parameters_report(results_dir).texts.values()
    assert "31 of 32 counts equal those of the paper's figure" in text


def test_our_own_arithmetic_is_no_claim_and_every_known_number_has_its_mark(tmp_path):
    results_dir = results_folder(tmp_path)
    (text,) = claim_pages.page_texts(results_dir).values()
    counts = rows(text.split("## What the paper does not say")[1].split("\n\n")[1])
    assert len(counts) == 4
    for _, known, ours, _ in counts:
        numbers, marks = re.findall(r"\d[\d,]*", known), re.findall(r"\[[SDM/]+\]", known)
        assert len(marks) == len(numbers)
        assert ours == "219.9" or re.findall(r"\d[\d,]*", ours) == numbers  # what is known is met
    counted_here = [claim for claim in claim_pages.all_claims(results_dir) if claim["kind"] == "counted"]
    assert not any(number in claim["ours"] for claim in counted_here for number in ("1,552", "1,184", "219.9"))


# ---- task 1


def write_ucf11(results_dir: Path, experiment: str, **accuracies: float) -> None:
    """Write three seeds of the paper's three models, the block-term model a little better by every clip."""
    for model, accuracy in accuracies.items():
        for seed in range(3):
            changes = {"test/accuracy": accuracy + 0.001 * seed, "seconds_per_epoch": 40 if model == "lstm" else 5}
            changes["test/accuracy"] += 0.001 * (seed - 1) * (model == "bt_lstm")  # differences must vary
            write_run(results_dir, model, seed, experiment=experiment, changes=changes)
    keep(results_dir, experiment)


def test_accuracies_of_a_stand_in_say_nothing_of_the_paper_s(tmp_path):
    results_dir = results_folder(tmp_path)
    write_ucf11(results_dir, "ucf11_motions", lstm=0.697, tt_lstm=0.796, bt_lstm=0.853)
    claim = found(results_dir, "accuracy")
    assert claim["verdict"] == "not testable here"
    assert claim["paper"] == "0.697 [S] / reported 0.796 [M] / 0.853 [S]"
    assert claim["ours"] == "0.698 / 0.797 / 0.854 on Motions (stand-in) (random split, raw input)"
    assert claim["file"] == "tables/ucf11_motions.md"
    for key in ("convergence", "better_than_lstm"):
        assert found(results_dir, key)["verdict"] == "not run"  # only real video is asked


def test_who_is_more_accurate_is_judged_on_real_video_at_each_model_s_best_rate(tmp_path):
    results_dir = results_folder(tmp_path)
    reached = {"lstm": {1e-5: 0.7, 1e-3: 0.4}, "bt_lstm": {1e-5: 0.2, 1e-3: 0.8}}
    for experiment, worse in (("ucf101_rates", 0.0), ("ucf101_rates_raw", 0.35)):  # where BT-LSTM is worse by as much
        for model, rates in reached.items():
            for rate, accuracy in rates.items():
                for seed in range(3):
                    changes = {"source": "ucf101", "stand_in": False, "learning_rate": rate, "val/loss": 1 - accuracy}
                    changes["test/accuracy"] = accuracy + 0.001 * seed - worse * (model == "bt_lstm")
                    changes["test/accuracy"] += 0.001 * (seed - 1) * (model == "bt_lstm")  # differences must vary
                    place = {"protocol": "paper_validated", "scaling": "raw" if worse else "normalized"}
                    write_run(results_dir, model, seed, experiment=experiment, changes=changes, **place)
        keep(results_dir, experiment)
    for model, order, fold in product(reached, ("time", "shuffled"), range(3)):  # equal where frames are in order
        accuracy = 0.5 + 0.01 * fold - 0.1 * (model == "lstm" and order == "shuffled")  # no claim of the paper
        accuracy += 0.001 * (fold - 1) * ((model, order) == ("bt_lstm", "time"))
        changes = {"source": "ucf101", "stand_in": False, "test/accuracy": accuracy}
        where: dict[str, Any] = {"experiment": "ucf101_groups", "scaling": "normalized", "frame_order": order}
        write_folds(results_dir, [fold], [0], models=[model], changes=changes, **where)
    keep(results_dir, "ucf101_groups")
    for model, fold in product(("lstm", "bt_lstm", "averaged_lstm"), range(3)):
        label = {"model_label": model_of(model).label, "scaled": True}
        label["test/accuracy"] = 0.52 - 0.1 * (model == "lstm") + 0.001 * (fold - 1) * (model == "bt_lstm")
        where = {"experiment": "ucf101_rivals", "scaling": "normalized", "changes": changes | label}
        write_folds(results_dir, [fold], [0], models=[model], **where)
    keep(results_dir, "ucf101_rivals")
    for (model, accuracy), fold in product((("lstm", 0.8), ("bt_lstm", 0.7)), range(3)):
        of_features = {
            "source": "ucf101_efficientnet_lite0",
            "stand_in": False,
            "test/accuracy": accuracy + 0.001 * (fold - 1) * (model == "bt_lstm"),
            "scaled": True,
        }
        where = {"experiment": "ucf101_features", "scaling": "normalized", "changes": of_features}
        write_folds(results_dir, [fold], [0], models=[model], **where)
    keep(results_dir, "ucf101_features")
    claim = found(results_dir, "accuracy")  # shown, but no test of numbers that are of other data
    assert (claim["verdict"], claim["n"]) == ("not testable here", "3")
    assert claim["ours"] == "0.701 / 0.451 on UCF101-11 (random split, raw input)"
    assert claim["file"] == "tables/ucf101_rates_raw.md"
    claim = found(results_dir, "better_than_lstm")
    assert claim["verdict"] == "partly"
    assert claim["ours"].split("; ") == [
        "UCF101-11: +0.100 [+0.098, +0.102] (normalized input)",
        "UCF101-11: -0.250 [-0.252, -0.248] (raw input)",
        "UCF101-11: +0.000 [-0.002, +0.002] (unseen groups)",
        "UCF101-11: +0.100 [+0.098, +0.102] (unseen groups, rates scaled by layer)",
    ]
    for experiment, shift in (("ucf101_rates", -10.0), ("ucf101_groups", 10.0)):  # of BT-LSTM's losses
        path = results_dir / f"{experiment}_epochs.csv"
        epochs = pd.read_csv(path)
        epochs.loc[epochs["name"].str.startswith("bt_lstm"), "val/loss"] += shift
        epochs.to_csv(path, index=False)
    claim = found(results_dir, "convergence")
    assert (claim["verdict"], claim["n"]) == ("partly", "3")
    assert claim["ours"].removeprefix("fewer epochs and seconds on ").split("; ") == [
        "UCF101-11: in 3 of 3 runs, 1 instead of 6 epochs (normalized input)",
        "UCF101-11: in 0 of 3 runs, 6 instead of 6 epochs (raw input)",
        "UCF101-11: in 0 of 3 runs, never in 3 (unseen groups)",
        "UCF101-11: in 0 of 3 runs, 3 instead of 3 epochs (unseen groups, rates scaled by layer)",
    ]
    lines = readme_block(results_dir, "readme_results").splitlines()
    of_video = [[cell.strip() for cell in line.split("|")[2:-1]] for line in lines if line.startswith("| [UCF101-11")]
    assert of_video == [
        ["0.701", "-", "0.801", "-", "+0.100 [+0.098, +0.102], n = 3: better"],
        ["0.701", "-", "0.451", "-", "-0.250 [-0.252, -0.248], n = 3: worse"],
        ["0.510", "-", "0.510", "-", "+0.000 [-0.002, +0.002], n = 3: equivalent within 0.03"],
        ["0.420", "-", "0.520", "-", "+0.100 [+0.098, +0.102], n = 3: better"],
        ["0.800", "-", "0.700", "-", "-0.100 [-0.102, -0.098], n = 3: worse"],
    ]
    place = next(index for index, line in enumerate(lines) if "Controls on unseen groups" in line)
    assert lines[place].endswith(": shuffled frames +0.000 [-0.002, +0.002]")
    assert lines[place + 1].startswith("  (each: equivalent within 0.03). On the same folds: ")
    (answer, *_) = readme_block(results_dir, "readme_answer").splitlines()
    said = "**On real video with normalized input, BT-LSTM is more accurate than an LSTM"
    assert answer.startswith(said), "as these rows say"
    page = claim_pages.page_texts(results_dir)[Path("README.md")]  # rivals are compared with block terms
    said = "LSTM on averaged pixels, values = 5 minus BT-LSTM, R = 4 +0.000 [-0.002, +0.002] (equivalent within 0.03)."
    assert f"neither was shown to be better: {said}\n" in page


@pytest.mark.parametrize(
    ("epochs", "said"), [([1, 5, np.nan], "5 instead of 9 epochs"), ([1, np.nan, np.nan], "never in 2")]
)
def test_runs_that_never_come_to_the_dense_model_s_loss_count_in_the_median(monkeypatch, epochs, said):
    times = pd.DataFrame(
        {"model": "bt_lstm", "epochs": epochs, "seconds": epochs, "dense_epochs": 9, "dense_seconds": 9}
    )
    monkeypatch.setattr(findings, "convergence", lambda *_: times)
    view = view_of(ROOT / "results", "weizmann")
    verdict, _, texts, _ = findings._convergence([(view, pd.DataFrame(), "here")])["convergence"]
    assert texts["runs"] == [f"Weizmann: in {sum(epoch < 9 for epoch in epochs)} of 3 runs, {said} (here)"]
    assert verdict == "partly"


def test_accuracies_of_the_paper_s_own_data_are_compared(tmp_path):
    right, wrong = (results_folder(tmp_path / name) for name in ("right", "wrong"))
    write_ucf11(right, "ucf11", lstm=0.696, tt_lstm=0.795, bt_lstm=0.852)
    write_ucf11(wrong, "ucf11", lstm=0.696, tt_lstm=0.5, bt_lstm=0.6)
    assert found(right, "accuracy")["verdict"] == "reproduced"
    assert found(wrong, "accuracy")["verdict"] == "partly"
    assert found(right, "better_than_lstm")["verdict"] == "reproduced"
    assert found(right, "better_than_lstm")["ours"] == "UCF11: +0.156 [+0.154, +0.158] (raw input)"
    assert found(wrong, "better_than_lstm")["verdict"] == "not reproduced"


def test_one_seed_tells_nothing(tmp_path):
    results_dir = results_folder(tmp_path)
    for model in ("lstm", "bt_lstm"):
        write_run(results_dir, model, 0, experiment="ucf11")
    keep(results_dir, "ucf11")
    for key in ("accuracy", "better_than_lstm", "convergence"):
        assert found(results_dir, key)["verdict"] == "not tested"
        assert found(results_dir, key)["n"] == "1"
    assert found(results_dir, "better_than_tt_lstm")["verdict"] == "not run"


@pytest.mark.parametrize(("ahead", "verdict"), [(0.1, "reproduced"), (-0.1, "not reproduced")])
def test_a_setting_of_one_seed_does_not_count_beside_one_of_several(tmp_path, ahead, verdict):
    results_dir = results_folder(tmp_path)
    for model, scaling in product(("lstm", "bt_lstm"), ("raw", "normalized")):
        for seed in range(3 if scaling == "raw" else 1):  # of the second setting's one seed the other way round
            more = (ahead + 0.001 * seed if scaling == "raw" else -ahead) if model == "bt_lstm" else 0.0
            changes = {"test/accuracy": 0.6 + more, "seconds_per_epoch": 5}
            write_run(results_dir, model, seed, experiment="ucf11", scaling=scaling, changes=changes)
    keep(results_dir, "ucf11")
    claim = found(results_dir, "better_than_lstm")
    assert (claim["verdict"], claim["n"]) == (verdict, "1 to 3")
    assert f"{-ahead:+.3f} (normalized input)" in claim["ours"], "it is shown"


def test_two_seeds_that_differ_alike_tell_nothing(tmp_path):
    results_dir = results_folder(tmp_path)
    for (model, accuracy), seed in product((("lstm", 0.5), ("bt_lstm", 0.8)), range(2)):
        write_run(results_dir, model, seed, experiment="ucf11", changes={"test/accuracy": accuracy + 0.1 * seed})
    keep(results_dir, "ucf11")
    claim = found(results_dir, "better_than_lstm")
    assert (claim["verdict"], claim["n"]) == ("not tested", "2")
    assert claim["ours"] == "UCF11: +0.300 (the same in both) (raw input)"


def draw_run(model: str, seed: int, bound: float, experiment: str) -> dict[str, Any]:
    values = {"experiment": experiment, "name": model, "seed": seed, "model": model, "model_label": model.upper()}
    values |= {"source": experiment.removeprefix("draw_"), "stand_in": experiment.endswith("_5k"), "scale": "extended"}
    values |= {"epochs": 60, "test/nll_bound": bound, "parameters_input": 1_184, "parameters_dense_input": 1_867_776}
    return values | {"num_glimpses": 10, "rank": 4, "num_blocks": 1, "order": 4}


@pytest.mark.parametrize(
    ("experiment", "worse", "verdict"),
    [
        ("draw", [0.3, 0.5, 0.7], "reproduced"),
        ("draw_mnist_5k", [0.3, 0.5, 0.7], "not testable here"),
        ("draw_mnist", [0.5, 0.9, 1.3], "partly"),  # 0.9 is within a nat, the interval is not
        ("draw", [1.0, 1.5, 2.0], "not reproduced"),
        ("draw_mnist_5k", [2.0, 3.0, 4.0], "not testable here"),
    ],
)
def test_images_are_comparable_where_little_of_the_bound_is_lost(tmp_path, experiment, worse, verdict):
    results_dir = results_folder(tmp_path)
    runs = [draw_run("lstm", seed, 120.0 + seed, experiment) for seed in range(3)]
    runs += [draw_run("bt_lstm", seed, 120.0 + seed + more, experiment) for seed, more in enumerate(worse)]
    schema = schema_of(experiment)
    pd.DataFrame(runs).reindex(columns=list(schema.columns)).to_csv(results_dir / f"{experiment}.csv", index=False)
    pd.DataFrame(columns=list(schema.epoch_columns)).to_csv(results_dir / f"{experiment}_epochs.csv", index=False)
    claim = found(results_dir, "generation")
    assert claim["verdict"] == verdict
    assert f"test bound (lower is better) {np.mean(worse):+.2f} [" in claim["ours"]
    assert claim["n"] == "3"


@pytest.mark.parametrize(
    ("experiment", "constant", "verdict"),
    [
        ("captioning", 0.2, "reproduced"),
        ("captioning_flickr8k", 1.0005, "partly"),  # one run of the LSTM's is below
        ("captioning", 5.0, "not reproduced"),
        ("captioning_scenes", 5.0, "not testable here"),
    ],
)
def test_captions_are_proper_where_they_beat_the_constant_one(tmp_path, experiment, constant, verdict):
    results_dir = results_folder(tmp_path)
    for model, better in (("lstm", 0.0), ("bt_lstm", 0.01)):
        for seed in range(3):
            changes = {"test/cider": 1.0 + 0.001 * seed + better, "test/cider_constant": constant}
            changes["test/cider_true"] = 1.5
            write_caption_run(results_dir, model, seed, experiment=experiment, changes=changes)
    keep(results_dir, experiment)
    claim = found(results_dir, "captions_proper")
    assert (claim["verdict"], claim["n"]) == (verdict, "3")
    said = f"{100 * constant:.1f}, reference captions against one another 150.0"
    assert claim["ours"].endswith(f": lowest of all runs 100.0; one caption for all images {said}")


@pytest.mark.parametrize(
    ("better", "verdict"),
    [
        ([0.010, 0.011, 0.012], "reproduced"),
        ([0.010, 0.020, 0.030], "partly"),
        ([0.04, 0.041, 0.042], "not reproduced"),
        ([-0.02, -0.021, -0.022], "reproduced"),
        ([-0.01, -0.02, -0.03], "partly"),
        ([-0.04, -0.041, -0.042], "not reproduced"),
        ([-0.01], "not tested"),  # one seed tells nothing
        ([0.01] * 3, "not tested"),  # nor do three that are alike
        ([0.04] * 3, "not tested"),
    ],
)
def test_little_improvement_is_no_change_beyond_the_margin_and_real_captions_come_first(tmp_path, better, verdict):
    results_dir = results_folder(tmp_path)
    for experiment, of_bt in (("captioning_flickr8k", better), ("captioning_scenes", [0.5] * 3)):
        source = {"source": experiment.removeprefix("captioning_")}
        for seed, gained in enumerate(of_bt):
            for model, more in (("lstm", 0.0), ("bt_lstm", gained)):
                changes = source | {"test/cider": 0.4 + more, "test/perplexity": 13.0 + 10 * more}
                write_caption_run(results_dir, model, seed, experiment=experiment, changes=changes)
        keep(results_dir, experiment)
    claim = found(results_dir, "captions_improvement")
    assert claim["verdict"] == verdict
    assert claim["ours"].startswith(f"CIDEr {100 * np.mean(better):+.1f}")
    assert f"LSTM's being 40.0; perplexity (lower is better) {10 * np.mean(better):+.2f}" in claim["ours"]
    assert "LSTM's being 13.00, on Flickr8k, " in claim["ours"]


def write_recovery(results_dir: Path, errors: dict[str, float], truth: str = "same_shape") -> None:
    """Write the recovery study: an error for each shape, three truths of a kind."""
    fits = [
        {"name": name, "form": f"{name[:2]}_n1", "order": 2, "rank": rank, "num_blocks": 1, "parameters": 100 * rank}
        | {"truth": truth, "seed": seed, "error_best": error * (1 + seed / 10), "error_best_rank": 0.5}
        for rank, (name, error) in enumerate(errors.items(), 1)
        for seed in range(3)
    ]
    table = pd.DataFrame(fits).reindex(columns=list(records.COLUMNS))
    path, _ = records.paths(results_dir)
    if path.exists():
        table = pd.concat([pd.read_csv(path), table])
    table.to_csv(path, index=False)


def test_panels_are_recovered_where_the_median_truth_is(tmp_path):
    results_dir = results_folder(tmp_path)
    write_recovery(results_dir, dict.fromkeys(records.PANELS, 1e-3) | {records.PANELS[0]: 2e-2})
    write_recovery(results_dir, dict.fromkeys(records.PANELS, 0.4), "photograph")
    claim = found(results_dir, "recovery")
    assert claim["verdict"] == "partly"
    assert (
        claim["ours"]
        == "4 of 5 on truths of their own shape; the median photograph with a relative error of 0.44 to 0.44"
    )
    assert claim["n"] == "3"


def test_the_page_links_to_what_is_there_or_written_with_it(tmp_path):
    results_dir = results_folder(tmp_path)
    table = Path("tables/parameters.md")
    (without,) = claim_pages.page_texts(results_dir).values()
    (linked,) = claim_pages.page_texts(results_dir, [table]).values()
    assert "](tables/parameters.md)" not in without
    assert linked.count("](tables/parameters.md)") == 4
    (results_dir / table).parent.mkdir()
    (results_dir / table).touch()
    assert claim_pages.page_texts(results_dir) == {Path("README.md"): linked}


# ---- rules


@pytest.mark.parametrize(
    ("holding", "verdict"),
    [
        ([True] * 4, "reproduced"),
        ([True, False], "partly"),
        ([False] * 4, "not reproduced"),
        ([], "not tested"),
    ],
)
def test_rules(holding, verdict):
    assert in_share(holding) == verdict
    assert verdict in VERDICTS


def test_a_wide_interval_is_no_reproduction_and_no_refutation():
    assert at_most(0.4, 1.0, 2.0) == "reproduced"
    assert at_most(0.4, 5.7, 2.0) == "partly"
    assert at_most(0.4, float("nan"), 2.0) == "not tested"
    assert at_most(2.1, 5.7, 2.0) == "not reproduced"
    assert at_most(2.1, float("nan"), 2.0) == "not tested"
    assert at_most(float("nan"), 1.0, 2.0) == "not reproduced"


def test_accuracies_at_the_ceiling_or_near_chance_tell_nothing():
    assert are_comparable([0.7, 1.0], 11)
    assert not are_comparable([0.98, 1.0], 11)
    assert not are_comparable([0.05, 0.13], 11)
    assert are_comparable([0.05, 0.14], 11)


def test_settings_that_tell_nothing_do_not_count(tmp_path):
    results_dir = results_folder(tmp_path)
    write_ucf11(results_dir, "ucf11", lstm=0.981, tt_lstm=0.5, bt_lstm=0.99)
    assert found(results_dir, "better_than_lstm")["verdict"] == "not tested"
    assert found(results_dir, "better_than_tt_lstm")["verdict"] == "reproduced"


# ---- how soon


def curves(column: str = "val/loss", **scores: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make a panel and its epochs; each epoch takes 10 s."""
    panel = [
        dict.fromkeys(schema_of("ucf11").panel, "ucf11")
        | {"model": model, "label": model, "name": model, "seeds": "0,1", "origin": "x"}
        for model in scores
    ]
    epochs = [
        {"name": model, "seed": seed, "epoch": epoch, column: score, "seconds": 10.0 + seed}
        for model, values in scores.items()
        for seed in (0, 1)
        for epoch, score in reversed(list(enumerate(values)))
    ]
    return pd.DataFrame(panel), pd.DataFrame(epochs)


def test_convergence_counts_epochs_and_seconds_until_the_dense_model_s_best(tmp_path):
    times = convergence(*curves(lstm=[3.0, 1.0, 2.0], tt_lstm=[2.0, 1.5, 1.1], bt_lstm=[0.9, 0.5, 1.2]))
    assert times["model"].tolist() == ["tt_lstm"] * 2 + ["bt_lstm"] * 2
    assert times["goal"].tolist() == [1.0] * 4
    assert times["dense_epochs"].tolist() == [2.0] * 4
    assert times["dense_seconds"].tolist() == [20.0, 22.0] * 2
    assert times["epochs"].isna().tolist() == [True, True, False, False]
    assert times["seconds"].tolist()[2:] == [10.0, 11.0]
    assert convergence(*curves(tt_lstm=[1.0])).empty


def test_of_two_dense_models_the_first_is_the_one_to_reach():
    panel, epochs = curves(lstm=[3.0, 1.0, 2.0], gru=[1.5, 0.2, 0.1], bt_lstm=[0.9, 0.5, 1.2])
    times = convergence(panel, epochs)
    assert times["label"].tolist() == ["gru"] * 2 + ["bt_lstm"] * 2
    assert times["goal"].tolist() == [1.0] * 4
    assert times["epochs"].tolist() == [2.0, 2.0, 1.0, 1.0]
    assert times["dense_epochs"].tolist() == [2.0] * 4


def test_an_accuracy_is_reached_from_below():
    panel, epochs = curves("val/accuracy", lstm=[0.5, 0.77, 0.8], tt_lstm=[0.7, 0.75, 0.7], bt_lstm=[0.76, 0.1, 0.9])
    times = convergence(panel, epochs, "val/accuracy", 0.95)
    assert times["goal"].tolist() == pytest.approx([0.76] * 4)
    assert times["dense_epochs"].tolist() == [2.0] * 4
    assert times["epochs"].tolist()[2:] == [1.0, 1.0]
    assert times["epochs"].isna().tolist() == [True, True, False, False]


def test_seeds_that_only_one_model_has_are_not_paired():
    panel, epochs = curves(lstm=[1.0], bt_lstm=[1.0])
    panel["seeds"] = ["0,1", "1,2"]
    assert convergence(panel, epochs)["seed"].tolist() == [1]
    first, second = (
        pd.DataFrame({"seed": seeds, "m": values}) for seeds, values in (([0, 1, 2], [5, 6, 8]), ([2, 1], [1, 2]))
    )
    difference = paired_difference(first, second, "m")
    assert (difference.n, difference.mean) == (2, 5.5)
    with pytest.raises(ValueError, match="a seed stands in two rows"):
        paired_difference(pd.concat([first, first]), second, "m")


def test_what_single_precision_rounds_away_is_no_difference():
    seeds, values = [0, 1, 2], np.array([1 / 3, 2 / 7, 5 / 9])
    rounded, exact = (pd.DataFrame({"seed": seeds, "m": part}) for part in (values.astype(np.float32), values))
    exact["m"] = rounded["m"].astype(float) - 6e-8  # the same shift for all: without rounding, a certain difference
    found = paired_difference(rounded.astype({"m": float}), exact, "m")
    assert (found.mean, found.sd) == (0, 0)


# ---- efficiency


def write_times(results_dir: Path, section: str, device: str, **medians: float) -> None:
    """Write a section of the benchmark at the paper's setting: milliseconds by implementation and phase."""
    rows = [
        record(section, Point("paper", 57_600), name, phase, best_ms=milliseconds, median_ms=milliseconds)
        for name, milliseconds in medians.items()
        for phase in ("forward", "forward+backward", "training step")
    ]
    RecordFile(section_path(results_dir, section, device)).add(rows)


def test_efficiency_is_three_claims_of_the_algorithm_and_of_each_device(tmp_path):
    results_dir = results_folder(tmp_path)
    write_times(results_dir, "product", "cpu", **{"dense nn.Linear": 10.0, "authors' order BT": 75.0, "btrnn BT": 2.0})
    write_times(results_dir, "layer", "cpu", **{"nn.LSTM": 300.0, "btrnn.BTLSTM": 20.0})
    write_times(results_dir, "layer", "cuda", **{"nn.LSTM": 2.0, "btrnn.BTLSTM": 5.0})
    found_ = {key: found(results_dir, f"efficiency_{key}") for key in ("order", "cpu", "gpu")}
    assert [claim["verdict"] for claim in found_.values()] == ["not reproduced", "reproduced", "not reproduced"]
    assert "forward 7.5 times slower than dense nn.Linear (75 instead of 10 ms)" in found_["order"]["ours"]
    assert found_["cpu"]["ours"] == "15.0 times faster than nn.LSTM (20 instead of 300 ms)"


@pytest.mark.parametrize(
    ("alone", "said", "verdict"),
    [
        ((250.0, 25.0), "10.0 to 15.0 times faster than nn.LSTM", "reproduced"),
        ((10.0, 25.0), "0.4 to 15.0 times faster than nn.LSTM", "partly"),
    ],
)
def test_layers_that_were_also_measured_one_by_one_have_a_range(tmp_path, alone, said, verdict):
    results_dir = results_folder(tmp_path)
    write_times(results_dir, "layer", "cpu", **{"nn.LSTM": 300.0, "btrnn.BTLSTM": 20.0})
    rows_ = [
        record("memory", Point("allocator", kept), name, "training step", best_ms=time, median_ms=time)
        for kept in (0, 1)
        for name, time in zip(("nn.LSTM", "btrnn.BTLSTM"), alone, strict=True)
    ]
    RecordFile(section_path(results_dir, "memory", "cpu")).add(rows_)
    claim = found(results_dir, "efficiency_cpu")
    assert claim["brief"] == said
    assert claim["verdict"] == verdict
