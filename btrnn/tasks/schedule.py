"""The optimiser of the tasks whose papers give none that fits every scale."""

from typing import Any

import torch

from btrnn.tasks.task import Task

_WARM_UP_STEPS = 100
_LOWEST_RATE = 0.02  # share of the learning rate at which the schedule ends


def warmed_up_adam(task: Task) -> dict[str, Any]:
    """Return Adam with a linear warm-up of 100 steps, then a linear decay to 2 % of the rate."""
    optimizer = torch.optim.Adam(task.parameters(), lr=task.learning_rate, fused=True)
    total = int(task.trainer.estimated_stepping_batches)

    def factor(step: int) -> float:
        return min((step + 1) / _WARM_UP_STEPS, max(_LOWEST_RATE, 1 - step / total))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
