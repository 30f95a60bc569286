"""Compact recurrent networks: LSTMs and GRUs whose input-to-hidden matrix is dense, a tensor train, block terms, ...

The letters used in shapes everywhere: B batch, T time, I and H input and hidden features, I_k and J_k the modes of the
input and the output, d the order (how many modes), N block terms, R rank, V vocabulary.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from btrnn import complexity
    from btrnn.nn.compress import compress
    from btrnn.nn.gru import BTGRU, CPGRU, GRU, HTGRU, TRGRU, TTGRU, KroneckerGRU, LowRankGRU, TuckerGRU
    from btrnn.nn.hierarchical_tucker import HTLSTM, HTLinear
    from btrnn.nn.kronecker import CPLSTM, CPLinear, KroneckerLinear, KroneckerLSTM
    from btrnn.nn.linear import BTLinear, TTLinear
    from btrnn.nn.low_rank import LowRankLinear, LowRankLSTM
    from btrnn.nn.lstm import BTLSTM, LSTM, TTLSTM, LSTMState
    from btrnn.nn.tensor_ring import TRLSTM, TRLinear
    from btrnn.nn.tucker import TuckerLinear, TuckerLSTM
    from btrnn.ops import native

__all__ = [
    "BTGRU",
    "BTLSTM",
    "CPGRU",
    "CPLSTM",
    "GRU",
    "HTGRU",
    "HTLSTM",
    "LSTM",
    "TRGRU",
    "TRLSTM",
    "TTGRU",
    "TTLSTM",
    "BTLinear",
    "CPLinear",
    "HTLinear",
    "KroneckerGRU",
    "KroneckerLSTM",
    "KroneckerLinear",
    "LSTMState",
    "LowRankGRU",
    "LowRankLSTM",
    "LowRankLinear",
    "TRLinear",
    "TTLinear",
    "TuckerGRU",
    "TuckerLSTM",
    "TuckerLinear",
    "complexity",
    "compress",
    "native",
]

_PUBLIC = {  # each module of `btrnn.nn`, and what of it is public
    "compress": ("compress",),
    "gru": ("GRU", "BTGRU", "TTGRU", "TRGRU", "CPGRU", "TuckerGRU", "HTGRU", "KroneckerGRU", "LowRankGRU"),
    "hierarchical_tucker": ("HTLinear", "HTLSTM"),
    "kronecker": ("CPLinear", "CPLSTM", "KroneckerLinear", "KroneckerLSTM"),
    "linear": ("BTLinear", "TTLinear"),
    "low_rank": ("LowRankLinear", "LowRankLSTM"),
    "lstm": ("LSTM", "LSTMState", "BTLSTM", "TTLSTM"),
    "tensor_ring": ("TRLinear", "TRLSTM"),
    "tucker": ("TuckerLinear", "TuckerLSTM"),
}
_HOME = {name: f"btrnn.nn.{module}" for module, names in _PUBLIC.items() for name in names}


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
