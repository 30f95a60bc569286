"""What a process does that is started by a test, which imports little."""

import signal
import time

from omegaconf import DictConfig

from btrnn.engine import processes
from btrnn.engine.config import ConfigError


def refuse(config: DictConfig) -> int:
    """Be a process of which the second fails, while the first is at work."""
    if processes.rank() == 1:
        raise ConfigError(f"{config.name} does not fit")
    time.sleep(600)
    return 0


def be_killed(config: DictConfig) -> int:
    """Be a process of which the system ends the second, while the first is at work."""
    if processes.rank() == 1:
        signal.raise_signal(signal.SIGKILL)
    time.sleep(600)
    return 0
