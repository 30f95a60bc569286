"""The recovery study: matrices of several kinds, maps of one shape fitted to them, and a run of it.

A run that is finished is skipped. It has all truths, seeds and restarts of one shape of map, trained as one: each is an
entry of a batch of parameters. The run folder holds config.yaml, fits.csv (a row for each truth, seed and restart),
truths.csv (a row for each truth and seed), matrices.npz (the truths of seed 0 and the best that was learnt of each) and
summary.json.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from jaxtyping import Float
from omegaconf import DictConfig, OmegaConf
from scipy.ndimage import gaussian_filter, zoom
from sklearn.datasets import load_sample_image
from torch import Tensor

from btrnn.engine.config import ConfigError, check_targets, refuse_other_run
from btrnn.engine.machine import provenance, reuse_freed_memory
from btrnn.engine.secret_keys import refuse_secrets
from btrnn.nn.factorised import FactorisedLinear
from btrnn.nn.linear import BTLinear, TTLinear
from btrnn.ops.contraction import contract
from btrnn.ops.stages import BLOCK
from btrnn.recovery.records import SAME_SHAPE
from btrnn.storage.atomic import locked, remove_leftovers, replace_file
from btrnn.storage.files import arrays_bytes

SIZE = 64
Matrix = Float[np.ndarray, "64 64"]
_PHOTOGRAPHS = ("china.jpg", "flower.jpg")  # the two that scikit-learn ships
_REDUCTION = 1 / 3  # of a photograph before a patch is cut out of it, so that the patch holds more than one thing
_SMOOTHING = 6.0  # pixels, the standard deviation of the Gaussian filter
_RANK = 4


def photograph(draw: np.random.Generator) -> Matrix:
    """Cut a patch out of a photograph, in grey, without its mean."""
    picture = load_sample_image(_PHOTOGRAPHS[draw.integers(len(_PHOTOGRAPHS))]).mean(axis=2)
    small = zoom(gaussian_filter(picture, 0.5 / _REDUCTION), _REDUCTION, order=1)
    row, column = (draw.integers(side - SIZE + 1) for side in small.shape)
    patch = small[row : row + SIZE, column : column + SIZE]
    centred: np.ndarray = patch - patch.mean()
    return centred


def smooth_field(draw: np.random.Generator) -> Matrix:
    """Blur white noise, and take off its mean."""
    field = gaussian_filter(draw.normal(size=(SIZE, SIZE)), _SMOOTHING, mode="wrap")
    centred: np.ndarray = field - field.mean()
    return centred


def low_rank(draw: np.random.Generator) -> Matrix:
    """Multiply two random matrices of rank 4."""
    return draw.normal(size=(SIZE, _RANK)) @ draw.normal(size=(_RANK, SIZE))


def kronecker(draw: np.random.Generator) -> Matrix:
    """Take the Kronecker product of two random 8 x 8 matrices: a block term of d = 2, R = 1."""
    return np.kron(draw.normal(size=(8, 8)), draw.normal(size=(8, 8)))


def random(draw: np.random.Generator) -> Matrix:
    """Draw independent normal numbers: no structure at all."""
    return draw.normal(size=(SIZE, SIZE))


KINDS: dict[str, Callable[[np.random.Generator], Matrix]] = {
    "photograph": photograph,
    "smooth": smooth_field,
    "low_rank": low_rank,
    "kronecker": kronecker,
    "random": random,
}


def make_truth(kind: str, seed: int) -> Matrix:
    """Make a matrix of one kind, of Frobenius norm 1."""
    matrix = KINDS[kind](np.random.default_rng([seed, sorted(KINDS).index(kind)]))
    scaled: np.ndarray = matrix / np.linalg.norm(matrix)
    return scaled


def best_rank_error(truth: Matrix, num_parameters: int) -> float:
    """Return the relative error of the best approximation U V with U (64, r), V (r, 64) of at most so many numbers.

    By the theorem of Eckart and Young it leaves the singular values after the r-th; r is num_parameters / 128, rounded
    down, so that below 128 parameters nothing is left but zero, of error 1.
    """
    values = np.linalg.svd(truth, compute_uv=False)
    rank = num_parameters // (2 * SIZE)
    return float(np.linalg.norm(values[rank:]) / np.linalg.norm(values))


log = logging.getLogger(__name__)
FIT = "fit"  # the axis of the batch
_SHOWN_EVERY = 500  # steps
_FIRST_SEED_OF_TRUTHS = 1_000_000  # of truths of the map's own shape: none is the start of a fit


class Fits(NamedTuple):
    """What training gave.

    weights: (fits, J, I).
    errors: (fits,), the Frobenius norm of what is missed over that of the truth.
    """

    weights: Tensor
    errors: Tensor


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
) -> Fits:
    """Train a map of a layer's shape for each truth, on pairs (x, y = W x), all of them as one batch.

    All fits see the same x, drawn as white normal noise, and all pairs at each step. The loss is the mean over pairs of
    |W' x - y|^2, divided by that of the answer 0. Its gradient with respect to W' is 2 (W' - W) M with the second
    moment M = sum x x^T / n, which is how it is computed: 64 columns instead of n. For many pairs M tends to the
    identity, and the loss to the square of the relative error that is reported; where the map can be W, both are 0 at
    the same place for any n of at least 64.

    Args:
        layer: Gives the shape and the initialisation; its parameters are drawn anew.
        truths: W of each fit; a truth that stands there several times has as many restarts.
        num_pairs: n.
        num_steps: Of Adam.
        learning_rate: At first; it falls to 0 along a cosine.
        seed: Of the pairs and the initialisations.
    """
    moment = second_moment(draw_inputs(num_pairs, layer.in_features, seed)).float()
    # the norm that the layer's initialisation has: learning a scale is not what is to be measured
    norms = truths.flatten(1).norm(dim=1)[:, None, None]
    scale = (layer.out_features / 3) ** 0.5 / norms
    targets = (scale * truths).float()
    answer_zero = ((targets @ moment) * targets).sum(dim=(1, 2), keepdim=True)
    operands = _initial(layer, len(targets), seed)
    optimizer = torch.optim.Adam(operands, lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for step in range(num_steps):
        optimizer.zero_grad()
        weights = dense_weights(layer, operands)
        missed = weights.detach() - targets
        gradients = (missed @ moment).div_(answer_zero)  # half of them: Adam does not see a factor
        torch.autograd.backward(weights, gradients)
        optimizer.step()
        schedule.step()
        if (step + 1) % _SHOWN_EVERY == 0:  # on the pairs
            error = (gradients * missed).sum(dim=(1, 2)).median().sqrt()
            log.info("  step %d, median relative error %.3g", step + 1, error)
    with torch.no_grad():
        learnt = dense_weights(layer, operands).double() / scale
    return Fits(learnt, (learnt - truths).flatten(1).norm(dim=1) / norms.flatten())


def draw_inputs(num_pairs: int, size: int, seed: int) -> Float[Tensor, "pairs size"]:
    """Draw white normal x, one a row, in float64."""
    return torch.randn(num_pairs, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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


def _from_dense(layer: FactorisedLinear, truth: Tensor) -> FactorisedLinear:
    """Make a map of the layer's shape from the truth itself, without pairs and without training."""
    if isinstance(layer, TTLinear):
        return TTLinear.from_dense(truth, layer.in_modes, layer.out_modes, tt_rank=layer.tt_ranks[1:-1])
    assert isinstance(layer, BTLinear)
    rank, blocks = layer.tucker_rank, layer.num_blocks
    return BTLinear.from_dense(truth, layer.in_modes, layer.out_modes, tucker_rank=rank, num_blocks=blocks)


def _matrices(truths: dict[tuple[str, int], Tensor], table: pd.DataFrame, fits: Fits) -> dict[str, np.ndarray]:
    """Return "<truth>/truth" and "<truth>/learnt", (64, 64) float16: the truths of seed 0, the best restart of each."""
    matrices = {}
    for kind, rows in table[table["seed"] == 0].groupby("truth", sort=False):
        best = int(rows.index.to_numpy()[rows["error"].argmin()])
        matrices[f"{kind}/truth"] = truths[str(kind), 0].numpy().astype(np.float16)
        matrices[f"{kind}/learnt"] = fits.weights[best].numpy().astype(np.float16)
    return matrices
