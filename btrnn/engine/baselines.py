"""Simple baselines beside finished runs: what logistic regression and the nearest training clip make of the mean frame.

They say how much of a video data set is scenery, and how much is near-duplicates. No motion and no order of frames is
left in a mean frame, so what is scored here needs no recurrent network.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from sklearn.decomposition import KernelPCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from btrnn.data.module import ClipData
from btrnn.engine.config import read_config
from btrnn.engine.machine import git_state
from btrnn.engine.saved import check_saved, naming_the_run
from btrnn.results.schema import BASELINES, LATER_COLUMNS, LOGISTIC_REGRESSION, NEAREST_NEIGHBOUR, Model
from btrnn.storage.atomic import locked, remove_leftovers, replace_file
from btrnn.storage.files import RUN_AGAIN, read_json

# In a run's name: it read others than is usual.
_OTHER_DATA = ("data=", "scale.video.num_clips=", "data.num_clips=", "data.num_frames=", "data.sampling=")
_UNSEEN = ("frame_order", "pixel_order", "start", "precision")  # by any baseline
INVERSE_PENALTIES = tuple(float(f"1e{power}") for power in range(-8, 2))  # C of logistic regression, a decade apart
_COPIED = (  # of a run's summary that also hold for the baseline on the same data
    *("experiment", "seed", "source", "stand_in", "data_digest", "protocol", "fold", "scaling", "sampling", "scale"),
    *("frame_order", "pixel_order", "start", "precision", "train_limit", "passes", "scaled", "num_clips"),
    *("num_groups", "num_classes", "num_train", "num_val", "num_test"),
    *("parameters_dense_input", "parameters_dense_total", "versions"),
)


def add_baselines(experiment_dir: Path) -> None:
    """Fit the baselines on the very splits and frames of an experiment's finished runs.

    Each gets one run folder for each protocol, fold, scaling, scale, choice of clips and frames, and seed; those that
    exist are left. Runs that are controls by what no baseline sees, such as the order of frames, add none.

    Args:
        experiment_dir: Folder of the experiment's runs.

    Raises:
        FileNotFoundError: No finished run is there.
        ConfigError: A run is damaged, or of a version of btrnn that had other data.
    """
    found = sorted(experiment_dir.glob("*/seed*/summary.json"))
    if not found:
        raise FileNotFoundError(
            f"{experiment_dir} holds no finished run: name the folder of an experiment, such as results/runs/ucf11"
        )
    for path in found:
        summary = read_json(path, RUN_AGAIN)
        fitted = summary["model"] in (baseline.name for baseline in BASELINES)
        plain = all(summary.get(key, LATER_COLUMNS[key]) == LATER_COLUMNS[key] for key in _UNSEEN)
        if fitted or not plain or "test/accuracy" not in summary:
            continue
        fewer = "" if summary.get("train_limit") is None else f"-train{summary['train_limit']}"
        read = "" if summary.get("encoder") is None else f"-{summary['source']}"
        fold = "" if summary.get("fold") is None else f"-fold{summary['fold']}"
        others = "".join(f",{change}" for change in summary["name"].split(",") if change.startswith(_OTHER_DATA))
        for baseline in BASELINES:
            known = "-".join([baseline.name, summary["protocol"], summary["scaling"], summary["scale"]])
            name = known + read + fewer + fold + others
            run_dir = experiment_dir / name / path.parent.name
            if (run_dir / "summary.json").exists():
                continue
            common = {key: summary[key] if key in _COPIED else None for key in summary} | {"name": name}
            with locked(run_dir):
                remove_leftovers(run_dir)
                if not (run_dir / "summary.json").exists():  # another process may have fitted it meanwhile
                    _add(baseline, path.parent, run_dir, common)


def _add(baseline: Model, source_dir: Path, run_dir: Path, common: dict[str, object]) -> None:
    """Fit on the data of the run in `source_dir`, and write the files of a finished run."""
    print(f"fitting {run_dir}", flush=True)
    started = time.perf_counter()
    config = read_config(source_dir / "config.yaml")
    check_saved(config, ["data"], source_dir)
    with naming_the_run(source_dir):
        metrics, data, predictions = fit_baseline(config, baseline)
    summary = {  # what a linear model does not have stays None
        **common,
        **metrics,
        "model": baseline.name,
        "model_label": baseline.label,
        "seconds": time.perf_counter() - started,
        "command": f"python experiments/baseline.py results/runs/{run_dir.parent.parent.name}",
        **git_state(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    for name, table in (("predictions.csv", predictions), ("splits.csv", data.splits)):
        replace_file(run_dir / name, table.to_csv(index=False))
    replace_file(run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")


def fit_baseline(
    config: DictConfig, baseline: Model = LOGISTIC_REGRESSION
) -> tuple[dict[str, Any], ClipData, pd.DataFrame]:
    """Fit a baseline to the mean frames of the training clips that `config.data` draws, and test it.

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
    if baseline == NEAREST_NEIGHBOUR:
        # it learns nothing: it keeps the training frames, finds them again, gives no probabilities
        model: Any = KNeighborsClassifier(n_neighbors=1).fit(features, labels)
        metrics: dict[str, Any] = {"parameters_total": 0}
    else:
        val_features, val_labels, _ = _mean_frames(data, data.val_dataloader())
        model, reached = _logistic_regression(features, labels, val_features, val_labels)
        metrics = reached | {
            "train/accuracy": float(model.score(features, labels)),
            "test/loss": _loss(model, test_features, test_labels),
            "parameters_total": (features.shape[1] + 1) * data.num_classes,
        }
    predicted = model.predict(test_features)
    metrics["test/accuracy"] = float((predicted == test_labels).mean())
    table = data.splits.loc[test_rows, ["clip", "group", "label"]].assign(predicted=predicted)
    return metrics, data, table


def _logistic_regression(
    features: np.ndarray, labels: np.ndarray, val_features: np.ndarray, val_labels: np.ndarray
) -> tuple[Pipeline, dict[str, float]]:
    """Fit with each penalty; return the model of the lowest loss on the validation clips, and what it reaches there."""
    # seen along the directions in which the clips differ, of which there are fewer than pixels: the same models, but
    # with less for the solver to do
    directions = make_pipeline(StandardScaler(), KernelPCA()).fit(features)
    inputs, val_inputs = (directions.transform(frames).astype(np.float64) for frames in (features, val_features))
    models = [LogisticRegression(C=inverse, max_iter=5000).fit(inputs, labels) for inverse in INVERSE_PENALTIES]
    losses = [_loss(model, val_inputs, val_labels) for model in models]
    best = models[int(np.argmin(losses))]
    reached = {"val/loss": min(losses), "val/accuracy": float(best.score(val_inputs, val_labels))}
    return make_pipeline(directions, best), reached | {"inverse_penalty": best.C}


def _loss(model: Pipeline | LogisticRegression, features: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean log loss; a class that the model never saw has probability 0, which counts as 2e-16."""
    classes = np.union1d(model.classes_, labels)
    probabilities = np.zeros((len(labels), len(classes)))
    probabilities[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(features)
    return float(log_loss(labels, probabilities, labels=classes))


def _mean_frames(data: ClipData, loader: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean frame (clips, I), the label and the row of each clip."""
    means, labels, rows = [], [], []
    for batch in loader:
        scaled = data.on_after_batch_transfer(batch, 0)
        means.append(scaled.frames.sum(dim=1) / scaled.mask.sum(dim=1, keepdim=True))
        labels.append(scaled.labels)
        rows.append(scaled.clips)
    return torch.cat(means).numpy(), torch.cat(labels).numpy(), torch.cat(rows).numpy()
