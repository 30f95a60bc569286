"""A command line of overrides: checked before Hydra sees it, run, and ended without a traceback."""

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, cast
from unittest import mock

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException, HydraException, OverrideParseException
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from btrnn.engine.command import ProcessError, exit_status, explain, wants_traceback
from btrnn.engine.config import ConfigError, check_values, known_keys, register
from btrnn.engine.secret_keys import refuse_secret_words, refuse_secrets
from btrnn.results.schema import is_named_for
from btrnn.storage.stand_ins import STAND_INS

_failed: dict[int, int] = {}  # failed jobs, by the process in which `run_checked` is at work


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
        if key == "data.source":
            raise ConfigError(f"data.source goes with the rest of its data: say data={override.value()}")
        *parents, last = key.split(".")
        node: Any = config
        for parent in parents:
            node = node[parent] if isinstance(node, DictConfig) and parent in node else None
        known = list(map(str, node if isinstance(node, DictConfig) else config))
        if not isinstance(node, DictConfig) or last not in node:
            raise ConfigError(f"there is no key {key!r}. {known_keys(last, known)}")


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
        ConfigError: Hydra's grammar does not take one, or one gives a value to a key that is named like a secret.
    """
    refuse_secret_words(words)  # first: what says what else is wrong repeats the word
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
    """Return whether a command line has options of Hydra's other than that for a sweep, such as --help or --cfg job."""
    return any(word.startswith("-") and word not in ("-m", "--multirun") for word in words)


def first_job(words: list[str], config_dir: Path, name: str) -> DictConfig:
    """Compose the configuration of a command line's first job and check all of it, before anything is read or made.

    Args:
        words: The command line, which may be a sweep's.
        config_dir: Of the configuration files; hydra.searchpath=[..] among the words adds others.
        name: Of the primary one.

    Raises:
        ConfigError: Hydra cannot compose it, a value does not resolve, one is not sensible, or rows of a stand-in would
            stand among those of real data.
    """
    register()
    first = first_of_each(words)
    for override in _parsed(first):  # of which Hydra would make a traceback
        key, value = override.key_or_group, override.value()
        named = isinstance(value, str | list) or (value is None and override.type is OverrideType.DEL)
        if not named and (config_dir / key).is_dir():
            members = ", ".join(sorted(path.stem for path in (config_dir / key).glob("*.yaml")))
            raise ConfigError(f"there is no {key}={value}; known are {members}")
    config = None
    try:
        with initialize_config_dir(str(config_dir), version_base="1.3"):
            check_overrides(words, compose(name, group_choices(first, config_dir)))
            config = compose(name, first)
        refuse_secrets(config)  # which a file may have too
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        cause = f": {str(error.__cause__).splitlines()[0]}" if error.__cause__ and str(error.__cause__) else ""
        said = explain(error).partition(" Config search path")[0]
        raise ConfigError(f"{said}{cause}{_known_values(error, config)}") from error
    check_values(config)
    source = OmegaConf.select(config, "data.source")
    if source and not is_named_for(config.experiment, source, source in STAND_INS):
        raise ConfigError(
            f"experiment={config.experiment} cannot have data={source}: rows of a stand-in, and only those, stand in "
            f"an experiment whose name ends in the stand-in's ({', '.join(STAND_INS)})"
        )
    return config


def _known_values(error: Exception, config: DictConfig | None) -> str:
    """Return the sentence that lists which values there are, where one is looked up by an interpolation in vain."""
    found = re.search(r"Interpolation key '(.+)\.(.+?)' not found", str(error))
    if config is None or found is None or not isinstance(error, InterpolationKeyError):
        return ""
    known = OmegaConf.select(config, found[1])
    return f". {known_keys(found[2], list(map(str, known)))}" if isinstance(known, DictConfig) else ""


class Command(NamedTuple):
    """A command line that was checked.

    words: Its words, and which member of the group `data` is taken where they leave that open.
    config: Of its first job.
    """

    words: list[str]
    config: DictConfig


def checked_command(words: list[str], config_dir: Path, name: str) -> Command:
    """Check a command line, and let a stand-in take the place of data that are not there.

    This is the one place where that is decided: a member of the group `data` names the folder without which it is not
    there (`dataset.files`) and its stand-in (`dataset.stand_in`). A command line that says data=... is left as it is.

    Args:
        words: As given; of a sweep the first job decides for all.
        config_dir: Of the configuration files.
        name: Of the primary one.

    Raises:
        ConfigError: As `first_job`, or the jobs of a sweep are experiments that may need different stand-ins.
    """
    config = first_job(words, config_dir, name)
    dataset = config.get("dataset")
    overrides = {override.key_or_group: override for override in _parsed(words)}
    if not dataset or not dataset.stand_in or "data" in overrides or Path(dataset.files).is_dir():
        return Command(words, config)
    if "experiment" in overrides and overrides["experiment"].is_sweep_override():
        raise ConfigError(f"{dataset.files} is not there: give one experiment at a time its stand-in, or say data=...")
    print(f"{dataset.files} is not there: its stand-in, data={dataset.stand_in}", file=sys.stderr, flush=True)
    words = [*words, f"data={dataset.stand_in}"]
    return Command(words, first_job(words, config_dir, name))


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
            checked, config = checked_command(words, config_dir, name)
            sys.argv[1:] = checked  # from which Hydra reads
            folder = Path(config.results_dir, "runs", config.experiment)
            folder.mkdir(parents=True, exist_ok=True)  # of whose failure Hydra would make a traceback
            (folder / "multirun.yaml").unlink(missing_ok=True)  # another user's could not be written
    except (ConfigError, OSError) as error:
        if wants_traceback():
            raise
        sys.exit(f"error: {explain(error)}")
    _failed[os.getpid()] = 0
    with warnings.catch_warnings(), ExitStack() as held:
        for sweeper in cast("list[type[Sweeper]]", Plugins.instance().discover(Sweeper)):
            held.enter_context(mock.patch.object(sweeper, "sweep", _ending_in_one_line(sweeper.sweep)))
        # our submitit_slurm stands in place of the launcher's on purpose
        warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/submitit_slurm' is validated against")
        status = exit_status(main)
    if failed := _failed.pop(os.getpid()):
        status = status or min(failed, 1)
    sys.exit(status)


def _ending_in_one_line(sweep: Callable[..., Any]) -> Callable[..., Any]:
    """Let a sweep that cannot write to its folder end with one line: Hydra would make a traceback of it."""

    @wraps(sweep)
    def ending(*arguments: Any, **options: Any) -> Any:
        try:
            return sweep(*arguments, **options)
        except OSError as error:
            raise CompactHydraException(f"error: {explain(error)}") from error

    return ending


@contextmanager
def ending_in_one_line(*errors: type[Exception]) -> Iterator[None]:
    """Let a job of Hydra's that fails end with one line on stderr; a sweep then still does its other jobs.

    Args:
        errors: What a user can mend, beside a configuration that does not compose. HYDRA_FULL_ERROR=1 brings the
            traceback.
    """
    user_errors: tuple[type[Exception], ...] = (*errors, HydraException, OmegaConfBaseException)
    try:
        yield
    except user_errors as error:
        if wants_traceback():
            raise
        launched = os.getpid() not in _failed  # a process of a launcher's, which counts exceptions alone
        job = f" (the job {' '.join(HydraConfig.get().overrides.task)})" if launched else ""  # of those at work at once
        several = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE") != "1"  # see engine.processes
        if not (several and isinstance(error, ProcessError)):  # which the first process says itself
            print(f"error: {explain(error)}{job}", file=sys.stderr, flush=True)
        if several:  # the others would wait for this one, whatever its next job is
            sys.exit(1)
        if launched:
            raise CompactHydraException("a job of the sweep failed, see above") from error
        _failed[os.getpid()] += 1


def group_choices(words: list[str], config_dir: Path) -> list[str]:
    """Pick from a command line what chooses a member of a config group, such as model=lstm, and where members are."""
    keys = {word: word.partition("=")[0] for word in words}
    return [word for word, key in keys.items() if key == "hydra.searchpath" or (config_dir / key).is_dir()]
