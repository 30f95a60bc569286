"""Matrices of 64 x 64 of several kinds, which the recovery study asks for."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, zoom
from sklearn.datasets import load_sample_image

from btrnn.recovery.records import SIZE

Matrix = Float[np.ndarray, "64 64"]
_PHOTOGRAPHS = ("china.jpg", "flower.jpg")  # the two that scikit-learn ships
_REDUCTION = 1 / 3  # of a photograph before a patch is cut out of it, so that the patch holds more than one thing
_SMOOTHING = 6.0  # pixels, the standard deviation of the Gaussian filter
_RANK = 4


def photograph(draw: np.random.Generator) -> Matrix:
    """Cut a patch out of a photograph, in grey, without its mean."""
    picture = load_sample_image(_PHOTOGRAPHS[draw.integers(len(_PHOTOGRAPHS))]).mean(axis=2)
    small = zoom(gaussian_filter(picture, 0.5 / _REDUCTION), _REDUCTION, order=1)
    row, column = (draw.integers(side - SIZE + 1) for side in small.shape)
    patch = small[row : row + SIZE, column : column + SIZE]
    centred: np.ndarray = patch - patch.mean()
    return centred


def smooth_field(draw: np.random.Generator) -> Matrix:
    """Blur white noise, and take off its mean."""
    field = gaussian_filter(draw.normal(size=(SIZE, SIZE)), _SMOOTHING, mode="wrap")
    centred: np.ndarray = field - field.mean()
    return centred


def low_rank(draw: np.random.Generator) -> Matrix:
    """Multiply two random matrices of rank 4."""
    return draw.normal(size=(SIZE, _RANK)) @ draw.normal(size=(_RANK, SIZE))


def kronecker(draw: np.random.Generator) -> Matrix:
    """Take the Kronecker product of two random 8 x 8 matrices: a block term of d = 2, R = 1."""
    return np.kron(draw.normal(size=(8, 8)), draw.normal(size=(8, 8)))


def random(draw: np.random.Generator) -> Matrix:
    """Draw independent normal numbers: no structure at all."""
    return draw.normal(size=(SIZE, SIZE))


KINDS: dict[str, Callable[[np.random.Generator], Matrix]] = {
    "photograph": photograph,
    "smooth": smooth_field,
    "low_rank": low_rank,
    "kronecker": kronecker,
    "random": random,
}


def make_truth(kind: str, seed: int) -> Matrix:
    """Make a matrix of one kind, of Frobenius norm 1."""
    matrix = KINDS[kind](np.random.default_rng([seed, sorted(KINDS).index(kind)]))
    scaled: np.ndarray = matrix / np.linalg.norm(matrix)
    return scaled


def best_rank_error(truth: Matrix, num_parameters: int) -> float:
    """Return the relative error of the best approximation U V with U (64, r), V (r, 64) of at most so many numbers.

    By the theorem of Eckart and Young it leaves the singular values after the r-th; r is num_parameters / 128, rounded
    down, so that below 128 parameters nothing is left but zero, of error 1.
    """
    values = np.linalg.svd(truth, compute_uv=False)
    rank = num_parameters // (2 * SIZE)
    return float(np.linalg.norm(values[rank:]) / np.linalg.norm(values))
