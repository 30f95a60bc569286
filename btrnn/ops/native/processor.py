"""What the native kernels and their cost depend on in this machine's processor. Needs no torch."""

import platform
from pathlib import Path


def processor_text() -> str:
    """Return what a compiler's -march=native depends on, as well as it is known."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    known = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    return "\n".join([platform.machine(), *sorted(known)])


def vector_bytes(processor: str) -> int:
    """Return the width of the processor's vectors.

    A compiler takes wider ones apart into single numbers, which makes a kernel ten times slower.

    Args:
        processor: Of `processor_text`.
    """
    words = set(processor.split())
    if "avx512f" in words:
        return 64
    return 32 if "avx" in words else 16  # NEON's and SSE's


VECTOR_BYTES = vector_bytes(processor_text())
