"""On what the benchmark ran."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from btrnn.engine.provenance import git_state
from btrnn.ops import native

_PACKAGES = ("torch", "opt_einsum", "tednet", "tensorly-torch", "tensorly")


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return processor, memory, threads, versions, the native path and its compiler, date and commit."""
    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(int((_line("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 2**20, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
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


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _compiler() -> str | None:
    """Return the first line that the C++ compiler says of itself."""
    command = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if command is None:
        return None
    try:
        outcome = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return outcome.stdout.splitlines()[0]
