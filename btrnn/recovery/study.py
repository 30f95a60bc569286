"""A run of the recovery study: one shape of map, all truths, seeds and restarts; skipped if finished.

The run folder holds config.yaml, fits.csv (a row for each truth, seed and restart), truths.csv (a row for each truth
and seed), matrices.npz (the truths of seed 0 and the best that was learnt of each) and summary.json.
"""

import json
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from btrnn.engine.config import ConfigError, check_targets, refuse_other_run
from btrnn.engine.memory import reuse_freed_memory
from btrnn.engine.provenance import git_state
from btrnn.nn.factorised import FactorisedLinear
from btrnn.nn.linear import BTLinear, TTLinear
from btrnn.recovery.fit import Fits, fit
from btrnn.recovery.truths import KINDS, best_rank_error, make_truth
from btrnn.storage.atomic import locked, replace_file
from btrnn.storage.files import arrays_bytes

log = logging.getLogger(__name__)
SAME_SHAPE = "same_shape"
_FIRST_SEED_OF_TRUTHS = 1_000_000  # of truths of the map's own shape: none is the start of a fit


def run(config: DictConfig) -> dict[str, Any]:
    """Do the run that `config` describes, unless it is finished.

    Returns:
        Its summary, as in summary.json.

    Raises:
        ConfigError: The configuration names something that does not exist, or the folder holds another run.
    """
    if config.form not in config.forms:
        raise ConfigError(f"form={config.form} is none of {', '.join(config.forms)}")
    check_targets(config)
    unknown = set(config.truths) - {*KINDS, SAME_SHAPE}
    if unknown:
        known = ", ".join([*KINDS, SAME_SHAPE])
        raise ConfigError(f"truths has {', '.join(sorted(unknown))}; known kinds: {known}")
    config = DictConfig(OmegaConf.to_container(config, resolve=True))
    run_dir = Path(config.run_dir)
    with locked(run_dir):
        if (run_dir / "summary.json").exists():
            refuse_other_run(config, run_dir / "config.yaml")
            log.info("finished before, nothing to do: %s", run_dir)
            return dict(json.loads((run_dir / "summary.json").read_text()))
        replace_file(run_dir / "config.yaml", OmegaConf.to_yaml(config))
        return _run(config, run_dir)


def _run(config: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Fit, compare, and write all files, the summary last."""
    started = time.perf_counter()
    reuse_freed_memory()
    layer: FactorisedLinear = instantiate(config.layer)
    seeds = range(config.num_truths)
    truths = {(kind, seed): _truth(kind, seed, layer) for kind in config.truths for seed in seeds}
    keys = [(*key, restart) for key in truths for restart in range(config.truths[key[0]])]
    log.info("%s: %d fits of %d parameters, %d steps", config.name, len(keys), layer.num_weights, config.num_steps)
    fits = fit(
        layer,
        torch.stack([truths[kind, seed] for kind, seed, _ in keys]),
        num_pairs=config.num_pairs,
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
        seed=config.seed,
        show=lambda step, error: log.info("  step %d, median relative error %.3g", step, error),
    )
    table = pd.DataFrame(keys, columns=["truth", "seed", "restart"]).assign(error=fits.errors.numpy())
    others = pd.DataFrame(list(truths), columns=["truth", "seed"]).assign(
        error_from_dense=[_from_dense(layer, truth).relative_error(truth) for truth in truths.values()],
        error_best_rank=[best_rank_error(truth.numpy(), layer.num_weights) for truth in truths.values()],
    )
    for name, content in (("fits.csv", table), ("truths.csv", others)):
        replace_file(run_dir / name, content.to_csv(index=False))
    replace_file(run_dir / "matrices.npz", arrays_bytes(_matrices(truths, table, fits)))
    summary = {
        **{"experiment": config.experiment, "name": config.name, "form": config.form, "order": layer.order},
        "rank": config.rank,
        "num_blocks": layer.network.num_blocks,
        "in_modes": "x".join(map(str, layer.in_modes)),
        "out_modes": "x".join(map(str, layer.out_modes)),
        "parameters": layer.num_weights,
        **{key: config[key] for key in ("num_pairs", "num_steps", "learning_rate")},
        "seconds": time.perf_counter() - started,
        "threads": torch.get_num_threads(),
        "torch": version("torch"),
        **git_state(),
        "command": " ".join(["python", *sys.argv]),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    replace_file(run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def _truth(kind: str, seed: int, layer: FactorisedLinear) -> Tensor:
    """Make one truth, of norm 1, in float64; one of the layer's own shape is drawn as the layer is initialised."""
    if kind != SAME_SHAPE:
        return torch.from_numpy(make_truth(kind, seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_FIRST_SEED_OF_TRUTHS + seed)
        layer.reset_parameters()
        dense = layer.to_dense().detach().double()
    return dense.div_(dense.norm())


def _from_dense(layer: FactorisedLinear, truth: Tensor) -> FactorisedLinear:
    """Make a map of the layer's shape from the truth itself, without pairs and without training."""
    if isinstance(layer, TTLinear):
        return TTLinear.from_dense(truth, layer.in_modes, layer.out_modes, tt_rank=layer.tt_ranks[1:-1])
    assert isinstance(layer, BTLinear)
    rank, blocks = layer.tucker_rank, layer.num_blocks
    return BTLinear.from_dense(truth, layer.in_modes, layer.out_modes, tucker_rank=rank, num_blocks=blocks)


def _matrices(truths: dict[tuple[str, int], Tensor], table: pd.DataFrame, fits: Fits) -> dict[str, np.ndarray]:
    """Give "<truth>/truth" and "<truth>/learnt", (64, 64) float16: the truths of seed 0, the best restart of each."""
    matrices = {}
    for kind, rows in table[table["seed"] == 0].groupby("truth", sort=False):
        best = int(rows.index.to_numpy()[rows["error"].argmin()])
        matrices[f"{kind}/truth"] = truths[str(kind), 0].numpy().astype(np.float16)
        matrices[f"{kind}/learnt"] = fits.weights[best].numpy().astype(np.float16)
    return matrices
