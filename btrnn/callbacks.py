"""What a run needs beyond Lightning's Trainer: exact resume, a log that survives it, and a quiet progress line."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from btrnn.atomic import replace_file, replacing

Row = dict[str, int | float]


class SeedEveryStep(Callback):
    """Make the random numbers of each training step (dropout) a function of the seed and the step alone.

    Args:
        seed: Of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed torch's generators on all devices."""
        torch.manual_seed(self.seed * 1_000_003 + trainer.global_step)  # a prime, so that seeds' streams stay apart


class History(Callback):
    """Keep one row of metrics an epoch, in the checkpoint and in a CSV file, and remember the best epoch.

    Because the rows travel in the checkpoint, a resumed run goes on from exactly the epochs that it stands on: rows
    of epochs that will be done again are gone.

    Args:
        path: The CSV file, rewritten whole at the end of each epoch.
        metrics: What the task logs, in the order of the file's columns.
        monitor: The metric whose smallest value marks the epoch to keep.
        best_path: Where the weights of that epoch are kept.
    """

    def __init__(self, path: Path, metrics: tuple[str, ...], monitor: str, best_path: Path) -> None:
        self.path, self.monitor, self.best_path = path, monitor, best_path
        self.metrics = metrics
        speed = ("learning_rate", "gradient_norm", "examples_per_second", "seconds")
        self.columns = ("epoch", "step", *metrics, *speed)
        self.rows: list[Row] = []
        self._gradient_norm = float("nan")
        self._learning_rate = float("nan")
        self._started = self._trained = 0.0
        self._examples = 0

    @property
    def best(self) -> Row:
        """The row of the best epoch so far; the earliest of equals."""
        return min(self.rows, key=lambda row: row[self.monitor])

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
            self._gradient_norm = float(torch.nn.utils.get_total_norm(gradients))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count examples and time; validation starts after the epoch's last call of this."""
        self._examples += len(batch[0])
        self._trained = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row, keep its weights if they are the best so far, and write the CSV file."""
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items() if key in self.metrics}
        row: Row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            **metrics,
            "learning_rate": self._learning_rate,
            "gradient_norm": self._gradient_norm,
            "examples_per_second": self._examples / (self._trained - self._started),
            "seconds": time.perf_counter() - self._started,
        }
        self.rows.append(row)
        if self.best is row:
            with replacing(self.best_path) as part:
                torch.save(pl_module.state_dict(), part)
        pl_module.log_dict({key: row[key] for key in ("learning_rate", "gradient_norm", "examples_per_second")})
        table = pd.DataFrame(self.rows, columns=list(self.columns))
        replace_file(self.path, table.to_csv(index=False))

    def state_dict(self) -> dict[str, Any]:
        """Put the rows into the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows from the checkpoint."""
        self.rows = list(state_dict["rows"])


class ResumePoint(Callback):
    """Save all that a run needs to go on, at ends of epochs that are at least `every_seconds` apart and at the last.

    It must stand after `History` in the list of callbacks, so that it saves the row of its own epoch.

    Args:
        path: The checkpoint file; replaced whole.
        every_seconds: Writing a dense model's 711 MB takes seconds, an epoch may take less.
    """

    def __init__(self, path: Path, every_seconds: float) -> None:
        self.path, self.every_seconds = path, every_seconds
        self._saved = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is time."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if last or time.perf_counter() - self._saved >= self.every_seconds:
            trainer.save_checkpoint(self.path, weights_only=False)
            self._saved = time.perf_counter()


class EpochLine(Callback):
    """Print one line an epoch, for logs and pipes where a progress bar would be noise."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's metrics."""
        metrics = trainer.callback_metrics
        shown = "  ".join(f"{key} {float(value):.3f}" for key, value in metrics.items() if "/" in key)
        print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {shown}", flush=True)


class WholeCheckpointIO(TorchCheckpointIO):
    """Write Lightning's checkpoints under another name and rename them, so that a kill leaves the old one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save `checkpoint` to `path`."""
        with replacing(Path(path)) as part:
            torch.save(checkpoint, part)
