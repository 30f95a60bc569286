"""Stand-ins: files in a data set's own format, made here, for machines that cannot get the data set.

They are made in parallel processes, each file whole or not there, in a folder that says its maker.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits

from btrnn.data.progress import show_progress
from btrnn.storage.atomic import replace_file

Part = TypeVar("Part")


def check_numbers(seed: int, num_workers: int | None) -> None:
    """Refuse a negative seed and fewer than one process.

    Raises:
        ValueError: A number is out of range.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, got {num_workers}")


def refuse_foreign(path: Path, ours: dict[str, object], folders: Iterable[str]) -> None:
    """Refuse a folder that something else made.

    Args:
        path: The file that says what made it, if it is there.
        ours: What it must say.
        folders: Names beside it that only the maker makes.

    Raises:
        ValueError: The file says something else, or the folders are there without it.
    """
    root = path.parent
    if path.is_file():
        try:
            theirs = json.loads(path.read_text())
        except ValueError:  # of JSON's grammar or of UTF-8
            theirs = "nothing that can be read"
        if theirs != ours:
            raise ValueError(f"{path} says {theirs}, but {ours} was asked for: take another folder, or delete {root}")
    foreign = [name for name in folders if (root / name).exists()]
    if foreign and not path.is_file():
        raise ValueError(f"{root} has folders {foreign} but no {path.name}: it was not made here; take another folder")


def claim(path: Path, ours: dict[str, object], folders: Iterable[str]) -> None:
    """Note in a folder what makes it, unless it says so; the words and errors are those of `refuse_foreign`."""
    refuse_foreign(path, ours, folders)
    if not path.is_file():
        replace_file(path, json.dumps(ours) + "\n")


def make_in_parallel(
    make: Callable[[Part], int], parts: Sequence[Part], *, title: str, total: int, num_workers: int | None
) -> None:
    """Call a function on each part, in several processes, and show how far it is; Ctrl-C ends it at once.

    Args:
        make: Makes the files of one part and returns how many; a function of a module, or a partial of one.
        parts: What is to be made.
        title: What is done, for the reader.
        total: Sum of the numbers that `make` returns.
        num_workers: Processes; all cores by default. With 1 the work is done in this process.

    Raises:
        ChildProcessError: The system ended one of the processes.
    """
    workers = min(num_workers or os.cpu_count() or 1, len(parts))
    with show_progress(title, total) as advance:
        if workers <= 1:
            for part in parts:
                advance(make(part))
            return
        # Spawned, because a forked child of a process with threads (torch's) may hang.
        if multiprocessing.get_start_method() == "loky":
            # A worker of joblib, as Hydra's joblib launcher makes it: new interpreters do not know how it was started.
            multiprocessing.set_start_method("spawn", force=True)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
            # The workers, begun by the first submit, inherit the mask: Ctrl-C ends this process, which ends them.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                with _without_main_script():
                    jobs = [pool.submit(make, part) for part in parts]
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            try:
                for job in as_completed(jobs):
                    advance(job.result())
            except BrokenProcessPool as error:
                raise ChildProcessError(
                    f"{title}: the system ended a worker, as it does when memory runs out; the same command goes on"
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@contextmanager
def _without_main_script() -> Iterator[None]:
    """Keep new interpreters from running the caller's script again, which imports what they need not, for seconds."""
    main = vars(sys.modules["__main__"])
    path = main.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            main["__file__"] = path


def _begin_worker() -> None:
    """Limit a worker's products to one thread, of which more make all half as fast, and end it with its caller."""
    threadpool_limits(1)
    threading.Thread(target=_end_with_caller, daemon=True).start()


def _end_with_caller() -> None:
    """Wait until the caller is gone, also by a kill, which the executor's workers would not see, and end the worker."""
    if caller := multiprocessing.parent_process():
        caller.join()
    os._exit(1)
