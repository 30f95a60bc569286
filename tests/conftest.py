"""What several test files use. Every test runs with the package's type and shape annotations executed.

The tests of the layers also run where nothing is installed but torch, jaxtyping, pytest and hypothesis (`.ci/wheel`).
What needs more is therefore imported in the fixture that uses it.
"""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import hypothesis
import jaxtyping
import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from omegaconf import DictConfig

# what a search for a plan calls ten thousand times: numbers and tuples, of which mypy knows all; checked again at every
# call they take seven times as long
WITHOUT_TENSORS = ("btrnn.ops.cost", "btrnn.ops.plan", "btrnn.ops.stages")


def check_annotations() -> None:
    """Execute the annotations of the package's modules that are imported from here on.

    jaxtyping's own loader renames the bytecode of all that is imported while a module is: of the libraries too. They
    would be compiled again by every process, for 15 seconds, where bytecode is not written.
    """
    hook = install_import_hook("btrnn", "beartype.beartype").hook
    find = hook.find_spec

    def find_and_load_alone(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = None if name in WITHOUT_TENSORS else find(name, path, target)
        if spec is not None:
            loader = spec.loader

            def execute(module: ModuleType) -> None:
                exec(loader.source_to_code(loader.get_data(loader.path), loader.path), vars(module))

            loader.exec_module = execute
        return spec

    hook.find_spec = find_and_load_alone


if find_spec("beartype"):
    check_annotations()
if find_spec("omegaconf"):  # it parses an interpolation anew at each access, which is half of a composition's time
    import omegaconf.base

    omegaconf.base.parse = cache(omegaconf.base.parse)
os.environ["WANDB_MODE"] = "disabled"
# before torch is imported, which reads it: with a thread a core for each of the processes, they wait for one another
os.environ.setdefault("OMP_NUM_THREADS", "1")
# no test depends on the time that an example takes: machines are shared
hypothesis.settings.register_profile("btrnn", deadline=None)
hypothesis.settings.load_profile("btrnn")

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
OPTIONAL_PROGRAMS = {"ffmpeg", "bsdtar", "java", "compiler"}  # the fixtures below


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that write golden files anew, and that make as many faults as `make reliability` does."""
    parser.addoption("--update-golden", action="store_true", help="write the files in tests/golden/ anew")
    parser.addoption("--reliability", action="store_true", help="full counts, and results/reliability.md anew")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ask for an optional program, for the run in which there is none."""
    for item in items:
        if OPTIONAL_PROGRAMS & set(getattr(item, "fixturenames", ())):
            item.add_marker("programs")


def pytest_collection_finish() -> None:
    """Take what was imported out of every later search for garbage, each of which takes half a second otherwise."""
    gc.freeze()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a page with its file in tests/golden/; `pytest --update-golden` writes that instead."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{name} differs: look, then run pytest --update-golden"

    return check


def need_programs(*names: str, package: str) -> None:
    """Skip a test where optional programs are missing; but fail in CI, which installs them."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop(f"needs {' and '.join(missing)}: install Debian's package {package}")


def wandb_record(path: Path) -> bytes:
    """Return what a W&B log holds, without the headers that cut it at blocks' ends (LevelDB's format of logs)."""
    content, block, header = path.read_bytes(), 32_768, 7
    place, parts = header, []  # the file's own header is as long as that of a record
    while place < len(content):
        left = block - place % block
        if left < header:
            place += left
            continue
        length = int.from_bytes(content[place + 4 : place + 6], "little")
        parts.append(content[place + header : place + header + length])
        place += header + length
    return b"".join(parts)


@pytest.fixture
def ffmpeg() -> None:
    """Say that a test needs the programs through which scikit-video decodes."""
    need_programs("ffmpeg", "ffprobe", package="ffmpeg")


@pytest.fixture
def bsdtar() -> None:
    """Say that a test needs the program that unpacks archives."""
    need_programs("bsdtar", package="libarchive-tools")


@pytest.fixture
def java() -> None:
    """Say that a test needs the programs of pycocoevalcap."""
    need_programs("java", package="default-jre-headless")


@pytest.fixture
def compiler() -> None:
    """Say that a test needs the native kernels."""
    need_programs("g++", package="g++")


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Let wrong values reach the code's own checks, as they do where annotations are not executed."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def videos_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir with a tiny UCF11: 11 classes, 3 groups, 5 clips of 8 frames each; the class sets the brightness."""
    from btrnn.data.video.clips import UCF11_CLASSES, UCF11_FOLDER
    from tests.clips import write_clip

    data_dir = tmp_path_factory.mktemp("data")
    for label, (folder, stem) in enumerate(UCF11_CLASSES.items()):
        for group in range(1, 4):
            for clip in range(1, 6):
                name = f"{stem}_{group:02d}_{clip:02d}.mpg"
                path = data_dir / UCF11_FOLDER / folder / f"{stem}_{group:02d}" / name
                write_clip(path, 8 + 2 * label, noise=5 * label)
    return data_dir


def small_run(videos_dir: Path, results_dir: Path, *overrides: str) -> "DictConfig":
    """Compose the configuration of one small run on the tiny UCF11."""
    from hydra import compose, initialize_config_dir

    from btrnn.engine.config import register

    register()
    common = [f"data_dir={videos_dir}", f"results_dir={results_dir}", "logger=none"]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("train", [*common, "model=tt_lstm", "resume_every_seconds=0", *overrides])


@pytest.fixture
def make_config(videos_dir: Path, tmp_path: Path) -> Callable[..., "DictConfig"]:
    """Compose the configuration of one small run, whose results are the test's own."""
    return partial(small_run, videos_dir, tmp_path / "results")
