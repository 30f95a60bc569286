"""Keys that name a secret: none may stand in a run's configuration, which is saved, logged and published."""

import re
from itertools import pairwise
from typing import Any

from omegaconf import DictConfig, OmegaConf

from btrnn.engine.config import ConfigError

_ANYWHERE = {"secret", "secrets", "password", "passwords", "passwd", "passphrase", "credential", "credentials"}
_AT_THE_END = {"key", "token"}  # also alone, as wandb.login(key=..) has it; key_dim, tokens and monkey are other things
_COMPOUND = re.compile(r"(api|access|auth|private|secret)(keys?|token)")  # as one word or two, wherever
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_GIVEN = re.compile(r"""([\w.+~@/-]+)(["']?\s*[=:])""")


def _is_secret(name: str) -> bool:
    """Return whether a part of a dotted name says by whole words that it is a secret's."""
    for part in re.split(r"[^\w-]", name):
        words = [word.lower() for word in _WORD.findall(part)]
        if not _ANYWHERE.isdisjoint(words) or not _AT_THE_END.isdisjoint(words[-1:]):
            return True
        if any(_COMPOUND.fullmatch(word) for word in (*words, *map("".join, pairwise(words)))):
            return True
    return False


def _found(word: str) -> re.Match[str] | None:
    """Return the first place in a word of a command that gives a value to a name of a secret."""
    return next((given for given in _GIVEN.finditer(word) if _is_secret(given[1])), None)


def refuse_secrets(config: DictConfig) -> None:
    """Refuse a configuration with a key that is named like a secret, at any depth.

    Raises:
        ConfigError: It has one, which the message names without its value.
    """

    def visit(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for name, child in value.items():
                key = f"{path}.{name}" if path else str(name)
                if _is_secret(str(name)):
                    raise _refusal(key)
                visit(child, key)
        elif isinstance(value, list):
            for k, child in enumerate(value):
                visit(child, f"{path}[{k}]")

    visit(OmegaConf.to_container(config), "")


def refuse_secret_words(words: list[str]) -> None:
    """Refuse a command line that gives a value to a key named like a secret, also inside braces.

    Raises:
        ConfigError: As `refuse_secrets`.
    """
    for word in words:
        if found := _found(word):
            raise _refusal(found[1])


def _refusal(key: str) -> ConfigError:
    return ConfigError(
        f"{key} is named like a secret, and a run's configuration and command are saved, logged and published: give "
        "a secret by the environment, as WANDB_API_KEY or by `wandb login`; what is none needs another name"
    )


def without_secret(word: str) -> str:
    """Return a word of a command as it may be published: without what follows a key that is named like a secret."""
    found = _found(word)
    return word if found is None else f"{word[: found.end()]}HIDDEN"
