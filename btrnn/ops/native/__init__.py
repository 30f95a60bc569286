"""The native kernels of `stages`, `recurrence` and `gru`: compiled once, where there is a C++ compiler, and loaded.

They serve float32 and float64 on the CPU. Everywhere else, and where they cannot be had (no compiler, no home, a cache
folder that cannot be written or that somebody else can write), torch's own operations are used, which give the same
numbers up to rounding; one line in the log says so. BTRNN_NATIVE=0 in the environment switches them off.
"""

import ctypes
import hashlib
import logging
import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from btrnn.ops.dispatch import is_eager
from btrnn.ops.native.processor import VECTOR_BYTES, processor_text
from btrnn.storage.atomic import locked, remove_leftovers, replacing

log = logging.getLogger(__name__)

SOURCES = tuple(Path(__file__).with_name(f"{name}.cpp") for name in ("stages", "recurrence", "gru"))
HEADERS = tuple(Path(__file__).with_name(f"{name}.h") for name in ("products", "recurrence"))
FLAGS = (
    *("-O3", "-march=native", "-fopenmp", "-std=c++17", "-shared", "-fPIC", "-Wno-psabi"),
    f"-DVECTOR_BYTES={VECTOR_BYTES}",
)
_DTYPES = {torch.float32: "float32", torch.float64: "float64"}
_allowed = ContextVar("allowed", default=True)


@contextmanager
def disabled() -> Iterator[None]:
    """Use torch's own operations within this context."""
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


def available() -> bool:
    """Return whether the kernels are compiled, or can be; compiles them at the first call."""
    return _library() is not None


def serves(x: Tensor, operands: Sequence[Tensor]) -> bool:
    """Return whether the kernels can compute with these tensors here and now."""
    return (
        x.dtype in _DTYPES
        and x.device.type == "cpu"
        and all(operand.dtype == x.dtype and operand.device == x.device for operand in operands)
        and is_eager(x, *operands)
        and _allowed.get()
        and available()
    )


def function(name: str, dtype: torch.dtype) -> Callable[..., None]:
    """Return a function of the library, by its name without the type of its numbers; only where `available`."""
    library = _library()
    assert library is not None
    found: Any = getattr(library, f"{name}_{_DTYPES[dtype]}")
    found.restype = None
    result: Callable[..., None] = found
    return result


def address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return where a tensor's numbers begin, as an argument; null for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


# ---- the library


@cache
def _library() -> ctypes.CDLL | None:
    """Load the compiled kernels; None, announced once, where it cannot be had."""
    if os.environ.get("BTRNN_NATIVE") == "0":
        log.info("the native kernels are switched off by BTRNN_NATIVE=0")
        return None
    try:
        return ctypes.CDLL(str(_compiled()))
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
        reason = " ".join((said or str(error)).split())
        log.warning("btrnn runs without its native kernels, on torch's operations alone: %s", reason)
        return None


def compiler() -> list[str]:
    """Return the C++ compiler as the words of a command: what CXX says, as "ccache g++", or g++.

    Raises:
        FileNotFoundError: There is none.
    """
    if words := shlex.split(os.environ.get("CXX", "")):
        return words
    if path := shutil.which("g++"):
        return [path]
    raise FileNotFoundError("there is no C++ compiler (Debian's package is g++)")


def _compiled() -> Path:
    """Return the shared library of these sources, compiler and processor; compile it if it is not there.

    Raises:
        OSError: There is no compiler, or no cache folder that this user, and nobody else, can write.
        subprocess.CalledProcessError: The compiler failed; its message is in `stderr`.
    """
    command = [*compiler(), *FLAGS]
    made_of = [*(path.read_text(encoding="utf-8") for path in (*SOURCES, *HEADERS)), *command, processor_text()]
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    path = _cache_folder() / f"native-{key}.so"
    if _is_private(path):
        return path
    with ExitStack() as held:
        try:
            held.enter_context(locked(path.parent))
            remove_leftovers(path.parent)
        except (NotImplementedError, OSError):  # a file system without locks: processes may do this at once
            log.debug("%s cannot be locked", path.parent, exc_info=True)
        if not _is_private(path):  # another process may have been faster
            with replacing(path) as part:
                command += [*map(str, SOURCES), "-o", str(part)]
                subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")
                part.chmod(0o700)
    return path


def _cache_folder() -> Path:
    """Return the folder that holds compiled libraries; make it if it is not there.

    Raises:
        OSError: There is no home, or the folder cannot be made, or another user can write it.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "btrnn"
    except RuntimeError as error:
        raise FileNotFoundError(f"there is no place for the compiled library: {error} Set XDG_CACHE_HOME") from None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_own(folder) and not _is_private(folder):
        folder.chmod(0o700)
    if not _is_private(folder):
        raise PermissionError(f"another user can write {folder}, from which code would be loaded; set XDG_CACHE_HOME")
    return folder


def _is_own(path: Path) -> bool:
    return path.exists() and (not hasattr(os, "getuid") or path.stat().st_uid == os.getuid())


def _is_private(path: Path) -> bool:
    """Return whether this is there, this user's, and not writable by others: what is loaded runs as this user."""
    return _is_own(path) and not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
