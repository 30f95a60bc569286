"""Invented run folders for the tests of what reads them, whose numbers mean nothing; what two runs have in common."""

import json
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

CLASSES = [
    "backflip",
    "cartwheel",
    "crawl",
    "dance_a",
    "jump",
    "kick",
    "punch",
    "roll",
    "run",
    "spinkick",
    "walk",
]
MODELS: dict[str, dict[str, Any]] = {
    "lstm": {
        "model_label": "LSTM",
        "rank": None,
        "num_blocks": None,
        "order": None,
        "parameters_input": 58_982_400,
    },
    "tt_lstm": {
        "model_label": "TT-LSTM",
        "rank": 4,
        "num_blocks": None,
        "order": 4,
        "parameters_input": 3_360,
    },
    "bt_lstm": {"model_label": "BT-LSTM", "rank": 4, "num_blocks": 2, "order": 4, "parameters_input": 3_392},
    "logistic_regression": {
        **{
            "model_label": "logistic regression on mean frames",
            "rank": None,
            "num_blocks": None,
            "order": None,
        },
        "parameters_input": 0,
    },
}
TOY = {"model_label": "toy", "rank": 5, "num_blocks": None, "order": 3, "parameters_input": 5_000}  # in no table
_SKILL = {"lstm": 0.5, "tt_lstm": 0.65, "bt_lstm": 0.72, "logistic_regression": 0.4}


_CIRCUMSTANCES = {  # of a run, which are others when it is stopped and goes on
    *("seconds", "seconds_per_epoch", "steps_per_second", "peak_memory_mib"),
    *("command", "git_commit", "git_dirty", "finished"),
}


def outcome(run_dir: Path) -> dict[str, Any]:
    """Return what a finished run's summary says but its times, memory, command and commit."""
    summary = json.loads((run_dir / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in _CIRCUMSTANCES}


def change_config(run_dir: Path, key: str, value: object) -> None:
    """Let the configuration of a run's folder say something else, as that of another version might."""
    config = OmegaConf.load(run_dir / "config.yaml")
    OmegaConf.update(config, key, value, merge=False, force_add=True)
    OmegaConf.save(config, run_dir / "config.yaml")


def write_run(
    results_dir: Path,
    model: str,
    seed: int,
    *,
    experiment: str = "ucf11_motions",
    protocol: str = "paper",
    scaling: str = "raw",
    scale: str = "study",
    num_clips: int = 550,
    epochs: int = 6,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write one finished run folder and return it; `changes` go into its summary."""
    changes, described = changes or {}, MODELS.get(model, TOY)
    shape = {"order": "d", "rank": "r", "num_blocks": "n", "learning_rate": "rate", "epochs": "e"}
    name = f"{model}_{protocol}_{scaling}_{scale}"
    name += "".join(f"_{letter}{changes[key]}" for key, letter in shape.items() if key in changes)
    run_dir = results_dir / "runs" / experiment / name / f"seed{seed}"
    run_dir.mkdir(parents=True)
    known = sorted([*MODELS, "toy"])
    number = known.index(model) if model in known else len(known)
    rng = np.random.default_rng([seed, number, len(protocol), len(scaling)])
    split = np.random.default_rng([seed, len(protocol)])  # of the seed alone: all models are tested on the same clips
    test = sorted(split.choice(num_clips, num_clips // 5, replace=False))
    if protocol == "grouped":
        test = [clip for clip in range(num_clips) if (clip // 5) % 5 == seed % 5]
    labels = np.array([clip * 11 // num_clips for clip in test])
    skill = _SKILL.get(model, 0.6) + (0.1 if scaling == "normalized" else 0) - (0.15 if protocol == "grouped" else 0)

    def guess() -> np.ndarray:
        right = rng.random(len(test)) < skill + rng.normal(0, 0.02)
        return np.where(right, labels, rng.integers(0, 11, len(test)))

    predictions = pd.DataFrame(
        {
            "clip": [
                f"v_{CLASSES[label]}_{clip // 5:02d}_{clip % 5:02d}" for clip, label in zip(test, labels, strict=True)
            ],
            "group": [f"{CLASSES[label]}/{clip // 5:02d}" for clip, label in zip(test, labels, strict=True)],
            "label": labels,
            "predicted": guess(),
        }
    )
    if protocol == "paper":
        predictions["predicted_last"] = guess()
    predictions.to_csv(run_dir / "predictions.csv", index=False)
    if model != "logistic_regression":
        progress = np.arange(1, epochs + 1) / epochs
        pd.DataFrame(
            {
                **{"epoch": np.arange(epochs), "step": np.arange(1, epochs + 1) * 27},
                "train/loss": 2.4 * np.exp(-3 * skill * progress) + rng.normal(0, 0.03, epochs),
                **{"train/accuracy": skill + (1 - skill) * progress, "val/loss": 2.4 - progress},
                "val/accuracy": 0.09 + (skill - 0.09) * progress + rng.normal(0, 0.02, epochs),
                **{"learning_rate": 1e-3, "first_gradient_norm": 1.0, "examples_per_second": 99.0, "seconds": 4.4},
            }
        ).to_csv(run_dir / "metrics.csv", index=False)
    accuracy = float((predictions["predicted"] == labels).mean())
    last = float((predictions["predicted_last"] == labels).mean()) if protocol == "paper" else None
    fitted = model == "logistic_regression"
    summary = {
        **{"experiment": experiment, "name": name, "seed": seed, "model": model, **described},
        **{
            "source": "motions" if experiment.endswith("_motions") else "ucf11",
            "init": "" if fitted else "default",
        },
        **{
            "stand_in": experiment.endswith("_motions"),
            "protocol": protocol,
            "scaling": scaling,
            "scale": scale,
        },
        **{"num_clips": num_clips, "in_modes": "8x20x20x18" if "tt" in model or "bt" in model else ""},
        **{
            "hidden_modes": "",
            "learning_rate": None if fitted else 1e-3,
            "epochs": None if fitted else epochs,
        },
        **{
            "parameters_total": described["parameters_input"] + 265_995,
            "parameters_dense_input": 58_982_400,
        },
        **{"parameters_dense_total": 59_248_395, "epoch_chosen": None if fitted else epochs - 1},
        **{"train/loss_last": 0.2, "train/accuracy_last": 0.99, "train/accuracy": 0.98, "val/loss": 1.0},
        **{"val/accuracy": accuracy, "test/loss": 1.0, "test/accuracy": accuracy, "test/accuracy_last": last},
        **{"num_train": 440, "num_val": 0, "num_test": len(test), "seconds": 26.4},
        **{"seconds_per_epoch": None if fitted else 4.4, "steps_per_second": 6.25, "peak_memory_mib": 900.0},
        **{
            "device": "cpu",
            "threads": 2,
            "versions": {"torch": "2.0", "numpy": "2.0"},
            "git_commit": "0123456789abcdef",
        },
        **{"git_dirty": False, "finished": "2030-01-01T00:00:00"},
        "command": f"python experiments/train.py experiment={experiment} model={model} seed={seed}",
        **changes,
    }
    (run_dir / "summary.json").write_text(json.dumps(summary))
    return run_dir


def write_study(
    results_dir: Path,
    *,
    seeds: int = 3,
    experiment: str = "ucf11_motions",
    models: tuple[str, ...] = tuple(MODELS),
    **changes: Any,
) -> Iterator[Path]:
    """Write a whole study: all models, protocols, scalings and seeds."""
    for model, protocol, scaling, seed in product(models, ("paper", "grouped"), ("raw", "normalized"), range(seeds)):
        yield write_run(results_dir, model, seed, experiment=experiment, protocol=protocol, scaling=scaling, **changes)


def write_folds(
    results_dir: Path,
    folds: Iterable[int],
    seeds: Iterable[int],
    *,
    experiment: str = "ucf11_motions",
    models: Iterable[str] = ("lstm", "bt_lstm"),
    scaling: str = "raw",
    frame_order: str = "time",
    changes: dict[str, Any] | None = None,
) -> None:
    """Write runs of some models for each fold and seed; each fold tests clips of its own."""
    said = {"frame_order": frame_order, "pixel_order": "rows", "num_groups": 275, "num_classes": 11} | (changes or {})
    for model, fold, seed in product(models, folds, seeds):
        run_dir = write_run(
            results_dir,
            model,
            10 * fold + seed,
            experiment=experiment,
            protocol="grouped",
            scaling=scaling,
            changes=said | {"fold": fold},
            epochs=3,
        )
        name = f"{run_dir.parent.name}-{frame_order}-fold{fold}"
        place = run_dir.parent.parent / name / f"seed{seed}"
        place.parent.mkdir(exist_ok=True)
        run_dir.rename(place)
        summary = json.loads((place / "summary.json").read_text())
        summary |= {"name": name, "seed": seed, "protocol": "group_folds"}
        (place / "summary.json").write_text(json.dumps(summary))
