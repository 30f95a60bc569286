"""Compact recurrent networks: LSTMs whose input-to-hidden matrix is dense, a tensor train, block terms, and so on.

The letters used in shapes everywhere: B batch, T time, I and H input and hidden features, I_k and J_k the modes of the
input and the output, d the order (how many modes), N block terms, R rank, V vocabulary.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from btrnn import complexity
    from btrnn.nn.compress import compress
    from btrnn.nn.hierarchical_tucker import HTLSTM, HTLinear
    from btrnn.nn.kronecker import CPLSTM, CPLinear, KroneckerLinear, KroneckerLSTM
    from btrnn.nn.linear import BTLinear, TTLinear
    from btrnn.nn.low_rank import LowRankLinear, LowRankLSTM
    from btrnn.nn.lstm import BTLSTM, LSTM, TTLSTM, LSTMState
    from btrnn.nn.tensor_ring import TRLSTM, TRLinear
    from btrnn.nn.tucker import TuckerLinear, TuckerLSTM
    from btrnn.ops import native

__all__ = [
    "BTLSTM",
    "CPLSTM",
    "HTLSTM",
    "LSTM",
    "TRLSTM",
    "TTLSTM",
    "BTLinear",
    "CPLinear",
    "HTLinear",
    "KroneckerLSTM",
    "KroneckerLinear",
    "LSTMState",
    "LowRankLSTM",
    "LowRankLinear",
    "TRLinear",
    "TTLinear",
    "TuckerLSTM",
    "TuckerLinear",
    "complexity",
    "compress",
    "native",
]

_HOME = {
    "BTLinear": "btrnn.nn.linear",
    "TTLinear": "btrnn.nn.linear",
    "CPLinear": "btrnn.nn.kronecker",
    "HTLinear": "btrnn.nn.hierarchical_tucker",
    "KroneckerLinear": "btrnn.nn.kronecker",
    "LowRankLinear": "btrnn.nn.low_rank",
    "TRLinear": "btrnn.nn.tensor_ring",
    "TuckerLinear": "btrnn.nn.tucker",
    "LSTM": "btrnn.nn.lstm",
    "LSTMState": "btrnn.nn.lstm",
    "TTLSTM": "btrnn.nn.lstm",
    "BTLSTM": "btrnn.nn.lstm",
    "compress": "btrnn.nn.compress",
    "CPLSTM": "btrnn.nn.kronecker",
    "HTLSTM": "btrnn.nn.hierarchical_tucker",
    "KroneckerLSTM": "btrnn.nn.kronecker",
    "LowRankLSTM": "btrnn.nn.low_rank",
    "TRLSTM": "btrnn.nn.tensor_ring",
    "TuckerLSTM": "btrnn.nn.tucker",
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
