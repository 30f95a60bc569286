"""A run's weights: its checkpoints, the chosen ones in its folder, or one small file that gives its number again.

The file is a safetensors file whose header also has the run's configuration, the numbers that were reported of it, the
words that it knows where it captions, and a digest of all of it.
"""

import hashlib
import json
import logging
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from btrnn.engine.config import ConfigError, read_config
from btrnn.engine.untrusted import read_untrusted_config
from btrnn.storage.atomic import move_file, replace_file
from btrnn.storage.files import RUN_AGAIN, read_json

log = logging.getLogger(__name__)
SUFFIX = ".safetensors"
_ANEW = "delete it, and the same command starts the run anew"
_EPOCH = "epoch"  # no module has this name
_HEADER = ("config", "reported", "vocabulary", "sha256")


class Weights(NamedTuple):
    """What gives a run's numbers again.

    config: The run's configuration.
    state: Its weights by name.
    reported: The metrics of the test split that its summary says; empty where they stand beside it.
    vocabulary: The words that it knows, as `Vocabulary.save` writes them; "" where it has none.
    """

    config: DictConfig
    state: dict[str, Tensor]
    reported: dict[str, float]
    vocabulary: str


def read_weights(path: Path) -> Weights:
    """Read the chosen weights of a finished run.

    Args:
        path: The run's folder, or a file that `export_weights` wrote.

    Raises:
        FileNotFoundError: There is no such file, or `path` is not the folder of a finished run.
        ConfigError: The file is damaged, or is not one of these.
    """
    return _read_file(path) if path.suffix == SUFFIX else _read_folder(path)


def _read_folder(run_dir: Path) -> Weights:
    weights = run_dir / "checkpoints" / "best.pt"
    for path in (run_dir / "config.yaml", weights):
        if not path.exists():
            raise FileNotFoundError(f"{run_dir} is not a finished run: it has no {path.relative_to(run_dir)}")
    config = read_config(run_dir / "config.yaml")
    words = run_dir / "vocabulary.json"
    return Weights(config, read_state(weights), {}, words.read_text(encoding="utf-8") if words.exists() else "")


def write_state(path: Path, state: dict[str, Tensor], epoch: int) -> None:
    """Write the weights of an epoch, and which it is, where torch keeps the versions of the modules beside them."""
    named: dict[str, Tensor] = OrderedDict(state)
    named._metadata = {**getattr(state, "_metadata", {}), _EPOCH: epoch}  # type: ignore[attr-defined]
    save_whole(named, path)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the weights that training keeps of its best epoch.

    Raises:
        ConfigError: The file is missing or damaged.
    """
    try:
        state = read_whole(path)
    except Exception as error:  # of any type: damaged bytes are read as instructions
        raise ConfigError(
            f"{path} does not hold weights ({type(error).__name__}): restore it, or train again"
        ) from None
    if not isinstance(state, dict):
        raise ConfigError(f"{path} does not hold weights but a {type(state).__name__}")
    return state


def load_weights(module: nn.Module, weights: dict[str, Tensor], place: Path) -> None:
    """Put weights into a network or a task.

    Raises:
        ConfigError: They are those of another network.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(
            f"{place} does not hold weights of the network that its configuration says: {error}"
        ) from None


def epoch_of(path: Path) -> int | None:
    """Return of which epoch the weights in a file are; None where it is missing, damaged or does not say it."""
    try:
        epoch: int | None = getattr(read_state(path), "_metadata", {}).get(_EPOCH)
    except ConfigError:
        return None
    return epoch


def save_whole(content: object, path: Path) -> None:
    """Write what `torch.load` reads, as `replace_file`.

    Raises:
        OSError: The system does not let it be written; torch alone would say only that its own count of bytes is wrong.
    """

    def write(file: IO[bytes]) -> None:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    replace_file(path, write)


def read_whole(path: Path) -> Any:
    """Read what `save_whole` wrote, onto the CPU, as plain tensors and numbers.

    Raises:
        Exception: Of any type: the file is missing or damaged, or would run code.
    """
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:  # torch.load looks at no checksum: weights would be other ones
            raise zipfile.BadZipFile(f"{damaged} in it is not what was written")
    return torch.load(path, weights_only=True, map_location="cpu")


def previous_checkpoint(path: Path) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"previous_{path.name}")


def _next_checkpoint(path: Path) -> Path:
    return path.with_name(f"next_{path.name}")


def end_save(path: Path) -> None:
    """Give the checkpoint that was written last, if it has none yet, the name `path`; the one before it is kept.

    It is whole, as it was written whole. A run that was killed before this calls it when it goes on.
    """
    new = _next_checkpoint(path)
    if new.exists():
        if path.exists():
            move_file(path, previous_checkpoint(path))
        move_file(new, path)


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints as files that are whole or not there, the one before kept in case the last is damaged."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save `checkpoint` to `path`; a kill, a power cut or a full disk at any point leaves one that is whole."""
        path = Path(path)
        save_whole(checkpoint, _next_checkpoint(path))
        end_save(path)

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Load the checkpoint at `path`, or the one before it where that is damaged or was not written to its end.

        A damaged one is deleted once the one before it is known to be whole, in whose place the next save would put it.

        Raises:
            ConfigError: It is damaged, and there is none before it, or that is damaged too.
        """
        path = Path(path)
        previous = previous_checkpoint(path)
        try:
            return self._load(path)
        except ConfigError as error:
            if not previous.exists():
                raise
            log.warning("%s is not used: %s. The run goes back to the one before, %s", path, error, previous.name)
        checkpoint = self._load(previous)
        path.unlink(missing_ok=True)  # of several processes another may have done it
        return checkpoint

    def _load(self, path: Path) -> dict[str, Any]:
        try:
            checkpoint: dict[str, Any] = read_whole(path)
        except Exception as error:  # of any type: damaged bytes are read as instructions
            raise ConfigError(f"{path} is damaged ({type(error).__name__}): {_ANEW}") from None
        missing = {"state_dict", "callbacks", "loops", "optimizer_states"} - set(checkpoint)
        if missing:
            raise ConfigError(f"{path} is not a run's checkpoint, it lacks {', '.join(sorted(missing))}: {_ANEW}")
        return checkpoint


def _read_file(path: Path) -> Weights:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except SafetensorError as error:
        raise ConfigError(f"{path} is not a readable safetensors file: {error}") from None
    missing = [key for key in _HEADER if key not in header]
    if missing:
        raise ConfigError(
            f"{path} was not written by scripts/export_weights.py: its header has no {', '.join(missing)}"
        )
    found = _digest([header["config"], header["reported"], header["vocabulary"]], state)
    if found != header["sha256"]:
        raise ConfigError(
            f"{path} is not what was exported: the digest of its content is {found}, its header says "
            f"{header['sha256']}; restore the file, or export the run again"
        )
    config = read_untrusted_config(header["config"], path)
    return Weights(config, state, json.loads(header["reported"]), header["vocabulary"])


def export_weights(run_dir: Path, path: Path, *, largest: int) -> int:
    """Write a finished run as one file, unless that would be too large.

    What is said of places in its configuration, `data_dir` and `results_dir`, becomes "data" and "results"; it has no
    logger.

    Args:
        run_dir: The run's folder.
        path: The file to write.
        largest: Bytes above which nothing is written.

    Returns:
        The file's size in bytes, also where it was not written.

    Raises:
        FileNotFoundError: `run_dir` is not the folder of a finished run.
    """
    weights = _read_folder(run_dir)
    summary_path = run_dir / "summary.json"
    if not summary_path.exists():
        raise FileNotFoundError(f"{run_dir} is not a finished run: it has no summary.json")
    summary = read_json(summary_path, RUN_AGAIN)
    reported = json.dumps({key: summary[key] for key in sorted(summary) if key.startswith("test/")})
    config = moved(weights.config, data_dir="data", results_dir="results")
    config.logger = None
    text = OmegaConf.to_yaml(config)
    state = {name: tensor.contiguous() for name, tensor in sorted(weights.state.items())}
    header = {"config": text, "reported": reported, "vocabulary": weights.vocabulary}
    content = save(state, header | {"sha256": _digest([*header.values()], state)})
    if len(content) <= largest:
        replace_file(path, content)
    return len(content)


def _digest(texts: list[str], state: dict[str, Tensor]) -> str:
    """Return SHA-256 of everything in a file: texts, and names, types, shapes and bytes of the weights."""
    digest = hashlib.sha256(json.dumps(texts).encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


_FOLDERS = frozenset({"data_dir", "results_dir", "run_dir", "root", "cache_dir", "files", "save_dir"})  # keys of these


def moved(config: DictConfig, **places: str) -> DictConfig:
    """Return a configuration whose folders lie elsewhere.

    Args:
        config: Without interpolations, as a run saves it.
        places: New values of `data_dir` and `results_dir`; what lies in the old ones moves along.
    """
    values: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]

    def move(value: Any, old: str, new: str, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: move(child, old, new, name) for name, child in value.items()}
        if isinstance(value, list):
            return [move(child, old, new) for child in value]
        if key in _FOLDERS and isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
            return new + value[len(old) :]
        return value

    for key, new in places.items():
        values = move(values, values[key], new)
    return DictConfig(values)
