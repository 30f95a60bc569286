"""Modules: the factorised linear maps, the recurrent layers on top of them, and decompositions of trained weights."""

from importlib import import_module
from importlib.util import find_spec


def __getattr__(name: str) -> object:
    """Import a module of this package when it is first asked for, as `btrnn` does."""
    if not name.startswith("__") and find_spec(f"btrnn.nn.{name}"):
        return import_module(f"btrnn.nn.{name}")
    raise AttributeError(f"module 'btrnn.nn' has no attribute {name!r}")
