"""A run that begins with what a finished run of a dense model learnt: W by its nearest factors, all else as it is."""

from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from btrnn.data.module import DataModule
from btrnn.engine.config import ConfigError
from btrnn.engine.weights import Weights, load_weights, read_weights
from btrnn.nn.compress import compress
from btrnn.nn.conversion import is_dense_layer
from btrnn.tasks import Task


def read_start(place: str | None) -> Weights | None:
    """Read the dense model's weights; None where there is no `place`.

    Raises:
        FileNotFoundError: There is no such run or file.
        ConfigError: It is damaged.
    """
    return None if place is None else read_weights(Path(place))


def start_from(learnt: Weights | None, task: Task, data: DataModule) -> dict[str, Any]:
    """Put what a dense model learnt into a task's network, whose own numbers are lost.

    Args:
        learnt: The dense model's weights; None leaves the network as it is.
        task: With the network, of the same task and sizes.
        data: Read, as `Task.complete` needs them.

    Returns:
        What the run's summary says of it: `start`, the dense model's name, "" where there is none, and `start_error`,
        the Frobenius norm of W's difference over that of W.

    Raises:
        ConfigError: It is no dense model, or a network of other sizes.
    """
    if learnt is None:
        return {"start": "", "start_error": None}
    dense: Task = instantiate(learnt.config.task)
    dense.complete(data)
    place = Path(learnt.config.run_dir)
    if not is_dense_layer(dense.recurrent):
        raise ConfigError(
            f"start={place} is of model={learnt.config.model.name}, whose W is factorised already: "
            "name a dense model's run"
        )
    load_weights(dense, learnt.state, place)
    (name,) = (name for name, part in dense.named_modules() if part is dense.recurrent)
    try:
        (layer,) = compress(dense, {name: task.recurrent.input_map}).layers
    except ValueError as error:
        raise ConfigError(f"start={place}: {error}") from None
    load_weights(task, dense.state_dict(), place)
    return {"start": learnt.config.model.name, "start_error": layer.relative_error}
