"""Data sets: from files to batches, and the random numbers that all that is drawn of them comes from. No model."""

import numpy as np

# Numbers that keep the random streams of one seed apart from one another.
(
    ORDER_STREAM,
    FRAME_STREAM,
    SPLIT_STREAM,
    BINARY_STREAM,
    FRAME_ORDER_STREAM,
    PIXEL_STREAM,
    SHOWN_STREAM,
    FEWER_STREAM,
) = range(8)


def generator(seed: int, *keys: int) -> np.random.Generator:
    """Make a NumPy generator that is a function of its arguments alone.

    Raises:
        ValueError: if the seed or a key is negative.
    """
    if min(seed, *keys, 0) < 0:
        raise ValueError(f"a seed must not be negative, got seed={seed}, keys={keys}")
    # As spawn keys, since plain entropy is padded with zeros: (1,) and (1, 0) would give the same numbers.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=keys))
