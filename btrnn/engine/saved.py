"""What a saved configuration names, made again, perhaps by a version of btrnn that did not write it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from btrnn.engine.config import ConfigError, check_targets


@contextmanager
def naming_the_run(place: Path) -> Iterator[None]:
    """Say of what cannot be made which run it is of, and what can be done about it.

    Args:
        place: The run's folder, or its file of weights.

    Raises:
        ConfigError: Hydra cannot make what is asked for in the context, or that is refused there.
    """
    try:
        yield
    except (ConfigError, InstantiationException) as error:
        raise ConfigError(
            f"{place}: what its configuration names cannot be made here: {error}. If another version of btrnn wrote "
            "it, take that one, whose commit stands in its summary or card, or train it again"
        ) from error


def check_saved(config: DictConfig, parts: Sequence[str], place: Path) -> None:
    """Check some parts of a saved configuration by what this version of btrnn takes, before anything is made.

    Args:
        config: As a run saves it, without interpolations.
        parts: Of "task", "data" and "trainer".
        place: The run's folder, or its file of weights.

    Raises:
        ConfigError: One is missing, or names what there is not; the message says which run it is of.
    """
    with naming_the_run(place):
        if missing := [part for part in parts if not isinstance(config.get(part), DictConfig)]:
            raise ConfigError(f"it has no {' and no '.join(missing)}")
        check_targets(OmegaConf.masked_copy(config, list(parts)))


def make_saved(config: DictConfig, part: str, place: Path) -> Any:
    """Make one part of a saved configuration; arguments and errors are those of `check_saved`."""
    check_saved(config, [part], place)
    with naming_the_run(place):
        return instantiate(config[part])
