"""How a script ends: with the statuses that a shell expects, and without a traceback for what a user can mend."""

import sys
from collections.abc import Callable


def exit_status(work: Callable[[], object], *errors: type[Exception]) -> int:
    """Do a script's work, which may be stopped and repeated.

    Args:
        work: All that it does; what is stopped in it goes on when it is called again.
        errors: What a user can mend. Their message goes to stderr.

    Returns:
        0 when the work is done, 1 after one of `errors`, 130 after Ctrl-C.
    """
    try:
        work()
    except errors as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0
