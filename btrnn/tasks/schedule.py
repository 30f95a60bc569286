"""The optimiser of the tasks whose papers give none that fits every scale."""

from typing import Any

import torch

from btrnn.tasks.task import Task

_WARM_UP_STEPS = 100
_LOWEST_RATE = 0.02  # share of the learning rate at which the schedule ends


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
