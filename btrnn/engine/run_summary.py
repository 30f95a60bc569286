"""What a finished run says of itself: its summary.json."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from lightning import Trainer
from omegaconf import DictConfig

from btrnn.data.module import DataModule
from btrnn.engine.callbacks import Row
from btrnn.engine.machine import installed_versions, peak_memory_mib, provenance
from btrnn.ops import native
from btrnn.results.schema import model_of
from btrnn.tasks import Task


def summarise(
    config: DictConfig, task: Task, data: DataModule, trainer: Trainer, rows: list[Row], best: Row
) -> dict[str, Any]:
    """Return what summary.json says of a run that was trained: all but its test.

    Args:
        config: Without interpolations.
        task: Trained.
        data: On which it was.
        trainer: Which did it.
        rows: Of all epochs.
        best: Of the epoch whose weights are kept.
    """
    model, recurrent = config.model.name, task.recurrent
    of_map = recurrent.input_map.facts()
    seconds = sum(row["seconds"] for row in rows)  # of the epochs
    parameters = sum(parameter.numel() for parameter in task.parameters())
    of_w, dense = recurrent.num_input_parameters, recurrent.num_dense_input_parameters
    dense_hidden = recurrent.num_dense_hidden_parameters
    sizes = data.splits["split"].value_counts()
    device = trainer.strategy.root_device  # Lightning has moved the task back to the CPU
    return {
        "experiment": config.experiment,
        "name": config.name,
        "seed": config.seed,
        "model": model,
        "model_label": model_of(model).label,
        **data.facts(),
        **task.facts(),
        "init": config.cell.init,
        "precision": config.trainer.get("precision", "32-true"),
        "scale": config.scale.name,
        "in_modes": "x".join(map(str, of_map.in_modes)),
        "hidden_modes": "x".join(map(str, of_map.hidden_modes)),
        "rank": max(of_map.rank) if isinstance(of_map.rank, Sequence) else of_map.rank,  # of several the largest
        "num_blocks": of_map.num_blocks,
        "order": of_map.order,
        "hidden_size": recurrent.hidden_size,
        "learning_rate": task.learning_rate,
        "scaled": task.scaled,
        "epochs": len(rows),
        "parameters_input": of_w,
        "parameters_total": parameters,
        "parameters_dense_input": dense,
        "parameters_dense_total": parameters - of_w + dense - recurrent.num_hidden_parameters + dense_hidden,
        "epoch_chosen": int(best["epoch"]),
        **{f"{metric}_last": rows[-1][metric] for metric in task.metrics if metric.startswith("train/")},
        **{metric: best[metric] for metric in task.metrics},
        **{f"num_{split}": int(sizes.get(split, 0)) for split in ("train", "val", "test")},
        "seconds": seconds,
        "seconds_per_epoch": float(pd.Series([row["seconds"] for row in rows]).median()),
        "steps_per_second": trainer.global_step / seconds,
        "peak_memory_mib": peak_memory_mib(device),
        "device": str(device) if trainer.world_size == 1 else f"{trainer.world_size} x {device.type}",
        "native_kernel": device.type == "cpu" and native.available(),
        "versions": installed_versions(("torch", "lightning", "numpy", "av", "btrnn")),
        **provenance(),
    }
