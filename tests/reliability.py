"""Faults made on purpose, as many as are asked for: what comes out is counted, and anything wrong is an error.

`make test` calls these functions with small counts, `make reliability` with the full ones. All that is drawn is a
function of the seed.
"""

import copy
import itertools
import json
import math
import os
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from btrnn.data.captions.annotations import SPLITS, AnnotationError, read_annotations
from btrnn.data.pictures import ImageError, read_image
from btrnn.data.video import dataset
from btrnn.data.video.decode_pool import DecodeTask, decode_clips, row_bytes
from btrnn.data.video.decoding import VALUES_PER_FRAME
from btrnn.data.video.frame_cache import FrameCache
from btrnn.engine import run
from btrnn.engine.config import ConfigError, check_targets, check_values, register
from btrnn.engine.overrides import checked_command
from btrnn.tasks import Task

from .clips import write_clip
from .conftest import small_run
from .processes import ROOT, Script
from .run_folders import outcome, write_run

CONFIGS = ROOT / "configs"
SCRIPT = ROOT / "tests" / "interrupted.py"
NOT_COMPARED = {  # of what they say when and where
    *("lock", "cache.json", "features.jsonl", "efficientnet_lite0-1x1.json"),
    *("config.yaml", "multirun.yaml"),
}
TIMES = ["examples_per_second", "seconds"]
HANG_SECONDS = 300
FRAMES = 3
Random = np.random.Generator


# Stopped work


def prepare(work: str, folder: Path, videos_dir: Path) -> None:
    """Put into a folder what a work of tests/interrupted.py begins with."""
    folder.mkdir()
    if work in ("cache", "clip_features"):
        for number in range(5):
            write_clip(folder / "videos" / f"clip_{number}.mpg", 4 + number)
    elif work == "features":
        (folder / "pictures").mkdir()
        for number in range(7):
            Image.new("RGB", (40, 30), (30 * number, 255 - 30 * number, 9)).save(folder / "pictures" / f"{number}.png")
    elif work == "publish":
        (folder / "results").mkdir()
        shutil.copy(ROOT / "results" / "paper.csv", folder / "results")
        for model in ("lstm", "bt_lstm"):
            write_run(folder / "results", model, 0)
    elif work == "train":
        (folder / "data").symlink_to(videos_dir)


def contents(folder: Path) -> dict[str, Any]:
    """Return what work has left: the bytes of each file, of trained weights the numbers, of metrics and summaries
    all but times and the like."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in NOT_COMPARED:
            if path.suffix == ".pt":
                state = torch.load(path, weights_only=True)
                content: Any = {name: tensor.numpy().tobytes() for name, tensor in state.items()}
            elif path.name == "metrics.csv":
                content = pd.read_csv(path).drop(columns=TIMES).to_csv()
            elif path.name == "summary.json":
                content = outcome(path.parent)
            else:
                content = path.read_bytes()
            found[path.relative_to(folder).as_posix()] = content
    return found


def wait(process: Script, condition: Callable[[], bool], what: object) -> None:
    """Wait until a condition holds or a process has ended.

    Raises:
        TimeoutError: Neither in minutes; the process and its workers are ended.
    """
    deadline = time.monotonic() + HANG_SECONDS
    while not condition() and process.returncode is None:
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            raise TimeoutError(f"no end of {what} in {HANG_SECONDS} seconds")
        time.sleep(0.005)


Request = tuple[Path, str, float]  # a folder, how the work ends there, and at which share of the points that are left


class Works:
    """A work that is done once for each request, in order, in a process each; see tests/interrupted.py.

    Args:
        work: Which.
        requests: What is to be done, and where.
        folder: For notes.
    """

    def __init__(self, work: str, requests: list[Request], folder: Path) -> None:
        self.outs = [folder / f"{work}_{number}.json" for number in range(len(requests))]
        lines = [
            json.dumps([str(place), how, share, str(out)])
            for (place, how, share), out in zip(requests, self.outs, strict=True)
        ]
        (folder / f"{work}.requests").write_text("\n".join(lines))
        self.process = Script(SCRIPT, work, folder / f"{work}.requests")

    def outcomes(self) -> Iterator[dict[str, Any]]:
        """Yield of each time its status, what it said on stderr, and what it saw of itself; wait for it."""
        for out in self.outs:
            wait(self.process, out.exists, f"{out.stem}, which says in {out.with_suffix('.said')} how far it came,")
            assert out.exists(), self.process.communicate()
            yield json.loads(out.read_text())


def stop_work(work: str, count: int, seed: int, folder: Path, videos_dir: Path) -> Counter[str]:
    """Kill a work at a random point, let the disk be full at another, and let it end: as if nothing had been."""
    rng = np.random.default_rng([seed, len(work)])
    places = [folder / "whole", *(folder / f"stopped_{number}" for number in range(count))]
    requests: list[Request] = [(places[0], "watch", 0)]
    for place in places:
        prepare(work, place, videos_dir)
    for place in places[1:]:
        requests += [(place, "kill", rng.uniform()), (place, "full", rng.uniform()), (place, "watch", 0)]
    first, *others = Works(work, requests, folder).outcomes()
    assert first["status"] == 0, first["stderr"]
    assert first["too_early"] == [], "renamed before it was on disk"
    whole = contents(places[0])
    outcomes: Counter[str] = Counter()
    for place, killed, full, last in zip(places[1:], others[::3], others[1::3], others[2::3], strict=True):
        assert killed["status"] == -signal.SIGKILL, killed["stderr"]
        outcomes["killed"] += 1
        assert full["refused"] == (full["left"] > 0)
        assert bool(full["status"]) == full["refused"], full["stderr"]
        if full["refused"]:
            assert "[Errno 28]" in full["stderr"], full["stderr"]
            assert "Traceback" not in full["stderr"], full["stderr"]
        outcomes["disk full, said in one line" if full["refused"] else "had nothing left to write"] += 1
        assert last["status"] == 0, last["stderr"]
        left = contents(place)
        parts = {name for name in left if name.endswith(".part")}
        assert {name: left[name] for name in left.keys() - parts} == whole, sorted(left.keys() ^ whole.keys())
        assert len(parts) <= (work == "publish"), parts  # its files have no lock: one may stay, never read
        outcomes["then ended with the same bytes"] += 1
    assert outcomes["disk full, said in one line"], "the kills left nothing to write: another seed"
    return outcomes


def kill_training(count: int, seed: int, folder: Path, videos_dir: Path) -> Counter[str]:
    """Kill training at random moments, each run three times: bit for bit what it is undisturbed.

    The last of the three comes after the checkpoint of the best epoch, so that what a resumed run must know of epochs
    that it did not train itself, above all which is the best, is not seen by it again.
    """
    rng = np.random.default_rng([seed, 77])
    outcomes: Counter[str] = Counter()

    def begin(place: Path) -> Works:
        notes = folder / f"notes_{place.name}"
        shutil.rmtree(notes, ignore_errors=True)
        notes.mkdir()
        return Works("train", [(place, "watch", 0)], notes)

    def wait_for_checkpoints(work: Works, place: Path) -> None:
        made = "results/runs/*/*/*/checkpoints/previous_last.ckpt"  # there from the second on
        wait(work.process, lambda: any(place.glob(made)), f"the second epoch in {place}")

    prepare("train", folder / "whole", videos_dir)
    begun, work = time.monotonic(), begin(folder / "whole")
    wait_for_checkpoints(work, folder / "whole")
    seconds_before = time.monotonic() - begun
    (first,) = work.outcomes()
    seconds_after = time.monotonic() - begun - seconds_before
    assert first["status"] == 0, first["stderr"]
    whole = contents(folder / "whole")
    (summary,) = (content for name, content in whole.items() if name.endswith("summary.json"))
    assert summary["epoch_chosen"] == 1, "a run in which no kill can come between the best epoch and the last"
    for number in itertools.count():
        place = folder / f"killed_{number}"
        prepare("train", place, videos_dir)
        for late in (False, False, True):
            work = begin(place)
            if late:
                wait_for_checkpoints(work, place)
            moment = time.monotonic() + rng.uniform(0, seconds_after + (not late) * seconds_before)
            wait(work.process, lambda moment=moment: time.monotonic() >= moment, work)
            if work.process.returncode is None:
                os.killpg(work.process.pid, signal.SIGKILL)
                outcomes["killed"] += 1
            work.process.communicate()
        (last,) = begin(place).outcomes()
        assert last["status"] == 0, last["stderr"]
        assert contents(place) == whole
        outcomes["runs ended with the same bits"] += 1
        if outcomes["killed"] >= count:
            return outcomes
    return outcomes


# Damaged files


@contextmanager
def no_hang(what: object) -> Iterator[None]:
    """Raise TimeoutError in what takes minutes."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no end of {what}")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def damaged(content: bytes, rng: Random) -> bytes:
    """Cut, change, lose or double some of a file's bytes."""
    first, second = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    noise = rng.bytes(int(rng.integers(1, 64)))
    changed = bytearray(content)
    for place in rng.integers(0, len(content), rng.integers(1, 17)):
        changed[place] = rng.integers(256)
    ways = (
        content[:first],
        bytes(changed),
        content[:first] + content[second:],
        content[:first] + bytes(second - first) + content[second:],
        content[:first] + noise + content[first:],
        content[:second] + content[first:],
        noise + content[len(noise) :],
        content[:16] + noise + content[16 + len(noise) :],
    )
    return ways[rng.integers(len(ways))]


def damage_videos(count: int, seed: int, folder: Path) -> Counter[str]:
    """Decode damaged videos, of three containers: each gives frames, or says why not."""
    rng = np.random.default_rng([seed, 1])
    kinds = (("mpeg1video", ".mpg"), ("mpeg4", ".avi"), ("mpeg4", ".mp4"))
    whole = {suffix: write_clip(folder / f"whole{suffix}", 8, codec=codec).read_bytes() for codec, suffix in kinds}
    tasks = []
    for row in range(count):
        suffix = kinds[row % len(kinds)][1]
        path = folder / f"{row}{suffix}"
        path.write_bytes(damaged(whole[suffix], rng))
        tasks.append(DecodeTask(row, path.stem, str(path), FRAMES, 0, "pyav"))
    array = folder / "array"
    array.write_bytes(bytes(count * row_bytes(FRAMES)))
    outcomes: Counter[str] = Counter()
    with no_hang(f"{count} damaged videos"):
        for result in decode_clips(tasks, array, num_workers=2):
            assert (result.reason is None) == (1 <= result.num_cached <= min(FRAMES, result.num_frames)), result
            outcomes["frames" if result.reason is None else "left out, with its reason"] += 1
    assert outcomes.total() == count
    return outcomes


def damage_pictures(count: int, seed: int, folder: Path) -> Counter[str]:
    """Read damaged pictures, of six kinds: each gives pixels, or says why not."""
    rng = np.random.default_rng([seed, 2])
    pixels = np.kron(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), dtype=np.uint8))
    whole = {}
    for suffix in (".jpg", ".png", ".gif", ".tif", ".bmp", ".webp"):
        Image.fromarray(pixels).save(folder / f"whole{suffix}")
        whole[suffix] = (folder / f"whole{suffix}").read_bytes()
    outcomes: Counter[str] = Counter()
    for number in range(count):
        suffix = list(whole)[number % len(whole)]
        path = folder / f"{number}{suffix}"
        path.write_bytes(damaged(whole[suffix], rng))
        with no_hang(path), warnings.catch_warnings(action="ignore"):
            try:
                assert read_image(path, 32)[0].shape == (32, 32, 3)
                outcomes["pixels"] += 1
            except ImageError as error:
                outcomes["left out, with its reason" if str(error) else "left out"] += 1
        path.unlink()
    return outcomes


def annotation_files(folder: Path) -> dict[str, Any]:
    """Return a small COCO: what each annotation file holds, by its path."""
    files: dict[str, Any] = {}
    for start, part in ((0, "train2014"), (20, "val2014")):
        images = [{"id": key, "file_name": f"{part}_{key}.jpg"} for key in range(start, start + 12)]
        found = [{"id": 10 * image["id"], "image_id": image["id"], "caption": "a dog, and a cat"} for image in images]
        files[f"annotations/captions_{part}.json"] = {"images": images, "annotations": found}
    ids = [image["id"] for content in list(files.values()) for image in content["images"]]
    split = [{"cocoid": key, "split": ("train", "restval", "val", "test")[key % 4]} for key in ids]
    return files | {"dataset_coco.json": {"images": split}}


def changed(content: Any, rng: Random) -> Any:
    """Put something strange into a random place of what a JSON file holds, or take something away."""
    content = copy.deepcopy(content)
    owner, key = {"": content}, ""
    while isinstance(owner[key], (dict, list)) and owner[key] and rng.random() < 0.85:
        owner = owner[key]
        key = list(owner)[rng.integers(len(owner))] if isinstance(owner, dict) else int(rng.integers(len(owner)))
    strange = (None, -1, 10**30, 0.5, float("nan"), True, "", "\ud83d", "../x", [], {}, [[]], "x" * 10_000)
    if rng.random() < 0.3 and owner is not content and key != "":
        del owner[key]
    elif rng.random() < 0.2 and isinstance(owner, list):
        owner.append(owner[key])
    else:
        owner[key] = strange[rng.integers(len(strange))]
        if key == "":
            content = owner[key]
    return content


def damage_annotations(count: int, seed: int, folder: Path) -> Counter[str]:
    """Read annotation files that are damaged, in their bytes or in what they say."""
    rng = np.random.default_rng([seed, 3])
    files = annotation_files(folder)
    (folder / "annotations").mkdir()
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        bad = list(files)[rng.integers(len(files))]
        for name, content in files.items():
            text = json.dumps(changed(content, rng) if name == bad else content).encode()
            (folder / name).write_bytes(damaged(text, rng) if name == bad and rng.random() < 0.4 else text)
        with no_hang(bad):
            try:
                found = read_annotations("coco", folder)
                assert set(found.table["split"]) <= set(SPLITS)
                assert len(found.captions) == len(found.table) > 0
                outcomes["read"] += 1
            except AnnotationError as error:
                outcomes["refused, by the file's name" if str(folder) in str(error) else "refused"] += 1
    return outcomes


# Command lines

VALUES = (
    *("0", "1", "-1", "3", "0.5", "1e400", "nan", "null", "true", "", "x", "''", "[]", "[1,2]", "{}", "{a: 1}", "1,2"),
    *("${seed}", "${nothing}", "${oc.env:NOTHING}", '"a b"', "a b", "é", "../..", "~/x", "(1", "[1", "%", "\\", "a=b"),
    *("choice(1,2)", "range(3)", "glob(*)", "999999999999999999999", "lstm", "ucf11", "smoke", "{_target_: os.getcwd}"),
)


def override(known: list[str], groups: dict[str, list[str]], rng: Random) -> str:
    """Draw a word of a command line: a known key or a misspelt one, or a member of a group, and some value."""
    draw = rng.random()
    if draw < 0.25:
        group = list(groups)[rng.integers(len(groups))]
        return f"{group}={groups[group][rng.integers(len(groups[group]))]}"
    key = known[rng.integers(len(known))]
    if draw < 0.45:
        place = int(rng.integers(len(key)))
        key = key[:place] + key[place + 1 :] if rng.random() < 0.5 else f"{key[:place]}_{key[place:]}"
    value = VALUES[rng.integers(len(VALUES))]
    sign = ("", "", "", "", "+", "++", "~")[rng.integers(7)]
    return f"{sign}{key}={value}" if rng.random() < 0.95 else f"{sign}{key}"


def flat(node: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted keys of a configuration."""
    for key in node if isinstance(node, DictConfig) else ():
        here = f"{path}.{key}" if path else str(key)
        yield here
        if not (OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key)):
            yield from flat(node[key], here)


def refuse_command_lines(count: int, seed: int, folder: Path) -> Counter[str]:
    """Check random overrides, up to four a command line, as a run does: a configuration, or a refusal that says why."""
    rng = np.random.default_rng([seed, 4])
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        known = list(flat(compose("train")))
    groups = {
        path.name: [*(member.stem for member in path.glob("*.yaml")), "nothing"]
        for path in CONFIGS.iterdir()
        if path.is_dir()
    }
    outcomes: Counter[str] = Counter()
    left = count
    while left > 0:
        drawn = [override(known, groups, rng) for _ in range(min(left, rng.integers(1, 5)))]
        left -= len(drawn)
        words = [f"results_dir={folder}", f"data_dir={folder}", *drawn]
        with no_hang(words):
            try:
                config = checked_command(words, CONFIGS, "train").config
                check_targets(config)
                check_values(DictConfig(OmegaConf.to_container(config, resolve=True)))
                outcomes["command lines that make a configuration"] += 1
            except ConfigError as error:
                outcomes["command lines refused, with their reason" if str(error).strip() else "refused"] += 1
            except Exception as error:
                raise AssertionError(f"{words} ends with {type(error).__name__}: {error}") from error
    assert list(folder.iterdir()) == [], "something was made before the command line was checked"
    return outcomes


# More data than memory


def anonymous_mebibytes() -> int:
    """Return how much memory this process has that no file stands behind."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) // 1024


def train_on_many_clips(count: int, seed: int, folder: Path) -> Counter[str]:
    """Train on a cache of so many clips, a file without blocks on the disk: the memory stays what it was."""
    shape, steps, warm_up = (count, FRAMES, VALUES_PER_FRAME), 25, 5
    with (folder / "frames.u8").open("wb") as file:
        file.truncate(math.prod(shape))
    rows, labels = np.arange(count), np.arange(count) % 11
    table = pd.DataFrame({"clip": rows.astype(str), "path": rows.astype(str), "group": labels, "label": labels})
    frames = np.memmap(folder / "frames.u8", np.uint8, "r", shape=shape)
    cache = FrameCache(frames, np.full(count, FRAMES), table)
    words = ["model=bt_lstm", "data=ucf101", "data.protocol=paper_validated", "data.batch_size=4", "test=false"]
    words += [f"data.num_frames={FRAMES}", f"data.frames_cached={FRAMES}", f"seed={seed}", "scale.video.max_epochs=1"]
    limits = [f"+trainer.limit_train_batches={steps}", "+trainer.limit_val_batches=2", "trainer.accelerator=cpu"]
    sizes: list[int] = []

    def noted(task: Task, batch: Any) -> torch.Tensor:
        sizes.append(anonymous_mebibytes())
        return training_step(task, batch)

    training_step = Task.training_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset.VideoClips, "_open_cache", lambda _: cache)
        patch.setattr(dataset, "files_digest", lambda *_: "none")
        patch.setattr(Task, "training_step", noted)
        run.train(small_run(folder, folder / "results", *words, *limits))
    assert len(sizes) == steps
    grown = sizes[-1] - sizes[warm_up]
    read = steps * 4 * math.prod(shape[1:]) >> 20
    assert grown < read / 2, f"anonymous memory grew by {grown} MiB while {read} MiB were read"
    return Counter({"MiB of the file": math.prod(shape) >> 20, f"MiB more after {steps - warm_up} steps": grown})
