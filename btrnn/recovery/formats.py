"""How near each format comes to given matrices with about 512 numbers."""

from typing import Any

import pandas as pd
import torch

from btrnn.recovery.maps import MAPS, from_dense, make
from btrnn.recovery.records import EQUAL_MAPS
from btrnn.recovery.truths import KINDS, make_truth

_NUM_SEEDS = 3


def fit_errors() -> pd.DataFrame:
    """Fit every format to three matrices of each kind of `btrnn.recovery.truths`.

    Returns:
        A row each: `format`, `small_parameters`, and the mean relative error for each kind of matrix,
        `error_photograph` and so on.
    """
    rows = []
    for name in MAPS:
        row: dict[str, Any] = {"format": EQUAL_MAPS[name], "small_parameters": make(name, "meta").num_weights}
        for kind in KINDS:
            truths = (torch.from_numpy(make_truth(kind, seed)) for seed in range(_NUM_SEEDS))
            row[f"error_{kind}"] = sum(from_dense(name, truth).relative_error(truth) for truth in truths) / _NUM_SEEDS
        rows.append(row)
    return pd.DataFrame(rows)
