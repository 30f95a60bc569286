"""The way to a stand-in's generator, which is part of the repository and not of the installed package."""

from importlib import import_module
from types import ModuleType


def stand_in(name: str) -> ModuleType:
    """Return the module of `btrnn.data.standins` that makes a stand-in.

    Raises:
        ModuleNotFoundError: The package was installed without the generators; the message says what to do.
    """
    try:
        return import_module(f"btrnn.data.standins.{name}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the stand-in {name} is made by code that the installed package leaves out: install a clone of the "
            "repository with `pip install --editable .`, or name real data",
            name=error.name,
        ) from error
