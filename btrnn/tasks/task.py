"""What every task has in common, what a run asks of one, and the optimiser of those whose papers give none.

A training step is done by Lightning, or after the first of an epoch by a CUDA graph: `btrnn.engine.graphs`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor, distributed

from btrnn.nn.rates import parameter_groups
from btrnn.nn.recurrent import Recurrent
from btrnn.ops import shared_batch

Outputs = dict[str, np.ndarray]  # what a test gives beside its metrics
_WARM_UP_STEPS = 100
_LOWEST_RATE = 0.02  # share of the learning rate at which the schedule ends


class NonFiniteLossError(RuntimeError):
    """The loss is no longer a number, so that further steps would only destroy the weights."""


class Measured(NamedTuple):
    """A batch's loss, and what is logged of it.

    loss: (), the mean over its examples, to be differentiated.
    metrics: Such means too, by their names without the split's.
    number: How many examples, or whatever else was averaged over.
    """

    loss: Tensor
    metrics: dict[str, Tensor]
    number: int


class Task(LightningModule, ABC):
    """A network with its loss, metrics and optimiser.

    Attributes:
        metrics: What is logged of training and validation, in the order of metrics.csv.
        monitor: The metric whose smallest value marks the epoch whose weights are kept.
        learning_rate: Of the optimiser at its highest.
        scaled: Whether each layer gets the rate by which a step moves its output as far: see `btrnn.nn.rates`.
        graphed: Does the whole training step of a batch as a CUDA graph; None lets Lightning do them all.
    """

    metrics: ClassVar[tuple[str, ...]]
    monitor: ClassVar[str] = "val/loss"
    learning_rate: float
    scaled: bool = False
    graphed: Callable[[Any], Measured] | None = None
    _is_graphed = False  # the step at work

    def __init__(self) -> None:
        super().__init__()
        self._unchecked: list[Tensor] = []  # losses of the last steps

    @property
    @abstractmethod
    def recurrent(self) -> Recurrent:
        """The layer whose input-to-hidden map the models differ in."""

    @abstractmethod
    def measure(self, batch: Any) -> Measured:
        """Compute a batch's loss and metrics; where processes share the batch, those of this one's examples."""

    def repeats(self, batch: Any) -> bool:  # noqa: ARG002
        """Return whether `measure` does the same for all batches of these shapes, and lets the CPU wait for nothing."""
        return False

    def loss(self, batch: Any, split: str) -> Tensor:
        """Compute a batch's loss, and log it with the metrics of its split."""
        return self.logged(self.measure(batch), split)

    def logged(self, measured: Measured, split: str) -> Tensor:
        """Log means over the examples of a batch, so that those of the epoch are means over its examples.

        Where processes share the batch, the means are those over the whole of it.

        Args:
            measured: Of this process's examples.
            split: Under whose name it is logged.

        Returns:
            The loss whose gradient's mean over the processes is that of the whole batch's loss; `loss` where one
            process has it all. It is not finite in any process if it is not in one.
        """
        loss, named, count = measured
        metrics = {f"{split}/{name}": value for name, value in named.items()}
        share = shared_batch.shared()
        if share is None:
            self.log_dict(metrics, on_step=False, on_epoch=True, prog_bar=True, batch_size=count)
            return loss
        own = count if share.size else 0
        values = torch.stack([loss, *metrics.values(), torch.ones_like(loss)]).detach()
        sums = values.double() * own
        distributed.all_reduce(sums)
        means, total = (sums[:-1] / sums[-1]).float(), int(sums[-1])
        self.log_dict(
            dict(zip(metrics, means[1:], strict=True)), on_step=False, on_epoch=True, prog_bar=True, batch_size=total
        )
        weighed = loss * (own * distributed.get_world_size() / total)
        return torch.where(means[0].isfinite(), weighed, means[0])

    @abstractmethod
    def check_data(self, data: Any) -> None:
        """Raise ValueError if the network does not fit the data; nothing is read for it."""

    def complete(self, data: Any) -> None:
        """Make what only the data that have been read decide, such as the size of a vocabulary."""

    def facts(self) -> dict[str, object]:
        """Return what a run's summary tells of this task alone."""
        return {}

    def outputs(self, data: Any) -> Outputs:  # noqa: ARG002
        """Return what the test that has just ended, or the weights that it met, give to look at."""
        return {}

    def write_outputs(self, run_dir: Path, data: Any, chosen: Outputs, last: Outputs) -> None:
        """Write the outputs of the chosen weights, and of the last ones where those were tested too."""

    def media(self, data: Any, chosen: Outputs) -> dict[str, Any]:  # noqa: ARG002
        """Return what W&B shows of the outputs."""
        return {}

    def adam(self) -> torch.optim.Adam:
        """Make the optimiser, at its highest rate."""
        parameters = parameter_groups(self, self.learning_rate) if self.scaled else self.parameters()
        return torch.optim.Adam(parameters, lr=self.learning_rate, fused=True)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as in full precision. In any other Lightning does not clip what a fused optimiser could have scaled."""
        algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
        Precision.clip_gradients(self.trainer.precision_plugin, optimizer, gradient_clip_val or 0.0, algorithm)

    def training_step(self, batch: Any) -> Tensor:
        """Compute the loss of one batch; in a graph with all that follows from it.

        Raises:
            NonFiniteLossError: The loss is NaN or infinite; the message names the step. To look at it the CPU waits for
                the device, so those of graphs are looked at in the epoch's last step; they change no weight until then.
        """
        if self._is_graphed and self.graphed is not None:
            loss = self.logged(self.graphed(batch), "train")
        else:
            loss = self.loss(batch, "train")
        self._unchecked.append(loss.detach().clone())
        if not self._is_graphed or self.trainer.is_last_batch:
            values, self._unchecked = torch.stack(self._unchecked).tolist(), []
            for step, value in enumerate(values, self.global_step + 1 - len(values)):
                if not isfinite(value):
                    raise NonFiniteLossError(
                        f"the training loss is {value} at step {step} (epoch {self.current_epoch}); the last "
                        f"resumable checkpoint is kept. A lower task.learning_rate than {self.learning_rate} may help"
                    )
        return loss

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Choose who does the step; in the first of an epoch Lightning shows the gradients to the callbacks."""
        self._is_graphed = self.graphed is not None and batch_idx > 0 and self.repeats(batch)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Let the optimiser do its step, unless a graph does it within `training_step`."""
        if self._is_graphed and optimizer_closure is not None:
            optimizer_closure()
        else:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients, unless a graph has."""
        if not self._is_graphed:
            super().backward(loss, *args, **kwargs)

    def validation_step(self, batch: Any) -> None:
        """Log loss and metrics on the split that chooses the epoch."""
        self.loss(batch, "val")


def warmed_up_adam(task: Task, decay_epochs: int | None = None) -> dict[str, Any]:
    """Return Adam with a linear warm-up of 100 steps, then a linear decay to 2 % of the rate.

    Args:
        task: What is trained, by a trainer with a number of epochs.
        decay_epochs: Epochs after which the decay ends; those of the trainer without it.
    """
    optimizer = task.adam()
    total = float(task.trainer.estimated_stepping_batches)
    if decay_epochs is not None:
        assert task.trainer.max_epochs is not None
        total *= decay_epochs / task.trainer.max_epochs

    def factor(step: int) -> float:
        return min((step + 1) / _WARM_UP_STEPS, max(_LOWEST_RATE, 1 - step / total))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
