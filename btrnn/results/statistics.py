"""Uncertainty of what is reported: Student's t for a mean over seeds, also of differences, and for a slope."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit


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
    """Give the mean of independent values and its two-sided interval by Student's t (n - 1 degrees).

    Args:
        values: (n,) numbers, one a seed; NaN means "not measured" and is left out.
        level: Coverage of the interval.
        bounds: Where the mean can lie at all, e.g. (0, 1) for an accuracy. The interval is cut there, which
            takes nothing from its coverage.

    Raises:
        ValueError: `level` is not inside (0, 1).
    """
    _check_level(level)
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    count = int(array.size)
    if count == 0:
        return MeanInterval(np.nan, np.nan, 0, np.nan, np.nan)
    mean = float(array.mean())
    if count == 1:
        return MeanInterval(mean, np.nan, 1, np.nan, np.nan)
    sd = float(array.std(ddof=1))
    half = float(stdtrit(count - 1, 0.5 + level / 2)) * sd / np.sqrt(count)
    return MeanInterval(mean, sd, count, max(mean - half, bounds[0]), min(mean + half, bounds[1]))


class SlopeInterval(NamedTuple):
    """Slope of a straight line by least squares, with its interval; NaN where there are too few points."""

    slope: float
    low: float
    high: float
    n: int


def slope_interval(x: npt.ArrayLike, y: npt.ArrayLike, *, level: float = 0.95) -> SlopeInterval:
    """Fit a straight line, and give its slope with a two-sided interval by Student's t (n - 2 degrees).

    Args:
        x: (n,) numbers.
        y: (n,) numbers; a point with NaN is left out.
        level: Coverage of the interval. It takes the distances from the line for independent and equally large.

    Returns:
        The slope; NaN unless two values of x differ. The interval; NaN under three points.

    Raises:
        ValueError: The arrays differ in length, or `level` is not inside (0, 1).
    """
    _check_level(level)
    across, up = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if across.shape != up.shape:
        raise ValueError(f"x and y must have one entry for each point; got {across.size} and {up.size}")
    known = ~(np.isnan(across) | np.isnan(up))
    across, up = across[known], up[known]
    count = int(across.size)
    centred = across - across.mean() if count else across
    spread = float(centred @ centred)
    if spread == 0:
        return SlopeInterval(np.nan, np.nan, np.nan, count)
    slope = float(centred @ up) / spread
    if count == 2:
        return SlopeInterval(slope, np.nan, np.nan, count)
    rest = up - up.mean() - slope * centred
    error = np.sqrt(float(rest @ rest) / (count - 2) / spread)
    half = float(stdtrit(count - 2, 0.5 + level / 2)) * error
    return SlopeInterval(slope, slope - half, slope + half, count)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, e.g. 0.95, got {level}")
