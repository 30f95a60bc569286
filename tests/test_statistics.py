"""Tests of a difference and of equivalence, and families of them: against scipy and against simulated truths."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from btrnn.results.statistics import corrected_for_overlap, difference_p, equivalence_p, holm, mean_interval

PROBABILITIES = st.floats(0, 1, allow_nan=False)


@pytest.mark.parametrize("seed", range(20))
def test_p_values_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(rng.normal(0, 0.03), 0.02, size=rng.integers(2, 10))
    found, margin = mean_interval(values), rng.uniform(0.001, 0.1)
    assert math.isclose(difference_p(found), stats.ttest_1samp(values, 0).pvalue, rel_tol=1e-9)
    above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(values, margin, alternative="less").pvalue
    assert math.isclose(equivalence_p(found, margin), max(above, below), rel_tol=1e-9, abs_tol=1e-15)
    inside = mean_interval(values, level=0.9)
    assert (equivalence_p(found, margin) < 0.05) == (-margin < inside.low and inside.high < margin)
    assert (difference_p(found) < 0.05) == (found.low > 0 or found.high < 0)


def test_errors_are_as_rare_as_they_say() -> None:
    rng, margin, trials = np.random.default_rng(0), 0.03, 1000
    different, equivalent, family = 0, 0, 0
    for _ in range(trials):
        found = mean_interval(rng.normal(0, 0.02, 5))
        different += difference_p(found) < 0.05
        family += min(holm([difference_p(mean_interval(rng.normal(0, 0.02, 5))) for _ in range(6)])) < 0.05
        at_the_margin = mean_interval(rng.normal(margin, 0.02, 5))
        equivalent += equivalence_p(at_the_margin, margin) < 0.05
    for errors in (different, equivalent, family):
        assert 0.03 < errors / trials < 0.07  # three standard errors are .02


def test_the_correction_for_overlap_is_nadeau_and_bengio_s() -> None:
    values, n_train, n_test = np.array([0.02, 0.05, -0.01, 0.03, 0.04]), 1013, 282
    found = corrected_for_overlap(mean_interval(values), n_test / n_train)
    error = math.sqrt((1 / 5 + n_test / n_train) * values.var(ddof=1))
    assert (found.mean, found.n) == (pytest.approx(values.mean()), 5)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 4, values.mean(), error))
    assert difference_p(found) == pytest.approx(2 * stats.t.sf(abs(values.mean()) / error, 4))
    assert equivalence_p(found, 0.03) == pytest.approx(stats.t.sf((0.03 - values.mean()) / error, 4))
    apart = mean_interval(values)
    assert corrected_for_overlap(apart, 0.0) == pytest.approx(apart)
    assert np.isnan(corrected_for_overlap(mean_interval([0.1, 0.1]), 0.3)[3:]).all()
    with pytest.raises(ValueError, match="n_test / n_train must not be negative, got nan"):
        corrected_for_overlap(apart, math.nan)


def test_errors_over_random_splits_are_as_rare_as_they_say_after_the_correction() -> None:
    """Two models whose difference on a clip is fixed, and 0 on average, tested on a fifth of the clips a seed."""
    rng, trials, clips = np.random.default_rng(0), 1000, 100
    plain, corrected = 0, 0
    for _ in range(trials):
        of_clips = rng.normal(0, 1, clips)
        found = mean_interval([rng.choice(of_clips, clips // 5, replace=False).mean() for _ in range(5)])
        plain += difference_p(found) < 0.05
        corrected += difference_p(corrected_for_overlap(found, 0.2 / 0.8)) < 0.05
    assert plain / trials > 0.12
    assert 0.03 < corrected / trials < 0.07


@given(st.lists(PROBABILITIES, min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(p_values: list[float]) -> None:
    members = range(len(p_values))
    families = [some for size in members for some in combinations(members, size + 1)]
    for member, corrected in enumerate(holm(p_values)):
        worst = max(len(some) * min(p_values[k] for k in some) for some in families if member in some)
        assert math.isclose(corrected, min(1.0, worst), rel_tol=1e-12, abs_tol=1e-300)


def test_what_tests_nothing_is_not_counted() -> None:
    assert holm([]) == []
    corrected = holm([0.02, math.nan, 0.01])
    assert corrected[0::2] == [0.02, 0.02]
    assert math.isnan(corrected[1])
    one = mean_interval([0.1])
    assert math.isnan(difference_p(one))
    assert math.isnan(equivalence_p(one, 0.03))


@pytest.mark.parametrize("value", [0.0, 0.01, 0.1])  # of 0.1 three have a mean that is not 0.1
@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_few_values_that_are_all_alike_tell_nothing_of_others(value: float, count: int) -> None:
    found = mean_interval([value] * count)
    assert (found.mean, found.sd, found.n) == (value, 0.0, count)
    assert np.isnan([found.low, found.high, difference_p(found), equivalence_p(found, 0.03)]).all()
    assert np.isnan(holm([difference_p(found)])).all()


def test_many_values_that_are_all_alike_are_certain() -> None:
    found = mean_interval([0.01] * 5)
    assert (found.low, found.mean, found.high) == (0.01, 0.01, 0.01)
    assert difference_p(found) < 1e-6
    assert equivalence_p(found, 0.03) < 1e-6
    assert equivalence_p(found, 0.005) > 0.999
    nothing = mean_interval([0.0] * 5)
    assert (difference_p(nothing), equivalence_p(nothing, 0.03)) == (1.0, 0.0)


def test_two_accuracies_are_alike_by_chance_five_are_not() -> None:
    """Counts of clips whose differences have a standard deviation of three clips, as on the random split."""
    counts = np.rint(np.random.default_rng(0).normal(0.5, 3.0, (100_000, 5)))
    assert 0.08 < (counts[:, 0] == counts[:, 1]).mean() < 0.11
    assert (counts == counts[:, :1]).all(axis=1).mean() < 5e-4


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"margin .* must be positive, e.g. 0.03 of an accuracy, got 0"):
        equivalence_p(mean_interval([0.0, 0.1]), 0.0)
    with pytest.raises(ValueError, match=r"between 0 and 1, got \[0.5, 1.5\]"):
        holm([0.5, 1.5])
