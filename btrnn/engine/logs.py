"""What else is written of a run: W&B's log, and less of Lightning's notes."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import wandb
from hydra.utils import instantiate
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf

from btrnn.engine.config import ConfigError


@contextmanager
def logged(config: DictConfig) -> Iterator[WandbLogger | None]:
    """Give the run's logger, and end its W&B run in any case, so that the next one of a sweep gets its own.

    Raises:
        ConfigError: W&B refuses, as it does without a login or a connection; the message says how to do without.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # its banner would come once a run; WANDB_SILENT=false brings it back
    logger: WandbLogger | None = instantiate(config.logger) if config.logger else None
    try:
        if logger is not None:
            try:
                logger.log_hyperparams(cast("dict[str, Any]", OmegaConf.to_container(config)))
            except (wandb.errors.Error, ValueError) as error:
                raise ConfigError(
                    f"W&B takes no log of this run: {str(error).rstrip('.')}. With WANDB_MODE=offline it needs no "
                    "account and no connection; `wandb login` opens one; logger=none does without. Then repeat the "
                    "command"
                ) from error
        yield logger
    finally:
        if logger is not None:
            wandb.finish()


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Leave out Lightning's notes and tips; its warnings of what may be wrong stay."""
    names = ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda")
    levels = [logging.getLogger(name).level for name in names]
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    finally:
        for name, level in zip(names, levels, strict=True):
            logging.getLogger(name).setLevel(level)
