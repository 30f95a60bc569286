"""Kills, full disks, and damaged files and command lines: a sample of each, or all of it for `make reliability`."""

import errno
import io
import itertools
import os
import platform
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from btrnn.data.captions.features import extract_features
from btrnn.data.standins import make_in_parallel
from btrnn.engine import run
from btrnn.engine.command import explain
from btrnn.engine.config import ConfigError
from btrnn.engine.machine import git_state
from btrnn.storage.atomic import locked, replace_file

from . import reliability
from .conftest import ROOT, small_run
from .processes import children

Record = Callable[[str, Callable[[int], Counter[str]]], None]
SEED = 0
COUNTS = {  # of `make test`, and of `make reliability`
    "kills of training at random moments": (0, 20),  # of `make test`: in tests/test_run.py
    "a kill and a full disk in training, also of its checkpoints": (1, 20),
    "a kill and a full disk while stand-ins are drawn": (1, 20),
    "a kill and a full disk while clips are cached": (1, 20),
    "a kill and a full disk while features are made": (1, 20),
    "a kill and a full disk while features of clips are made": (1, 20),
    "a kill and a full disk while results are published": (1, 20),
    "damaged videos": (20, 1000),
    "damaged pictures": (60, 1000),
    "damaged annotation files": (30, 200),
    "random overrides": (8, 1000),
    "training on more clips than fit into memory": (20_000, 1_000_000),
}
PLACE = ROOT / "results" / "reliability.md"
PAGE = """# What happens when something fails

Faults injected by `make reliability`, which writes a line when a check is complete. Every check asserts that the
command ends, and that no traceback appears without a message of ours; after kills and full disks, that the result
equals that of undisturbed work, byte for byte; and that damaged or meaningless input is either used or left out
with a reason. A command line has several random overrides; of trainings, `how often` is the least number of kills:
each is killed up to three times, and is also counted if it ended before its kill.
The machine: {machine}, shared with other work; {versions}.

| what was done | how often | what came out | minutes | commit |
|---|---|---|---|---|
{rows}
"""


def write_row(name: str, count: int, outcomes: Counter[str], minutes: float) -> None:
    """Write the line of a check into results/reliability.md, beside those of the others."""
    lines = PLACE.read_text(encoding="utf-8").splitlines() if PLACE.exists() else []
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}
    came = "; ".join(f"{outcome}: {number:,}" for outcome, number in sorted(outcomes.items()))
    rows[name] = f"| {name} | {count:,} | {came} | {minutes:.1f} | {str(git_state()['git_commit'])[:10]} |"
    libraries = ("torch", "lightning", "numpy", "av", "pillow")
    versions = [f"Python {platform.python_version()}", *(f"{library} {version(library)}" for library in libraries)]
    page = PAGE.format(
        machine=f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores",
        versions=", ".join(versions),
        rows="\n".join(rows.get(known, f"| {known} | 0 | not done yet | | |") for known in COUNTS),
    )
    replace_file(PLACE, page)


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Do a check as often as is asked for; after a full count, write what came out to results/reliability.md."""
    full = request.config.getoption("--reliability")

    def do(name: str, check: Callable[[int], Counter[str]]) -> None:
        count, begun = COUNTS[name][full], time.monotonic()
        if count == 0:
            pytest.skip("done by `make reliability`; a sample of it is in tests/test_run.py")
        outcomes = check(count)
        assert outcomes
        assert not outcomes.keys() & {"refused", "left out"}, "without a reason"
        if full:
            write_row(name, count, outcomes, (time.monotonic() - begun) / 60)

    return do


WORKS = {
    "draw": "a kill and a full disk while stand-ins are drawn",
    "cache": "a kill and a full disk while clips are cached",
    "features": "a kill and a full disk while features are made",
    "clip_features": "a kill and a full disk while features of clips are made",
    "train": "a kill and a full disk in training, also of its checkpoints",
    "publish": "a kill and a full disk while results are published",
}


@pytest.mark.parametrize("work", WORKS)
def test_work_that_is_killed_and_refused_its_disk_ends_with_the_same_bytes(record, tmp_path, videos_dir, work):
    record(WORKS[work], lambda count: reliability.stop_work(work, count, SEED, tmp_path, videos_dir))


def test_work_that_hangs_is_ended_and_named(tmp_path, monkeypatch):
    place = tmp_path / "place"
    reliability.prepare("publish", place, tmp_path)
    work = reliability.Works("publish", [(place, "watch", 0)], tmp_path)
    reliability.wait(work.process, (tmp_path / "publish_0.said").exists, "the beginning")
    monkeypatch.setattr(reliability, "HANG_SECONDS", 0)
    with pytest.raises(TimeoutError, match="no end of publish_0"):
        list(work.outcomes())
    work.process.communicate()
    assert work.process.returncode == -signal.SIGKILL


def test_training_that_is_killed_again_and_again_ends_with_the_same_bits(record, tmp_path, videos_dir):
    name = "kills of training at random moments"
    record(name, lambda count: reliability.kill_training(count, SEED, tmp_path, videos_dir))


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("damaged videos", reliability.damage_videos),
        ("damaged pictures", reliability.damage_pictures),
        ("damaged annotation files", reliability.damage_annotations),
        ("random overrides", reliability.refuse_command_lines),
    ],
)
def test_what_is_damaged_or_senseless_is_used_or_refused_with_its_reason(record, tmp_path, name, check):
    record(name, partial(check, seed=SEED, folder=tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which memory has no file behind it")
def test_memory_does_not_grow_with_the_data(record, tmp_path):
    name = "training on more clips than fit into memory"
    record(name, partial(reliability.train_on_many_clips, seed=SEED, folder=tmp_path))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let the system refuse every write below a folder; permissions would not hold back a privileged user."""

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *words: Any, **options: Any) -> Any:
            mode = words[0] if words else options.get("mode", "r")
            writing = bool(mode & (os.O_WRONLY | os.O_RDWR) if isinstance(mode, int) else set(mode) & set("wax+"))
            making = function is os_mkdir and not Path(path).exists()
            inside = isinstance(path, str | Path) and Path(path).is_relative_to(folder)
            if inside and (making or (writing and function is not os_mkdir)):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return function(path, *words, **options)

        return call

    os_mkdir = os.mkdir
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((io, "open"), (os, "open"), (os, "mkdir")):
            patch.setattr(module, name, refusing(getattr(module, name)))
        yield


def test_data_that_may_not_be_written_to_and_a_clock_that_goes_back_change_nothing(videos_dir, tmp_path):
    words = ["scale.video.max_epochs=2", "+trainer.limit_train_batches=2"]
    first, second = (small_run(videos_dir, tmp_path / name, *words) for name in ("first", "second"))
    run.train(first)
    now = itertools.count(time.time(), -3600)
    with read_only(videos_dir), pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: next(now))
        summary = run.train(second)
    assert min(summary["seconds"], summary["steps_per_second"]) > 0
    ours, theirs = (reliability.contents(Path(config.run_dir)) for config in (first, second))
    assert ours == theirs


def test_a_place_that_may_not_be_written_to_is_named(videos_dir, tmp_path):
    config = small_run(videos_dir, tmp_path / "results", "scale.video.max_epochs=1")
    with read_only(tmp_path), pytest.raises((ConfigError, OSError), match="Read-only file system") as caught:
        run.train(config)
    assert str(tmp_path) in explain(caught.value)
    assert "another" in explain(caught.value)


def test_features_that_may_not_be_written_to_are_read_also_of_fewer_pictures(tmp_path, videos_dir, caplog):
    place = tmp_path / "place"
    reliability.prepare("features", place, videos_dir)
    (work,) = reliability.Works("features", [(place, "watch", 0)], tmp_path).outcomes()
    assert work["status"] == 0, work["stderr"]
    before = reliability.contents(place)
    names = sorted(path.name for path in (place / "pictures").iterdir())
    for chosen in (names[:3], [*names, "gone.png"]):
        with read_only(place):
            found = extract_features(place / "pictures", chosen, place / "cache", "efficientnet_lite0", 2)
        assert found.rows.tolist() == [*range(len(names)), -1][: len(chosen)]
    assert "Left out: gone.png" in caplog.text
    assert reliability.contents(place) == before


def test_two_who_draw_into_one_folder_do_not_disturb_each_other(tmp_path):
    notes = [tmp_path / name for name in ("notes_1", "notes_2")]
    for folder in notes:
        folder.mkdir()
    works = [reliability.Works("draw", [(tmp_path / "shared", "watch", 0)], folder) for folder in notes]
    ends = [end for work in works for end in work.outcomes()]
    assert [end["status"] for end in ends] == [0, 0], ends
    (alone,) = reliability.Works("draw", [(tmp_path / "alone", "watch", 0)], tmp_path).outcomes()
    assert alone["status"] == 0
    assert reliability.contents(tmp_path / "alone") == reliability.contents(tmp_path / "shared")


def test_a_worker_that_the_system_ends_is_said():
    with pytest.raises(ChildProcessError, match=r"drawing: the system ended a worker.*the same command goes on"):
        make_in_parallel(signal.raise_signal, [signal.SIGKILL] * 2, title="drawing", total=2, num_workers=2)


def test_workers_that_draw_end_with_the_process_that_was_killed() -> None:
    code = "import time; from btrnn.data.standins import make_in_parallel as make\n"
    code += "make(time.sleep, [60, 60], title='drawing', total=2, num_workers=2)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(workers := children(process.pid)) < 3:  # two, and the tracker of what they share
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(1)
    process.kill()
    process.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker stays"
        time.sleep(0.01)


def test_a_folder_is_held_by_whoever_may_write_to_it(tmp_path):
    before = os.umask(0o077)
    try:
        with locked(tmp_path):
            assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o666
    finally:
        os.umask(before)
