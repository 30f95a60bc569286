"""Decoding many clips side by side, one process a core, into the rows of one file.

The workers are `python -m btrnn.data.video.decode_pool` and speak JSON lines. This stands in place of
multiprocessing: its "spawn" and "forkserver" run the caller's main script again in each worker, which imports
torch, and fails without a `__main__` guard; its "fork" is unsafe beside torch's threads. A worker that dies,
because a decoder crashes on a damaged file, costs that clip alone. Workers end by themselves when the caller
is killed.
"""

import contextlib
import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import zlib
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from btrnn.data.video.decoding import VALUES_PER_FRAME, Decoder, VideoError, read_sampled_frames

CLIPS_WORTH_A_WORKER = 20  # what one process decodes in the half second that another takes to start
# Whoever stops a process from outside sends one of these; what else ends it is the decoder's doing.
STOPPED_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True)
class DecodeTask:
    """One clip to decode into row `row` of the array file; `path` is absolute."""

    row: int
    clip: str
    path: str
    frames_cached: int
    sampling_seed: int
    decoder: Decoder


@dataclass(frozen=True)
class DecodedClip:
    """What came of a task. A clip that cannot be used has a `reason` and no frames."""

    row: int
    clip: str
    num_frames: int = 0
    num_cached: int = 0
    checksum: int = 0
    reason: str | None = None


def clip_rng(sampling_seed: int, clip: str) -> np.random.Generator:
    """Return the source of a clip's draw: a function of the seed and the clip's name alone."""
    name = int.from_bytes(hashlib.sha256(clip.encode()).digest()[:8])
    return np.random.default_rng([sampling_seed, name])


def row_bytes(frames_cached: int) -> int:
    """Return the size of one clip's row in the array file, in bytes."""
    return frames_cached * VALUES_PER_FRAME


def decode_clip(task: DecodeTask, array_file: int) -> DecodedClip:
    """Decode one clip, and write its row to the open file descriptor. Frames that it lacks are zero."""
    rng = clip_rng(task.sampling_seed, task.clip)
    try:
        frames, _, num_frames = read_sampled_frames(task.path, task.frames_cached, rng, decoder=task.decoder)
    except VideoError as error:
        cause = error.__cause__
        # the machine's fault, which may be gone the next time; exactly these types, as FFmpeg's errors are OSErrors too
        if isinstance(cause, OSError) and type(cause) in (OSError, PermissionError):
            raise OSError(cause.errno, cause.strerror, task.path) from error
        return DecodedClip(task.row, task.clip, reason=error.reason)
    row = frames.tobytes().ljust(row_bytes(task.frames_cached), b"\0")
    written = os.pwrite(array_file, row, task.row * len(row))
    if written != len(row):
        raise OSError(f"clip {task.clip}: only {written} of {len(row)} bytes went into the frame cache")
    return DecodedClip(task.row, task.clip, num_frames, len(frames), zlib.crc32(row))


def decode_clips(
    tasks: Sequence[DecodeTask], array_path: Path, *, num_workers: int | None = None
) -> Generator[DecodedClip, None, None]:
    """Decode clips into the rows of a file that has its full size; yield each when it is done, in any order.

    Args:
        tasks: the clips.
        array_path: the file.
        num_workers: processes; by default one for each core this process may use, fewer for few clips.
            With 1 the clips are decoded in this process.

    Raises:
        ChildProcessError: a worker was killed.
        RuntimeError: a worker failed for another reason than the clip.
    """
    if num_workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        num_workers = min(cores, -(-len(tasks) // CLIPS_WORTH_A_WORKER))
    if num_workers <= 1:
        array_file = os.open(array_path, os.O_WRONLY)
        try:
            for task in tasks:
                yield decode_clip(task, array_file)
        finally:
            os.close(array_file)
        return
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def decode(task: DecodeTask) -> DecodedClip:
        worker = idle.get()
        try:
            return worker.decode(task)
        finally:
            idle.put(worker)

    with contextlib.ExitStack() as stack:
        for _ in range(num_workers):
            idle.put(stack.enter_context(contextlib.closing(_Worker(array_path))))
        threads = ThreadPoolExecutor(num_workers)
        # Also when the caller stops early, by Ctrl-C or an error: clips not yet begun are dropped.
        stack.callback(threads.shutdown, cancel_futures=True)
        for future in as_completed([threads.submit(decode, task) for task in tasks]):
            yield future.result()


class _Worker:
    """One decoding process, used by one thread at a time, and started anew if the decoder crashes."""

    def __init__(self, array_path: Path):
        self.array_path = array_path
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "btrnn.data.video.decode_pool", str(self.array_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            start_new_session=True,  # Ctrl-C goes to the caller alone, which then closes the workers
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.tasks, self.answers = self.process.stdin, self.process.stdout

    def decode(self, task: DecodeTask) -> DecodedClip:
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            self.tasks.write(json.dumps(asdict(task)) + "\n")
            self.tasks.flush()
            answer = self.answers.readline()
        if not answer:
            return self._after_death(task)
        result = json.loads(answer)
        if "errno" in result:
            raise OSError(result["errno"], result["strerror"], task.path)
        if "failure" in result:
            raise RuntimeError(f"decoding {task.path} failed: {result['failure']}")
        return DecodedClip(**result)

    def _after_death(self, task: DecodeTask) -> DecodedClip:
        """Distinguish a decoder that crashed on its file from a worker that was stopped from outside."""
        self.close()
        code = self.process.returncode
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if code >= 0 or -code in STOPPED_FROM_OUTSIDE:
            raise ChildProcessError(
                f"a decoding process ended with {cause} at {task.path}. "
                "If memory ran out, use fewer workers. Building the cache again goes on from here."
            )
        self._start()
        return DecodedClip(task.row, task.clip, reason=f"the decoder crashed ({cause})")

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.tasks.close()  # the worker sees that there are no more tasks, and leaves
        self.process.wait()
        self.answers.close()


def _serve(array_path: Path) -> None:
    """Answer the tasks on standard input until it ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not come between the answers
    array_file = os.open(array_path, os.O_WRONLY)
    for line in sys.stdin:
        try:
            answer = asdict(decode_clip(DecodeTask(**json.loads(line)), array_file))
        except OSError as error:
            answer = {"errno": error.errno, "strerror": error.strerror or str(error)}
        except Exception as error:
            answer = {"failure": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
