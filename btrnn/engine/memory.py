"""Memory of a run: kept by the process, and measured."""

import ctypes
import gc
import logging
import resource
from pathlib import Path

import torch

log = logging.getLogger(__name__)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library where it is glibc."""
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:
        return None


def reuse_freed_memory() -> None:
    """Tell glibc to keep freed memory instead of giving it back to the system and faulting it in anew at each step.

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
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
