"""A run that begins with what a finished run of a dense model learnt: W by its nearest factors, all else as it is."""

from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from btrnn.data.module import DataModule
from btrnn.engine.config import LATER_KEYS, ConfigError, science
from btrnn.engine.saved import make_saved
from btrnn.engine.weights import SUFFIX, Weights, load_weights, read_weights
from btrnn.nn.compress import compress
from btrnn.nn.conversion import is_dense_layer
from btrnn.tasks import Task

_FREE = ("data.num_train", "data.passes", "data.batch_size")  # in which the two runs' data may differ


class Start(NamedTuple):
    """A dense model's weights, and where they were read."""

    place: Path
    weights: Weights


def read_start(config: DictConfig) -> Start | None:
    """Read what `config.start` names, the folder of a run or a file of weights, below `results_dir` or anywhere.

    Raises:
        FileNotFoundError: There is no such file, or `start` is not the folder of a finished run.
        ConfigError: It is damaged, or of other data, so that it may know this run's test split.
    """
    if config.get("start") is None:
        return None
    place = Path(config.results_dir, config.start)
    if place.suffix != SUFFIX and not (place / "summary.json").exists():
        raise FileNotFoundError(f"start={place} is not the folder of a finished run: it has no summary.json")
    weights = read_weights(place)
    there, here = (LATER_KEYS | science(one) for one in (weights.config, config))
    differ = [
        f"{key}: {there.get(key)} there, {here[key]} here"
        for key in sorted(here)
        if (key in ("seed", "model.layer.gate_activation") or (key.startswith("data.") and key not in _FREE))
        and there.get(key) != here[key]
    ]
    if differ:
        raise ConfigError(f"start={place} learnt of other data, or with another cell ({'; '.join(differ)})")
    return Start(place, weights)


def begin(start: Start | None, task: Task, data: DataModule) -> dict[str, Any]:
    """Put what a dense model learnt into a task's network, whose own numbers are lost.

    Args:
        start: The dense model's weights; None leaves the network as it is.
        task: With the network, of the same task and sizes.
        data: Read, as `Task.complete` needs them.

    Returns:
        What the run's summary says of it: `start`, the dense model's name, "" where there is none, and `start_error`,
        the Frobenius norm of W's difference over that of W.

    Raises:
        ConfigError: It is no dense model, a network of other sizes, or of a version of btrnn that had other networks.
    """
    if start is None:
        return {"start": "", "start_error": None}
    place, (config, state, *_) = start
    dense: Task = make_saved(config, "task", place)
    dense.complete(data)
    if not is_dense_layer(dense.recurrent):
        raise ConfigError(
            f"start={place} is of model={config.model.name}, whose W is not dense: name a dense model's run"
        )
    load_weights(dense, state, place)
    error = 0.0
    if not is_dense_layer(task.recurrent):
        (name,) = (name for name, part in dense.named_modules() if part is dense.recurrent)
        try:
            (layer,) = compress(dense, {name: task.recurrent.input_map}).layers
        except ValueError as cause:
            raise ConfigError(f"start={place}: {cause}") from None
        error = layer.relative_error
    load_weights(task, dense.state_dict(), place)
    return {"start": config.model.name, "start_error": error}
