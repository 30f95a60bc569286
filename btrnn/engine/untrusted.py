"""Configurations that are not trusted, as they came with a file of weights: they may name this project's classes alone.

Hydra calls whatever `_target_` names. Of a run's own folder that is the user's affair; a file of weights is handed
around, and must be no way to have code of its maker's choice called.
"""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from btrnn.engine.config import ConfigError
from btrnn.engine.renamed import with_current_names

_MODULES = ("btrnn.nn.", "btrnn.models.", "btrnn.tasks.", "btrnn.data.")  # whose own classes may be made
_OTHERS = ("btrnn.models.released_code.initialised", "lightning.Trainer")


def read_untrusted_config(text: str, path: Path) -> DictConfig:
    """Read the configuration in the header of a file of weights, its classes under the names of today.

    Args:
        text: The configuration, in YAML.
        path: The file of weights, for errors.

    Raises:
        ConfigError: It is damaged, names anything but this project's networks and data, has a logger, or values that
            are only found when they are read, such as the environment's.
    """
    try:
        config = OmegaConf.create(text)
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path} holds no readable configuration ({error}); restore it, or export it again") from None
    if not isinstance(config, DictConfig) or "experiment" not in config:
        raise ConfigError(f"{path} holds no run's configuration; restore it, or export it again")
    config = with_current_names(config)
    for place, value in _leaves(OmegaConf.to_container(config, resolve=False), ""):
        if isinstance(value, str) and "${" in value:
            raise ConfigError(f"{path}: {place} is {value}: an exported configuration refers to nothing else")
        if place.endswith("._target_") and not _is_ours(str(value)):
            raise ConfigError(
                f"{path}: {place} is {value}, which is no network or data set of btrnn. Other code is called "
                "from a run's own folder alone: give that in place of the file, if you trust it"
            )
    if config.get("logger") is not None:
        raise ConfigError(f"{path}: it has a logger, which no exported configuration has")
    return config


def _leaves(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield every value that is no container, at its place."""
    if not isinstance(node, dict | list):
        yield place, node
        return
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        yield from _leaves(child, f"{place}.{key}" if place else str(key))


def _is_ours(target: str) -> bool:
    """Return whether a target may be called: one of this project's classes, wherever in it the name is found."""
    if target in _OTHERS:
        return True
    module, _, name = target.rpartition(".")
    if module.split(".")[0] != "btrnn":
        return False
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return inspect.isclass(found) and f"{found.__module__}.".startswith(_MODULES)
