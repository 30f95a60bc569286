"""The download against a local server that can break off, and the unpacking of real archives."""

import hashlib
import io
import json
import os
import random
import re
import runpy
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import time
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from btrnn.data import archives, fetch, progress, unpacking
from btrnn.data.archives import download_coco, download_flickr8k, download_mnist, download_ucf11, download_ucf101
from btrnn.data.captions.annotations import read_annotations
from btrnn.data.captions.flickr8k import CAPTIONS_FILE, FOLDER, LISTS, read_flickr8k
from btrnn.data.fetch import DownloadError, download
from btrnn.data.unpacking import unpack_rar, unpack_zip
from btrnn.data.video.clips import UCF11_CLASSES, UCF11_FOLDER, UCF101_CLASSES, UCF101_LAYOUT, index_clips

SCRIPT = Path(__file__).parents[1] / "scripts" / "download.py"
CONTENT = np.random.default_rng(0).bytes(300_000)


@dataclass
class Server:
    """What the handler serves and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    contents: dict[str, bytes] = field(default_factory=dict)  # of single paths, in place of `content`
    redirects: dict[str, str] = field(default_factory=dict)  # from paths to addresses
    break_after: list[int] = field(default_factory=list)  # bytes sent before each break, in order
    ranges: bool = True
    status: int | None = None
    send_length: bool = True
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.status is not None:
                self.send_error(state.status)
                return
            if self.path in state.redirects:
                self.send_response(302)
                self.send_header("Location", state.redirects[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start, content = 0, state.contents.get(self.path, state.content)
            if wanted and state.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
            else:
                self.send_response(200)
            body = content[start:]
            if state.send_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.break_after.pop(0)] if state.break_after else body)
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_port}/UCF11_updated_mpg.rar"
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def archive_bytes(tmp_path: Path) -> bytes:
    """A small UCF11 as a tar archive: bsdtar looks at the content, not at the name."""
    source = tmp_path / "source" / UCF11_FOLDER
    for class_name, stem in UCF11_CLASSES.items():
        clip = source / class_name / f"{stem}_01" / f"{stem}_01_01.mpg"
        clip.parent.mkdir(parents=True)
        clip.write_bytes(np.random.default_rng(1).bytes(3000))
    (source / "Excluded Videos.txt").write_text("none")
    path = tmp_path / "source.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(source, arcname=UCF11_FOLDER)
    return path.read_bytes()


def test_whole_file_arrives_and_no_part_is_left(server: Server, tmp_path: Path) -> None:
    download(server.url, tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_goes_on_after_breaks_within_one_call(server: Server, tmp_path: Path) -> None:
    server.break_after = [100_000, 0, 50_000]
    download(server.url, tmp_path / "file", wait_seconds=0.0)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]


def test_gives_up_keeps_the_part_and_a_second_call_goes_on(server: Server, tmp_path: Path) -> None:
    server.break_after = [120_000, 0]
    with pytest.raises(DownloadError, match=r"120,000 of 300,000.*kept in .*file\.part.*same command goes on"):
        download(server.url, tmp_path / "file", attempts=1, wait_seconds=0.0)
    assert not (tmp_path / "file").exists()
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:120_000]
    download(server.url, tmp_path / "file", wait_seconds=0.0)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=120000-"


def test_server_without_ranges_sends_all_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.break_after = [100_000]
    download(server.url, tmp_path / "file", wait_seconds=0.0)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"of another, longer file"])
def test_part_that_has_nothing_left_to_fetch(server: Server, tmp_path: Path, extra: bytes) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT + extra)
    download(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_size_unknown_to_the_server(server: Server, tmp_path: Path) -> None:
    server.send_length = False
    download(server.url, tmp_path / "file", about_bytes=len(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("send_length", [True, False])
def test_file_of_another_size_is_refused(server: Server, tmp_path: Path, send_length: bool) -> None:
    server.content, server.send_length = b"<html>moved</html>", send_length
    with pytest.raises(DownloadError, match=r"about 1,050\.0 MB, so this is something else"):
        download(server.url, tmp_path / "file", about_bytes=1_050_000_000)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_not_taken_for_the_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullFile:
        def __init__(self, *arguments: object) -> None: ...
        def __enter__(self) -> "FullFile":
            return self

        def __exit__(self, *arguments: object) -> None: ...
        def write(self, chunk: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", FullFile)
    with pytest.raises(OSError, match="No space left"):
        download(server.url, tmp_path / "file")
    assert len(server.asked) == 1


def test_progress_is_logged_with_the_size_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fetch, "CHUNK_BYTES", 10_000)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    caplog.set_level("INFO")
    download(server.url, tmp_path / "file")
    assert "0.3 MB" in caplog.messages[0]
    assert sum(" of 0.3 MB" in message for message in caplog.messages) == 30


def test_progress_on_a_terminal_is_a_bar(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    download(server.url, tmp_path / "file")
    assert "300.0/300.0 kB" in capsys.readouterr().err


@pytest.mark.parametrize("status", [404, 503])
def test_failed_download_says_where_to_put_the_archive(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(archives, "unpackers", lambda: ["bsdtar"])
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    server.status = status
    with pytest.raises(DownloadError) as caught:
        download_ucf11(tmp_path, server.url)
    assert str(status) in str(caught.value)
    assert str(tmp_path / "UCF11_updated_mpg.rar") in str(caught.value)
    assert len(server.asked) == (1 if status == 404 else 5)


def test_without_unpacker_nothing_is_downloaded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match=r"libarchive-tools.*unrar"):
        download_ucf11(tmp_path, server.url)
    assert server.asked == []


@pytest.mark.usefixtures("bsdtar")
def test_download_unpack_and_second_call(server: Server, tmp_path: Path, archive_bytes: bytes) -> None:
    server.content = archive_bytes
    folder = download_ucf11(tmp_path / "data", server.url, about_bytes=len(archive_bytes))
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == sorted(UCF11_CLASSES)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        UCF11_FOLDER,
        "UCF11_updated_mpg.rar",
    ]
    assert download_ucf11(tmp_path / "data", server.url) == folder
    assert len(server.asked) == 1


@pytest.mark.usefixtures("bsdtar")
def test_archive_put_there_by_hand_is_used(server: Server, tmp_path: Path, archive_bytes: bytes) -> None:
    (tmp_path / "UCF11_updated_mpg.rar").write_bytes(archive_bytes)
    (tmp_path / f"{UCF11_FOLDER}.unpacking" / "left by a kill").mkdir(parents=True)
    assert download_ucf11(tmp_path, server.url).is_dir()
    assert server.asked == []
    assert not (tmp_path / f"{UCF11_FOLDER}.unpacking").exists()


def is_ucf11(folder: Path) -> None:
    index_clips(folder, UCF11_CLASSES)


@pytest.fixture
def asked_unrar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, which writes its words to a file and unpacks nothing."""
    program, words = tmp_path / "programs" / "unrar", tmp_path / "words"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {words}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return words


@pytest.mark.usefixtures("bsdtar")
def test_unrar_is_asked_for_what_bsdtar_cannot_read_and_makes_no_links(tmp_path: Path, asked_unrar: Path) -> None:
    archive = tmp_path / "UCF11_updated_mpg.rar"
    archive.write_bytes(b"of a kind that is not known")
    with pytest.raises(DownloadError, match=r"bsdtar: .*Unrecognized archive format; unrar: "):
        unpack_rar(archive, tmp_path / UCF11_FOLDER, is_ucf11)
    assert {"x", "-ol-", "-p-", str(archive)} <= set(asked_unrar.read_text().split())


@pytest.mark.usefixtures("bsdtar")
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_truncated_archive(tmp_path: Path, archive_bytes: bytes, kept: float) -> None:
    archive = tmp_path / "UCF11_updated_mpg.rar"
    archive.write_bytes(archive_bytes[: int(kept * len(archive_bytes))])
    with pytest.raises(DownloadError, match="may be cut short"):
        unpack_rar(archive, tmp_path / UCF11_FOLDER, is_ucf11)
    assert archive.is_file()
    assert not (tmp_path / UCF11_FOLDER).exists()
    assert not (tmp_path / f"{UCF11_FOLDER}.unpacking").exists()


def test_folder_that_is_not_ucf11_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / UCF11_FOLDER).mkdir()
    with pytest.raises(DownloadError, match=r"holds no class folder.*\n.*move .* away"):
        download_ucf11(tmp_path, server.url)
    assert server.asked == []


def test_script_ends_with_the_error_and_no_traceback(server: Server, tmp_path: Path) -> None:
    (tmp_path / UCF11_FOLDER / "dancing").mkdir(parents=True)
    result = subprocess.run(
        [sys.executable, SCRIPT, "ucf11", "--data-dir", tmp_path, "--url", server.url], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "unknown class folder 'dancing'" in result.stderr
    assert "Traceback" not in result.stderr


# COCO


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def flipped(content: bytes) -> bytes:
    """Damage the middle of an archive, and leave its list of files whole."""
    middle = len(content) // 2
    return content[:middle] + bytes(255 - byte for byte in content[middle : middle + 20]) + content[middle + 20 :]


def captions(part: str) -> bytes:
    images = [{"id": k, "file_name": f"COCO_{part}_{k:012d}.jpg"} for k in range(8 * len(part), 8 * len(part) + 8)]
    found = [{"id": image["id"], "image_id": image["id"], "caption": "a dog"} for image in images]
    return json.dumps({"images": images, "annotations": found}).encode()


@pytest.fixture
def coco_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """COCO's archives and Karpathy's, small, each with more in it than is wanted."""
    pictures = {part: zipped({f"{part}/": b"", f"{part}/1.jpg": CONTENT[:9000]}) for part in ("train2014", "val2014")}
    annotations = {f"annotations/captions_{part}.json": captions(part) for part in ("train2014", "val2014")}
    ids = [image["id"] for name in annotations for image in json.loads(annotations[name])["images"]]
    split = {"images": [{"cocoid": key, "split": ("train", "val", "test")[k % 3]} for k, key in enumerate(ids)]}
    server.contents = {
        "/zips/val2014.zip": pictures["val2014"],
        "/zips/train2014.zip": pictures["train2014"],
        "/caption_datasets.zip": zipped(
            {"dataset_coco.json": json.dumps(split).encode(), "dataset_flickr8k.json": b"{}"}
        ),
        "/annotations/annotations_trainval2014.zip": zipped(
            annotations | {"annotations/instances_val2014.json": b"{}"}
        ),
    }
    server.url = server.url.rpartition("/")[0]
    monkeypatch.setattr(archives, "IMAGES", tuple(map(resized(server), archives.IMAGES)))
    for name in ("KARPATHY", "CAPTIONS"):
        monkeypatch.setattr(archives, name, resized(server)(getattr(archives, name)))
    return server


def sha256_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def resized(server: Server) -> Callable[[archives.Archive], archives.Archive]:
    def changed(archive: archives.Archive) -> archives.Archive:
        content = server.contents[archive.path]
        return archive._replace(about_bytes=len(content), digest=sha256_of(content))

    return changed


def test_coco_is_downloaded_unpacked_and_not_fetched_twice(
    coco_server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = tmp_path / "coco"
    coco_server.break_after = [5000]
    download_coco(folder, coco_server.url, coco_server.url)
    assert coco_server.asked[:2] == [None, "bytes=5000-"]
    first = [message for message in caplog.messages if message.startswith("missing")]
    assert caplog.messages[:4] == first, "all sizes are shown before anything is fetched"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".zip"}
    assert files == {
        "train2014/1.jpg",
        "val2014/1.jpg",
        "dataset_coco.json",
        "annotations/captions_train2014.json",
        "annotations/captions_val2014.json",
    }
    assert read_annotations("coco", folder).split == "karpathy"
    asked = len(coco_server.asked)
    download_coco(folder, coco_server.url, coco_server.url)
    assert len(coco_server.asked) == asked
    shutil.rmtree(folder / "val2014")
    download_coco(folder, coco_server.url, coco_server.url)
    assert (folder / "val2014" / "1.jpg").is_file()
    assert len(coco_server.asked) == asked, "the archive is still there"


def test_without_karpathys_archive_coco_is_still_complete(
    coco_server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    coco_server.contents["/caption_datasets.zip"] = b"<html>gone</html>"
    download_coco(tmp_path, coco_server.url, coco_server.url)
    assert "seeded split" in caplog.text
    assert read_annotations("coco", tmp_path).split.startswith("seeded")


@pytest.mark.parametrize("damage", ["cut", "other", "flipped"])
def test_a_damaged_archive_of_coco_is_named_and_leaves_no_part(
    coco_server: Server, tmp_path: Path, damage: str
) -> None:
    content = coco_server.contents["/zips/train2014.zip"]
    wrong = {
        "cut": content[: len(content) // 2],
        "other": zipped({"readme.txt": CONTENT[: len(content)]}),
        "flipped": flipped(zipped({"train2014/a.jpg": CONTENT}, zipfile.ZIP_DEFLATED)),
    }[damage]
    (tmp_path / "train2014.zip").write_bytes(wrong)
    with pytest.raises(DownloadError, match=r"train2014\.zip (is damaged|lacks one of train2014).*: replace it"):
        download_coco(tmp_path, coco_server.url, coco_server.url)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train2014.zip", "val2014", "val2014.zip"]
    (tmp_path / "train2014.zip").unlink()
    download_coco(tmp_path, coco_server.url, coco_server.url)
    assert (tmp_path / "annotations").is_dir()


def test_a_disk_too_small_for_coco_is_said_before_anything_is_fetched(
    coco_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 100))
    with pytest.raises(DownloadError, match=r"0 MB free, but .* need .*--data-dir"):
        download_coco(tmp_path, coco_server.url, coco_server.url)
    assert coco_server.asked == []


def test_cocos_script_ends_with_the_error_and_no_traceback(
    coco_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    coco_server.status = 404
    options = ["--data-dir", str(tmp_path), "--url", coco_server.url, "--karpathy-url", coco_server.url]
    monkeypatch.setattr("sys.argv", ["download.py", "coco", *options])
    assert runpy.run_path(str(SCRIPT))["main"]() == 1
    assert f"put it at {tmp_path / 'coco' / 'val2014.zip'}" in capsys.readouterr().err


# Flickr8k


@pytest.fixture
def flickr_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Flickr8k's two archives, small, with what a Mac puts into them and texts that are not wanted."""
    texts = {CAPTIONS_FILE: "".join(f"{split}.jpg#0\ta dog\n" for split in LISTS)}
    texts |= {name: f"{split}.jpg\n" for split, name in LISTS.items()} | {"readme.txt": "", "__MACOSX/._readme.txt": ""}
    photographs = {f"{FOLDER}/": b""} | {f"{FOLDER}/{split}.jpg": CONTENT[:9000] for split in LISTS}
    server.contents = {
        "/Flickr8k_Dataset.zip": zipped(photographs | {f"__MACOSX/{FOLDER}/._train.jpg": b"x"}),
        "/Flickr8k_text.zip": zipped({name: text.encode() for name, text in texts.items()}),
    }
    server.url = server.url.rpartition("/")[0]
    for name in ("PHOTOGRAPHS", "FLICKR8K_TEXTS"):
        monkeypatch.setattr(archives, name, resized(server)(getattr(archives, name)))
    return server


def test_flickr8k_is_downloaded_goes_on_after_a_break_and_is_not_fetched_twice(
    flickr_server: Server, tmp_path: Path
) -> None:
    flickr_server.break_after = [5000]
    download_flickr8k(tmp_path, flickr_server.url)
    assert flickr_server.asked == [None, "bytes=5000-", None]
    there = {path.name for path in tmp_path.iterdir() if path.suffix != ".zip"}
    assert there == {FOLDER, CAPTIONS_FILE, *LISTS.values()}
    assert read_flickr8k(tmp_path).table["split"].tolist() == list(LISTS)
    download_flickr8k(tmp_path, flickr_server.url)
    assert len(flickr_server.asked) == 3


def test_archives_of_flickr8k_put_there_by_hand_are_used(
    flickr_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flickr_server.status = 404
    monkeypatch.setattr(
        "sys.argv", ["download.py", "flickr8k", "--data-dir", str(tmp_path), "--url", flickr_server.url]
    )
    main = runpy.run_path(str(SCRIPT))["main"]
    folder = tmp_path / "flickr8k"
    assert main() == 1
    assert f"put it at {folder / 'Flickr8k_Dataset.zip'}" in capsys.readouterr().err
    for path, content in flickr_server.contents.items():
        (folder / path[1:]).write_bytes(content)
    assert main() == 0
    assert len(flickr_server.asked) == 1
    assert len(read_flickr8k(folder).table) == 3


# UCF101


@pytest.fixture
def ucf101_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """UCF101's archive, small: all classes in one folder, also one that is not read and whose name begins alike."""
    names = [f"v_{name}_g{group:02d}_c01.avi" for name in [*UCF101_CLASSES, "SwingDance"] for group in (1, 2)]
    content = zipped({"UCF101/": b""} | {f"UCF101/{name}": name.encode() for name in names})
    server.contents, server.url = {"/UCF101_videos.zip": content}, server.url.rpartition("/")[0]
    archive = archives.UCF101_VIDEOS._replace(about_bytes=len(content), digest=sha256_of(content))
    monkeypatch.setattr(archives, "UCF101_VIDEOS", archive)
    return server


def test_ucf101_is_downloaded_goes_on_after_a_break_and_has_its_class_folders(
    ucf101_server: Server, tmp_path: Path
) -> None:
    ucf101_server.break_after = [1000]
    folder = download_ucf101(tmp_path / "data", ucf101_server.url)
    assert ucf101_server.asked == [None, "bytes=1000-"]
    table = index_clips(folder, UCF101_CLASSES, layout=UCF101_LAYOUT)
    assert len(table) == 22
    assert all((folder / path).read_text() == Path(path).name for path in table["path"])
    assert sorted(path.name for path in folder.iterdir()) == sorted(UCF101_CLASSES)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["UCF-101", "UCF101_videos.zip"]
    assert download_ucf101(tmp_path / "data", ucf101_server.url) == folder
    assert len(ucf101_server.asked) == 2


def test_an_archive_that_is_not_ucf101_is_named_and_leaves_no_folder(
    ucf101_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["download.py", "ucf101", "--data-dir", str(tmp_path)])
    main = runpy.run_path(str(SCRIPT))["main"]
    archive = tmp_path / "UCF101_videos.zip"
    for files in ({"UCF101/v_Biking_g01_c01.avi": b"one class alone"}, {"other/file": b""}):
        archive.write_bytes(zipped(files))
        assert main() == 1
        assert str(archive) in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == [archive]
    assert ucf101_server.asked == []
    archive.write_bytes(ucf101_server.contents["/UCF101_videos.zip"])
    assert main() == 0


# MNIST


@pytest.fixture
def mnist_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Four small files under MNIST's names, whose digests are taken for the published ones."""
    server.contents = {f"/{name}": CONTENT[:k] for k, name in enumerate(archives.MNIST_SHA256["mnist"], start=1000)}
    digests = {path[1:]: hashlib.sha256(content).hexdigest() for path, content in server.contents.items()}
    monkeypatch.setitem(archives.MNIST_SHA256, "mnist", digests)
    server.url = server.url.rpartition("/")[0]
    return server


def test_mnist_is_there_when_all_of_it_has_come_and_is_not_fetched_twice(mnist_server: Server, tmp_path: Path) -> None:
    last = list(mnist_server.contents)[-1]
    right, mnist_server.contents[last] = mnist_server.contents[last], b"<html>moved</html>"
    with pytest.raises(DownloadError, match=r"digest is sha256:\w+, not sha256:\w+(.|\n)*by hand"):
        download_mnist(tmp_path, "mnist", mnist_server.url)
    assert not (tmp_path / "MNIST" / "raw").exists()
    mnist_server.contents[last] = right
    folder = download_mnist(tmp_path, "mnist", mnist_server.url)
    assert {f"/{path.name}": path.read_bytes() for path in folder.iterdir()} == mnist_server.contents
    assert len(mnist_server.asked) == 5
    download_mnist(tmp_path, "mnist", mnist_server.url)
    assert len(mnist_server.asked) == 5


# What a stranger may send


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_another_file_than_the_published_one_is_not_kept(server: Server, tmp_path: Path, algorithm: str) -> None:
    digest = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
    with pytest.raises(DownloadError, match="another file than the one that is published"):
        download(server.url, tmp_path / "file", digest=f"{digest[:-1]}{'0' if digest[-1] == '1' else '1'}")
    assert list(tmp_path.iterdir()) == []
    download(server.url, tmp_path / "file", digest=digest)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_md5_alone_does_not_make_up_for_https(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="only https"):
        download("http://example.com/file", tmp_path / "file", digest=f"md5:{hashlib.md5(CONTENT).hexdigest()}")


@pytest.mark.parametrize("url", ["http://example.com/file", "ftp://example.com/file", "file:///etc/passwd"])
def test_what_another_could_send_in_the_servers_place_is_not_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match=f"{url} is not fetched: only https"):
        download(url, tmp_path / "file")


def test_where_a_server_leads_elsewhere_without_https_nothing_is_kept(server: Server, tmp_path: Path) -> None:
    port = urllib.parse.urlsplit(server.url).port
    server.redirects = {
        "/first": f"http://127.1:{port}/second",  # which is this machine, by a name that is not known as such
        "/second": f"http://127.0.0.1:{port}/third",
    }
    server.url = server.url.rpartition("/")[0]
    with pytest.raises(DownloadError, match=rf"http://127\.1:{port}/second is not fetched: only https"):
        download(f"{server.url}/first", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    assert server.asked == [None]
    download(f"{server.url}/first", tmp_path / "file", digest=sha256_of(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:mine@example.org/file?token=secret#x", "http://example.org/file"),
        ("https://me:mine@127.0.0.1:1/file?token=secret", "https://127.0.0.1:1/file"),
        ("https://me:mi?ne@127.0.0.1:1/file", "https://me"),
        ("https://me:mi/ne@127.0.0.1:1/file", "https://127.0.0.1:1/file"),
        ("https://127.0.0.1:1/file?token=secret secret", "https://127.0.0.1:1/file"),
        ("https://[127.0.0.1:1/file?token=secret", "https://[127.0.0.1:1/file"),
    ],
)
def test_what_an_address_holds_of_secrets_is_not_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str, shown: str
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(DownloadError) as told:
        download(url, tmp_path / "file", wait_seconds=0.0)
    assert str(told.value).startswith(f"{shown} is not fetched")
    with pytest.raises(DownloadError):
        download_flickr8k(tmp_path, url)
    said = f"{told.value}{caplog.text}"
    assert f"missing: {shown}" in said
    assert not re.search("mi.?ne|secret", said)


def test_the_sites_are_asked_by_https_and_all_but_ucf11_are_held_to_a_digest() -> None:
    sites = [archives.UCF11_URL, archives.UCF101_URL, archives.COCO_URL, archives.KARPATHY_URL, archives.FLICKR8K_URL]
    assert all(url.startswith("https://") for url in (*sites, *archives.MNIST_URLS.values()))
    zips = [value for value in vars(archives).values() if isinstance(value, archives.Archive)]
    digests = [archive.digest for archive in (*zips, *archives.IMAGES)]
    digests += [f"sha256:{digest}" for files in archives.MNIST_SHA256.values() for digest in files.values()]
    assert len(digests) == 15
    assert all(re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", str(digest)) for digest in digests)


def member(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    return info


@pytest.mark.parametrize(
    ("info", "content", "complaint"),
    [
        (member("wanted/../../out", stat.S_IFREG), b"x", "leads out of its folder"),
        (member("wanted/link", stat.S_IFLNK), b"/etc/passwd", "is a link or a device"),
        (member("wanted/device", stat.S_IFCHR), b"", "is a link or a device"),
        (member("wanted/bomb", stat.S_IFREG), bytes(50_000_000), "it holds 50.0 MB, and may hold"),
    ],
)
def test_a_zip_that_would_leave_its_folder_or_fill_the_disk_is_refused(
    tmp_path: Path, info: zipfile.ZipInfo, content: bytes, complaint: str
) -> None:
    path, folder = tmp_path / "archive.zip", tmp_path / "data"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("wanted/file", b"x")
        archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    with pytest.raises(DownloadError, match=complaint):
        unpack_zip(path, folder, ("wanted",))
    assert list(folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["archive.zip", "data"]


@pytest.mark.parametrize("seed", range(4))
def test_a_zip_with_any_bytes_changed_is_unpacked_or_called_damaged(tmp_path: Path, seed: int) -> None:
    path, rng = tmp_path / "archive.zip", random.Random(seed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"wanted/{number}", f"line {number}\n" * 20)
    whole, outcomes = path.read_bytes(), set()
    for trial in range(100):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            unpack_zip(path, tmp_path / str(trial), ("wanted",))
            outcomes.add("unpacked")
        except DownloadError as error:
            outcomes.add("said" if str(path) in str(error) else f"said without the archive: {error}")
    assert outcomes == {"unpacked", "said"}


@pytest.mark.usefixtures("bsdtar")
@pytest.mark.parametrize("kind", ["up", "absolute", "symlink", "hard link", "fifo", "bomb"])
def test_an_archive_of_ucf11_that_would_leave_its_folder_or_fill_the_disk_is_refused(
    tmp_path: Path, archive_bytes: bytes, monkeypatch: pytest.MonkeyPatch, asked_unrar: Path, kind: str
) -> None:
    archive, outside = tmp_path / "UCF11_updated_mpg.rar", tmp_path / "outside"
    outside.write_text("untouched")
    archive.write_bytes(archive_bytes)
    name = {"up": f"{UCF11_FOLDER}/unsupported/../../../outside", "absolute": str(outside)}.get(
        kind, f"{UCF11_FOLDER}/walking/unsupported"
    )
    info = tarfile.TarInfo(name)
    types = {"symlink": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE}
    info.type, info.linkname = types.get(kind, tarfile.REGTYPE), str(outside)
    if kind == "hard link":
        info.linkname = f"{UCF11_FOLDER}/Excluded Videos.txt"
    if kind == "bomb":
        monkeypatch.setattr(unpacking, "_largest_content", lambda archive: 30_000)
    with tarfile.open(archive, "a") as tar:
        tar.addfile(info)
    if kind == "absolute":  # the program takes away what makes it so
        unpack_rar(archive, tmp_path / UCF11_FOLDER, is_ucf11)
    else:
        with pytest.raises(DownloadError, match=r"Path contains '\.\.'|is a link or a device|it holds more than"):
            unpack_rar(archive, tmp_path / UCF11_FOLDER, is_ucf11)
        assert not (tmp_path / UCF11_FOLDER).exists()
    assert outside.read_text() == "untouched"
    assert not asked_unrar.exists(), "a program that may let it pass was asked too"
    left = {archive.name, "outside", "programs", "source", "source.tar", UCF11_FOLDER}
    assert {path.name for path in tmp_path.iterdir()} <= left
