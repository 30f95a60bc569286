"""How the scripts end."""

import errno
import os
import subprocess
import sys
import time

import pytest

from btrnn.engine.command import exit_status, explain

from .conftest import ROOT


def raises(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (FileNotFoundError("no such file: x"), 1, "error: no such file: x\n"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from here\n"),
    ],
)
def test_what_a_user_can_mend_is_said_without_a_traceback(error, status, said, capsys):
    assert exit_status(lambda: raises(error), ValueError, OSError) == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("number", "way_on"),
    [(errno.ENOSPC, "free some space"), (errno.EMFILE, "ulimit -n"), (errno.EROFS, "another folder")],
)
def test_what_the_system_refuses_comes_in_one_line_with_its_place_and_the_way_on(number, way_on):
    line = explain(OSError(number, "refused", "/place/file"))
    assert "/place/file" in line
    assert way_on in line
    assert "\n" not in explain(ValueError("two\nlines"))


def test_whole_tracebacks_come_when_they_are_asked_for(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(OSError, match="no such file"):
        exit_status(lambda: raises(FileNotFoundError("no such file: x")), OSError)


def test_a_script_that_is_run_ends_with_the_one_that_runs_it(tmp_path):
    child, said = tmp_path / "child.py", tmp_path / "pid"
    child.write_text(f"""
import os, time
from pathlib import Path
Path({str(said)!r}).write_text(f"{{os.getpid()}}\\n")
time.sleep(60)
""")
    work = f"from pathlib import Path; from btrnn.engine.command import run_script; run_script(Path({str(child)!r}))"
    parent = subprocess.Popen([sys.executable, "-c", work], cwd=ROOT)
    deadline = time.monotonic() + 30
    while not (said.exists() and said.read_text().endswith("\n")) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.terminate()
    assert parent.wait(30) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.read_text()), 0)


def test_done_work_ends_with_zero_and_a_defect_with_its_traceback():
    assert exit_status(lambda: None) == 0
    with pytest.raises(KeyError):
        exit_status(lambda: raises(KeyError()), ValueError, OSError)
