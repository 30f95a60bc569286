"""How far a long work is: a bar on a terminal, else a log line now and then."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

logger = logging.getLogger(__name__)

LOG_SECONDS = 5.0


@contextmanager
def show_progress(
    title: str, total: int | None, *, done: int = 0, in_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes how many more are done: a bar on a terminal, else a log line now and then.

    Args:
        title: What is done, such as "drawing clips".
        total: How many there are; None where that is not known.
        done: How many were done before.
        in_bytes: Whether bytes are counted, not things.
    """
    console = Console(stderr=True)
    counts: list[ProgressColumn] = [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [MofNCompleteColumn()]
    columns = (TextColumn(title), BarColumn(), *counts, TimeRemainingColumn())
    last = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, completed=done)

        def advance(number: int) -> None:
            nonlocal done, last
            done += number
            bar.update(task, completed=done)
            if not console.is_terminal and (done == total or time.monotonic() - last >= LOG_SECONDS):
                last = time.monotonic()
                write = size_text if in_bytes else str
                logger.info("%s: %s of %s", title, write(done), "unknown" if total is None else write(total))

        yield advance


def size_text(count: int) -> str:
    """Write a number of bytes."""
    return f"{count / 1e6:,.1f} MB"
