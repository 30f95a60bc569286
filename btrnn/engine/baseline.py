"""What a linear classifier makes of the mean frame: how much of a video data set is scenery.

No motion and no order of frames is left in a mean frame, so what is scored here needs no recurrent network.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from btrnn.data.video.batch import ClipData


def fit_baseline(config: DictConfig) -> tuple[dict[str, Any], ClipData, pd.DataFrame]:
    """Fit logistic regression on the mean frames of the training clips that `config.data` draws, and test it.

    Returns:
        The metrics of training and test, the data module, and a row of predictions for each test clip.
    """
    data: ClipData = instantiate(config.data)
    data.prepare_data()
    data.setup("fit")
    features, labels, _ = _mean_frames(data, data.train_dataloader())
    test_features, test_labels, test_rows = _mean_frames(data, data.test_dataloader())
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    model.fit(features, labels)
    predicted = model.predict(test_features)
    metrics = {
        "train/accuracy": float(model.score(features, labels)),
        "test/accuracy": float((predicted == test_labels).mean()),
        "test/loss": float(log_loss(test_labels, model.predict_proba(test_features), labels=range(data.num_classes))),
        "parameters_total": (features.shape[1] + 1) * data.num_classes,
    }
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
