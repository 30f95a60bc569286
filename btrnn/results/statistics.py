"""Uncertainty of what is reported: Student's t for a mean over seeds or folds.

It takes these as independent. They are not where splits of one data set overlap, as folds do, and splits that the seed
draws: `corrected_for_overlap` says what becomes of a result then.

Equivalence (Schuirmann, 1987: two one-sided tests) is a claim of its own, with a margin that is fixed beforehand; no
significant difference does not show it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import t

# Accuracies are counts of clips, so that differences are alike by chance: where they vary with a standard deviation of
# three clips, two of them in 1 of 11 cases, five in 1 of 7,000. Fewer that are alike tell nothing of how others vary.
_FEWEST_ALIKE = 5


class MeanInterval(NamedTuple):
    """Mean, standard deviation (n - 1 in the denominator), count, interval.

    `sd` is NaN at n = 1; the interval too, and where fewer than five values are all alike, `sd` then being 0.
    """

    mean: float
    sd: float
    n: int
    low: float
    high: float


def mean_interval(
    values: npt.ArrayLike, *, level: float = 0.95, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> MeanInterval:
    """Compute the mean of values, and its two-sided interval by Student's t (n - 1 degrees) as if independent.

    `values` are (n,) numbers, one a seed; NaN means "not measured" and is left out. `bounds` is where the mean can lie
    at all, e.g. (0, 1) for an accuracy: the interval is cut there, which takes nothing from its coverage. There is none
    for a single value, nor for fewer than five that are all alike, which would have one of no width.

    Raises:
        ValueError: `level`, the coverage, is not inside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, e.g. 0.95, got {level}")
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    count, nan = int(array.size), float("nan")
    if count < 2:
        return MeanInterval(float(array[0]) if count else nan, nan, count, nan, nan)
    if (array == array[0]).all():  # of which a computed mean may differ by a rounding
        ends = (float(array[0]),) * 2 if count >= _FEWEST_ALIKE else (nan, nan)
        return MeanInterval(float(array[0]), 0.0, count, *ends)
    mean, sd = float(array.mean()), float(array.std(ddof=1))
    half = float(t.ppf(0.5 + level / 2, count - 1)) * sd / np.sqrt(count)
    return MeanInterval(mean, sd, count, max(mean - half, bounds[0]), min(mean + half, bounds[1]))


def corrected_for_overlap(found: MeanInterval, test_per_training: float) -> MeanInterval:
    """Widen the interval of a mean difference as Nadeau and Bengio do for splits that overlap.

    Splits of one data set have examples in common, so that their differences are not independent: the variance of the
    mean of n is estimated as (1/n + n_test / n_train) sd^2, in place of sd^2 / n, and the tests keep n - 1 degrees.
    Source: "Inference for the Generalization Error", Machine Learning 52, 2003; its corrected resampled t-test.

    `found` is an interval without bounds, `test_per_training` is n_test / n_train of a split. The `sd` of the result is
    the one with which the mean of n independent values would vary as much: `difference_p` and `equivalence_p` take it.

    Raises:
        ValueError: `test_per_training` is negative, or no number.
    """
    if not test_per_training >= 0:
        raise ValueError(f"n_test / n_train must not be negative, got {test_per_training}")
    factor = float(np.sqrt(1 + found.n * test_per_training))
    low, high = (found.mean + factor * (end - found.mean) for end in (found.low, found.high))
    return found._replace(sd=factor * found.sd, low=low, high=high)


def difference_p(found: MeanInterval) -> float:
    """Compute the two-sided p-value of a mean difference being zero; NaN where there is no interval."""
    return 2 * _tail(found, abs(found.mean))


def equivalence_p(found: MeanInterval, margin: float) -> float:
    """Compute the p-value of a mean difference being outside (-margin, margin): the larger of two one-sided ones.

    It is below .05 exactly where the 90 % interval lies inside the margin; NaN where there is none.

    Raises:
        ValueError: The margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"the margin of an equivalence must be positive, e.g. 0.03 of an accuracy, got {margin}")
    return _tail(found, margin - abs(found.mean))


def _tail(found: MeanInterval, distance: float) -> float:
    """Compute how probable a mean at least so far above the true one is; NaN where there is no interval."""
    if found.n < 2 or (found.sd == 0 and found.n < _FEWEST_ALIKE):
        return float("nan")
    if found.sd == 0:
        return float(np.heaviside(-distance, 0.5))  # what the tail tends to
    return float(t.sf(distance * np.sqrt(found.n) / found.sd, found.n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of a family of tests as Holm (1979) corrects them, in the order given.

    To reject those that are at most a level makes any false rejection in the family as rare as that level, whatever the
    dependence of the tests. NaN, which tests nothing, stays and is not counted.

    Raises:
        ValueError: A number is no probability.
    """
    values = np.array(p_values, dtype=np.float64)
    if ((values < 0) | (values > 1)).any():
        raise ValueError(f"p-values must lie between 0 and 1, got {list(p_values)}")
    order = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
    steps = values[order] * np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in values]
