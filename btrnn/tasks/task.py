"""What every task has in common, and what a run asks of one."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor

from btrnn.nn.recurrent import Recurrent

Outputs = dict[str, np.ndarray]  # what a test gives beside its metrics


class NonFiniteLossError(RuntimeError):
    """The loss is no longer a number, so that further steps would only destroy the weights."""


class Task(LightningModule, ABC):
    """A network with its loss, metrics and optimiser.

    Attributes:
        metrics: What is logged of training and validation, in the order of metrics.csv.
        monitor: The metric whose smallest value marks the epoch whose weights are kept.
        learning_rate: Of the optimiser at its highest.
    """

    metrics: ClassVar[tuple[str, ...]]
    monitor: ClassVar[str] = "val/loss"
    learning_rate: float

    @property
    @abstractmethod
    def recurrent(self) -> Recurrent:
        """The layer whose input-to-hidden map the models differ in."""

    @abstractmethod
    def loss(self, batch: Any, split: str) -> Tensor:
        """Compute a batch's loss, and log it with the metrics of its split."""

    @abstractmethod
    def check_data(self, data: Any) -> None:
        """Raise ValueError if the network does not fit the data; nothing is read for it."""

    def complete(self, data: Any) -> None:
        """Make what only the data that have been read decide, such as the size of a vocabulary."""

    def facts(self) -> dict[str, object]:
        """Say what a run's summary tells of this task alone."""
        return {}

    def outputs(self, data: Any) -> Outputs:  # noqa: ARG002
        """Return what the test that has just ended, or the weights that it met, give to look at."""
        return {}

    def write_outputs(self, run_dir: Path, data: Any, chosen: Outputs, last: Outputs) -> None:
        """Write the outputs of the chosen weights, and of the last ones where those were tested too."""

    def media(self, data: Any, chosen: Outputs) -> dict[str, Any]:  # noqa: ARG002
        """Return what W&B shows of the outputs."""
        return {}

    def training_step(self, batch: Any) -> Tensor:
        """Compute the loss of one batch.

        Raises:
            NonFiniteLossError: The loss is NaN or infinite; the message names the step.
        """
        loss = self.loss(batch, "train")
        if not torch.isfinite(loss):
            raise NonFiniteLossError(
                f"the training loss is {loss.item()} at step {self.global_step} (epoch {self.current_epoch}); "
                f"the last resumable checkpoint is kept. A lower task.learning_rate than {self.learning_rate} may help"
            )
        return loss

    def validation_step(self, batch: Any) -> None:
        """Log loss and metrics on the split that chooses the epoch."""
        self.loss(batch, "val")
