"""What is made of finished runs: their summaries, captions of any pictures, and floors beside them.

The floors are what logistic regression and the nearest training clip make of the mean frame: how much of a video data
set is scenery, and how much is near-duplicates. No motion and no order of frames is left in a mean frame, so what is
scored here needs no recurrent network.
"""

import json
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import DictConfig
from sklearn.decomposition import KernelPCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from btrnn.data.captions.vocabulary import Vocabulary
from btrnn.data.encoders import load_encoder
from btrnn.data.module import ClipData, DataModule
from btrnn.data.pictures import ImageError, read_image
from btrnn.engine.callbacks import Row
from btrnn.engine.config import ConfigError, read_config
from btrnn.engine.machine import git_state, peak_memory_mib, provenance
from btrnn.engine.weights import SUFFIX, load_weights, read_weights
from btrnn.ops import native
from btrnn.results.schema import BASELINE, FLOORS, LATER, NEIGHBOUR, Model, model_of
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import RUN_AGAIN, read_json
from btrnn.tasks import Captioning, Task

_UNSEEN = ("frame_order", "pixel_order", "start", "precision")  # by any floor
_COPIED = (  # of a run's summary that also hold for the baseline on the same data
    *("experiment", "seed", "source", "stand_in", "data_digest", "protocol", "fold", "scaling", "sampling", "scale"),
    *("frame_order", "pixel_order", "start", "precision", "train_limit", "passes", "scaled", "num_clips"),
    *("num_groups", "num_classes", "num_train", "num_val", "num_test"),
    *("parameters_dense_input", "parameters_dense_total", "versions"),
)


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
        "versions": {name: version(name) for name in ("torch", "lightning", "numpy", "av", "btrnn")},
        **provenance(),
    }


def last_captioning_run(results_dir: Path) -> Path:
    """Return the captioning run that was finished last, or else the file of weights of the smallest model.

    Raises:
        FileNotFoundError: There is neither.
    """
    finished = results_dir.glob("runs/captioning*/*/seed*/vocabulary.json")
    files = results_dir.glob(f"weights/captioning*{SUFFIX}")
    found = [path.parent for path in sorted(finished, key=lambda path: path.stat().st_mtime, reverse=True)]
    found += sorted(files, key=lambda path: (path.stat().st_size, path.name))
    if not found:
        raise FileNotFoundError(
            f"no captioning run is finished in {results_dir}/runs, and {results_dir}/weights has no weights of one: "
            "`make reproduce-captioning` trains them, or name one with --run"
        )
    print(f"with {found[0]}", file=sys.stderr)
    return found[0]


def caption_pictures(run: Path, paths: Sequence[Path]) -> None:
    """Print a caption for each picture; those that cannot be read are named on stderr.

    Args:
        run: A finished captioning run's folder, or a file of weights.
        paths: The pictures.

    Raises:
        FileNotFoundError: `run` is neither.
        ConfigError: It is not of captioning.
        ImageError: Some pictures could not be read; the others have their captions.
    """
    weights = read_weights(run)
    config = weights.config
    if config.section != "captioning":
        raise ConfigError(f"{run} is of experiment={config.experiment}, which makes no captions")
    if not weights.vocabulary:
        raise ConfigError(f"{run} was not tested, or is not finished: its words were not kept; take another run")
    vocabulary = Vocabulary.parse(weights.vocabulary, run)
    encoder = load_encoder(config.data.encoder)
    task: Captioning = instantiate(config.task)
    task.make_network(len(vocabulary), encoder.channels)
    load_weights(task, weights.state, run)
    task.eval()
    failed = 0
    for path in paths:
        try:
            pixels, _ = read_image(path, encoder.input_size)
        except ImageError as error:
            print(f"{path}: not captioned: {error}", file=sys.stderr)
            failed += 1
            continue
        feature = torch.from_numpy(encoder.encode(pixels[np.newaxis], config.data.grid))
        print(f"{path}: {task.captions(feature, vocabulary)[0]}", flush=True)
    if failed:
        raise ImageError(f"{failed} of {len(paths)} pictures could not be read")


def add_baseline(experiment_dir: Path) -> None:
    """Fit the floors on the very splits and frames of an experiment's finished runs.

    Each gets one run folder for each protocol, fold, scaling, scale and seed; those that exist are left. Runs that are
    controls by what no floor sees, such as the order of frames, add none.

    Args:
        experiment_dir: Folder of the experiment's runs.
    """
    for path in sorted(experiment_dir.glob("*/seed*/summary.json")):
        summary = read_json(path, RUN_AGAIN)
        fitted = summary["model"] in (floor.name for floor in FLOORS)
        plain = all(summary.get(key, LATER[key]) == LATER[key] for key in _UNSEEN)
        if fitted or not plain or "test/accuracy" not in summary:
            continue
        fewer = "" if summary.get("train_limit") is None else f"-train{summary['train_limit']}"
        read = "" if summary.get("encoder") is None else f"-{summary['source']}"
        fold = "" if summary.get("fold") is None else f"-fold{summary['fold']}"
        for floor in FLOORS:
            name = (
                "-".join([floor.name, summary["protocol"], summary["scaling"], summary["scale"]]) + read + fewer + fold
            )
            run_dir = experiment_dir / name / path.parent.name
            if not (run_dir / "summary.json").exists():
                common = {key: summary[key] if key in _COPIED else None for key in summary} | {"name": name}
                _add(floor, path.parent, run_dir, common)


def _add(floor: Model, source_dir: Path, run_dir: Path, common: dict[str, object]) -> None:
    """Fit on the data of the run in `source_dir`, and write the files of a finished run."""
    print(f"fitting {run_dir}", flush=True)
    started = time.perf_counter()
    metrics, data, predictions = fit_baseline(read_config(source_dir / "config.yaml"), floor)
    summary = {  # what a linear model does not have stays None
        **common,
        **metrics,
        "model": floor.name,
        "model_label": floor.label,
        "seconds": time.perf_counter() - started,
        "command": f"python experiments/baseline.py results/runs/{run_dir.parent.parent.name}",
        **git_state(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    for name, table in (("predictions.csv", predictions), ("splits.csv", data.splits)):
        replace_file(run_dir / name, table.to_csv(index=False))
    replace_file(run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")


def fit_baseline(config: DictConfig, floor: Model = BASELINE) -> tuple[dict[str, Any], ClipData, pd.DataFrame]:
    """Fit a floor to the mean frames of the training clips that `config.data` draws, and test it.

    Returns:
        The metrics of training and test, the data module, and a row of predictions for each test clip.
    """
    data: ClipData = instantiate(config.data)
    data.prepare_data()
    data.setup("fit")
    features, labels, rows = _mean_frames(data, data.train_dataloader())
    _, once = np.unique(rows, return_index=True)  # where an epoch passes over the clips several times
    features, labels = features[np.sort(once)], labels[np.sort(once)]
    test_features, test_labels, test_rows = _mean_frames(data, data.test_dataloader())
    if floor == NEIGHBOUR:  # it learns nothing: it keeps the training frames, finds them again, gives no probabilities
        model = KNeighborsClassifier(n_neighbors=1).fit(features, labels)
        metrics: dict[str, Any] = {"parameters_total": 0}
    else:
        # seen along the directions in which the clips differ, of which there are fewer than pixels: the same model, but
        # with less for the solver to do
        model = make_pipeline(StandardScaler(), KernelPCA(), LogisticRegression(max_iter=200)).fit(features, labels)
        known = model.predict_proba(test_features)
        probabilities = np.zeros((len(known), data.num_classes), known.dtype)  # also of a class without training clips
        probabilities[:, model.classes_] = known
        metrics = {
            "train/accuracy": float(model.score(features, labels)),
            "test/loss": float(log_loss(test_labels, probabilities, labels=range(data.num_classes))),
            "parameters_total": (features.shape[1] + 1) * data.num_classes,
        }
    predicted = model.predict(test_features)
    metrics["test/accuracy"] = float((predicted == test_labels).mean())
    table = data.splits.loc[test_rows, ["clip", "group", "label"]].assign(predicted=predicted)
    return metrics, data, table


def _mean_frames(data: ClipData, loader: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean frame (clips, I), the label and the row of each clip."""
    means, labels, rows = [], [], []
    for batch in loader:
        scaled = data.on_after_batch_transfer(batch, 0)
        means.append(scaled.frames.sum(dim=1) / scaled.mask.sum(dim=1, keepdim=True))
        labels.append(scaled.labels)
        rows.append(scaled.clips)
    return torch.cat(means).numpy(), torch.cat(labels).numpy(), torch.cat(rows).numpy()
