"""A run from its configuration to its summary: skipped if finished, resumed if begun, refused if it is another's.

The run folder holds config.yaml, splits.csv, metrics.csv (a row an epoch), the task's outputs and summary.json (both
only when finished), and checkpoints/, of which a finished run keeps the chosen weights alone.
"""

import json
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from btrnn.data.module import DataModule
from btrnn.engine import callbacks, processes
from btrnn.engine.config import ConfigError, check_targets, check_values, refuse_other_run, user_values
from btrnn.engine.graphs import GraphedSteps
from btrnn.engine.machine import check_trainer, git_state, provenance, reuse_freed_memory, start_memory_anew
from btrnn.engine.run_summary import summarise
from btrnn.engine.saved import check_saved, naming_the_run
from btrnn.engine.secret_keys import refuse_secrets
from btrnn.engine.start import begin, read_start
from btrnn.engine.weights import WholeCheckpointIO, end_save, load_weights, moved, read_state, read_weights
from btrnn.storage.atomic import locked, move_file, remove_leftovers, replace_file
from btrnn.storage.files import RUN_AGAIN, read_json
from btrnn.tasks import NonFiniteLossError, Outputs, Task

log = logging.getLogger(__name__)
_LAST = Path("checkpoints", "last.ckpt")
_ASIDE = "summary_before.json"  # while a finished run is rewritten


def train(config: DictConfig) -> dict[str, Any]:
    """Do the run that `config` describes, or what is missing of it, with a process for each device.

    Returns:
        The run's summary, as in its summary.json; an empty one in all but the first of processes that torchrun started.

    Raises:
        ConfigError: The configuration names something that does not exist, or a secret, the folder holds another run,
            or what this one left there is damaged.
        NonFiniteLossError: The loss is not finite at a step, or in validation after none of the epochs.
        OSError: The system does not let a file be written; the same call goes on when it does.
        ProcessError: One of several processes failed, with one of these.
        ResultsError: The summary of a finished run is damaged.
    """
    refuse_secrets(config)
    check_targets(config)
    config = DictConfig(OmegaConf.to_container(config, resolve=True))
    check_values(config)
    run_dir = Path(config.run_dir)
    with ExitStack() as held:
        held.enter_context(callbacks.quiet_lightning())
        number = processes.number_of(config.trainer)
        check_trainer(config, number)
        if number > 1 and not processes.started():
            return processes.launch(train, config, number)
        if number > 1:
            processes.join_process_group(_trainer(config, [], None, number))
        begun = processes.run_on_first(lambda: _begin(config, run_dir, held), number)
        if (done := processes.broadcast_from_first(begun, number)) is not None:
            return done
        reuse_freed_memory()
        with ExitStack() as opened:
            logger = processes.run_on_first(lambda: opened.enter_context(callbacks.logged(config)), number)
            summary = _train(config, run_dir, logger, number)
        if processes.rank() == 0:
            replace_file(run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")
            _forget_resume_points(run_dir)
    return summary


def _begin(config: DictConfig, run_dir: Path, held: ExitStack) -> dict[str, Any] | None:
    """Lock the folder, and return the summary of a finished run; make another's folder ready, or refuse."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the run folder {run_dir} cannot be written ({error}); choose another results_dir") from None
    held.enter_context(locked(run_dir))  # another process asked for the same run waits, and then finds it finished
    remove_leftovers(run_dir, run_dir / "checkpoints")
    saved_path, summary_path = run_dir / "config.yaml", run_dir / "summary.json"
    if (run_dir / _ASIDE).exists():
        raise ConfigError(f"{run_dir} was being rewritten; `experiments/evaluate.py --rewrite {run_dir}` ends that")
    if any(path.exists() for path in (run_dir / "metrics.csv", *_resume_points(run_dir), summary_path)):
        refuse_other_run(config, saved_path)
    if summary_path.exists():
        summary = read_json(summary_path, RUN_AGAIN)
        log.info("finished before, nothing to do: %s", run_dir)
        _forget_resume_points(run_dir)
        return summary
    end_save(run_dir / _LAST)
    for path in run_dir.glob("hpc_ckpt_*"):  # Lightning would go on from it, though it is of the middle of an epoch
        path.unlink()
    replace_file(saved_path, OmegaConf.to_yaml(config))
    return None


def _train(config: DictConfig, run_dir: Path, logger: WandbLogger | None, number: int) -> dict[str, Any]:
    """Fit and test, and write all files but the summary; the first of `number` processes tests alone, as one would."""
    git_state()  # now: what is committed while this trains is not what trains
    start = read_start(config)
    data, task = _make(config, number)
    history = callbacks.History(
        run_dir / "metrics.csv", task.metrics, task.monitor, run_dir / "checkpoints" / "best.pt"
    )
    resume_path, begun = run_dir / _LAST, bool(_resume_points(run_dir))
    own = [history, callbacks.ResumePoint(resume_path, config.resume_every_seconds, history)]
    trainer = _trainer(config, own, logger, number)
    _prepare(data, task, number)
    begun_with = begin(start, task, data)  # also where a checkpoint's numbers follow, for the summary
    start_memory_anew()
    task.graphed = GraphedSteps(task) if config.trainer.get("graph") else None
    if trainer.is_global_zero:
        replace_file(run_dir / "splits.csv", data.splits.to_csv(index=False))
    log.info("%s %s", "resuming" if begun else "training", run_dir)
    with processes.warned_in_time(), processes.stopped_with_its_status(trainer):
        trainer.fit(task, datamodule=data, ckpt_path=str(resume_path) if begun else None)
    if history.best is None:
        raise NonFiniteLossError(
            f"{task.monitor} is not finite after any of the {len(history.rows)} epochs (see {history.path}), so no "
            f"weights can be chosen. A lower task.learning_rate than {task.learning_rate} may help"
        )
    task.graphed = None  # and the GPU's memory is free
    processes.leave_process_group()
    if not trainer.is_global_zero:
        return {}
    summary = summarise(config, task, data, trainer, history.rows, history.best) | begun_with
    media: Callable[[], dict[str, Any]] | None = None
    if config.test:
        trained = trainer.global_step > 0
        if number > 1:
            data.share(0, 1)
            trainer = _trainer(processes.one_device(config, trainer.strategy.root_device), [], logger)
        metrics, chosen, last = _test(trainer, task, data, read_state(history.best_path), run_dir, trained=trained)
        summary |= metrics
        task.write_outputs(run_dir, data, chosen, last)
        media = partial(task.media, data, chosen)
    callbacks.tell(logger, summary, media)
    return summary


def _resume_points(run_dir: Path) -> list[Path]:
    """Return the checkpoints that are there: the last, the one before it, and one that has not got its name yet."""
    return list(run_dir.glob("checkpoints/*last.ckpt"))


def _forget_resume_points(run_dir: Path) -> None:
    """Delete what only an unfinished run needs: all but the chosen weights."""
    for path in (run_dir / "checkpoints").glob("*"):
        if path.name != "best.pt":
            path.unlink()


def evaluate(path: Path, *, data_dir: Path | None = None, rewrite: bool = False) -> dict[str, Any]:
    """Test a finished run's chosen weights again, as a run of W&B of its own where the run has a logger.

    Args:
        path: The run's folder, or a file of results/weights.
        data_dir: Where the data are, if not where the run found them.
        rewrite: Put what comes out into the run's folder, whose summary then says today's commit and time: where a
            search or a score has changed since. If that is broken off, the folder is no finished run until the same
            call ends.

    Returns:
        The test metrics.

    Raises:
        FileNotFoundError: `path` is neither.
        ConfigError: It is damaged, has another network's weights, is of a version that had other networks or data, or
            cannot be rewritten: a file, not tested, of other data by now, or also of last weights, which are not kept.
    """
    if rewrite and not path.is_dir():
        raise ConfigError(f"{path} is not the folder of a run: there is nothing to be rewritten")
    weights = read_weights(path)
    config = weights.config if data_dir is None else moved(weights.config, data_dir=str(data_dir))
    check_saved(config, ("task", "data", "trainer"), path)
    if rewrite and not config.test:
        raise ConfigError(f"{path}: the run was not tested (test=false), so that it can choose; it stays so")
    if config.logger:
        evaluating = {"logger": {"job_type": "evaluate", "save_dir": str(path)}}
        config = DictConfig(OmegaConf.merge(config, evaluating))
    with ExitStack() as held:
        if rewrite:
            held.enter_context(locked(path))
        held.enter_context(callbacks.quiet_lightning())
        logger = held.enter_context(callbacks.logged(config))
        with naming_the_run(path):
            data, task = _make(config)
            trainer = _trainer(processes.one_device(config), [], logger)
        if rewrite and data.last_tested:
            raise ConfigError(f"{path}: its last weights were tested too, and are not kept: train it again elsewhere")
        _prepare(data, task)
        metrics, chosen, _ = _test(trainer, task, data, weights.state, path, trained=False)
        callbacks.tell(logger, metrics)
        if rewrite:
            _rewrite(path, task, data, metrics, chosen)
        return metrics


def _rewrite(run_dir: Path, task: Task, data: DataModule, metrics: dict[str, Any], chosen: Outputs) -> None:
    """Put the outcome of another test into a run's folder, whose summary is set aside meanwhile.

    Raises:
        ConfigError: The data are not those of the run, or the folder is not of a finished one.
    """
    summary_path, aside = run_dir / "summary.json", run_dir / _ASIDE
    found = summary_path if summary_path.exists() else aside
    if not found.exists():
        raise ConfigError(f"{run_dir} is not a finished run: it has no summary.json")
    summary = read_json(found, RUN_AGAIN)
    differ = sorted(name for name, value in data.facts().items() if summary.get(name, value) != value)
    if data.splits.to_csv(index=False) != (run_dir / "splits.csv").read_text(encoding="utf-8"):
        differ.append("splits.csv")
    if differ:
        raise ConfigError(f"{run_dir} is of other data than are there now, by its {', '.join(differ)}")
    if found != aside:
        move_file(summary_path, aside)
    task.write_outputs(run_dir, data, chosen, {})
    now = {name: value for name, value in provenance().items() if name in ("git_commit", "git_dirty", "finished")}
    replace_file(summary_path, json.dumps(summary | metrics | now, indent=2) + "\n")
    aside.unlink()


def _make(config: DictConfig, number: int = 1) -> tuple[DataModule, Task]:
    """Make the network and the data module: what cannot be built fails before any data is touched."""
    seed_everything(config.seed, verbose=False)
    task: Task = instantiate(config.task)
    data: DataModule = instantiate(config.data)
    with user_values():
        task.check_data(data)
        data.share(processes.rank(), number)
    return data, task


def _prepare(data: DataModule, task: Task, number: int = 1) -> None:
    """Make the data ready, once the trainer, too, has found what it needs, such as its GPU."""
    with user_values():
        processes.run_on_first(data.prepare_data, number)
        data.setup("fit")
    task.complete(data)


def _trainer(config: DictConfig, own: list[Callback], logger: WandbLogger | None, number: int = 1) -> Trainer:
    progress: Callback = RichProgressBar() if sys.stderr.isatty() else callbacks.EpochLine()
    trainer: Trainer = instantiate(
        OmegaConf.masked_copy(config.trainer, [key for key in config.trainer if key != "graph"]),
        callbacks=[callbacks.SeedEveryStep(config.seed), *own, progress, *processes.callbacks(number)],
        logger=logger or False,
        plugins=[WholeCheckpointIO(), processes.environment(number)],
        default_root_dir=config.run_dir,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        num_sanity_val_steps=0,
        **processes.options(number),
    )
    # Deterministic algorithms else write NaN into all new memory, to show who reads it unwritten: a kernel each time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return trainer


def _test(
    trainer: Trainer, task: Task, data: DataModule, chosen: dict[str, Tensor], place: Path, *, trained: bool
) -> tuple[dict[str, Any], Outputs, Outputs]:
    """Test the chosen weights, and where the data say so the last ones too.

    Args:
        trainer: On one device.
        task: With the last ones.
        data: Whose test split is used.
        chosen: The chosen weights.
        place: Where they were read, for errors.
        trained: Whether there are last ones.

    Returns:
        The metrics, and the task's outputs for the chosen and for the last weights.
    """
    metrics: dict[str, Any] = {}
    last: Outputs = {}
    if data.last_tested and trained:
        metrics["test/accuracy_last"] = _test_once(trainer, task, data)["test/accuracy"]
        last = task.outputs(data)
    load_weights(task, chosen, place)
    metrics |= _test_once(trainer, task, data)
    return metrics, task.outputs(data), last


def _test_once(trainer: Trainer, task: Task, data: DataModule) -> dict[str, float]:
    return {key: float(value) for key, value in trainer.test(task, datamodule=data, verbose=False)[0].items()}
