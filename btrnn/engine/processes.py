"""Runs on several devices, each with a process of its own that has its part of every batch.

`torchrun` may start them; without it the command starts those of one machine itself, by the same library. The first
process alone writes, prepares the data and tests; the others wait for it.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig, OmegaConf
from torch import distributed
from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.rendezvous import rendezvous

from btrnn.engine.command import ProcessError, explain, stopped_by, user_errors
from btrnn.engine.config import ConfigError

T = TypeVar("T")
log = logging.getLogger(__name__)
_WAIT = timedelta(days=7)  # of the others, while the first decodes videos, or waits for another run to end
_runs = count()  # of this process
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)  # which the launcher takes over


def number_of(trainer: DictConfig) -> int:
    """Return how many processes a run has, one a device, on all machines together.

    Args:
        trainer: The group `trainer` of the configuration.

    Raises:
        ConfigError: The strategy is none that trains on several devices here, or `torchrun` started another number.
        MisconfigurationException: Lightning does not find the devices.
    """
    number = 1
    if str(trainer.get("devices", "auto")) != "1" or trainer.get("num_nodes", 1) != 1:
        asked: dict[str, Any] = {
            str(key): trainer[key] for key in ("accelerator", "devices", "num_nodes") if key in trainer
        }
        found = Trainer(**asked, plugins=[_OneProcess()], logger=False, enable_checkpointing=False)
        number = found.num_devices * found.num_nodes
    if started() and number != (size := int(os.environ["WORLD_SIZE"])):
        raise ConfigError(
            f"trainer.devices={trainer.get('devices', 'auto')} and trainer.num_nodes={trainer.get('num_nodes', 1)} ask "
            f"for {number} process(es), but torchrun started {size}: its --nproc-per-node is trainer.devices, its "
            "--nnodes trainer.num_nodes"
        )
    strategy = trainer.get("strategy", "auto")
    if number > 1 and strategy not in ("auto", "ddp"):
        raise ConfigError(f"trainer.strategy={strategy}: several devices train by ddp; leave trainer.strategy out")
    if number > 1 and not started() and trainer.get("num_nodes", 1) > 1:
        raise ConfigError(
            f"trainer.num_nodes={trainer.num_nodes}: start the command on each machine by torchrun --nnodes="
            f"{trainer.num_nodes} --nproc-per-node={trainer.get('devices', 'auto')} --rdzv-backend=c10d "
            "--rdzv-endpoint=HOST:PORT"
        )
    return number


def started() -> bool:
    """Return whether `torchrun`, or `launch`, started this process."""
    return TorchElasticEnvironment.detect()


def rank() -> int:
    """Return which of a run's processes this one is, from 0."""
    return int(os.environ["RANK"]) if started() else 0


class _EndAtOnce(Callback):
    """Let SIGTERM end one of several processes at once; the run goes on from its last checkpoint, as after a kill.

    Lightning would end after the step, and for this have the processes talk to each other amid a step, in vain.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take back what Lightning has put in place."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _OneProcess(LightningEnvironment):
    def teardown(self) -> None:
        """Leave what torchrun said to this process as it is: Lightning would delete a part of it."""


def callbacks(num_processes: int) -> list[Callback]:
    """Return what a trainer of several processes needs beside the callbacks of any."""
    return [_EndAtOnce()] if num_processes > 1 else []


def environment(num_processes: int) -> ClusterEnvironment:
    """Return what tells Lightning which processes there are.

    One process on one device it is, whatever started it: in a batch system's own environment Lightning would save amid
    an epoch when warned of the end, and a repeated command would go on from there with other batches.
    """
    return TorchElasticEnvironment() if num_processes > 1 else _OneProcess()


def options(num_processes: int) -> dict[str, Any]:
    """Return what a trainer of several processes takes beside the configuration; the batches are shared already."""
    if num_processes == 1:
        return {}
    return {"strategy": DDPStrategy(), "use_distributed_sampler": False}


def one_device(config: DictConfig, device: torch.device | None = None) -> DictConfig:
    """Return a configuration for one process.

    Args:
        config: For any number.
        device: Which device it gets; the first without.
    """
    devices = 1 if device is None or device.index is None else [device.index]
    changed = OmegaConf.merge(config, {"trainer": {"devices": devices, "num_nodes": 1}})
    return DictConfig(changed)


def launch(work: Callable[[DictConfig], T], config: DictConfig, number: int) -> T:
    """Do a run in several processes on this machine.

    Args:
        work: What each does with `config`; a function of a module.
        config: Of the run.
        number: How many processes.

    Returns:
        What the first returned.

    Raises:
        ProcessError: One of them failed.
    """
    threads, level = max(1, torch.get_num_threads() // number), logging.getLogger().getEffectiveLevel()
    try:
        with _quiet_launcher(), TemporaryDirectory(prefix="processes-") as folder:
            settings = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=number,
                logs_specs=DefaultLogsSpecs(log_dir=folder),
                run_id=str(os.getpid()),
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                local_addr="localhost",
                max_restarts=0,
                start_method="spawn",
            )
            results: dict[int, T] = elastic_launch(settings, _work)(work, config, threads, level)
            return results[0]
    except SignalException as stopped:
        log.info("stopped by signal %d: the same command goes on from the last checkpoint", stopped.sigval)
        sys.exit(stopped_by(stopped.sigval))
    except ChildFailedError as error:
        raise ProcessError(_said(error)) from None


def _said(error: ChildFailedError) -> str:
    """Return what the process said that failed first; of a defect its traceback is logged."""
    _, failure = error.get_first_failure()
    said = failure.message
    if not isinstance(said, dict):  # of a signal, or nothing
        return f"one of the run's processes ended: {said}; the same command goes on from the last checkpoint"
    kind, _, message = str(said["message"]).partition(": ")
    if kind not in {known.__name__ for known in user_errors()}:
        log.error("%s", said["extraInfo"]["py_callstack"])
    return message


def _work(work: Callable[[DictConfig], T], config: DictConfig, threads: int, level: int) -> T:
    """Be one of the processes."""
    torch.set_num_threads(threads)
    logging.basicConfig(format="%(message)s", stream=sys.stdout, level=level)
    return work(config)


@contextmanager
def _quiet_launcher() -> Iterator[None]:
    """Keep the launcher's own account of failures back, and put back the handlers of signals that it takes over."""
    disabled, before = logging.root.manager.disable, {number: signal.getsignal(number) for number in _SIGNALS}
    logging.disable(logging.CRITICAL)  # this process does nothing else meanwhile
    try:
        with warned_in_time():
            yield
    finally:
        logging.disable(disabled)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def warned_in_time() -> Iterator[None]:
    """Take SIGUSR1, a batch system's warning that time is running out, as SIGTERM: then a run ends after its step."""
    before = signal.signal(signal.SIGUSR1, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


@contextmanager
def stopped_with_its_status(trainer: Trainer) -> Iterator[None]:
    """Let a training that Ctrl-C or SIGTERM stops say how it goes on, and end with the status of that signal."""
    try:
        yield
    except SystemExit as stopped:  # Lightning's answer to both, after its own clean-up
        log.info("stopped in epoch %d: the same command goes on from the last checkpoint", trainer.current_epoch)
        by_ctrl_c = isinstance(stopped.__context__, KeyboardInterrupt)
        sys.exit(stopped_by(signal.SIGINT if by_ctrl_c else signal.SIGTERM))


def join_process_group(trainer: Trainer) -> None:
    """Meet the other processes of the run, in a group that ends with its training; a sweep's next run has its own.

    All but the first are silent from here on, but for warnings.
    """
    if rank() > 0:
        logging.getLogger().setLevel(logging.WARNING)
    strategy, (store, process, size) = trainer.strategy, next(rendezvous("env://"))
    assert strategy.accelerator is not None
    strategy.accelerator.setup_device(strategy.root_device)
    distributed.init_process_group(
        "nccl" if strategy.root_device.type == "cuda" else "gloo",
        store=distributed.distributed_c10d.PrefixStore(f"run{next(_runs)}", store),
        rank=process,
        world_size=size,
        timeout=_WAIT,
    )


def leave_process_group() -> None:
    """Leave the group, if there is one: what comes then is done by one process, and Lightning would wait for all."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def run_on_first(work: Callable[[], T], num_processes: int) -> T | None:
    """Let the first process work while the others wait; where it fails all do.

    Returns:
        What `work` returned in the first process; None in the others.

    Raises:
        ProcessError: In the others, if `work` failed in the first, where its own error is raised.
    """
    if num_processes == 1:
        return work()
    done, failure = None, None
    if rank() == 0:
        try:
            done = work()
        except Exception as error:
            failure = error
    message = broadcast_from_first(None if failure is None else explain(failure), num_processes)
    if message is not None:
        raise failure or ProcessError(message)
    return done


def broadcast_from_first(value: T, num_processes: int) -> T:
    """Return what the first process calls this with; `value` where there is one process."""
    if num_processes == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]
