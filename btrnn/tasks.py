"""What each task optimises and reports: losses, metrics and optimisers, as LightningModules."""

from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn import functional as F

from btrnn.data.ucf11 import VideoBatch
from btrnn.models import VideoClassifier


class NonFiniteLossError(RuntimeError):
    """The loss is no longer a number, so that further steps would only destroy the weights."""


class VideoClassification(LightningModule):
    """Task 1: cross-entropy on clips, with the optimiser of the paper's released code.

    Args:
        network: The classifier.
        learning_rate: Adam's rate at step 0.
        learning_rate_decay: k in lr_t = lr / (1 + k t) at step t, as in the released code.
        classifier_l2: The loss has this times the sum of squares of the classifier's weight, and so does every
            logged loss.
    """

    def __init__(
        self,
        network: VideoClassifier,
        *,
        learning_rate: float,
        learning_rate_decay: float,
        classifier_l2: float,
    ) -> None:
        super().__init__()
        self.network = network
        self.learning_rate, self.learning_rate_decay = learning_rate, learning_rate_decay
        self.classifier_l2 = classifier_l2
        self.test_predictions: list[tuple[Tensor, Tensor]] = []  # (rows of the clip table, predicted labels)

    def _step(self, batch: VideoBatch, split: str) -> tuple[Tensor, Tensor]:
        """Compute the loss and the predictions, and log both metrics as means over the epoch's clips."""
        scores = self.network(batch.frames, batch.mask)
        penalty = self.classifier_l2 * self.network.classifier.weight.square().sum()
        loss = F.cross_entropy(scores, batch.labels) + penalty
        predicted = scores.argmax(dim=-1)
        accuracy = (predicted == batch.labels).float().mean()
        metrics = {f"{split}/loss": loss, f"{split}/accuracy": accuracy}
        self.log_dict(metrics, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch.labels))
        return loss, predicted

    def training_step(self, batch: VideoBatch) -> Tensor:
        """Compute the loss of one batch.

        Raises:
            NonFiniteLossError: The loss is NaN or infinite; the message names the step.
        """
        loss, _ = self._step(batch, "train")
        if not torch.isfinite(loss):
            raise NonFiniteLossError(
                f"the training loss is {loss.item()} at step {self.global_step} (epoch {self.current_epoch}); "
                f"the last resumable checkpoint is kept. A lower task.learning_rate than {self.learning_rate} may help"
            )
        return loss

    def validation_step(self, batch: VideoBatch) -> None:
        """Log loss and accuracy on the split that chooses the epoch."""
        self._step(batch, "val")

    def on_test_start(self) -> None:
        """Forget the predictions of an earlier test."""
        self.test_predictions.clear()

    def test_step(self, batch: VideoBatch) -> None:
        """Log loss and accuracy on the test split, and keep the predictions."""
        _, predicted = self._step(batch, "test")
        self.test_predictions.append((batch.clips.cpu(), predicted.cpu()))

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the last test's rows of the clip table and the labels predicted for them, int (clips,) each."""
        rows, predicted = zip(*self.test_predictions, strict=True)
        return torch.cat(rows).numpy(), torch.cat(predicted).numpy()

    def configure_optimizers(self) -> Any:
        """Return Adam with the released code's decay, stepped at every batch."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + self.learning_rate_decay * step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
