"""Uncertainty of what is reported: an interval for a mean over seeds, and one for a difference of two models.

Everything is float64 and, where chance is involved, drawn from a fixed seed, so that a table is the same each
time.
"""

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


class DifferenceInterval(NamedTuple):
    """Estimate of a difference with a bootstrap interval, and how many seeds and units it rests on."""

    estimate: float
    low: float
    high: float
    num_seeds: int
    num_units: int


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


def paired_bootstrap(
    differences: npt.ArrayLike,
    seeds: npt.ArrayLike,
    units: npt.ArrayLike,
    *,
    replicates: int = 5_000,
    level: float = 0.95,
    rng_seed: int = 0,
) -> DifferenceInterval:
    """Give the mean difference of two models and its percentile interval over seeds and units.

    The estimate is the mean over seeds of each seed's mean difference. The same unit (a clip, or a group of
    clips) stands in the test splits of several seeds, so seeds and units are crossed. A replicate draws seeds
    with replacement and, apart from that, units with replacement, the same units in every seed (Owen, "The
    pigeonhole bootstrap", 2007). With one seed only the units are drawn: the interval then knows nothing of
    other seeds.

    Args:
        differences: (m,) first model minus second model, on the same test item.
        seeds: (m,) seed of the run that the item was tested in.
        units: (m,) what is drawn as a whole: the clip, or the clip's group.
        replicates: Number of bootstrap replicates.
        level: Coverage of the interval.
        rng_seed: Seed of the draws.

    Raises:
        ValueError: The three arrays differ in length or are empty, or `level` is not inside (0, 1).
    """
    _check_level(level)
    values = np.asarray(differences, dtype=np.float64)
    seed_names, seed_index = np.unique(np.asarray(seeds), return_inverse=True)
    unit_names, unit_index = np.unique(np.asarray(units), return_inverse=True)
    if not values.size == seed_index.size == unit_index.size or values.size == 0:
        raise ValueError(
            "differences, seeds and units must have one entry for each test item, at least one; "
            f"got {values.size}, {seed_index.size} and {unit_index.size}"
        )
    shape = (len(seed_names), len(unit_names))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (seed_index, unit_index), values)
    np.add.at(counts, (seed_index, unit_index), 1.0)
    rng = np.random.default_rng(rng_seed)
    unit_weights = _resample(rng, replicates, shape[1])
    seed_weights = _resample(rng, replicates, shape[0])
    drawn = unit_weights @ counts.T  # (replicates, seeds): items that each seed has left
    means = np.divide(unit_weights @ sums.T, drawn, out=np.zeros_like(drawn), where=drawn > 0)
    weights = seed_weights * (drawn > 0)  # a seed none of whose units was drawn has no mean in this replicate
    usable = weights.sum(axis=1) > 0
    statistics = (weights * means).sum(axis=1)[usable] / weights.sum(axis=1)[usable]
    low, high = np.quantile(statistics, [(1 - level) / 2, (1 + level) / 2])
    estimate = float((sums.sum(axis=1) / counts.sum(axis=1)).mean())
    return DifferenceInterval(estimate, float(low), float(high), *shape)


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


def _resample(rng: np.random.Generator, replicates: int, size: int) -> npt.NDArray[np.float64]:
    """Draw `size` of `size` things with replacement; (replicates, size): how often each was drawn."""
    drawn = rng.integers(0, size, (replicates, size)) + size * np.arange(replicates)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=replicates * size).reshape(replicates, size)
    return counts.astype(np.float64)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, e.g. 0.95, got {level}")
