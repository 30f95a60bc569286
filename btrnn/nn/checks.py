"""What the options of a layer must be; sizes and ranks are checked by `btrnn.sizes`."""

from numbers import Real


def check_probability(name: str, value: float) -> float:
    """Return a probability below 1 as it is.

    Raises:
        ValueError: It is no number in [0, 1); the message gives `name` and the value.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not (is_number and 0 <= value < 1):
        raise ValueError(f"{name} must be a probability in [0, 1), got {value!r}")
    return value
