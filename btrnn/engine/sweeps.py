"""The one run of a sweep that has a name and a seed, so that a published row can be made again by itself."""

import shlex
from itertools import product
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from btrnn.engine.config import ConfigError, register
from btrnn.engine.overrides import first_of_each

_NOT_OF_A_RUN = ("-", "hydra", "results_dir=", "data_dir=")  # how words begin that do not say what is computed


def words_of_run(command: str, name: str, seed: int, config_dir: Path) -> list[str]:
    """Return the overrides of one run of a command, which may be a sweep.

    Args:
        command: As published: python experiments/train.py and its words.
        name: Of the run.
        seed: Of the run.
        config_dir: Of the configuration files.

    Raises:
        ConfigError: No run of the command has that name and seed any more.
    """
    _, _, *given = shlex.split(command)
    given = [word for word in given if not word.startswith(_NOT_OF_A_RUN)]
    register()
    parser, hydra_config = OverridesParser.create(), HydraConfig.instance()
    try:
        with initialize_config_dir(str(config_dir), version_base="1.3"):
            params = compose("train", first_of_each(given), return_hydra_config=True).hydra.sweeper.params or {}
            keys = [override.key_or_group for override in parser.parse_overrides(given)]
            swept = [f"{key}={value}" for key, value in params.items() if key not in keys]
            for job in product(*map(_choices, parser.parse_overrides([*given, *swept]))):
                if any(word.startswith("seed=") and word != f"seed={seed}" for word in job):
                    continue
                config = compose("train", list(job), return_hydra_config=True)
                hydra_config.set_config(config)  # a run's name says which words chose it
                if (config.name, config.seed) == (name, seed):
                    return list(job)
    finally:
        hydra_config.cfg = None
    raise ConfigError(f"no run of `{command}` is {name} with seed {seed} in the configuration of today")


def _choices(override: Override) -> list[str]:
    """Return an override once for each value that it sweeps over, written as Hydra's sweeper writes it."""
    values = override.sweep_string_iterator() if override.is_sweep_override() else [override.get_value_element_as_str()]
    return [f"{override.get_key_element()}={value}" for value in values]
