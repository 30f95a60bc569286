"""What is asked of the benchmark, on a CPU and on a GPU, and whether it is met. No torch.

A target is a ratio of two numbers within one run. On a GPU the time of Task 1 is asked too, and that no test fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import pandas as pd

from btrnn.benchmark.records import COLUMNS, read_section
from btrnn.benchmark.settings import ONE_GRAPH, PLAIN
from btrnn.storage.files import ResultsError

GPU_RUNS = "gpu/runs/*/*/seed0/metrics.csv"  # of Task 1's three models, below the results
GPU_TESTS = "gpu/tests.xml"  # what pytest says of those on a GPU
_MODELS, _EPOCHS, _SECONDS = 3, 500, 300.0  # of those


@dataclass(frozen=True)
class Target:
    """A ratio and its threshold.

    Attributes:
        name: What is asked.
        section: Of which section the numbers are.
        numerator, denominator: Implementations whose numbers are divided.
        phase: Which of their phases.
        threshold: The ratio must reach it, or with `at_most` stay below it.
        at_most: See `threshold`.
        quantity: "ms", of which the best and the median are compared, or "peak_mib".
        factor, value: The place in a sweep; by default the paper's setting.
    """

    name: str
    section: str
    numerator: str
    denominator: str
    phase: str
    threshold: float
    at_most: bool = False
    quantity: Literal["ms", "peak_mib"] = "ms"
    factor: str = "paper"
    value: int | None = None

    def without_native_path(self) -> "Target":
        """Return the same target for our implementations on torch's products alone."""
        names = (self.numerator, self.denominator)
        plain = [n + PLAIN if n.startswith("btrnn") and n != "btrnn.LSTM" else n for n in names]
        return replace(self, numerator=plain[0], denominator=plain[1])


def _faster(name: str, section: str, ours: str, other: str, phase: str, threshold: float) -> Target:
    return Target(name, section, other, ours, phase, threshold)


_F, _FB, _STEP = "forward", "forward+backward", "training step"
_BOTH, _BT, _TT = (_F, _FB), ("product", "btrnn BT"), ("product", "btrnn TT")
TARGETS: Sequence[Target] = (
    _faster("BT matmul, against dense nn.Linear", *_BT, "dense nn.Linear", _F, 4.0),
    _faster("BT matmul, against dense nn.Linear", *_BT, "dense nn.Linear", _FB, 3.0),
    _faster("BT matmul, against dense nn.Linear (stretch)", *_BT, "dense nn.Linear", _FB, 4.0),
    *(_faster("BT matmul, against tednet", *_BT, "tednet BT", phase, 20.0) for phase in _BOTH),
    *(_faster("BT matmul, against opt_einsum", *_BT, "opt_einsum BT", phase, 1.5) for phase in _BOTH),
    *(Target("BT matmul, over the roofline", *_BT, "roofline BT", phase, 3.0, at_most=True) for phase in _BOTH),
    *(Target("BT matmul, over the roofline (stretch)", *_BT, "roofline BT", each, 1.5, at_most=True) for each in _BOTH),
    *(_faster("TT matmul, against tltorch", *_TT, "tltorch TT", phase, 1.3) for phase in _BOTH),
    _faster("BT-LSTM, against dense nn.LSTM", "layer", "btrnn.BTLSTM", "nn.LSTM", _F, 10.0),
    _faster("BT-LSTM, against dense nn.LSTM", "layer", "btrnn.BTLSTM", "nn.LSTM", _FB, 8.0),
    _faster("BT-LSTM, against dense nn.LSTM", "layer", "btrnn.BTLSTM", "nn.LSTM", _STEP, 10.0),
    _faster("BT-LSTM, against the best dense form", "layer", "btrnn.BTLSTM", "btrnn.LSTM", _STEP, 4.0),
    Target(
        *("BT-LSTM, against nn.LSTM at T = 1,000 and 1,024 inputs", "layer_sweep", "nn.LSTM", "btrnn.BTLSTM", _FB, 1.0),
        factor="time",
        value=1_000,
    ),
    Target(
        *("BT-LSTM, memory of training over the dense layer's", "memory", "btrnn.BTLSTM", "btrnn.LSTM", _STEP, 0.25),
        at_most=True,
        quantity="peak_mib",
        factor="allocator",
        value=1,
    ),
)


def _on_a_gpu(larger: str, smaller: str, phase: str, threshold: float, clips: int | None = None) -> Target:
    """Ask for a ratio of times at some clips a batch, or of the memory of training where no clips are given."""
    name = f"{larger} / {smaller}, {phase}, {'memory' if clips is None else f'{clips} clips'}"
    place: dict[str, Any] = {"quantity": "peak_mib", "factor": "allocator", "value": 1}
    if clips is not None:
        place = {"factor": "batch", "value": clips}
    return Target(name, "device_sweep", larger, smaller, phase, threshold, **place)


GPU_TARGETS: Sequence[Target] = (
    _on_a_gpu("dense nn.Linear", "btrnn BT", _FB, 1.0, 16),
    _on_a_gpu("dense nn.Linear", "btrnn BT", _FB, 2.0, 256),
    _on_a_gpu("nn.LSTM", "btrnn.BTLSTM", _STEP, 1.0, 16),
    _on_a_gpu("nn.LSTM", "btrnn.BTLSTM", _STEP, 2.0, 256),
    _on_a_gpu("nn.LSTM", f"btrnn.BTLSTM{ONE_GRAPH}", _STEP, 4.0, 16),
    _on_a_gpu("nn.LSTM", "btrnn.BTLSTM", _STEP, 10.0),
)


def judge(targets: Sequence[Target], sections: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Measure targets, each with and without the native path.

    Args:
        targets: Those of sections that were not measured are left out.
        sections: The tables of `read_all`.

    Returns:
        A row a target and path: `target`, `phase`, `path` ("native" or "plain torch"), `asked`, `best`, `median` (the
        ratios; both the same where the quantity is memory; not a number where a cell was not measured) and `verdict`.
    """
    rows = []
    for target in targets:
        if target.section not in sections:
            continue
        for path, variant in (("native", target), ("plain torch", target.without_native_path())):
            best, median = ratios(variant, sections[target.section])
            asked = _asked(target.threshold, target.at_most)
            rows.append(
                {"target": target.name, "phase": target.phase, "path": path, "asked": asked}
                | {"best": best, "median": median, "verdict": verdict(target, best, median)}
            )
    return pd.DataFrame(rows)


def ratios(target: Target, table: pd.DataFrame) -> tuple[float, float]:
    """Return a target's ratio by the best and by the median rounds."""
    place = table[(table["factor"] == target.factor) & (table["phase"] == target.phase)]
    if target.value is not None:
        place = place[place["value"] == target.value]
    columns = ["best_ms", "median_ms"] if target.quantity == "ms" else ["peak_mib", "peak_mib"]
    found = []
    for column in columns:
        numbers = place.set_index("implementation")[column]
        above, below = (float(numbers.get(name, nan)) for name in (target.numerator, target.denominator))
        found.append(above / below)
    return found[0], found[1]


def verdict(target: Target, best: float, median: float) -> str:
    """Return whether a target is met, by both of its ratios."""
    if isnan(best) or isnan(median):
        return "not measured"
    met = [_is_met(ratio, target.threshold, target.at_most) for ratio in (best, median)]
    if all(met):
        return "met"
    return "not met" if not any(met) else f"met by the {'best' if met[0] else 'median'} alone"


def gpu_targets(results_dir: Path) -> list[dict[str, str]]:
    """Return what is asked of a GPU, what was measured there, in full float32, and whether it is met.

    What is missing is not measured; of ratios those of the medians count.
    """
    try:
        table = read_section(results_dir, "device_sweep", "cuda")
    except ResultsError:
        table = pd.DataFrame(columns=COLUMNS)
    what, seconds = _seconds_of_training(results_dir)
    return [
        *(_judged(one.name, ratios(one, table)[1], one.threshold, at_most=one.at_most) for one in GPU_TARGETS),
        _judged(what, seconds, _SECONDS, at_most=True),
        _judged("failed of the tests on a GPU", _failed_tests(results_dir / GPU_TESTS), 0.0, at_most=True),
    ]


def _seconds_of_training(results_dir: Path) -> tuple[str, float]:
    """Return in words what was trained, and how long it takes; not a number where a model is missing.

    Of training that was stopped, the other epochs are taken to last as its median one.
    """
    runs = [pd.read_csv(path)["seconds"] for path in results_dir.glob(GPU_RUNS)]
    done, asked = sum(map(len, runs)), _MODELS * _EPOCHS
    expected = [float(run.sum() + run.median() * (_EPOCHS - len(run))) for run in runs]
    what = f"Task 1, three models, {_EPOCHS} epochs, seconds" + (f", by {done:,} of {asked:,}" if done < asked else "")
    return what, sum(expected) if len(runs) == _MODELS else nan


def _failed_tests(path: Path) -> float:
    """Count what failed by pytest's XML; not a number where there is none, or no test was run."""
    suite = ElementTree.parse(path).getroot().find("testsuite") if path.exists() else None
    names = ("tests", "skipped", "failures", "errors")
    tests, skipped, failures, errors = (nan if suite is None else float(suite.get(name, nan)) for name in names)
    return failures + errors if tests > skipped else nan


def _judged(name: str, measured: float, threshold: float, *, at_most: bool) -> dict[str, str]:
    row = {"target": name, "asked": _asked(threshold, at_most)}
    if isnan(measured):
        return row | {"measured": "-", "verdict": "not measured"}
    met = _is_met(measured, threshold, at_most)
    return row | {"measured": f"{measured:.3g}", "verdict": "met" if met else "not met"}


def _asked(threshold: float, at_most: bool) -> str:
    return f"{'at most' if at_most else 'at least'} {threshold:g}"


def _is_met(measured: float, threshold: float, at_most: bool) -> bool:
    return measured <= threshold if at_most else measured >= threshold
