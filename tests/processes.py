"""Scripts as processes of their own, each forked from one that has imported the libraries: 8 seconds less for each.

This file is also what that one runs. It imports no module of the package, so that nothing is computed before a fork.
"""

import atexit
import gc
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# not wandb, which makes a folder when it is imported that the first to end deletes
LIBRARIES = ("hydra", "lightning", "pandas", "sklearn.linear_model", "torchvision")


class Script:
    """A script at work, with what subprocess.Popen has of it.

    Args:
        command: The script and its words.
        environment: Variables beside those of this process.
        largest_file: The size in bytes from which the system refuses to write.
    """

    def __init__(
        self, *command: str | Path, environment: Mapping[str, str] | None = None, largest_file: int | None = None
    ) -> None:
        self.args = [str(word) for word in command]
        self._folder = TemporaryDirectory(prefix="script-")
        variables = os.environ | (environment or {})
        request = {"command": self.args, "folder": self._folder.name, "environment": variables, "limit": largest_file}
        requests = _server().stdin
        assert requests is not None
        requests.write(json.dumps(request) + "\n")
        requests.flush()
        while (pid := self._number("pid")) is None:
            assert _server().poll() is None, "the process that starts the others has ended"
            time.sleep(0.005)
        self.pid = pid

    def _number(self, name: str) -> int | None:
        path = Path(self._folder.name, name)
        return int(path.read_text()) if path.exists() else None

    def _text(self, name: str) -> str:
        path = Path(self._folder.name, name)
        return path.read_text(encoding="utf-8") if path.exists() else ""  # it is made a little after the process

    @property
    def stdout(self) -> str:
        """What was written to it so far."""
        return self._text("stdout")

    @property
    def returncode(self) -> int | None:
        """As of a process that has ended; None before, and the negative number of the signal that ended it."""
        status = self._number("status")
        return None if status is None else os.waitstatus_to_exitcode(status)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for the end; return what was written to stdout and to stderr."""
        deadline = time.monotonic() + timeout
        while self.returncode is None:
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(self.args, timeout, self._text("stdout"), self._text("stderr"))
            time.sleep(0.02)
        return self._text("stdout"), self._text("stderr")


def run_script(
    *command: str | Path, environment: Mapping[str, str] | None = None, largest_file: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, as subprocess.run does with its output captured."""
    script = Script(*command, environment=environment, largest_file=largest_file)
    stdout, stderr = script.communicate()
    assert script.returncode is not None
    return subprocess.CompletedProcess(script.args, script.returncode, stdout, stderr)


def run_code(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a text as a script, where the annotations of the package are not executed."""
    with TemporaryDirectory(prefix="code-") as folder:
        path = Path(folder, "script.py")
        path.write_text(code, encoding="utf-8")
        return run_script(path, *words, environment=environment)


@cache
def _server() -> subprocess.Popen[str]:
    """Start the process that starts the others; it ends with this one."""
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, text=True)
    atexit.register(server.communicate)
    return server


def _next_script() -> dict[str, Any]:
    """Wait for requests; in the process that is to be a script, return what is asked of it.

    Between that process and the one that waits stands a third, which writes down how the script ended.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork():
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            return dict(request)
        _write_down(request["folder"], "pid", pid)
        _write_down(request["folder"], "status", os.waitpid(pid, 0)[1])
        os._exit(0)
    os._exit(0)


def _write_down(folder: str, name: str, number: int) -> None:
    part = Path(folder, f"{name}.part")
    with suppress(FileNotFoundError):  # the test that asked has ended, and its folder with it
        part.write_text(str(number))
        part.replace(part.with_suffix(""))


def _become(request: dict[str, Any]) -> None:
    """Be as a script that was started from a terminal."""
    os.setsid()  # with its workers a group of its own
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also of a background job, as CI may be
    for number, (name, mode) in enumerate(((os.devnull, "rb"), ("stdout", "wb"), ("stderr", "wb"))):
        with Path(request["folder"], name).open(mode) as file:
            os.dup2(file.fileno(), number)
    if (limit := request["limit"]) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(ROOT)
    sys.argv = request["command"]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    for library in LIBRARIES:
        with suppress(ImportError):
            import_module(library)
    gc.freeze()  # else each script would look through all that was imported, and so copy it
    _become(_next_script())
    runpy.run_path(sys.argv[0], run_name="__main__")


def children(pid: int) -> list[int]:
    """Return the processes that a process has begun."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
