"""Which commit runs."""

import subprocess
from pathlib import Path
from typing import Any


def git_state() -> dict[str, Any]:
    """Name the commit that runs, and whether the working tree differs from it; None where there is no git."""

    def ask(*words: str) -> str | None:
        try:
            return subprocess.run(
                ["git", "-C", str(Path(__file__).parent), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    status = ask("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": ask("rev-parse", "HEAD"), "git_dirty": None if status is None else bool(status)}
