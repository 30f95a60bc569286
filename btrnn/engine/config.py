"""The configuration of a run: its keys, the checks that run before any work, and what makes two runs the same."""

import difflib
import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from btrnn.engine.renamed import with_current_names
from btrnn.engine.run_name import NOT_SCIENCE, variant


class ConfigError(ValueError):
    """The configuration asks for something that does not exist or does not fit."""


@contextmanager
def user_values() -> Iterator[None]:
    """Turn a ValueError of what the user's values make, whose message says what would fit, into a ConfigError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error)) from error


@dataclass
class Modes:
    """How input and hidden vectors are read as tensors; the dense model uses the products alone."""

    input: list[int] = MISSING
    hidden: list[int] = MISSING


@dataclass
class Cell:
    """The cell, the same for all three models; defaults are those of nn.LSTM."""

    gate_activation: str = "sigmoid"
    forget_bias: float | None = None
    recurrent_init: str = "uniform"
    recurrent_dropout: float = 0.0
    dense_input_dropout: float = 0.0  # the released code dropped inputs of the dense LSTM only
    init: str = "default"
    batch_first: bool = False


@dataclass
class Ranks:
    """The ranks of the factorised models."""

    tucker: int = 4  # R of BT
    num_blocks: int = 2  # N of BT
    tensor_train: int = 4  # of TT


@dataclass
class Optimizer:
    """What is said of the optimiser, whichever the task."""

    scaled: bool = False  # the learning rate by layer, see btrnn.nn.rates; else one number for all


@dataclass
class Dataset:
    """What a member of the group `data` says to the rest of the configuration."""

    files: str | None = None  # the folder without which it is not there; null: nothing has to be
    stand_in: str | None = None  # the member that takes its place where its files are not there
    suffix: str = "_${data.source}"  # of an experiment's name; "" for the data that the paper has
    num_classes: int | None = None  # where they are classified


@dataclass
class RootConfig:
    """The keys of the root; each group's own keys are checked against the code that receives them."""

    experiment: str = MISSING  # name of the run folder's parent, the CSV, the tables and the figures
    name: str = MISSING  # of the run: every choice that changes the science
    section: str = MISSING  # which part of a scale applies: video, generation, ..
    tags: list[str] = MISSING  # of the run in W&B
    seed: int = 0
    results_dir: str = MISSING
    data_dir: str = MISSING
    run_dir: str = MISSING
    modes: Modes = field(default_factory=Modes)
    cell: Cell = field(default_factory=Cell)
    ranks: Ranks = field(default_factory=Ranks)
    dataset: Dataset = field(default_factory=Dataset)
    optimizer: Optimizer = field(default_factory=Optimizer)
    rates: dict[str, Any] = field(default_factory=dict)  # learning rates of the experiment, by scale and model
    follows: dict[str, Any] = field(default_factory=dict)  # values that follow from another choice, to be interpolated
    task: dict[str, Any] = MISSING
    model: dict[str, Any] = MISSING
    data: dict[str, Any] = MISSING
    trainer: dict[str, Any] = MISSING
    scale: dict[str, Any] = MISSING
    logger: dict[str, Any] | None = None
    start: str | None = None  # a dense model's finished run, or file of weights, that this one begins with
    test: bool = True  # whether the chosen weights meet the test split; not where a hyper-parameter is chosen
    resume_every_seconds: float = 60.0


LATER_KEYS = {  # what runs of older versions do not say, and did
    "task.scaled": False,
    "task.decay_epochs": None,
    "task.judged_samples": 0,
    "data.fold": None,
    "data.frame_order": "time",
    "data.pixel_order": "rows",
    "data.encoder": None,
    "data.grid": 1,
    "data.num_train": None,
    "data.passes": 1,
    "trainer.precision": "32-true",
    "start": None,
}


def register() -> None:
    """Make the schema and the resolvers known to Hydra. Safe to call again."""
    ConfigStore.instance().store(name="schema", node=RootConfig)
    OmegaConf.register_new_resolver("product", lambda modes: prod(modes), replace=True)
    OmegaConf.register_new_resolver("length", lambda modes: len(modes), replace=True)
    OmegaConf.register_new_resolver("variant", variant, replace=True)
    OmegaConf.register_new_resolver("fold", lambda fold: "" if fold is None else f"-fold{fold}", replace=True)
    OmegaConf.register_new_resolver("suffix", lambda name, said: f"-{name}" if said else "", replace=True)


def check_targets(config: DictConfig) -> None:
    """Check every node with a `_target_` against the signature of what it names, before anything is made.

    Raises:
        ConfigError: A target cannot be imported, a key is not one of its parameters, which the message then lists, or a
            value is not of the parameter's type.
    """
    for path, node in _targets(config, ""):
        target = str(node["_target_"])
        module, _, attribute = target.rpartition(".")
        try:
            function = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}._target_ {target!r} cannot be imported: {error}") from error
        allowed = _parameters(function)
        for key in map(str, node):
            own = f"{path}.{key}" == "trainer.graph"  # which `btrnn.engine.run` takes out
            if not (key.startswith("_") or own or allowed is None or key in allowed):
                raise ConfigError(
                    f"{path} has the key {key!r}, which {target} does not take. {known_keys(key, allowed)}"
                )
        for name, parameter in inspect.signature(function).parameters.items():
            if name in node and not _fits(node[name], parameter.annotation):
                kind = inspect.formatannotation(parameter.annotation)
                raise ConfigError(f"{path}.{name}={node[name]} does not fit: {target} takes {kind} there")


def _fits(value: Any, annotation: Any) -> bool:
    """Return whether a value is of a parameter's type, where that is made of plain ones; of others nothing is known."""
    kinds = set(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else {annotation}
    if not kinds <= {int, float, bool, str, type(None)}:
        return True
    return type(value) in kinds or (type(value) is int and float in kinds)


def _targets(node: Any, path: str) -> Iterator[tuple[str, DictConfig]]:
    """Yield every node with a `_target_`, at the place where it is written rather than where it is referred to."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield path, node
        for key in node:
            if not (OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, str(key))):
                yield from _targets(node[key], f"{path}.{key!s}" if path else str(key))
    elif isinstance(node, ListConfig):
        for k, item in enumerate(node):
            yield from _targets(item, f"{path}[{k}]")


def _parameters(function: Any) -> list[str] | None:
    """List the parameters of a callable, with those of a typed `**options`; None if it takes any keyword at all."""
    names: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            if not get_args(parameter.annotation):
                return None
            (options,) = get_args(parameter.annotation)  # Unpack[a TypedDict]
            names += list(options.__annotations__)
        else:
            names.append(parameter.name)
    return names


def known_keys(key: str, known: list[str]) -> str:
    """Return the sentence that lists the keys that there are, and which of them may have been meant by `key`."""
    close = difflib.get_close_matches(key, known, n=1)
    return (f"Did you mean {close[0]!r}? " if close else "") + f"Known keys: {', '.join(sorted(known))}"


def science(config: DictConfig) -> dict[str, Any]:
    """Flatten a configuration to what can change its results: dotted key -> value."""
    flat: dict[str, Any] = {}

    def visit(value: Any, path: str) -> None:
        if path in NOT_SCIENCE:
            return
        if isinstance(value, dict):
            for key, child in value.items():
                visit(child, f"{path}.{key}" if path else str(key))
        else:
            flat[path] = value

    visit(OmegaConf.to_container(config, resolve=True), "")
    return flat


def read_config(path: Path) -> DictConfig:
    """Read the configuration that a run saved, its classes under the names of today.

    Raises:
        ConfigError: The file is damaged.
        FileNotFoundError: It is missing.
    """
    try:
        config = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is damaged: restore it, or delete {path.parent} ({error})") from None
    if not isinstance(config, DictConfig) or "experiment" not in config:
        raise ConfigError(f"{path} does not hold a run's configuration: restore it, or delete {path.parent}")
    return with_current_names(config)


def refuse_other_run(config: DictConfig, saved_path: Path) -> None:
    """Compare a configuration with the one saved in its run folder.

    Raises:
        ConfigError: They differ in something that changes the science, which the message lists, or it is damaged.
    """
    new = science(config)
    old = {key: value for key, value in LATER_KEYS.items() if key in new} | science(read_config(saved_path))
    changed = [
        f"{key}: {old.get(key, 'absent')} there, {new.get(key, 'absent')} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if changed:
        raise ConfigError(
            f"{saved_path.parent} holds a run of another configuration ({'; '.join(changed)}). "
            f"Choose another name=..., or delete that folder"
        )


def check_values(config: DictConfig) -> None:
    """Check what the schema's types cannot say: that folders are named, that a name is one folder, the seed's range.

    Raises:
        ConfigError: One of them cannot be used; the message says what would fit.
    """
    for key in ("results_dir", "data_dir", "run_dir"):
        place = str(config.get(key, "."))
        if not place.strip():
            raise ConfigError(f"{key} is empty: name a folder, such as {key}=. for this one, or leave it out")
        if place.startswith("~"):
            raise ConfigError(f"{key}={place}: `~` is a sign of the shell's, write {Path.home()}/... instead")
    name = str(config.name)
    if not name.strip() or "/" in name or name in (".", ".."):
        raise ConfigError(f"name={name}: a run's name is that of one folder, so not empty, and without `/`")
    task = config.get("task", {})
    rate, decay_epochs = task.get("learning_rate"), task.get("decay_epochs")
    if rate is not None and not rate >= 0:
        raise ConfigError(f"task.learning_rate={rate}: a rate is a number from 0 on")
    if decay_epochs is not None and decay_epochs < 1:
        raise ConfigError(f"task.decay_epochs={decay_epochs}: the rate falls over one epoch at least; null: the run's")
    if not 0 <= config.seed < 2**32:
        raise ConfigError(f"seed={config.seed}: a seed is an integer from 0 to {2**32 - 1}")
