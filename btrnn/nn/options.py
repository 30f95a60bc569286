"""The keyword arguments that all recurrent layers share, and the checks of their values."""

from numbers import Real
from typing import Literal, TypedDict, TypeVar

import torch

from btrnn.nn.input_map import InputMap
from btrnn.ops.activations import ActivationName

RecurrentInit = Literal["uniform", "orthogonal"]
_Choice = TypeVar("_Choice", bound=str)


class RecurrentOptions(TypedDict, total=False):
    """What a recurrent layer takes beside its sizes and its input map; `btrnn.LSTM` says what each is."""

    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    hidden_map: InputMap
    gate_activation: ActivationName
    recurrent_init: RecurrentInit
    input_dropout: float
    recurrent_dropout: float
    device: torch.device | str | None
    dtype: torch.dtype | None


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
