"""What is said of the paper's claims: nothing that the committed tables do not bear out."""

import re
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pandas as pd
import pytest

from btrnn.benchmark.records import RecordFile, record, section_path
from btrnn.benchmark.settings import Point
from btrnn.recovery import records
from btrnn.reports import choosing_ranks
from btrnn.reports.claims import page
from btrnn.reports.claims.exact import exact_findings, own_counts
from btrnn.reports.claims.rules import (
    NOT_RUN,
    VERDICTS,
    Claim,
    above_zero,
    counted,
    in_share,
    no_worse,
    read_texts,
    tells_apart,
)
from btrnn.reports.readme import readme_block, speed_block
from btrnn.results.differences import convergence, paired_difference
from btrnn.results.schema import schema_of
from btrnn.results.store import collect, write_results
from tests.caption_folders import write_run as write_caption_run
from tests.run_folders import write_run
from tests.test_complexity_report import write_sections

from .conftest import ROOT


def results_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    copyfile(ROOT / "results" / "paper.csv", folder / "paper.csv")
    return folder


def keep(results_dir: Path, experiment: str) -> None:
    write_results(collect(results_dir, experiment)[0], results_dir, experiment)


def found(results_dir: Path, key: str) -> Claim:
    (claim,) = [claim for claim in page.all_claims(results_dir) if claim.key == key]
    return claim


def rows(table: str) -> list[list[str]]:
    """Return the cells of a Markdown table, without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


# ---- what is counted, and the page


def test_without_results_what_is_counted_is_reproduced_and_the_rest_is_not_run(tmp_path):
    results_dir = results_folder(tmp_path)
    claims = page.all_claims(results_dir)
    assert [claim.key for claim in claims] == list(read_texts("claims"))
    verdicts = {claim.key: claim.verdict for claim in claims}
    exact = exact_findings(results_dir)
    assert {verdicts[key] for key in exact} == {"reproduced"}
    assert {verdict for key, verdict in verdicts.items() if key not in exact} == {NOT_RUN}
    assert {claim.kind for claim in claims} == {"counted", "trained", "timed"}
    assert {claim.topic for claim in claims} == {
        *("compression", "core order", "accuracy", "convergence", "efficiency", "generation", "captioning"),
        *("sensitivity", "complexity"),
    }


def test_the_page_and_the_block_without_results(tmp_path, golden):
    results_dir = results_folder(tmp_path / "results")
    (text,) = page.page_texts(results_dir).values()
    golden("claims.md", text)
    golden("readme_block.md", readme_block(results_dir) + "\n")


def test_the_committed_page_opens_with_at_most_six_lines_and_a_figure():
    (text,) = page.page_texts(ROOT / "results").values()
    lines = text.split("##")[0].splitlines()
    answers = [line for line in lines if line.startswith("- **")]
    assert 1 <= len(answers) <= 6
    assert sum(int(re.search(r"\((\d+) of", line)[1]) for line in answers) == len(read_texts("claims"))
    assert any(line.startswith("![") for line in lines)


def test_the_readme_block_has_six_to_eight_claims_in_short_lines():
    block = readme_block(ROOT / "results")
    table = [line for line in block.splitlines() if line.startswith("|")]
    assert 6 <= len(table) - 2 <= 8
    assert max(map(len, block.splitlines())) <= 200
    assert len(rows(speed_block(ROOT / "results"))) == 4


def test_a_number_of_the_paper_that_differs_is_not_reproduced(tmp_path):
    results_dir = results_folder(tmp_path)
    path = results_dir / "paper.csv"
    path.write_text(re.sub(r"(method.compression_abstract,.*,)17388(,)", r"\g<1>17389\2", path.read_text()))
    path.write_text(re.sub(r"(sensitivity.parameters.r2_d5,.*,)192(,)", r"\g<1>193\2", path.read_text()))
    claim = found(results_dir, "compression_abstract")
    assert (claim.paper, claim.ours, claim.verdict) == ("17,389 [S]", "17,388", "not reproduced")
    (figure,) = [row for row in own_counts(results_dir) if row["of"].startswith("the figure of parameters")]
    assert figure["ours"] == "31 of 32 equal"


def test_our_own_arithmetic_is_no_claim_and_every_known_number_has_its_mark(tmp_path):
    results_dir = results_folder(tmp_path)
    for row in own_counts(results_dir):
        numbers, marks = re.findall(r"\d[\d,]*", row["known"]), re.findall(r"\[[SDM/]+\]", row["known"])
        assert marks
        assert len(marks) == len(numbers) or "counts" in row["known"]
        ours = re.findall(r"\d[\d,]*", row["ours"])
        assert row["ours"] == "219.9" or "equal" in row["ours"] or ours == numbers  # what is known is met
    counted_here = [claim for claim in page.all_claims(results_dir) if claim.kind == "counted"]
    assert not any(number in claim.ours for claim in counted_here for number in ("1,552", "1,184", "219.9"))


# ---- task 1


def write_ucf11(results_dir: Path, experiment: str, **accuracies: float) -> None:
    """Write three seeds of the paper's three models, the block-term model a little better by every clip."""
    for model, accuracy in accuracies.items():
        for seed in range(3):
            changes = {"test/accuracy": accuracy + 0.001 * seed, "seconds_per_epoch": 40 if model == "lstm" else 5}
            write_run(results_dir, model, seed, experiment=experiment, changes=changes)
    keep(results_dir, experiment)


def test_accuracies_of_a_stand_in_say_nothing_of_the_paper_s(tmp_path):
    results_dir = results_folder(tmp_path)
    write_ucf11(results_dir, "ucf11_actions", lstm=0.697, tt_lstm=0.796, bt_lstm=0.853)
    claim = found(results_dir, "accuracy")
    assert claim.verdict == "not testable here"
    assert claim.paper == "0.697 [S] / reported 0.796 [M] / 0.853 [S]"
    assert claim.ours == "0.698 / 0.797 / 0.854 on Actions (stand-in) (protocol paper, raw input)"
    assert claim.file == "tables/ucf11_actions.md"
    for key in ("better_than_lstm", "convergence"):
        assert found(results_dir, key).verdict == "not testable here"
        assert "Actions (stand-in)" in found(results_dir, key).ours, key


def test_accuracies_of_the_paper_s_own_data_are_compared(tmp_path):
    right, wrong = (results_folder(tmp_path / name) for name in ("right", "wrong"))
    write_ucf11(right, "ucf11", lstm=0.696, tt_lstm=0.795, bt_lstm=0.852)
    write_ucf11(wrong, "ucf11", lstm=0.696, tt_lstm=0.5, bt_lstm=0.6)
    assert found(right, "accuracy").verdict == "reproduced"
    assert found(wrong, "accuracy").verdict == "partly"
    assert found(right, "better_than_lstm").verdict == "reproduced"
    assert found(right, "better_than_lstm").ours == "on UCF11: +0.156 [+0.156, +0.156] (protocol paper, raw input)"
    assert found(wrong, "better_than_lstm").verdict == "not reproduced"


def test_one_seed_tells_nothing(tmp_path):
    results_dir = results_folder(tmp_path)
    for model in ("lstm", "bt_lstm"):
        write_run(results_dir, model, 0, experiment="ucf11")
    keep(results_dir, "ucf11")
    assert found(results_dir, "better_than_lstm").verdict == "not reproduced"
    assert found(results_dir, "better_than_tt_lstm").verdict == "not run"


def draw_run(model: str, seed: int, bound: float, experiment: str) -> dict[str, Any]:
    values = {"experiment": experiment, "name": model, "seed": seed, "model": model, "model_label": model.upper()}
    values |= {"source": experiment.removeprefix("draw_"), "stand_in": experiment != "draw", "scale": "extended"}
    values |= {"epochs": 60, "test/nll_bound": bound, "parameters_input": 1_184, "parameters_dense_input": 1_867_776}
    return values | {"num_glimpses": 10, "rank": 4, "num_blocks": 1, "order": 4}


@pytest.mark.parametrize(
    ("experiment", "worse", "verdict"),
    [
        ("draw", [0.5, 1.0, 1.5], "reproduced"),
        ("draw_mnist_5k", [0.5, 1.0, 1.5], "not testable here"),
        ("draw", [1.0, 2.0, 3.0], "partly"),  # 2 is within a fiftieth of 121, the interval is not
        ("draw", [2.0, 3.0, 4.0], "not reproduced"),
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
    assert claim.verdict == verdict
    assert f"test bound {np.mean(worse):+.2f} [" in claim.ours
    assert claim.n == "3"


@pytest.mark.parametrize(
    ("experiment", "constant", "verdict"),
    [
        ("captioning", 0.2, "reproduced"),
        ("captioning", 5.0, "not reproduced"),
        ("captioning_scenes", 5.0, "not testable here"),
    ],
)
def test_captions_are_proper_where_they_beat_the_constant_one(tmp_path, experiment, constant, verdict):
    results_dir = results_folder(tmp_path)
    for model in ("lstm", "bt_lstm"):
        for seed in range(3):
            changes = {"test/cider": 1.0 + 0.001 * seed, "test/cider_constant": constant}
            write_caption_run(results_dir, model, seed, experiment=experiment, changes=changes)
    keep(results_dir, experiment)
    claim = found(results_dir, "captioning")
    assert claim.verdict == verdict
    assert claim.ours.endswith(f"lowest of all runs 1.000, one caption for all images {constant:.3f}")


def test_accuracy_rises_with_the_rank_as_far_as_the_intervals_tell(tmp_path):
    results_dir = results_folder(tmp_path)
    experiment = "ucf11_sensitivity"
    for rank, accuracy in ((1, 0.5), (2, 0.6), (4, 0.6)):
        for seed in range(3):
            changes = {"rank": rank, "test/accuracy": accuracy + 0.01 * seed * rank}
            write_run(results_dir, "bt_lstm", seed, experiment=experiment, changes=changes)
    keep(results_dir, experiment)
    claim = found(results_dir, "rank")
    assert claim.verdict == "partly"
    assert claim.ours.startswith("0.510 / 0.620 / 0.640 on UCF11; steps +0.110 [")
    assert claim.paper == "reported 0.784 [M] / reported 0.803 [M] / 0.853 [S]"
    small = {"rank": 1}
    write_run(results_dir, "bt_lstm", 0, experiment=experiment, scale="smoke", epochs=1, num_clips=55, changes=small)
    keep(results_dir, experiment)
    assert found(results_dir, "rank") == claim  # a smaller scale changes nothing


def test_accuracy_on_a_stand_in_says_nothing_of_ranks(tmp_path):
    results_dir = results_folder(tmp_path)
    for rank in (1, 2, 4):
        changes = {"rank": rank, "test/accuracy": 1.0}
        write_run(results_dir, "bt_lstm", 0, experiment="ucf11_sensitivity_actions", changes=changes)
    keep(results_dir, "ucf11_sensitivity_actions")
    claim = found(results_dir, "rank")
    assert claim.verdict == "not testable here"
    assert claim.ours == "1.000 / 1.000 / 1.000 on Actions (stand-in); steps +0.000, +0.000"


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
    assert claim.verdict == "partly"
    assert claim.ours == "4 of 5 on truths of their own shape; photographs with a relative error of 0.44 to 0.44"
    assert claim.n == "3"


def test_choosing_ranks_shows_error_and_time_against_parameters(tmp_path, golden):
    results_dir = results_folder(tmp_path)
    assert choosing_ranks.measured(results_dir).empty
    assert choosing_ranks.figure_files(results_dir) == []
    assert choosing_ranks.best_of_each_size(results_dir) == ""
    write_sections(results_dir)
    write_recovery(results_dir, {"bt_a": 0.4, "bt_b": 0.5, "bt_c": 0.2, "tt_d": 0.1}, "photograph")
    experiment = "ucf11_sensitivity_actions"
    for rank, accuracy in ((1, 0.5), (4, 0.75)):
        for seed in range(2):
            write_run(
                results_dir,
                "bt_lstm",
                seed,
                experiment=experiment,
                changes={"rank": rank, "parameters_input": 100 * rank, "test/accuracy": accuracy},
            )
    keep(results_dir, experiment)
    table = choosing_ranks.measured(results_dir)
    errors = table[table["panel"] == "action recognition"]
    assert set(errors["data"]) == {"Actions (stand-in)"}
    assert errors[["parameters", "mean", "low", "high"]].to_numpy().tolist() == [
        [100, 0.5, 0.5, 0.5],
        [400, 0.25, 0.25, 0.25],
    ]
    times = table[table["panel"] == "time of the matmul"]
    assert set(times["series"]) == {"BT", "TT", "dense"}
    paper = times[(times["series"] == "BT") & (times["parameters"] == 3_392)]
    assert len(paper) == 1  # the paper's shape belongs to every sweep
    assert [row[:3] for row in rows(choosing_ranks.best_of_each_size(results_dir))] == [
        ["recovery of photographs, 64 x 64", "100", "d = 2, R = 1, N = 1"],
        ["recovery of photographs, 64 x 64", "300", "d = 2, R = 3, N = 1"],
        ["action recognition, Actions (stand-in)", "100", "d = 4, R = 1, N = 2"],
        ["action recognition, Actions (stand-in)", "400", "d = 4, R = 4, N = 2"],
    ]
    golden("choosing_ranks.md", "".join(choosing_ranks.table_texts(results_dir).values()))
    (file,) = choosing_ranks.figure_files(results_dir)
    figure = file.draw()
    titles = [axis.get_title() for axis in figure.axes]
    assert [title.split("\n")[0] for title in titles] == [
        *("recovery of photographs", "action recognition", "time of the matmul"),
    ]
    assert titles[1].endswith("\nActions (stand-in)")
    assert all(axis.get_xscale() == "log" for axis in figure.axes)


def test_laws_that_hold_are_reproduced(tmp_path):
    results_dir = results_folder(tmp_path)
    write_sections(results_dir)
    laws = [claim for claim in page.all_claims(results_dir) if claim.topic == "complexity"]
    assert [claim.verdict for claim in laws] == ["reproduced"] * 3
    assert laws[0].ours == "dense holds; TT holds; BT holds"
    write_sections(results_dir, power=0.6)
    assert found(results_dir, "time_forward").verdict == "not tested"  # below a bound from above
    write_sections(results_dir, power=1.4)
    assert found(results_dir, "time_forward").verdict == "not reproduced"


def test_the_page_links_to_what_is_there_or_written_with_it(tmp_path):
    results_dir = results_folder(tmp_path)
    table = Path("tables/parameters.md")
    (without,) = page.page_texts(results_dir).values()
    (linked,) = page.page_texts(results_dir, [table]).values()
    assert "](tables/parameters.md)" not in without
    assert linked.count("[parameters](tables/parameters.md)") == 3
    (results_dir / table).parent.mkdir()
    (results_dir / table).touch()
    assert page.page_texts(results_dir) == {Path("README.md"): linked}


# ---- rules


@pytest.mark.parametrize(
    ("holding", "total", "on_stand_in", "verdict"),
    [
        (4, 4, False, "reproduced"),
        (4, 4, True, "not testable here"),
        (1, 4, False, "partly"),
        (0, 4, True, "not testable here"),
        (0, 4, False, "not reproduced"),
        (0, 0, False, "not tested"),
    ],
)
def test_rules(holding, total, on_stand_in, verdict):
    assert in_share(holding, total, on_stand_in=on_stand_in) == verdict
    assert verdict in VERDICTS


def test_a_wide_interval_is_no_reproduction_and_no_refutation():
    assert no_worse(0.4, 1.0, 2.0, on_stand_in=False) == "reproduced"
    assert no_worse(0.4, 5.7, 2.0, on_stand_in=False) == "partly"
    assert no_worse(0.4, float("nan"), 2.0, on_stand_in=False) == "partly"
    assert no_worse(2.1, 5.7, 2.0, on_stand_in=False) == "not reproduced"
    assert no_worse(0.4, 1.0, 2.0, on_stand_in=True) == "not testable here"


def test_a_difference_without_an_interval_is_none():
    assert above_zero(0.01)
    assert not above_zero(0.0)
    assert not above_zero(float("nan"))
    assert (counted(True), counted(False)) == ("reproduced", "not reproduced")


def test_accuracies_at_the_ceiling_or_near_chance_tell_nothing():
    assert tells_apart([0.7, 1.0], 11)
    assert not tells_apart([0.98, 1.0], 11)
    assert not tells_apart([0.05, 0.13], 11)
    assert tells_apart([0.05, 0.14], 11)


def test_settings_that_tell_nothing_do_not_count(tmp_path):
    results_dir = results_folder(tmp_path)
    write_ucf11(results_dir, "ucf11", lstm=0.981, tt_lstm=0.5, bt_lstm=0.99)
    assert found(results_dir, "better_than_lstm").verdict == "not tested"
    assert found(results_dir, "better_than_tt_lstm").verdict == "reproduced"


# ---- how soon


def curves(**losses: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make a panel and its epochs; each epoch takes 10 s."""
    panel = [
        dict.fromkeys(schema_of("ucf11").panel, "ucf11")
        | {"model": model, "label": model, "name": model, "seeds": "0,1", "origin": "x"}
        for model in losses
    ]
    epochs = [
        {"name": model, "seed": seed, "epoch": epoch, "val/loss": loss, "seconds": 10.0 + seed}
        for model, values in losses.items()
        for seed in (0, 1)
        for epoch, loss in reversed(list(enumerate(values)))
    ]
    return pd.DataFrame(panel), pd.DataFrame(epochs)


def test_convergence_counts_epochs_and_seconds_until_the_dense_model_s_best(tmp_path):
    times = convergence(*curves(lstm=[3.0, 1.0, 2.0], tt_lstm=[2.0, 1.5, 1.1], bt_lstm=[0.9, 0.5, 1.2]))
    assert times["model"].tolist() == ["tt_lstm"] * 2 + ["bt_lstm"] * 2
    assert times["loss"].tolist() == [1.0] * 4
    assert times["dense_epochs"].tolist() == [2.0] * 4
    assert times["dense_seconds"].tolist() == [20.0, 22.0] * 2
    assert times["epochs"].isna().tolist() == [True, True, False, False]
    assert times["seconds"].tolist()[2:] == [10.0, 11.0]
    assert convergence(*curves(tt_lstm=[1.0])).empty


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
    assert [claim.verdict for claim in found_.values()] == ["not reproduced", "reproduced", "not reproduced"]
    assert "forward 7.5 times slower (75 instead of 10 ms)" in found_["order"].ours
    assert found_["cpu"].ours == "15.0 times faster (20 instead of 300 ms)"
