"""How a script ends: with the statuses that a shell expects, and without a traceback for what a user can mend."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_FULL = "HYDRA_FULL_ERROR"
_WAY_ON = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT),
        "free some space there, or choose another folder; the same command then goes on from what is done",
    ),
    errno.EFBIG: "raise the limit of a file's size (ulimit -f); the same command then goes on from what is done",
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE),
        "raise the limit of open files (ulimit -n); the same command then goes on from what is done",
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "it needs other permissions, or choose another folder to write to"
    ),
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
        "a file stands where a folder should be, or the reverse: move it away, or choose another folder",
    ),
    errno.ENAMETOOLONG: "choose a shorter name",
}


class ProcessError(RuntimeError):
    """One of a run's processes failed, so that the others ended too; the message is what it said."""


def wants_traceback() -> bool:
    """Return whether the user asks for whole tracebacks, as Hydra has it: by HYDRA_FULL_ERROR=1."""
    return os.environ.get(_FULL) == "1"


def explain(error: BaseException) -> str:
    """Return in one line what went wrong, and for a failure of the system also what can be done about it."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.errno in _WAY_ON:
        return f"{said}; {_WAY_ON[error.errno]}"
    return said


def exit_status(work: Callable[[], object], *errors: type[Exception]) -> int:
    """Do a script's work, which may be stopped and repeated.

    Args:
        work: All that it does; what is stopped in it goes on when it is called again.
        errors: What a user can mend. Their message goes to stderr, unless HYDRA_FULL_ERROR=1 asks for the traceback.

    Returns:
        0 when the work is done, 1 after one of `errors`, `stopped_by(SIGINT)` after Ctrl-C.
    """
    try:
        work()
    except errors as error:
        if wants_traceback():
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return stopped_by(signal.SIGINT)
    return 0


def stopped_by(number: int) -> int:
    """Return the status of a script that a signal stopped, as a shell counts it."""
    return 128 + number


def user_errors() -> tuple[type[Exception], ...]:
    """Return what can fail in a run because of the machine, the data or a setting, so that its user can mend it.

    The messages say what is wrong, where, and the way on; anything else is a defect, and ends with its traceback.
    """
    # imported here: not every script that ends by `exit_status` needs torch
    import torch
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from btrnn.data.captions.annotations import AnnotationError
    from btrnn.data.captions.features import FeatureError
    from btrnn.data.captions.vocabulary import VocabularyError
    from btrnn.data.encoders import EncoderError
    from btrnn.data.mnist import MNISTError
    from btrnn.data.module import StandInError
    from btrnn.data.pictures import ImageError
    from btrnn.data.video.decoding import DecoderMissingError, VideoError
    from btrnn.engine.config import ConfigError
    from btrnn.storage.files import ResultsError
    from btrnn.tasks import NonFiniteLossError
    from btrnn.tasks.caption_scores import ScorerError

    return (
        *(OSError, ConfigError, ProcessError, ResultsError, NonFiniteLossError, ScorerError),
        *(AnnotationError, DecoderMissingError, EncoderError, FeatureError, ImageError, MNISTError, VideoError),
        *(StandInError, VocabularyError, MisconfigurationException, torch.OutOfMemoryError),
    )


def run_script(path: Path, *arguments: str) -> None:
    """Run a script in a process of its own, and leave with its exit status if it fails.

    Ctrl-C is left to it, which the terminal tells as well; SIGTERM is passed on, so that it does not go on alone.
    """
    process = subprocess.Popen([sys.executable, str(path), *arguments])
    replies = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
    before = {number: signal.signal(number, reply) for number, reply in replies.items()}
    try:
        status = process.wait()
    finally:
        for number, reply in before.items():
            signal.signal(number, reply)
    if status:
        sys.exit(status)
