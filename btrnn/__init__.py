"""Compact recurrent networks: LSTMs whose input-to-hidden matrix is dense, a tensor train, or block terms.

The letters used in shapes everywhere: B batch, T time, I and H input and hidden features, I_k and J_k the modes of the
input and the output, d the order (how many modes), N block terms, R rank, V vocabulary.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from btrnn.linear import BTLinear, TTLinear
    from btrnn.lstm import BTLSTM, LSTM, TTLSTM, LSTMState

__all__ = ["BTLSTM", "LSTM", "TTLSTM", "BTLinear", "LSTMState", "TTLinear"]

_HOME = {
    "BTLinear": "linear",
    "TTLinear": "linear",
    "LSTM": "lstm",
    "TTLSTM": "lstm",
    "BTLSTM": "lstm",
    "LSTMState": "lstm",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that the torch-free modules stay free of torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'btrnn' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"btrnn.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
