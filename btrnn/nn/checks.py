"""What the options of a layer must be; sizes and ranks are checked by `btrnn.complexity`."""

from numbers import Real
from typing import TypeVar

_Choice = TypeVar("_Choice", bound=str)


def check_probability(name: str, value: float) -> float:
    """Return a probability below 1 as it is.

    Raises:
        ValueError: It is no number in [0, 1); the message gives `name` and the value.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not (is_number and 0 <= value < 1):
        raise ValueError(f"{name} must be a probability in [0, 1), got {value!r}")
    return value


def check_choice(name: str, value: _Choice, choices: tuple[str, ...]) -> _Choice:
    """Return one of some choices as it is.

    Raises:
        ValueError: It is none of them; the message lists them.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value
