"""The recovery study: maps of one shape fitted to matrices of several kinds, and a run of it.

A run that is finished is skipped. It has all truths, seeds and restarts of one shape of map, trained as one: each is an
entry of a batch of parameters. The run folder holds config.yaml, fits.csv (a row for each truth, seed and restart),
truths.csv (a row for each truth and seed), matrices.npz (the truths of seed 0 and the best that was learnt of each) and
summary.json.
"""

import json
import logging
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from jaxtyping import Float
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from btrnn.engine.config import ConfigError, check_targets, refuse_other_run
from btrnn.engine.machine import provenance, reuse_freed_memory
from btrnn.engine.secret_keys import refuse_secrets
from btrnn.nn.factorised import FactorisedLinear
from btrnn.nn.linear import BTLinear, TTLinear
from btrnn.ops.contraction import contract
from btrnn.ops.stages import BLOCK
from btrnn.recovery import maps
from btrnn.recovery.records import EQUAL, SAME_SHAPE
from btrnn.recovery.truths import KINDS, best_rank_error, make_truth
from btrnn.storage.atomic import locked, remove_leftovers, replace_file
from btrnn.storage.files import arrays_bytes

log = logging.getLogger(__name__)
FIT = "fit"  # the axis of the batch
_SHOWN_EVERY = 500  # steps
_FIRST_SEED_OF_TRUTHS = 1_000_000  # of truths of the map's own shape: none is the start of a fit


class Fits(NamedTuple):
    """What training gave.

    weights: (fits, J, I).
    errors: (fits,), the Frobenius norm of what is missed over that of the truth.
    losses: (fits,), on the pairs, divided by that of the answer 0.
    """

    weights: Tensor
    errors: Tensor
    losses: Tensor


def dense_weights(
    layer: FactorisedLinear, operands: Sequence[Tensor]
) -> Float[Tensor, "fits out_features in_features"]:
    """Reconstruct W of every entry of a batch of operands, each (fits, blocks, its own axes)."""
    network = layer.network
    axes = [(FIT, BLOCK, *names) for names in network.operands]
    dense = contract(operands, axes, (FIT, *network.out_axes, *network.in_axes))
    return dense.reshape(-1, layer.out_features, layer.in_features)


def fit(
    layer: FactorisedLinear,
    truths: Float[Tensor, "fits out_features in_features"],
    *,
    num_pairs: int,
    num_steps: int,
    learning_rate: float,
    seed: int,
    noise: float = 0.0,
) -> Fits:
    """Train a map of a layer's shape for each truth, on pairs (x, y = W x + e), all of them as one batch.

    All fits see the same x, drawn as white normal noise, and all pairs at each step. The loss is the mean over pairs of
    |W' x - y|^2, divided by that of the answer 0. Its gradient with respect to W' is 2 ((W' - W) M - E) with the second
    moments M = sum x x^T / n and E = sum e x^T / n, which is how it is computed: 64 columns instead of n. Without noise
    e, M tends to the identity for many pairs, and the loss to the square of the relative error that is reported; where
    the map can be W, both are 0 at the same place for any n of at least 64.

    Args:
        layer: Gives the shape and the initialisation; its parameters are drawn anew.
        truths: W of each fit; a truth that stands there several times has as many restarts.
        num_pairs: n.
        num_steps: Of Adam.
        learning_rate: At first; it falls to 0 along a cosine.
        seed: Of the pairs and the initialisations.
        noise: The standard deviation of e, white and normal, over the root mean square of an entry of W x.
    """
    x, unit_noise = draw_pairs(num_pairs, layer.in_features, layer.out_features, seed)
    moment = second_moment(x).float()
    # the norm that the layer's initialisation has: learning a scale is not what is to be measured
    norms = truths.flatten(1).norm(dim=1)[:, None, None]
    scale = (layer.out_features / 3) ** 0.5 / norms
    targets = (scale * truths).float()
    added = noise * 3**-0.5 * unit_noise  # an entry of W x has a mean square of |W|^2 / J, 1/3 as scaled
    cross, power = (added.mT @ x / num_pairs).float(), float(added.square().sum() / num_pairs)
    answer_zero = _loss(targets, moment, -cross, power)
    operands = _initial(layer, len(targets), seed)
    optimizer = torch.optim.Adam(operands, lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for step in range(num_steps):
        optimizer.zero_grad()
        weights = dense_weights(layer, operands)
        missed = weights.detach() - targets
        gradients = (missed @ moment - cross).div_(answer_zero)  # half of them: Adam does not see a factor
        torch.autograd.backward(weights, gradients)
        optimizer.step()
        schedule.step()
        if (step + 1) % _SHOWN_EVERY == 0:
            loss = (_loss(missed, moment, cross, power) / answer_zero).median()
            log.info("  step %d, median relative error on the pairs %.3g", step + 1, loss.clamp(min=0).sqrt())
    with torch.no_grad():
        scaled = dense_weights(layer, operands).double()
        learnt = scaled / scale
        losses = _loss(scaled - scale * truths, second_moment(x), added.mT @ x / num_pairs, power)
    errors = (learnt - truths).flatten(1).norm(dim=1) / norms.flatten()
    return Fits(learnt, errors, losses.flatten() / answer_zero.double().flatten())


def _loss(missed: Tensor, moment: Tensor, cross: Tensor, power: float) -> Tensor:
    """Return the mean over the pairs of |W' x - y|^2, (fits, 1, 1), of W' - W, M, E and the mean of |e|^2."""
    return (missed * (missed @ moment - 2 * cross)).sum(dim=(1, 2), keepdim=True) + power


def draw_pairs(
    num_pairs: int, num_inputs: int, num_outputs: int, seed: int
) -> tuple[Float[Tensor, "pairs inputs"], Float[Tensor, "pairs outputs"]]:
    """Draw white normal x, one a row, and noise of unit variance for y, in float64."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (num_inputs, num_outputs)
    x, noise = (torch.randn(num_pairs, size, generator=generator, dtype=torch.float64) for size in sizes)
    return x, noise


def least_squares_error(truth: Tensor, *, num_pairs: int, noise: float, seed: int) -> float:
    """Return the relative error of a dense W' of its own 4,096 numbers, that with the least norm of those nearest to y.

    The pairs are those of `fit`.
    """
    x, unit_noise = draw_pairs(num_pairs, truth.shape[1], truth.shape[0], seed)
    y = x @ truth.mT + noise * truth.norm() / truth.shape[0] ** 0.5 * unit_noise
    found = torch.linalg.lstsq(x, y, driver="gelsd").solution.mT
    return float((found - truth).norm() / truth.norm())


def second_moment(x: Float[Tensor, "pairs size"]) -> Float[Tensor, "size size"]:
    """Return M = sum x x^T / n over the rows x: the mean of |W x|^2 is the sum of W M times W, for any W."""
    moment: Tensor = x.mT @ x / len(x)
    return moment


def _initial(layer: FactorisedLinear, count: int, seed: int) -> list[Tensor]:
    """Draw the layer's parameters `count` times: its operands with an axis of fits in front."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = []
        for _ in range(count):
            layer.reset_parameters()
            drawn.append([operand.detach().clone() for operand in layer.operands()])
    return [torch.stack(operand).requires_grad_() for operand in zip(*drawn, strict=True)]


def run(config: DictConfig) -> dict[str, Any]:
    """Do the run that `config` describes, unless it is finished.

    Returns:
        Its summary, as in summary.json.

    Raises:
        ConfigError: The configuration does not fit the code or holds a secret, or the folder holds another run.
    """
    refuse_secrets(config)
    if config.form not in config.forms:
        raise ConfigError(f"form={config.form} is none of {', '.join(config.forms)}")
    check_targets(config)
    unknown = set(config.truths) - {*KINDS, SAME_SHAPE}
    if unknown:
        known = ", ".join([*KINDS, SAME_SHAPE])
        raise ConfigError(f"truths has {', '.join(sorted(unknown))}; known kinds: {known}")
    config = DictConfig(OmegaConf.to_container(config, resolve=True))
    with locked(run_dir := Path(config.run_dir)):
        remove_leftovers(run_dir)
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
        noise=float(config.noise),
    )
    reached = {"error": fits.errors.numpy(), "loss": fits.losses.numpy()}
    table = pd.DataFrame(keys, columns=["truth", "seed", "restart"]).assign(**reached)
    of_pairs = {"num_pairs": config.num_pairs, "noise": float(config.noise), "seed": config.seed}
    others = pd.DataFrame(list(truths), columns=["truth", "seed"]).assign(
        error_from_dense=[_from_dense(layer, config, truth).relative_error(truth) for truth in truths.values()],
        error_least_squares=[least_squares_error(truth, **of_pairs) for truth in truths.values()],
        error_best_rank=[best_rank_error(truth.numpy(), layer.num_weights) for truth in truths.values()],
    )
    for name, content in (("fits.csv", table), ("truths.csv", others)):
        replace_file(run_dir / name, content.to_csv(index=False))
    replace_file(run_dir / "matrices.npz", arrays_bytes(_matrices(truths, table, fits)))
    summary = {
        **{"experiment": config.experiment, "name": config.name, "form": config.form, "order": layer.order},
        "rank": None if config.form == EQUAL else config.rank,
        "num_blocks": layer.network.num_blocks,
        "in_modes": "x".join(map(str, layer.in_modes)),
        "out_modes": "x".join(map(str, layer.out_modes)),
        "parameters": layer.num_weights,
        **{key: config[key] for key in ("num_pairs", "noise", "num_steps", "learning_rate")},
        "seconds": time.perf_counter() - started,
        "torch": version("torch"),
        **provenance(),
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


def _from_dense(layer: FactorisedLinear, config: DictConfig, truth: Tensor) -> FactorisedLinear:
    """Make a map of the layer's shape from the truth itself, without pairs and without training."""
    if config.form == EQUAL:
        return maps.from_dense(config.map, truth)
    if isinstance(layer, TTLinear):
        return TTLinear.from_dense(truth, layer.in_modes, layer.out_modes, tt_rank=layer.tt_ranks[1:-1])
    assert isinstance(layer, BTLinear)
    rank, blocks = layer.tucker_rank, layer.num_blocks
    return BTLinear.from_dense(truth, layer.in_modes, layer.out_modes, tucker_rank=rank, num_blocks=blocks)


def _matrices(truths: dict[tuple[str, int], Tensor], table: pd.DataFrame, fits: Fits) -> dict[str, np.ndarray]:
    """Return "<truth>/truth" and "<truth>/learnt", (64, 64) float16: the truths of seed 0, the best restart of each."""
    matrices = {}
    for kind, rows in table[table["seed"] == 0].groupby("truth", sort=False):
        best = int(rows.index.to_numpy()[rows["loss"].argmin()])
        matrices[f"{kind}/truth"] = truths[str(kind), 0].numpy().astype(np.float16)
        matrices[f"{kind}/learnt"] = fits.weights[best].numpy().astype(np.float16)
    return matrices
