"""The machine that a run is on: its memory, what its trainer can do, and which commit runs on what."""

import ctypes
import gc
import logging
import os
import platform
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from btrnn.engine.config import ConfigError
from btrnn.engine.secret_keys import without_secret
from btrnn.ops import native

log = logging.getLogger(__name__)
_HERE = Path(__file__)
_PRECISIONS = ("32-true", "bf16-mixed")  # of `trainer.precision`
_PLACES = ("data_dir=", "results_dir=")  # where a run reads and writes changes none of its numbers
_PACKAGES = ("torch", "opt_einsum", "tednet", "tensorly-torch", "tensorly")


def check_trainer(config: DictConfig, number: int) -> None:
    """Check what Lightning would take, but not do as asked, and what it does not know.

    Raises:
        ConfigError: The message says what would be done.
    """
    trainer = config.trainer
    precision, graph = trainer.get("precision", _PRECISIONS[0]), trainer.get("graph", False)
    if precision not in _PRECISIONS:
        raise ConfigError(
            f"trainer.precision={precision}: runs have {' or '.join(_PRECISIONS)}. float16 would need scaled losses, "
            "which clipped gradients and a fused Adam do not go with; bfloat16 has float32's range, and needs no scale"
        )
    if not isinstance(graph, bool):
        raise ConfigError(f"trainer.graph={graph}: true makes each training step one CUDA graph, false does not")
    if trainer.get("accumulate_grad_batches", 1) != 1:
        raise ConfigError(
            f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}: random numbers are a function of the "
            "step, and would be the same in several batches; take a larger data.batch_size"
        )
    if trainer.get("check_val_every_n_epoch", 1) != 1 or trainer.get("limit_val_batches", 1.0) == 0:
        raise ConfigError(
            "trainer.check_val_every_n_epoch and trainer.limit_val_batches=0: every epoch is validated, as it may be "
            "the best; leave them out"
        )
    if trainer.get("max_epochs") is not None and trainer.max_epochs < 1:
        raise ConfigError(f"trainer.max_epochs={trainer.max_epochs}: a run has at least one epoch")
    on_cuda = trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    needs = {
        "needs a CUDA device, and there is none, or trainer.accelerator names another": on_cuda,
        f"is for one device, and there are {number}": number == 1,
        "is for batches of repeated shapes, and each of captions has its own": config.section != "captioning",
    }
    for need, met in needs.items():
        if graph and not met:
            raise ConfigError(f"trainer.graph=true {need}; trainer.graph=false trains without")


def _glibc() -> ctypes.CDLL | None:
    """Return the C library where it is glibc."""
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:
        return None


def reuse_freed_memory() -> None:
    """Make glibc keep freed memory instead of giving it back to the system and faulting it in anew at each step.

    Large temporaries make this worth a good part of a training step on a CPU, for somewhat more memory. Does nothing
    without glibc.
    """
    if libc := _glibc():
        mmap_max, trim_threshold, top_pad = -4, -1, -2  # the names' values in malloc.h
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(top_pad, 64 * 2**20)


def start_memory_anew() -> None:
    """Free what an earlier run of this process left, and start the measurement of `peak_memory_mib` from there.

    Lightning's trainer, module and optimiser refer to one another, so that a dense model's 700 MB would otherwise stay
    until Python's garbage collector happens to look.
    """
    gc.collect()
    if libc := _glibc():
        libc.malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        log.debug("this system cannot reset a process's peak memory: it counts from the process's start")


def peak_memory_mib(device: torch.device) -> float:
    """Measure the most memory that was used since the last reset, in MiB: the device's, or the process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


@cache
def git_state() -> dict[str, Any]:
    """Name the commit that runs, and whether the working tree differs from it.

    Both are None where there is no git, or where this file is not among those that git keeps: installed below the
    folder of another project, it would answer for that one.

    It is that of the first call in this process, when its modules were read, whatever is committed since.
    """

    def ask(*words: str) -> str | None:
        try:
            return subprocess.run(
                ["git", "-C", str(_HERE.parent), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    if ask("ls-files", "--error-unmatch", _HERE.name) is None:
        return {"git_commit": None, "git_dirty": None}
    status = ask("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": ask("rev-parse", "HEAD"), "git_dirty": None if status is None else bool(status)}


def provenance() -> dict[str, Any]:
    """Return how a run was made, once it is: threads, commit, command (without this machine's folders), time (UTC)."""
    return {
        "threads": torch.get_num_threads(),
        **git_state(),
        "command": shlex.join(["python", *(without_secret(word) for word in _words() if not word.startswith(_PLACES))]),
        "finished": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _words() -> list[str]:
    """Return the script and the words of the command; in a job of submitit's, which has others, those of the job."""
    if Path(sys.argv[0]).name == "_submit.py" and HydraConfig.initialized():
        return ["experiments/train.py", *HydraConfig.get().overrides.task]
    return ["/".join(Path(sys.argv[0]).parts[-2:]), *sys.argv[1:]]  # as from the repository's folder


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return processor, memory, threads, versions, the native path and its compiler, date and commit."""
    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(int((_line("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 2**20, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": installed_versions(_PACKAGES),
        "native": native.available(),
        "compiler": _compiler(),
        "reuses_freed_memory": True,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),  # on a shared machine, waiting threads decide
        "date": datetime.now(UTC).date().isoformat(),
        **git_state(),
    }


def _line(path: str, name: str) -> str | None:
    """Return what stands behind a name in one of the system's tables."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), None)


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of installed packages by name, without those that are not: btrnn may only be a path."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _compiler() -> str | None:
    """Return the first line that the C++ compiler says of itself."""
    try:
        outcome = subprocess.run([*native.compiler(), "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return outcome.stdout.splitlines()[0]
