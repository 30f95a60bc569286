"""Keys that name a secret: none may stand in a run's configuration, which is saved, logged and published."""

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from btrnn.engine.config import ConfigError

# tokens, keyframes and the like are names of other things
_NAME = r"(?:key|api_?keys|token|secrets?|passwords?|passwd|passphrase|credentials?)(?![a-z])[\w-]*"
_KEY = re.compile(_NAME, re.IGNORECASE)
_GIVEN = re.compile(rf"""([\w.+~@/-]*{_NAME})(["']?\s*[=:]).*""", re.IGNORECASE | re.DOTALL)


def refuse_secrets(config: DictConfig) -> None:
    """Refuse a configuration with a key that is named like a secret, at any depth.

    Raises:
        ConfigError: It has one, which the message names without its value.
    """

    def visit(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for name, child in value.items():
                key = f"{path}.{name}" if path else str(name)
                if _KEY.search(str(name)):
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
        if found := _GIVEN.search(word):
            raise _refusal(found[1])


def _refusal(key: str) -> ConfigError:
    return ConfigError(
        f"{key} is named like a secret, and a run's configuration and command are saved, logged and published: give "
        "a secret by the environment, as WANDB_API_KEY or by `wandb login`; what is none needs another name"
    )


def without_secret(word: str) -> str:
    """Return a word of a command as it may be published: without what follows a key that is named like a secret."""
    return _GIVEN.sub(r"\1\2HIDDEN", word)
