"""Files that are replaced: whole, on disk, and named where the system refuses."""

import errno
import os
from pathlib import Path

import pytest
import torch

from btrnn.engine.weights import epoch_of, read_state, save_whole, write_state
from btrnn.storage.atomic import move_file, replace_file, replacing


def refuse(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_on_disk_before_it_has_its_name_and_the_name_before_the_call_ends(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: order.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
    )
    path = tmp_path / "folder" / "file"
    replace_file(path, "content")
    content, folder = order
    assert content.endswith(".part")
    assert folder == path.parent.name
    assert path.read_text() == "content"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_moved_is_on_disk_before_and_its_new_name_after(tmp_path, monkeypatch, kind):
    order, old, new = [], tmp_path / "old", tmp_path / "there" / "new"
    new.parent.mkdir()
    if kind == "file":
        old.write_text("content")
    else:
        old.mkdir()
        (old / "part").write_text("content")
    monkeypatch.setattr(os, "sync", lambda: order.append(("all", new.exists())))
    monkeypatch.setattr(
        os, "fsync", lambda found: order.append((Path(f"/proc/self/fd/{found}").readlink().name, new.exists()))
    )
    move_file(old, new)
    assert order == [("old" if kind == "file" else "all", False), ("there", True)]


def test_a_refused_write_leaves_the_old_file_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "file"
    replace_file(path, "old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left") as caught:
        replace_file(path, "new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert [(left.name, left.read_text()) for left in tmp_path.iterdir()] == [("file", "old")]


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "file"):
        (tmp_path / "missing").read_text()
    assert caught.value.filename == str(tmp_path / "missing")


def test_torch_says_that_the_disk_is_full(tmp_path, monkeypatch):
    original = torch.save

    def save(content, file):
        original(content, FullFile())

    class FullFile:
        write = refuse

        def flush(self):
            """Nothing is held back."""

    monkeypatch.setattr(torch, "save", save)
    path = tmp_path / "weights.pt"
    with pytest.raises(OSError, match="No space left") as caught:
        save_whole({"w": torch.zeros(100_000)}, path)
    assert caught.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def test_weights_know_their_epoch_and_have_no_further_entry(tmp_path):
    path, layer = tmp_path / "best.pt", torch.nn.Linear(2, 3)
    write_state(path, layer.state_dict(), 7)
    assert epoch_of(path) == 7
    assert read_state(path).keys() == torch.load(path).keys() == layer.state_dict().keys()
    layer.load_state_dict(read_state(path))
    torch.save(layer.state_dict(), path)
    assert epoch_of(path) is None
    path.write_bytes(b"")
    assert epoch_of(path) is None
