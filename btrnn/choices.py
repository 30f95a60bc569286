"""What options with a few named choices must be, said alike everywhere."""

from collections.abc import Sequence
from typing import TypeVar

_Choice = TypeVar("_Choice", bound=str)


def check_choice(name: str, value: _Choice, choices: Sequence[str]) -> _Choice:
    """Return one of some choices as it is.

    Raises:
        ValueError: It is none of them; the message gives `name`, all choices and the value.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    return value
