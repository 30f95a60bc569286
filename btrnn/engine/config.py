"""The configuration of a run: its keys, the checks that run before any work, and what makes two runs the same."""

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import CompactHydraException, HydraException, OverrideParseException
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from btrnn.engine.command import explain, wants_traceback


class ConfigError(ValueError):
    """The configuration asks for something that does not exist or does not fit."""


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
    task: dict[str, Any] = MISSING
    model: dict[str, Any] = MISSING
    data: dict[str, Any] = MISSING
    trainer: dict[str, Any] = MISSING
    scale: dict[str, Any] = MISSING
    logger: dict[str, Any] | None = None
    test: bool = True  # whether the chosen weights meet the test split; not where a hyper-parameter is chosen
    resume_every_seconds: float = 60.0


# Where a run computes, reads and writes changes nothing in what it finds.
NOT_SCIENCE = (
    *("results_dir", "data_dir", "run_dir", "logger", "tags", "resume_every_seconds"),
    *("data.root", "data.cache_dir", "trainer.accelerator", "trainer.devices", "trainer.enable_progress_bar"),
)
# What the run's name already says, so that it need not be said again by the list of overrides.
NAMED = (
    *("experiment", "name", "seed", "task", "model", "data", "scale", "data.protocol", "data.scaling"),
    *("task.network.num_glimpses", "modes", "ranks.tucker", "ranks.num_blocks", "ranks.tensor_train"),
)

_failed: dict[int, int] = {}  # failed jobs, by the process in which `run_checked` is at work


def register() -> None:
    """Make the schema and the resolvers known to Hydra. Safe to call again."""
    ConfigStore.instance().store(name="schema", node=RootConfig)
    OmegaConf.register_new_resolver("product", lambda modes: prod(modes), replace=True)
    OmegaConf.register_new_resolver("length", lambda modes: len(modes), replace=True)
    OmegaConf.register_new_resolver("choose", _choose, replace=True)
    OmegaConf.register_new_resolver("is_dir", lambda path: Path(path).is_dir(), replace=True)
    OmegaConf.register_new_resolver("variant", _variant, replace=True)


def _choose(key: Any, *pairs: Any) -> Any:
    """Pick the value that follows `key` in a list of alternating keys and values: ${choose:key,k1,v1,k2,v2}."""
    choices = dict(zip(pairs[::2], pairs[1::2], strict=True))
    if key not in choices:
        raise ConfigError(f"{key!r} is none of {', '.join(map(str, choices))}")
    return choices[key]


def _variant() -> str:
    """List the overrides of this job that change the science and that the name does not say by itself."""
    if not HydraConfig.initialized():
        return ""
    changes = sorted(
        override
        for override in HydraConfig.get().overrides.task
        if not _covers((*NOT_SCIENCE, *NAMED), override.split("=")[0].lstrip("+~"))
    )
    return "".join(f",{change}".replace("/", "_") for change in changes)


def _covers(keys: tuple[str, ...], key: str) -> bool:
    """Say whether `key` is one of `keys`, or stands under one that is excluded as a whole."""
    return key in keys or key.split(".")[0] in ("logger", "results_dir", "data_dir")


def check_overrides(arguments: list[str], config: DictConfig) -> None:
    """Check the keys of command-line overrides, so that a misspelt one says which keys there are.

    Args:
        arguments: As given on the command line; options that begin with "-" are passed over.
        config: The configuration without these overrides.

    Raises:
        ConfigError: A key is not in the configuration, or Hydra's grammar does not take an override.
    """
    for override in _parsed(arguments):
        key = override.key_or_group
        if override.type is not OverrideType.CHANGE or "/" in key or key.startswith("hydra") or "@" in key:
            continue  # + and ~ say that they mean to change the set of keys; Hydra lists the choices of its groups
        *parents, last = key.split(".")
        node: Any = config
        for parent in parents:
            node = node[parent] if isinstance(node, DictConfig) and parent in node else None
        known = list(map(str, node if isinstance(node, DictConfig) else config))
        if not isinstance(node, DictConfig) or last not in node:
            raise ConfigError(f"there is no key {key!r}. {_keys(last, known)}")


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
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"{path}._target_ {target!r} cannot be imported: {error}") from error
        allowed = _parameters(function)
        for key in map(str, node):
            if not key.startswith("_") and allowed is not None and key not in allowed:
                raise ConfigError(f"{path} has the key {key!r}, which {target} does not take. {_keys(key, allowed)}")
        for name, parameter in inspect.signature(function).parameters.items():
            if name in node and not _fits(node[name], parameter.annotation):
                kind = inspect.formatannotation(parameter.annotation)
                raise ConfigError(f"{path}.{name}={node[name]} does not fit: {target} takes {kind} there")


def _fits(value: Any, annotation: Any) -> bool:
    """Say whether a value is of a parameter's type, where that is made of plain ones; of others nothing is known."""
    kinds = set(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else {annotation}
    if not kinds <= {int, float, bool, str, type(None)}:
        return True
    return type(value) in kinds or (type(value) is int and float in kinds)


def _targets(node: Any, path: str) -> Iterator[tuple[str, DictConfig]]:
    """Give every node with a `_target_`, at the place where it is written rather than where it is referred to."""
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


def _keys(key: str, known: list[str]) -> str:
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
    """Read the configuration that a run saved.

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
    return config


def refuse_other_run(config: DictConfig, saved_path: Path) -> None:
    """Compare a configuration with the one saved in its run folder.

    Raises:
        ConfigError: They differ in something that changes the science, which the message lists, or it is damaged.
    """
    new, old = science(config), science(read_config(saved_path))
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
    if not 0 <= config.seed < 2**32:
        raise ConfigError(f"seed={config.seed}: a seed is an integer from 0 to {2**32 - 1}")


def first_of_each(words: list[str]) -> list[str]:
    """Turn a sweep's command line, such as model=lstm,tt_lstm seed=0,1, into that of its first job."""
    first = []
    for override in _parsed(words):
        if not override.is_sweep_override():
            first.append(str(override.input_line))
        elif override.value_type is not ValueType.GLOB_CHOICE_SWEEP:  # whose choices Hydra alone can list
            value = next(iter(override.sweep_string_iterator()), "")
            first.append(f"{override.get_key_element()}={value}")
    return first


def _parsed(words: list[str]) -> list[Override]:
    """Parse the overrides of a command line; options that begin with "-" and their values are passed over.

    Raises:
        ConfigError: Hydra's grammar does not take one.
    """
    bare = not has_options(words)  # else a word without "=" may be the value of an option
    overrides = [word for word in words if not word.startswith("-") and (bare or "=" in word)]
    try:
        return list(OverridesParser.create().parse_overrides(overrides))
    except OverrideParseException as error:
        key, _, value = error.override.partition("=")
        raise ConfigError(
            f"{error.override!r} is not an override that Hydra can read ({explain(error).partition(' See http')[0]}). "
            f"A value with other signs than letters a-z, digits and - _ . / : stands in quotes of its own: "
            f"'{key}=\"{value}\"'"
        ) from None


def has_options(words: list[str]) -> bool:
    """Say whether a command line has options of Hydra's other than that for a sweep, such as --help or --cfg job."""
    return any(word.startswith("-") and word not in ("-m", "--multirun") for word in words)


def first_job(words: list[str], config_dir: Path, name: str) -> DictConfig:
    """Compose the configuration of a command line's first job and check all of it, before anything is read or made.

    Args:
        words: The command line, which may be a sweep's.
        config_dir: Of the configuration files.
        name: Of the primary one.

    Raises:
        ConfigError: Hydra cannot compose it, a value does not resolve, or one is not sensible.
    """
    register()
    first = first_of_each(words)
    try:
        with initialize_config_dir(str(config_dir), version_base="1.3"):
            check_overrides(words, compose(name, group_choices(first, config_dir)))
            config = compose(name, first)
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        cause = f": {str(error.__cause__).splitlines()[0]}" if error.__cause__ and str(error.__cause__) else ""
        said = explain(error).partition(" Config search path")[0]
        raise ConfigError(f"{said}{cause}") from error
    check_values(config)
    return config


def run_checked(main: Callable[[], None], config_dir: Path, name: str) -> None:
    """Let Hydra run a command, once its command line has been checked; exits with a message where it is wrong.

    Args:
        main: Decorated by `hydra.main`.
        config_dir: Of the configuration files.
        name: Of the primary one.
    """
    register()
    words = sys.argv[1:]
    try:
        if has_options(words):
            _parsed(words)  # nothing is run, or from other files: Hydra alone knows what it will compose
        else:
            config = first_job(words, config_dir, name)
            Path(config.results_dir, "runs", config.experiment).mkdir(parents=True, exist_ok=True)  # or Hydra fails
    except (ConfigError, OSError) as error:
        if wants_traceback():
            raise
        sys.exit(f"error: {explain(error)}")
    _failed[os.getpid()] = 0
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped: the same command goes on")
    if _failed.pop(os.getpid()):
        sys.exit(1)


@contextmanager
def ending_in_one_line(*errors: type[Exception]) -> Iterator[None]:
    """Let a job of Hydra's that fails end with one line on stderr; a sweep then still does its other jobs.

    Args:
        errors: What a user can mend, beside a configuration that does not compose. HYDRA_FULL_ERROR=1 brings the
            traceback.
    """
    mendable: tuple[type[Exception], ...] = (*errors, HydraException, OmegaConfBaseException)
    try:
        yield
    except mendable as error:
        if wants_traceback():
            raise
        launched = os.getpid() not in _failed  # a process of a launcher's, which counts exceptions alone
        job = f" (the job {' '.join(HydraConfig.get().overrides.task)})" if launched else ""  # of those at work at once
        print(f"error: {explain(error)}{job}", file=sys.stderr, flush=True)
        if launched:
            raise CompactHydraException("a job of the sweep failed, see above") from error
        _failed[os.getpid()] += 1


def group_choices(words: list[str], config_dir: Path) -> list[str]:
    """Pick from a command line what chooses a member of a config group, such as model=lstm."""
    return [word for word in words if (config_dir / f"{word.replace('=', '/', 1)}.yaml").is_file()]
