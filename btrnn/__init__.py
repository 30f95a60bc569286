"""Compact recurrent networks: LSTMs and GRUs whose input-to-hidden matrix is dense, a tensor train, or block terms.

The letters used in shapes everywhere: B batch, T time, I and H input and hidden features, I_k and J_k the modes of the
input and the output, d the order (how many modes), N block terms, R rank, V vocabulary.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from btrnn import complexity
    from btrnn.nn.compress import compress
    from btrnn.nn.gru import BTGRU, GRU, TTGRU
    from btrnn.nn.linear import BTLinear, TTLinear
    from btrnn.nn.lstm import BTLSTM, LSTM, TTLSTM, LSTMState
    from btrnn.ops import native

__all__ = [
    "BTGRU",
    "BTLSTM",
    "GRU",
    "LSTM",
    "TTGRU",
    "TTLSTM",
    "BTLinear",
    "LSTMState",
    "TTLinear",
    "complexity",
    "compress",
    "native",
]

_HOME = {
    "BTLinear": "btrnn.nn.linear",
    "TTLinear": "btrnn.nn.linear",
    "LSTM": "btrnn.nn.lstm",
    "TTLSTM": "btrnn.nn.lstm",
    "BTLSTM": "btrnn.nn.lstm",
    "LSTMState": "btrnn.nn.lstm",
    "compress": "btrnn.nn.compress",
    "GRU": "btrnn.nn.gru",
    "TTGRU": "btrnn.nn.gru",
    "BTGRU": "btrnn.nn.gru",
}


def __getattr__(name: str) -> object:
    """Import a public name or a module when it is first asked for: the torch-free modules must stay free of torch."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name == "native":
        return import_module("btrnn.ops.native")
    if not name.startswith("__") and find_spec(f"btrnn.{name}"):
        return import_module(f"btrnn.{name}")
    raise AttributeError(f"module 'btrnn' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
