"""Uncertainty of what is reported: Student's t for a mean over seeds, also of differences."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import t


class MeanInterval(NamedTuple):
    """Mean, standard deviation (n - 1 in the denominator), count, interval; sd and interval NaN at n = 1."""

    mean: float
    sd: float
    n: int
    low: float
    high: float


def mean_interval(
    values: npt.ArrayLike, *, level: float = 0.95, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> MeanInterval:
    """Compute the mean of independent values and its two-sided interval by Student's t (n - 1 degrees).

    Args:
        values: (n,) numbers, one a seed; NaN means "not measured" and is left out.
        level: Coverage of the interval.
        bounds: Where the mean can lie at all, e.g. (0, 1) for an accuracy. The interval is cut there, which takes
            nothing from its coverage.

    Raises:
        ValueError: `level` is not inside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, e.g. 0.95, got {level}")
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    count, nan = int(array.size), float("nan")
    if count < 2:
        return MeanInterval(float(array[0]) if count else nan, nan, count, nan, nan)
    mean, sd = float(array.mean()), float(array.std(ddof=1))
    half = float(t.ppf(0.5 + level / 2, count - 1)) * sd / np.sqrt(count)
    return MeanInterval(mean, sd, count, max(mean - half, bounds[0]), min(mean + half, bounds[1]))
