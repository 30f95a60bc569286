"""Invented run folders of Task 3 for the tests of what reads them; the numbers mean nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from btrnn.storage.files import arrays_bytes

MODELS: dict[str, dict[str, Any]] = {
    "lstm": {"model_label": "LSTM", "rank": None, "num_blocks": None, "order": None, "parameters_input": 1_048_576},
    "tt_lstm": {"model_label": "TT-LSTM", "rank": 3, "num_blocks": None, "order": 3, "parameters_input": 1_536},
    "bt_lstm": {"model_label": "BT-LSTM", "rank": 2, "num_blocks": 2, "order": 3, "parameters_input": 1_552},
}
SHOWN = 4
_SKILL = {"lstm": 1.6, "tt_lstm": 1.5, "bt_lstm": 1.2}


def write_run(
    results_dir: Path,
    model: str,
    seed: int,
    *,
    experiment: str = "captioning_scenes",
    num_images: int = 30,
    epochs: int = 3,
    changes: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Write one finished run folder and return it; `settings` are of the model, `changes` go into its summary."""
    described = MODELS[model] | settings
    name = "-".join([model, *(f"{key}{value}" for key, value in sorted(settings.items())), "study"])
    run_dir = results_dir / "runs" / experiment / name / f"seed{seed}"
    run_dir.mkdir(parents=True)
    rng = np.random.default_rng([seed, sorted(MODELS).index(model), int(described["rank"] or 0)])
    images = 100 + np.arange(num_images)
    cider = np.clip(_SKILL[model] + 0.1 * np.sin(images) + rng.normal(0, 0.1, num_images), 0, 10)
    said = [f"{model} says {seed} of image {image}, at some length so that a line must break" for image in images]
    said[0] = ""  # a search may find nothing to say
    captions = pd.DataFrame({"image": images, "caption": said, "cider": cider})
    captions.to_csv(run_dir / "captions.csv", index=False)
    pictures = np.random.default_rng(0).integers(0, 256, (SHOWN, 20, 20, 3), dtype=np.uint8)
    (run_dir / "arrays.npz").write_bytes(arrays_bytes({"images": pictures, "image_ids": images[:SHOWN]}))
    loss = 2.0 / np.arange(1, epochs + 1) + rng.normal(0, 0.01, epochs)
    pd.DataFrame(
        {"epoch": np.arange(epochs), "step": np.arange(1, epochs + 1) * 10, "train/loss": loss + 0.1, "val/loss": loss}
        | dict.fromkeys(("learning_rate", "first_gradient_norm", "examples_per_second", "seconds"), 1.0)
    ).to_csv(run_dir / "metrics.csv", index=False)
    dense = 1_048_576
    summary = {
        **{"experiment": experiment, "name": name, "seed": seed, "model": model, **described},
        **{"source": "scenes" if experiment.endswith("_scenes") else "coco"},
        **{"stand_in": experiment.endswith("_scenes"), "encoder": "efficientnet_lite0", "grid": 7, "tokenizer": "ptb"},
        **{"split": "its own"},
        **{"vocabulary_size": 150, "beam_size": 3, "init": "default", "scale": "study"},
        **{"in_modes": "" if model == "lstm" else "8x8x8", "hidden_modes": "" if model == "lstm" else "8x8x8"},
        **{"learning_rate": 1e-3, "epochs": epochs, "parameters_total": described["parameters_input"] + 2_000_000},
        **{"parameters_dense_input": dense, "parameters_dense_total": dense + 2_000_000, "epoch_chosen": epochs - 1},
        **{"train/loss_last": 0.9, "train/loss": 0.9, "val/loss": 0.8, "test/loss": 0.7, "test/perplexity": 2.01},
        **{f"test/bleu_{n}": 1 - 0.1 * n for n in (1, 2, 3, 4)},
        **{
            "test/meteor": 0.3,
            "test/rouge_l": 0.6,
            "test/cider": float(cider.mean()),
            "test/cider_constant": 0.2,
            "test/cider_true": 0.9,
        },
        **{"num_train": 400, "num_val": 30, "num_test": num_images, "seconds": 9.0, "seconds_per_epoch": 3.0},
        **{"steps_per_second": 3.0, "peak_memory_mib": 300.0, "device": "cpu", "threads": 2},
        **{"versions": {"torch": "2.0"}, "git_commit": "0123456789abcdef", "git_dirty": False},
        **{"command": f"python experiments/train.py experiment=captioning model={model} seed={seed}"},
        "finished": "2030-01-01T00:00:00",
        **(changes or {}),
    }
    (run_dir / "summary.json").write_text(json.dumps(summary))
    return run_dir
