"""How far a long piece of work is."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

LOG_SECONDS = 5.0


@contextmanager
def show_progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that takes how many more are done: a bar on a terminal, else a log line now and then.

    Args:
        title: What is done, such as "drawing clips".
        total: How many there are.
    """
    console = Console(stderr=True)
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done, last = 0, time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)

        def advance(number: int) -> None:
            nonlocal done, last
            done += number
            bar.update(task, completed=done)
            if not console.is_terminal and (done == total or time.monotonic() - last >= LOG_SECONDS):
                last = time.monotonic()
                logger.info("%s: %d of %d", title, done, total)

        yield advance
