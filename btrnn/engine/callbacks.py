"""What a run needs beyond Lightning's Trainer: exact resume, logs that survive it, a progress line, fewer notes."""

import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from hydra.utils import instantiate
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf

from btrnn.data.module import BatchOrder
from btrnn.engine.config import ConfigError
from btrnn.engine.processes import rank
from btrnn.engine.weights import epoch_of, write_state
from btrnn.ops.shared_batch import common_stream, seed_streams, set_share, shared
from btrnn.storage.atomic import move_file, replace_file

log = logging.getLogger(__name__)
Row = dict[str, int | float]
_STREAM_OF_A_PROCESS = 2**53  # above all seeds of steps


class SeedEveryStep(Callback):
    """Make the random numbers of each training step (dropout) a function of the seed and the step alone.

    Where processes share the batches, what is drawn for a batch's rows is what one process would draw, and all else is
    a function of the seed, the step and the process.

    Args:
        seed: Of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed torch's generators on all devices."""
        seed = self.seed * 1_000_003 + trainer.global_step  # a prime, so that seeds' streams stay apart
        if trainer.world_size == 1:
            torch.manual_seed(seed)
        else:
            set_share(_order(trainer.train_dataloader).share(batch_idx))
            seed_streams(seed, seed + (1 + trainer.global_rank) * _STREAM_OF_A_PROCESS)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Set which part of the batch this process has; the numbers go on from those of the last training step."""
        if trainer.world_size > 1:
            set_share(_order(trainer.val_dataloaders).share(batch_idx))
            if batch_idx == 0:
                with common_stream():  # one process's loader draws a seed for its workers, if it had any
                    torch.empty((), dtype=torch.int64).random_()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave batches whole."""
        set_share(None)


def _order(loader: Any) -> BatchOrder:
    """Return what says which rows are in a loader's batches."""
    order = loader.sampler
    assert isinstance(order, BatchOrder), f"batches of {type(order).__name__} cannot be shared: take DataModule.batches"
    return order


class History(Callback):
    """Keep one row of metrics an epoch, in the checkpoint and in a CSV file, and remember the best epoch.

    Because the rows travel in the checkpoint, a resumed run goes on from exactly the epochs that it stands on: rows
    of epochs that will be done again are gone. The weights of the best epoch stand in a file of their own, which may be
    ahead of the checkpoints when a run is stopped; those that a checkpoint knows are kept beside it while that is.

    Args:
        path: The CSV file, rewritten whole at the end of each epoch.
        metrics: What the task logs, in the order of the file's columns.
        monitor: The metric whose smallest finite value marks the epoch to keep.
        best_path: Where the weights of that epoch are kept, with its number.
    """

    def __init__(self, path: Path, metrics: tuple[str, ...], monitor: str, best_path: Path) -> None:
        self.path, self.monitor, self.best_path = path, monitor, best_path
        self._written: int | None = None  # the epoch whose weights best_path holds
        self._needed: list[int] = []  # the best epochs that the two checkpoints know, the older first
        self.metrics = metrics
        speed = ("learning_rate", "first_gradient_norm", "examples_per_second", "seconds")
        self.columns = ("epoch", "step", *metrics, *speed)
        self.rows: list[Row] = []
        self._first_gradient_norm = float("nan")
        self._learning_rate = float("nan")
        self._started = self._trained = 0.0
        self._examples = 0

    @property
    def best(self) -> Row | None:
        """The row of the best epoch so far; the earliest of equals; None while there is none of a finite value."""
        finite = [row for row in self.rows if math.isfinite(row[self.monitor])]
        return min(finite, key=lambda row: row[self.monitor], default=None)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._started, self._examples = time.perf_counter(), 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note the rate that this step uses, before the schedule moves on."""
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Measure the gradient at the epoch's first step; over a dense W each time costs some 15 ms."""
        if self._examples == 0:
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            self._first_gradient_norm = float(torch.nn.utils.get_total_norm(gradients))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count examples and time; validation starts after the epoch's last call of this."""
        share = shared()
        self._examples += len(batch[0]) if share is None else share.whole
        self._trained = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row, keep its weights if they are the best so far, and write the CSV file."""
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items() if key in self.metrics}
        row: Row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            **metrics,
            "learning_rate": self._learning_rate,
            "first_gradient_norm": self._first_gradient_norm,
            "examples_per_second": self._examples / (self._trained - self._started),
            "seconds": time.perf_counter() - self._started,
        }
        self.rows.append(row)
        if self.best is row and trainer.is_global_zero:
            if self._written is not None and self._written in self._needed:
                move_file(self.best_path, self._kept_path(self._written))
            self._written = trainer.current_epoch
            write_state(self.best_path, pl_module.state_dict(), self._written)
        pl_module.log_dict({key: row[key] for key in ("learning_rate", "first_gradient_norm", "examples_per_second")})
        if trainer.is_global_zero:
            table = pd.DataFrame(self.rows, columns=list(self.columns))
            replace_file(self.path, table.to_csv(index=False))

    def _kept_path(self, epoch: int | str) -> Path:
        """Return where the weights of a best epoch are kept when there is a better one."""
        return self.best_path.with_name(f"{self.best_path.stem}_of_{epoch}{self.best_path.suffix}")

    def checkpointed(self) -> None:
        """Note that a checkpoint now holds all rows; weights that neither it nor the one before knows are deleted."""
        self._needed = [*self._needed[-1:], *([] if self.best is None else [int(self.best["epoch"])])]
        needed = [self._kept_path(epoch) for epoch in self._needed]
        for path in self.best_path.parent.glob(self._kept_path("*").name):
            if path not in needed:
                path.unlink()

    def state_dict(self) -> dict[str, Any]:
        """Put the rows into the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows from the checkpoint, and go back to the weights of its best epoch.

        Raises:
            ConfigError: They are not there.
        """
        self.rows = list(state_dict["rows"])
        if self.best is None or rank() > 0:
            return
        epoch = int(self.best["epoch"])
        if epoch_of(self.best_path) != epoch:
            if epoch_of(self._kept_path(epoch)) != epoch:
                raise ConfigError(
                    f"{self.best_path} does not hold the weights of epoch {epoch}, which the checkpoint "
                    f"beside it calls the best: delete {self.best_path.parent}, and the same command starts anew"
                )
            move_file(self._kept_path(epoch), self.best_path)
        self._written, self._needed = epoch, [epoch]


class ResumePoint(Callback):
    """Save all that a run needs to go on, at ends of epochs that are at least `every_seconds` apart and at the last.

    It must stand after `History` in the list of callbacks, so that it saves the row of its own epoch.

    Args:
        path: The checkpoint file; the one before is kept beside it, see `previous_checkpoint`.
        every_seconds: Writing a dense model's 711 MB takes seconds, an epoch may take less.
        history: Is told of each checkpoint.
    """

    def __init__(self, path: Path, every_seconds: float, history: History) -> None:
        self.path, self.every_seconds, self.history = path, every_seconds, history
        self._saved = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is time."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = last or time.perf_counter() - self._saved >= self.every_seconds
        if trainer.strategy.broadcast(due):  # by the first process's clock
            trainer.save_checkpoint(self.path, weights_only=False)
            if trainer.is_global_zero:
                self.history.checkpointed()
            self._saved = time.perf_counter()


class EpochLine(Callback):
    """Print one line an epoch, for logs and pipes where a progress bar would be noise."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's metrics."""
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        shown = "  ".join(f"{key} {float(value):.3f}" for key, value in metrics.items() if "/" in key)
        print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {shown}", flush=True)


@contextmanager
def logged(config: DictConfig) -> Iterator[WandbLogger | None]:
    """Yield the run's logger, and end its W&B run in any case, so that the next one of a sweep gets its own.

    Where W&B refuses, as it does without a login or a connection, the run is logged offline; where that fails too, it
    has no logger. A run's own files hold all its numbers in any case.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # its banner would come once a run; WANDB_SILENT=false brings it back
    logger = _begun_logger(config) if config.logger else None
    try:
        yield logger
    finally:
        if logger is not None:
            import wandb  # which the logger has done before

            with _whatever_wandb_does():
                wandb.finish()


def tell(
    logger: WandbLogger | None, summary: dict[str, Any], media: Callable[[], dict[str, Any]] | None = None
) -> None:
    """Send W&B what came out of a run, and what `media` makes for it; the run is kept whatever becomes of that."""
    if logger is not None:
        with _whatever_wandb_does():
            logger.experiment.summary.update(summary)
            if media is not None:
                logger.experiment.log(media())


@contextmanager
def _whatever_wandb_does() -> Iterator[None]:
    """Log what W&B fails with, and go on: a finished run is not lost by it."""
    try:
        yield
    except Exception as error:  # of any type: those of wandb have none in common
        log.warning("W&B has not taken all of this run's log (%s); nothing of the run is lost", error)


def _begun_logger(config: DictConfig) -> WandbLogger | None:
    """Begin a W&B run, offline where it does not begin as asked; say so, and give None, where it does not at all."""
    remedies = (
        "it is logged offline, below {}/wandb; `wandb login` opens an account, `wandb sync` sends it",
        "its numbers are in {} alone; logger=none asks for that",
    )
    for changes, remedy in zip(({}, {"mode": "offline"}), remedies, strict=True):
        try:
            logger: WandbLogger = instantiate(config.logger, **changes)
            logger.log_hyperparams(cast("dict[str, Any]", OmegaConf.to_container(config)))
            return logger
        except Exception as error:  # of any type: those of wandb have none in common
            place = remedy.format(config.logger.get("save_dir", config.run_dir))
            log.warning("W&B takes no log of this run (%s): %s", str(error).rstrip("."), place)
    return None


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
            warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # what is logged is of all processes
            yield
    finally:
        for name, level in zip(names, levels, strict=True):
            logging.getLogger(name).setLevel(level)
